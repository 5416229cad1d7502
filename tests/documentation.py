"""The pages of the documentation, and how their programs are run by tests."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from starlette.applications import Starlette
from starlette.testclient import TestClient

from atproto_oauth_asgi.cli.main import main as keygen
from tests.notes_app import development
from tests.reference_network.process import ReferenceNetwork
from tests.reference_network.sign_in import approve

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
ORIGIN = "http://127.0.0.1:8000"
SECRET = "4kYv7lqPzP0bJcXcEo2nT9dWm1sUuR8aQfHgLi5xN3B"

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_STORE = re.compile(r"(MemoryStateStore\(\),)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Line number and text of every block of code in a language."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, found.start()) + 1, found[2])
        for found in FENCE.finditer(text)
        if found[1] == language
    ]


def with_blocks(language: str) -> list[Path]:
    return [page for page in PAGES if blocks(page, language)]


@dataclass(frozen=True)
class Program:
    """A page's blocks, run one after the other in one namespace."""

    names: dict[str, Any]
    apps: list[Any]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the reader of a page has made by then: a secret, and a key in a file."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "client-key.pem").write_bytes(pem)
    monkeypatch.chdir(tmp_path)
    keygen(["keygen"])
    keygen(["keygen", "--key=client-key-2027.json", "--secret=secret-key-2027.txt"])
    monkeypatch.setenv("SECRET_KEY", SECRET)
    monkeypatch.delenv("ATPROTO_PLC_URL", raising=False)


def quoted(page: Path) -> dict[str, list[str]]:
    """The lines of the first `text` block below each heading that has one."""
    parts = re.split(
        r"^### (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    found = {}
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        texts = [each[2] for each in FENCE.finditer(body) if each[1] == "text"]
        if texts:
            found[heading] = [line.strip() for line in texts[0].splitlines() if line]
    return found


def program_of(page: str) -> str:
    """The Python blocks of a page below `docs/`, as one program."""
    return "\n".join(text for _, text in blocks(DOCS / page, "python"))


def run(path: str, **names: Any) -> Program:
    """Run the blocks of a page; give what they define, and every `app` among it.

    Args:
        path: of the page.
        names: what is known beforehand. ``NETWORK`` also becomes the network of each
            `OAuthClient` that the page makes.
    """
    # Some frameworks look a handler's module up.
    module = sys.modules[path] = ModuleType(path)
    namespace = module.__dict__
    namespace.update(names)
    apps: list[Any] = []
    for line, text in blocks(ROOT / path, "python"):
        given = _STORE.sub(r"\1 network=NETWORK,", text) if "NETWORK" in names else text
        # The padding makes a traceback name the page's own line.
        source = "\n" * line + given
        exec(compile(source, path, "exec"), namespace)  # noqa: S102
        app = namespace.get("app")
        if app is not None and app not in apps:
            apps.append(app)
    return Program(namespace, apps)


@contextmanager
def logged_in(
    app: Starlette, reference: ReferenceNetwork, *, given: bool = True
) -> Iterator[TestClient]:
    """Start an application of a page, and log Alice in.

    Unless ``given`` is False, because the application has it, the network is put among
    the options of its middleware.
    """
    if given:
        app.user_middleware[0].kwargs["network"] = development(reference)
    with TestClient(
        app, base_url=ORIGIN, headers={"Origin": ORIGIN}, follow_redirects=False
    ) as browser:
        answer = browser.post("/oauth/login", json={"identifier": "alice.test"})
        assert answer.status_code == 200, answer.text
        alice = reference.accounts["alice.test"]
        back = approve(answer.json()["authorization_url"], alice)
        assert browser.get(back).status_code == 303
        yield browser
