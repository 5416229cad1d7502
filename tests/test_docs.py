"""The documentation is true: its programs run, its lists are complete, its links lead."""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import anyio
import pytest
from starlette.testclient import TestClient
from typing_extensions import override

import atproto_oauth_asgi
from atproto_oauth_asgi import (
    LoginLimits,
    Network,
    OAuthConfig,
    OAuthError,
    Pages,
    dpop,
    exceptions,
    fastapi,
    logs,
    metadata,
    models,
    pkce,
    sdk,
    sync,
)
from atproto_oauth_asgi.web.forms import BadForm
from atproto_oauth_asgi.web.texts import STATUS_CODES
from tests.documentation import (
    DOCS,
    FENCE,
    ORIGIN,
    PAGES,
    ROOT,
    SECRET,
    blocks,
    logged_in,
    name_of,
    program_of,
    run,
    with_blocks,
)
from tests.notes_app import development
from tests.reference_network.process import ReferenceNetwork
from tests.reference_network.sign_in import approve
from tests.serving import served_in_process

_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_IMAGE = re.compile(r'<img src="([^"]+)"')


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("page", with_blocks("python"), ids=name_of)
def test_page_when_its_python_is_run_then_works(page: Path) -> None:
    """Every Python block runs, every application shows its login, every test passes."""
    program = run(name_of(page))
    for app in program.apps:
        browser = TestClient(app, base_url=ORIGIN)
        document = browser.get("/oauth-client-metadata.json").json()
        assert document["client_id"].startswith("http://localhost?")
        assert "Your handle" in browser.get("/oauth/login").text
    for name, value in program.names.items():
        if name.startswith("test_"):
            value()


@pytest.mark.network
@pytest.mark.usefixtures("desk")
def test_readme_when_followed_then_greets_whoever_logged_in(
    fresh_network: ReferenceNetwork,
) -> None:
    """The ten lines send a browser to log in, and know the person afterwards."""
    (app,) = run("README.md").apps
    alice = fresh_network.accounts["alice.test"]
    with logged_in(app, fresh_network) as browser:
        assert browser.get("/").json() == f"Hello, {alice.did}"
        browser.cookies.clear()
        answer = browser.get("/", headers={"Accept": "text/html"})
        assert answer.headers["location"] == "/oauth/login?return_to=%2F"


@pytest.mark.network
@pytest.mark.usefixtures("desk")
def test_index_when_followed_then_writes_a_note(
    fresh_network: ReferenceNetwork,
) -> None:
    """The complete application writes into the person's repository."""
    (app,) = run("docs/index.md").apps
    alice = fresh_network.accounts["alice.test"]
    before = len(fresh_network.list_records(alice.did, "com.example.note"))
    with logged_in(app, fresh_network) as browser:
        assert alice.did in browser.get("/").text
        assert browser.post("/greet").status_code == 303
        assert browser.post("/oauth/logout").status_code == 303
        assert browser.post("/greet").status_code == 401
    after = fresh_network.list_records(alice.did, "com.example.note")
    assert len(after) == before + 1


@pytest.mark.network
@pytest.mark.usefixtures("desk")
def test_tutorial_when_followed_then_notes_are_written_and_read(
    fresh_network: ReferenceNetwork,
) -> None:
    """Each step of the tutorial does what it says."""
    program = run("docs/tutorial.md")
    alice = fresh_network.accounts["alice.test"]
    with logged_in(program.apps[0], fresh_network) as browser:
        assert browser.get("/whoami").json() == alice.did
        note = {"text": "<b>from the tutorial</b>"}
        assert browser.post("/notes", data=note).status_code == 303
        page = browser.get("/").text
        assert "You are alice.test" in page
        assert "&lt;b&gt;from the tutorial" in page
        browser.post("/oauth/logout")
        assert "Log in" in browser.get("/").text
    document = program.names["config"].client_metadata
    assert document["token_endpoint_auth_method"] == "private_key_jwt"


@pytest.mark.network
@pytest.mark.usefixtures("desk")
def test_fastapi_page_when_followed_then_each_dependency_knows_the_person(
    fresh_network: ReferenceNetwork,
) -> None:
    """Pages, API, threads, WebSockets and the person's server, as the page says."""
    (app,) = run("docs/how-to/fastapi.md").apps
    did = fresh_network.accounts["alice.test"].did
    with logged_in(app, fresh_network) as browser:
        assert browser.get("/page").json() == f"Hello, {did}"
        assert browser.get("/api/me").json() == {"did": did}
        assert browser.get("/").json() == f"Hello, {did}"
        assert browser.get("/api/profile").json() == {"handle": "alice.test"}
        with browser.websocket_connect("ws://127.0.0.1:8000/socket") as socket:
            assert socket.receive_text() == f"Hello, {did}"
        assert browser.post("/goodbye").json() == "Goodbye"
        assert browser.get("/").json() == "Hello, stranger"
        assert browser.get("/api/me").status_code == 401


