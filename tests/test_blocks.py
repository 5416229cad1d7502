"""Blocks of the documentation that are not Python: run, read or compared, each of them.

`python` blocks run in `test_docs`, `py` ones in `testing/test_plugin`, nginx and Caddy in
`proxies`, what `troubleshooting.md` quotes in `test_troubleshooting`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from atproto_oauth_asgi import (
    ATProtoOAuthMiddleware,
    ClientKey,
    OAuthConfig,
    OAuthError,
    exceptions,
    starlette,
)
from atproto_oauth_asgi.cli import main as cli
from atproto_oauth_asgi.testing import AtprotoNetwork, login_as
from tests.cli.test_docs import parser_of
from tests.documentation import (
    FENCE,
    ORIGIN,
    PAGES,
    ROOT,
    SECRET,
    blocks,
    name_of,
)

_ELSEWHERE = {"python", "py", "nginx", "caddyfile"}
# Pictures; the one of the house is compared in `test_explanation`.
_PICTURES = {
    "docs/architecture.md",
    "docs/explanation/login-flow.md",
    "docs/explanation/refresh-flow.md",
    "docs/explanation/request-flow.md",
}
_TEXTS_ELSEWHERE = {
    "docs/how-to/check-a-deployment.md",
    "docs/reference/logging.md",
    "docs/troubleshooting.md",
}
# Their commands are run in turn by `cli/test_docs`.
_PAGES_OF_COMMANDS = {"check-a-deployment", "command-line", "rotate-keys"}


def found(language: str) -> list[tuple[Path, str]]:
    return [(page, text) for page in PAGES for _, text in blocks(page, language)]


def test_blocks_when_listed_then_each_language_is_looked_after() -> None:
    """A block in a language that nobody runs or compares is a promise without a test."""
    languages = {
        match[1] for page in PAGES for match in FENCE.finditer(page.read_text("utf-8"))
    }
    assert languages <= _ELSEWHERE | {*("sh", "json", "text", "diff", "html", "js")}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_fences_when_counted_then_all_are_found(page: Path) -> None:
    """No block is missed because it is indented, or begins in another way."""
    text = page.read_text(encoding="utf-8")
    opened = re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE)
    assert len(opened) == 2 * len(FENCE.findall(text))


# --- Pages and scripts ---------------------------------------------------------------

_FIELDS = {"identifier", "return_to", "scope", "prompt"}


@pytest.mark.parametrize("language", ["html", "js"])
def test_scripts_when_read_then_lead_to_our_routes_with_fields_that_we_know(
    language: str,
) -> None:
    """Such a form and such scripts are used in Chromium by ``tests/browser``."""
    paths = set(OAuthConfig(secret_key=os.urandom(32)).route_paths)
    led: set[str] = set()
    for page, text in found(language):
        led |= set(
            re.findall(r"""["'](?:https://app\.example\.com)?(/oauth/[^"']*)""", text)
        )
        names = set(re.findall(r'name="([^"]+)"', text))
        assert names <= _FIELDS, name_of(page)
    assert led
    assert led <= paths


# --- Commands ------------------------------------------------------------------------


def run_in(folder: Path, command: str) -> str:
    done = subprocess.run(
        ["sh", "-ec", command],
        check=True,
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
    )
    return done.stdout.strip()


def check_secret(_: Path, command: str, folder: Path) -> None:
    OAuthConfig(secret_key=run_in(folder, command))


def check_key(_: Path, command: str, folder: Path) -> None:
    run_in(folder, command)
    assert ClientKey((folder / "client-key.pem").read_text()).kid


def check_make(_: Path, command: str, folder: Path) -> None:
    assert run_in(ROOT, command.replace("make ", "make --dry-run ", 1))


def check_uvicorn(page: Path, command: str, folder: Path) -> None:
    """The options are ones of uvicorn, and the page says what the file is called."""
    words = shlex.split(command)[1:]
    command_line = importlib.import_module("uvicorn.main").main
    options = command_line.make_context("uvicorn", words).params
    file = options["app"].partition(":")[0]
    assert file == "app" or f"`{file}.py`" in page.read_text(encoding="utf-8")


