"""The examples do what they say, each under uvicorn in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.notes_app import COLLECTION
from tests.reference_network.process import ReferenceNetwork
from tests.reference_network.sign_in import approve
from tests.serving import served_in_process

pytestmark = pytest.mark.network

_EXAMPLES = sorted(Path(__file__).parents[1].glob("examples/*_app.py"))
_MAX_LINES = 60


@contextmanager
def _logged_in(
    app: str, network: ReferenceNetwork, *, server: str = "uvicorn"
) -> Iterator[httpx.Client]:
    """Serve an example and log Alice in."""
    settings = {
        "ATPROTO_PLC_URL": network.plc_url,
        "ATPROTO_HANDLE_RESOLVER_URL": network.pds_url,
    }
    with (
        served_in_process(app, settings=settings, server=server) as origin,
        httpx.Client(
            base_url=origin, headers={"Origin": origin}, trust_env=False
        ) as browser,
    ):
        form = {"identifier": "alice.test", "return_to": "/"}
        response = browser.post("/oauth/login", data=form)
        auth_url = response.headers["refresh"].partition("url=")[2]
        back = approve(auth_url, network.accounts["alice.test"])
        assert browser.get(back).status_code == 303
        yield browser


@pytest.mark.parametrize("example", _EXAMPLES, ids=lambda path: path.name)
def test_example_when_read_then_is_short(example: Path) -> None:
    """An example fits on a screen."""
    assert len(example.read_text().splitlines()) < _MAX_LINES


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
def test_fastapi_example_when_logged_in_then_posts_a_note(
    server: str,
    fresh_network: ReferenceNetwork,
) -> None:
    """The note that was typed is in the person's repository."""
    alice = fresh_network.accounts["alice.test"]
    app = "examples.fastapi_app:app"
    with _logged_in(app, fresh_network, server=server) as browser:
        assert "You are alice.test" in browser.get("/").text
        response = browser.post("/notes", data={"text": "from the example"})
        assert response.status_code == 303
        assert browser.post("/oauth/logout").status_code == 303
        assert "Log in" in browser.get("/").text
        assert browser.post("/notes", data={"text": "x"}).status_code == 401
    notes = fresh_network.list_records(alice.did, COLLECTION)
    assert any(note["value"]["text"] == "from the example" for note in notes)


def test_starlette_example_when_logged_in_then_asks_the_pds(
    fresh_network: ReferenceNetwork,
) -> None:
    """The PDS knows the application's client as that person."""
    with _logged_in("examples.starlette_app:app", fresh_network) as browser:
        assert browser.get("/whoami").json()["handle"] == "alice.test"
        browser.post("/oauth/logout")
        response = browser.get("/")
        assert response.headers["location"] == "/oauth/login?return_to=%2F"