@pytest.mark.network
@pytest.mark.usefixtures("desk")
def test_starlette_page_when_followed_then_scope_and_context_agree(
    fresh_network: ReferenceNetwork,
) -> None:
    """The scope, the context variable in a thread, and bare ASGI, as the page says."""
    app, guarded, bare = run("docs/how-to/starlette.md").apps
    with TestClient(guarded, base_url=ORIGIN, follow_redirects=False) as browser:
        answer = browser.get("/secret", headers={"Accept": "text/html"})
        assert answer.headers["location"] == "/oauth/login?return_to=%2Fsecret"
        assert browser.get("/secret").status_code == 401
        assert browser.get("/user").status_code == 403
    did = fresh_network.accounts["alice.test"].did
    with logged_in(app, fresh_network) as browser:
        assert "You are alice.test" in browser.get("/").text
        assert browser.get("/whoami").json()["did"] == did
        assert browser.get("/greet").json() == {"hello": did}
    stranger = TestClient(bare, base_url=ORIGIN)
    assert stranger.get("/").text == "Hello, stranger"


@pytest.mark.network
@pytest.mark.usefixtures("desk")
def test_local_network_page_when_followed_then_logs_in(
    fresh_network: ReferenceNetwork, tmp_path: Path
) -> None:
    """An application that reads the two variables is connected, and logs in."""
    settings = {
        "ATPROTO_PLC_URL": fresh_network.plc_url,
        "ATPROTO_HANDLE_RESOLVER_URL": fresh_network.pds_url,
        "PYTHONPATH": str(tmp_path),
    }
    page = "docs/how-to/test-against-a-local-network.md"
    program = program_of("how-to/test-against-a-local-network.md")
    (tmp_path / "yours.py").write_text(program, encoding="utf-8")
    with (
        served_in_process("yours:app", settings=settings) as origin,
        closing(run(page).names["log_in"](origin, fresh_network)) as browser,
    ):
        assert browser.get("/").json()["handle"] == "alice.test"


@pytest.mark.network
@pytest.mark.anyio
@pytest.mark.usefixtures("desk")
async def test_client_page_when_followed_then_session_lives_and_ends(
    fresh_network: ReferenceNetwork,
) -> None:
    """Begin, finish, use, renew and end, with the functions of the page."""
    program = run(
        "docs/how-to/use-the-client-alone.md", NETWORK=development(fresh_network)
    ).names
    alice = fresh_network.accounts["alice.test"]
    auth_url, binding = await program["begin"]("alice.test")
    back = await anyio.to_thread.run_sync(approve, auth_url, alice)
    query = dict(parse_qsl(urlsplit(back).query))
    for wrong in ("", "another"):
        with pytest.raises(exceptions.WrongBrowser):
            await program["finish"](query, wrong)
    session = await program["finish"](query, binding)
    assert (session.did, session.app_state) == (alice.did, "/settings")
    assert await program["handle_of"](alice.did) == "alice.test"
    await program["renew"](alice.did)
    assert await program["handle_of"](alice.did) == "alice.test"
    assert await program["nightly"](alice.did) == "session_expired"
    await program["end"](alice.did)
    assert fresh_network.sessions(alice.did) == []
    await program["shut_down"]()
    await program["jobs"].aclose()


# --- Lists ---------------------------------------------------------------------------


def headings(page: Path, *, level: int) -> dict[str, str]:
    """The text below each heading of a level, by heading without backticks."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    parts = re.split(rf"^{'#' * level} (.+)$", text, flags=re.MULTILINE)[1:]
    ends = re.compile(rf"^#{{1,{level}}} ", re.MULTILINE)
    found = zip(parts[::2], parts[1::2], strict=True)
    return {title.strip("`"): ends.split(body)[0] for title, body in found}


def error_classes() -> dict[str, type[OAuthError]]:
    found = vars(exceptions).values()
    return {
        each.code: each
        for each in found
        if inspect.isclass(each) and issubclass(each, OAuthError)
    }


ERRORS = headings(DOCS / "reference/errors.md", level=3)


def test_errors_when_compared_then_each_code_has_its_heading() -> None:
    """Every code leads somewhere, and the list holds no other."""
    assert set(ERRORS) == set(error_classes()) | set(STATUS_CODES) | {BadForm.code}


@pytest.mark.parametrize("code", error_classes())
def test_error_when_looked_up_then_class_and_status_are_right(code: str) -> None:
    """A code's text begins with its class and its status."""
    error = error_classes()[code]
    expected = f"`{error.__name__}`, {error.status_hint}."
    assert ERRORS[code].strip().startswith(expected)