def check_pip(_: Path, command: str, folder: Path) -> None:
    """The extras exist, and the packages are those that the tests use."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = set(project["project"]["optional-dependencies"])
    for word in shlex.split(command.partition("install ")[2]):
        if wanted := re.fullmatch(r"\.\[(.+)\]", word):
            assert set(wanted[1].split(",")) <= extras
        else:
            assert importlib.util.find_spec(word.replace("-", "_"))


def check_cli(page: Path, command: str, folder: Path) -> None:
    """It is run here if it reaches nobody; pages about commands have a test of their own."""
    name, *words = shlex.split(command.partition(" > ")[0])[1:]
    if name == "keygen" and page.stem not in _PAGES_OF_COMMANDS:
        run_in(folder, command.removeprefix(".venv/bin/"))
    elif name in cli.COMMANDS:
        parser_of(name).parse_args(words)
    else:
        assert name == "--help"


def check_venv(_: Path, command: str, folder: Path) -> None:
    assert run_in(folder, f"{command} --without-pip") == ""


def check_export(page: Path, command: str, folder: Path) -> None:
    name = command.removeprefix("export ").partition("=")[0]
    assert f'environ.get("{name}")' in page.read_text(encoding="utf-8")


def check_module(_: Path, command: str, folder: Path) -> None:
    module = command.partition(" -m ")[2].split()[0]
    assert importlib.util.find_spec(module)


async def not_found(scope: object, receive: object, send: object) -> None:
    raise AssertionError


COMMANDS: dict[str, Callable[[Path, str, Path], None]] = {
    r"python -c 'import secrets": check_secret,
    r"\(?.*openssl genpkey": check_key,
    r"make \w+": check_make,
    r"(\.venv/bin/)?uvicorn ": check_uvicorn,
    r"(\.venv/bin/)?pip install ": check_pip,
    r"(\.venv/bin/)?atproto-oauth-asgi ": check_cli,
    r"python -m atproto_oauth_asgi ": check_module,
    r"python -m venv ": check_venv,
    r"export ": check_export,
    r"PYTHONPATH=.* -m tests\.": check_module,
}


def command_lines() -> list[tuple[Path, str]]:
    lines = [(page, line) for page, text in found("sh") for line in text.splitlines()]
    return [(page, line.split("  #")[0].strip()) for page, line in lines if line]


@pytest.mark.parametrize(
    ("page", "command"),
    command_lines(),
    ids=[f"{name_of(page)}: {line}"[:90] for page, line in command_lines()],
)
def test_command_when_tried_then_does_what_it_is_for(
    page: Path, command: str, tmp_path: Path
) -> None:
    """Each command is run, or its parts are looked up; one that nobody knows fails."""
    kinds = [check for start, check in COMMANDS.items() if re.match(start, command)]
    assert len(kinds) == 1, f"nobody checks: {command}"
    kinds[0](page, command, tmp_path)


# --- JSON ----------------------------------------------------------------------------


def test_json_of_a_login_when_sent_then_is_taken(
    atproto_network: AtprotoNetwork,
) -> None:
    """The body that begins a login, but for the name."""
    bodies = [json.loads(text) for _, text in found("json")]
    [body] = [each for each in bodies if "identifier" in each]
    app = ATProtoOAuthMiddleware(
        not_found, secret_key=SECRET, network=atproto_network.network
    )
    headers = {"Origin": ORIGIN}
    with TestClient(app, base_url=ORIGIN, headers=headers) as client:
        form = {**body, "identifier": "alice.test"}
        answer = client.post("/oauth/login", json=form)
        assert set(answer.json()) == {"authorization_url"}
        refused = client.post("/oauth/login", json={**body, "identifier": "no.test"})
    [problem] = [each for each in bodies if "incident_id" in each]
    assert refused.json() | {"incident_id": ""} == problem | {"incident_id": ""}


def test_json_of_the_session_route_when_compared_then_is_what_it_tells(
    atproto_network: AtprotoNetwork,
) -> None:
    """The same members, of the same types."""
    bodies = [json.loads(text) for _, text in found("json")]
    [body] = [each for each in bodies if "authenticated" in each]
    app = ATProtoOAuthMiddleware(
        not_found, secret_key=SECRET, network=atproto_network.network
    )
    with TestClient(app, base_url=ORIGIN, headers={"Origin": ORIGIN}) as client:
        login_as(client, "alice.test")
        told = client.get("/oauth/session").json()
    assert {name: type(value) for name, value in told.items()} == {
        name: type(value) for name, value in body.items()
    }


def test_json_of_a_missing_permission_when_compared_then_is_what_a_program_gets(
    atproto_network: AtprotoNetwork,
) -> None:
    """The page's own document, word by word."""
    bodies = [json.loads(text) for _, text in found("json")]
    [body] = [each for each in bodies if "missing" in each]
    note, photo = "repo:com.example.note", "repo:com.example.photo"

    @starlette.require_scope(photo)
    async def photos(request: Request) -> Response:
        return Response(str(request.url))

    app = Starlette(routes=[Route("/photos", photos)])
    app.add_middleware(
        ATProtoOAuthMiddleware,
        secret_key=SECRET,
        scope=f"atproto {note} {photo}",
        client_name="Example",
        network=atproto_network.network,
    )
    with TestClient(app, base_url=ORIGIN, headers={"Origin": ORIGIN}) as client:
        login_as(client, "alice.test", scope=f"atproto {note}")
        told = client.get("/photos", headers={"Accept": "application/json"}).json()
    assert {**told, "type": body["type"]} == body


