"""The access log of a web server, with the filter that we offer for it."""

from __future__ import annotations

import logging
from dataclasses import fields
from logging.handlers import QueueHandler
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atproto_oauth_asgi.config import OAuthConfig
from atproto_oauth_asgi.logs import CallbackQueryFilter
from tests.documentation import DOCS, blocks
from tests.serving import served_in_process

QUERY = "code=canary-code&state=canary-state&iss=https%3A%2F%2Fpds.example"
CALLBACK = f"/oauth/callback?{QUERY}"
SETTINGS = {"SECRET_KEY": "a secret of the tests, 32 bytes or more"}
UVICORN = ["--log-level", "info"]
HYPERCORN = [
    *("--log-level", "INFO", "--access-logfile", "-"),
    # The last one is a header that nobody sent.
    *("--access-logformat", "%(R)s|%(Uq)s|%(q)s|%(s)s|%({x-none}i)s"),
]
PLAIN, FILTERED = "examples.starlette_app:app", "tests.filtered_app:app"


def record_of(message: Any, *args: Any) -> logging.LogRecord:
    return logging.LogRecord("server", logging.INFO, __file__, 1, message, args, None)


def filtered(message: Any, *args: Any, path: str | None = None) -> logging.LogRecord:
    """A record behind the filter, which must have let it through."""
    record = record_of(message, *args)
    chosen = CallbackQueryFilter() if path is None else CallbackQueryFilter(path)
    assert chosen.filter(record) is True
    return record


def log_of(output: Path, app: str, *, server: str, options: list[str]) -> str:
    """What a server prints when a callback and another page are asked for."""
    with served_in_process(
        app, settings=SETTINGS, server=server, options=options, output=output
    ) as origin:
        for target in (CALLBACK, "/?page=2"):
            httpx.get(origin + target, trust_env=False)
    return output.read_text()


@pytest.fixture
def documented_config(tmp_path: Path) -> Path:
    """The file for ``--log-config`` that the documentation shows."""
    [(_, text)] = blocks(DOCS / "reference/logging.md", "json")
    file = tmp_path / "log.json"
    file.write_text(text)
    return file


@pytest.mark.covers("LOG-05")
def test_uvicorn_when_configured_as_documented_then_logs_no_code(
    tmp_path: Path, documented_config: Path
) -> None:
    """The file in the documentation works as it is; other addresses stay whole."""
    options = [*UVICORN, "--log-config", str(documented_config)]
    log = log_of(tmp_path / "log", PLAIN, server="uvicorn", options=options)
    assert '"GET /oauth/callback?... HTTP/1.1" 400' in log
    assert '"GET /?page=2 HTTP/1.1" 303' in log
    assert "canary" not in log


@pytest.mark.covers("LOG-05")
@pytest.mark.parametrize(
    ("server", "options", "line"),
    [
        ("uvicorn", UVICORN, '"GET /oauth/callback?... HTTP/1.1" 400'),
        (
            "hypercorn",
            HYPERCORN,
            "GET /oauth/callback?... 1.1|/oauth/callback?...|...|400|-",
        ),
    ],
    ids=["uvicorn", "hypercorn"],
)
def test_server_when_filter_is_added_by_the_app_then_logs_no_code(
    tmp_path: Path, server: str, options: list[str], line: str
) -> None:
    """Two lines beside the application are enough; without them it would be there."""
    log = log_of(tmp_path / "log", FILTERED, server=server, options=options)
    assert line in log
    assert "page=2" in log
    assert "canary" not in log
    bare = log_of(tmp_path / "bare", PLAIN, server=server, options=options)
    assert QUERY in bare


@pytest.mark.covers("LOG-05")
@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (CALLBACK, "/oauth/callback?..."),
        (f"/app{CALLBACK}", "/app/oauth/callback?..."),
        (f"https://app.example{CALLBACK}", "https://app.example/oauth/callback?..."),
        (f"/oauth/callback/?{QUERY}", "/oauth/callback/?..."),
        ("/oauth/callback?code='x'&y=z", "/oauth/callback?..."),
        ("/oauth/callback", "/oauth/callback"),
        ("/oauth/callback?", "/oauth/callback?"),
        (f"/other?{QUERY}", f"/other?{QUERY}"),
        (f"/callback?{QUERY}", f"/callback?{QUERY}"),
        (f"/oauth/callbacks?{QUERY}", f"/oauth/callbacks?{QUERY}"),
    ],
)
def test_filter_when_an_address_is_logged_then_cuts_the_query_of_the_callback(
    address: str, expected: str
) -> None:
    """In an argument, in the message itself, below a mount: nowhere else."""
    line = '%s - "%s %s HTTP/%s" %d'
    record = filtered(line, "1.2.3.4:5", "GET", address, "1.1", 303)
    assert record.args == ("1.2.3.4:5", "GET", expected, "1.1", 303)
    assert record.getMessage() == f'1.2.3.4:5 - "GET {expected} HTTP/1.1" 303'
    whole = filtered(f'"GET {address} HTTP/1.1" twice "GET {address} HTTP/1.1"')
    part = f'"GET {expected} HTTP/1.1"'
    assert whole.getMessage() == f"{part} twice {part}"


def test_filter_when_the_path_is_another_then_counts_in_both_spellings() -> None:
    """A path of one's own is found as it was sent, and decoded."""
    for path in ("/r\u00fcckruf+1", "/r%C3%BCckruf%2B1"):
        cut = filtered("%s", f"{path}?{QUERY}", path="/r\u00fcckruf+1")
        assert cut.args == (f"{path}?...",)
    assert filtered("%s", CALLBACK, path="/other").args == (CALLBACK,)


def test_filter_when_values_are_named_then_the_callers_own_stay() -> None:
    """The server's own values are not touched: it may use them for something else."""
    values = {"U": CALLBACK, "q": QUERY, "n": 1, "x": [QUERY]}
    record = filtered("%(U)s %(q)s", values)
    assert record.getMessage() == "/oauth/callback?... ..."
    assert record.args == {"U": "/oauth/callback?...", "q": "...", "n": 1, "x": [QUERY]}
    assert values["q"] == QUERY


def test_filter_when_the_message_is_whole_already_then_is_cut_all_the_same() -> None:
    """A ``QueueHandler`` puts the values into the message, and leaves none."""
    prepared = QueueHandler(SimpleQueue()).prepare(record_of("%s", CALLBACK))
    assert prepared.args is None
    assert CallbackQueryFilter().filter(prepared)
    assert prepared.getMessage() == "/oauth/callback?..."


anything = st.none() | st.integers() | st.text() | st.binary() | st.lists(st.text())


@given(anything, st.lists(anything) | st.dictionaries(st.text(), anything, min_size=1))
def test_filter_when_given_anything_then_neither_raises_nor_changes(
    message: Any, args: list[Any] | dict[str, Any]
) -> None:
    """A log is no place to fail in: what is not ours passes as it was."""
    given_args = [args] if isinstance(args, dict) else args
    before = record_of(message, *given_args)
    after = filtered(message, *given_args)
    assert (after.msg, after.args) == (before.msg, before.args)


def test_filter_when_made_without_a_path_then_has_the_one_of_the_options() -> None:
    """Who has not changed the path need not name it here either."""
    [option] = [each for each in fields(OAuthConfig) if each.name == "callback_path"]
    assert filtered("%s", f"{option.default}?{QUERY}").args == (
        f"{option.default}?...",
    )