@pytest.mark.parametrize("code", STATUS_CODES)
def test_code_without_class_when_looked_up_then_status_is_right(code: str) -> None:
    """A code's text begins with its status."""
    assert ERRORS[code].strip().startswith(str(STATUS_CODES[code]))


def table_rows(page: Path) -> dict[str, list[str]]:
    """The rows of a page's tables whose first cell is a name in backticks."""
    rows = {}
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells and (found := re.match(r"\[?`(\w+)`", cells[0])):
            rows[found[1]] = [cell.strip("`") for cell in cells]
    return rows


def default_of(option: Field[Any]) -> str:
    """How the documentation writes the default of an option."""
    if option.default_factory is dict:
        return "{}"
    if option.default_factory is not MISSING:
        return f"{option.type}()"
    if option.default is MISSING:
        return "required"
    if callable(option.default):
        return "time.time"
    return (
        json.dumps(option.default)
        if isinstance(option.default, str)
        else repr(option.default)
    )


@pytest.mark.parametrize("kind", [OAuthConfig, LoginLimits, Network, Pages])
def test_options_when_compared_then_each_is_listed_with_its_default(
    kind: type[OAuthConfig | LoginLimits | Network | Pages],
) -> None:
    """No option is missing from the list, and no default is wrong."""
    rows = table_rows(DOCS / "reference/configuration.md")
    expected = {each.name: default_of(each) for each in fields(kind) if each.init}
    assert {name: rows.get(name, ["", "", ""])[2] for name in expected} == expected


API = headings(DOCS / "reference/api.md", level=3)


class _Written(str):
    """A default, as the documentation writes it."""

    __slots__ = ()

    @override
    def __repr__(self) -> str:
        return str(self)


def written(default: object) -> _Written:
    is_plain = default is None or isinstance(default, str | int | float | tuple)
    return _Written(repr(default) if is_plain else "...")


def signature_of(value: Callable[..., Any]) -> str:
    """The parameters of a callable as the documentation writes them: without types."""
    found = inspect.signature(value)
    parameters = [
        each.replace(
            annotation=each.empty,
            default=each.empty if each.default is each.empty else written(each.default),
        )
        for each in found.parameters.values()
        if each.name not in {"self", "cls"}
    ]
    return str(found.replace(parameters=parameters, return_annotation=found.empty))


def members_of(kind: type) -> dict[str, Any]:
    """What a class of ours adds to those of others, by name."""
    return {
        name: value
        for each in kind.__mro__
        if each.__module__.startswith("atproto_oauth_asgi")
        for name, value in vars(each).items()
        if not name.startswith("_") and name not in {"send", "auth_flow"}
    }


# What people call themselves. Other classes are given to them, or are documented
# option by option, or field by field.
CALLED = {
    "ATProtoOAuthMiddleware",
    "ClientKey",
    "MemorySessionStore",
    "MemoryStateStore",
    "MemoryStore",
    "OAuthClient",
    "SQLiteStore",
    "current_auth",
    "raise_for_xrpc",
}
OPTIONS = {
    OAuthConfig: {each.name for each in fields(OAuthConfig) if each.init},
    LoginLimits: {each.name for each in fields(LoginLimits)},
    Network: {each.name for each in fields(Network)},
    Pages: {each.name for each in fields(Pages)},
}


def documented_parts(name: str, value: Any) -> Iterator[str]:
    """What the section of a public name has to hold."""
    if name in CALLED:
        yield f"`{name}{signature_of(value)}`"
    members = members_of(value) if inspect.isclass(value) else {}
    for member in members.keys() - OPTIONS.get(value, set()):
        function = getattr(members[member], "__func__", members[member])
        is_function = inspect.isfunction(function)
        yield f"`{member}{signature_of(function) if is_function else ''}`"


PUBLIC = [
    name
    for name in atproto_oauth_asgi.__all__
    if getattr(atproto_oauth_asgi, name) not in error_classes().values()
]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_when_looked_up_then_is_described_as_it_is(name: str) -> None:
    """Signature and members of every public name are there, and right."""
    section = API.get(name, "")
    value = getattr(atproto_oauth_asgi, name)
    assert [part for part in documented_parts(name, value) if part not in section] == []