def test_json_when_listed_then_each_kind_is_looked_after() -> None:
    """Metadata is compared in `test_docs`, the set-up of logs in `test_access_log`."""
    known = {"identifier", "incident_id", "client_id", "disable_existing_loggers"}
    known |= {"authenticated", "missing"}
    for _, text in found("json"):
        assert len(known & set(json.loads(text))) == 1


# --- Text ----------------------------------------------------------------------------


def test_text_when_listed_then_each_is_looked_after() -> None:
    """Pictures, quotes that tests bring about, and the two that are compared here."""
    pages = {name_of(page) for page, _ in found("text")}
    compared = {"docs/reference/errors.md", "README.md"}
    assert pages <= _PICTURES | _TEXTS_ELSEWHERE | compared


def test_error_tree_when_compared_then_is_that_of_the_classes() -> None:
    """Every class stands below its base, in the page and in the module's docstring."""
    classes = [
        value
        for value in vars(exceptions).values()
        if inspect.isclass(value) and issubclass(value, OAuthError)
    ]
    expected = {
        kind.__name__: base.__name__
        for kind in classes
        for base in kind.__bases__
        if issubclass(base, OAuthError)
    }
    [page] = [text for page, text in found("text") if page.name == "errors.md"]
    assert bases_in(page) == expected


def bases_in(tree: str) -> dict[str, str]:
    """Each name of a drawn tree, and the one above it."""
    above = ["OAuthError"]
    bases = {}
    for line in tree.splitlines()[1:]:
        indent, names = re.match(r"([│├└─ ]*)(.*)", line).groups()  # type: ignore[union-attr]
        depth = len(indent) // 4
        for name in names.partition(" (")[0].split(", "):
            bases[name] = above[depth - 1]
            above[depth:] = [name]
    return bases


def test_demo_when_quoted_then_prints_that() -> None:
    """The labels of the README's picture of the demo are those that it prints."""
    demo = (ROOT / "atproto_oauth_asgi/cli/demo.py").read_text(encoding="utf-8")
    [text] = [text for _, text in blocks(ROOT / "README.md", "text")]
    labels = {line[:15].strip() for line in text.splitlines()}
    assert labels == {"Open", "Network", "Account", "Stop with"}
    assert all(f"  {label} " in demo for label in labels)


# --- A change of imports -------------------------------------------------------------


def test_diff_when_applied_then_imports_work() -> None:
    """What takes the place of other imports can be imported."""
    for page, text in found("diff"):
        added = [line[1:] for line in text.splitlines() if line.startswith("+")]
        assert added, page
        exec("\n".join(added), {})  # noqa: S102