def other_names() -> Iterator[tuple[str, str]]:
    """Module, and what its section has to hold, for modules beside the root."""
    for kind in (dpop.DPoPManager, pkce.PKCEManager):
        for name, value in members_of(kind).items():
            yield kind.__module__, f"`{name}{signature_of(value.__func__)}`"
    yield dpop.__name__, f"`DPoPAuth{signature_of(dpop.DPoPAuth)}`"
    cut = logs.CallbackQueryFilter
    yield logs.__name__, f"`{cut.__name__}{signature_of(cut)}`"
    for name, value in vars(models).items():
        if re.match("(de)?serialize_", name):
            yield models.__name__, f"`{name}{signature_of(value)}`"
    for function in (
        metadata.fetch_authserver_metadata_async,
        metadata.discover_authserver_from_pds_async,
        metadata.fetch_authserver_metadata,
        metadata.discover_authserver_from_pds,
        sdk.sdk_client,
        sdk.oauth_login,
        sync.OAuthClient.pds_client,
        sync.OAuthClient.close,
    ):
        yield function.__module__, f"`{function.__name__}{signature_of(function)}`"
    for name, value in vars(fastapi).items():
        if inspect.iscoroutinefunction(value) and not name.startswith("_"):
            yield fastapi.__name__, f"`{name}`"


@pytest.mark.parametrize(("module", "part"), list(other_names()))
def test_other_module_when_looked_up_then_is_described_as_it_is(
    module: str, part: str
) -> None:
    """What people import from other modules than the root is there, and right."""
    assert part in API[module]


def test_errors_when_looked_up_in_the_api_then_are_named() -> None:
    """Every error that can be imported stands in the list of names."""
    text = (DOCS / "reference/api.md").read_text(encoding="utf-8")
    names = [each.__name__ for each in error_classes().values()]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_metadata_example_when_compared_then_is_what_is_served() -> None:
    """The document in the reference is the one that such a configuration serves."""
    documents = [
        json.loads(text) for _, text in blocks(DOCS / "reference/routes.md", "json")
    ]
    config = OAuthConfig(
        secret_key=SECRET,
        public_url="https://app.example.com",
        scope="atproto repo:com.example.note",
        client_name="Notes",
    )
    assert config.client_metadata in documents


def test_commands_when_compared_then_make_knows_them() -> None:
    """Every `make` command in the documentation is a target."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    text = "\n".join(text for page in PAGES for _, text in blocks(page, "sh"))
    used = set(re.findall(r"^make ([a-z]+)", text, re.MULTILINE))
    assert used
    assert used <= targets


# --- Links ---------------------------------------------------------------------------


def included(page: Path) -> str:
    """The text of a page, with the files it includes."""
    text = page.read_text(encoding="utf-8")
    return re.sub(
        r'^--8<-- "(.+)"$',
        lambda found: (ROOT / found[1]).read_text(encoding="utf-8"),
        text,
        flags=re.MULTILINE,
    )


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the site and GitHub make them."""
    titles = [title for _, title in _HEADING.findall(FENCE.sub("", included(page)))]
    kept = [re.sub(r"[^\w\s-]", "", title).strip().lower() for title in titles]
    return {re.sub(r"\s+", "-", title) for title in kept}


def links(page: Path) -> list[str]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    found = [*_LINK.findall(re.sub(r"\s*\n\s*", " ", text)), *_IMAGE.findall(text)]
    return [link for link in found if not link.startswith(("https:", "http:"))]


def problem_of(page: Path, link: str) -> str | None:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.is_file():
        return f"{link}: no such file"
    if anchor and anchor not in anchors(target):
        return f"{link}: no such heading"
    return None


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_when_followed_then_lead_somewhere(page: Path) -> None:
    """Every link to a page, a heading or a picture of ours leads there."""
    problems = [problem_of(page, link) for link in links(page)]
    assert [problem for problem in problems if problem] == []


def pages_in(nav: object) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, Mapping):
        for value in nav.values():
            yield from pages_in(value)
    elif isinstance(nav, list):
        for value in nav:
            yield from pages_in(value)


def test_navigation_when_compared_then_names_every_page_once() -> None:
    """No page can be reached by search alone."""
    settings = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    found = sorted(pages_in(settings["project"]["nav"]))
    assert found == sorted(str(page.relative_to(DOCS)) for page in PAGES[1:])
