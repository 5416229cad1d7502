"""The end of a login: once, in its own browser, and never by half."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import pytest
from starlette.types import ASGIApp

from atproto_oauth_asgi.exceptions import StoreError
from atproto_oauth_asgi.stores import MemoryStore
from tests.network.atproto import (
    ALICE,
    BOB,
    ISSUER,
    REVOKE,
    TOKEN,
    Servers,
    assert_given_back,
)
from tests.network.programs import (
    after,
)
from tests.web.browsing import ELSEWHERE, MALFORMED, OUT_OF_ORDER, WebSite
from tests.web.reading import Page

pytestmark = pytest.mark.anyio

FORM = "application/x-www-form-urlencoded"


def hidden(response: httpx.Response) -> dict[str | None, str | None]:
    return Page(response.text).fields()


@pytest.mark.covers("CB-16", "CB-20", "COOKIE-01", "HTTP-06", "WEB-06")
async def test_callback_when_all_is_well_then_session_and_no_trace_of_the_code(
    site: WebSite,
) -> None:
    """A 303 with nothing in it: the cookie of the login goes, the session's comes."""
    async with site.browser() as browser:
        await browser.begin(return_to="/notes")
        [flow] = browser.login_cookies
        response = await browser.come_back()
        assert response.status_code == 303
        assert response.headers["location"] == "/notes"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.content == b""
        session, cleared = sorted(
            response.headers.get_list("set-cookie"), key=lambda line: "-login-" in line
        )
        assert "; HttpOnly; SameSite=Lax" in session
        assert cleared.startswith(f"{flow}=;")
        assert await browser.who() == ALICE


@pytest.mark.covers("LOGIN-05", "RET-13")
async def test_callback_when_it_names_a_way_then_ignored(site: WebSite) -> None:
    """Where to go was settled at the beginning, out of anybody's reach."""
    async with site.browser() as browser:
        await browser.begin(return_to="/notes")
        response = await browser.come_back(return_to="//evil.test", next="/other")
        assert (response.status_code, response.headers["location"]) == (303, "/notes")


@pytest.mark.covers("CB-06", "CB-07", "LGN-02", "LGN-08")
async def test_callback_when_in_another_browser_then_nothing_is_taken(
    site: WebSite,
) -> None:
    """Whoever lacks the cookie is refused, and the right browser still gets in."""
    async with site.browser() as alices, site.browser() as eves:
        await alices.begin()
        await eves.begin("bob.example.com")
        mine, theirs = site.states
        assert mine != theirs
        wrong = [
            await eves.come_back(state=mine),
            await eves.come_back(state=mine, code=None, error="access_denied"),
            await eves.http.head(site.callback_path(state=mine)),
        ]
        [(name, _)] = alices.login_cookies.items()
        [(_, value)] = eves.login_cookies.items()
        eves.restore({name: value})
        wrong.append(await eves.come_back(state=mine))
        assert [each.status_code for each in wrong] == [400, 400, 405, 400]
        assert all(each.headers.get_list("set-cookie") == [] for each in wrong)
        assert site.servers.sent(TOKEN) == []
        assert (await alices.come_back(state=mine)).status_code == 303
        assert await alices.who() == ALICE
        assert await eves.who() is None


@pytest.mark.covers("CB-02", "CB-03", "CB-11", "CB-14", "CB-15", "CB-17", "LGN-06")
@pytest.mark.parametrize(
    "query",
    [
        "",
        "code=x&iss={iss}",
        "state=&code=x",
        "state={state}",
        "state={state}&iss={iss}",
        "state={state}&state={state}&code=x&iss={iss}",
        "state=other&state={state}&code=x&iss={iss}",
        "%73tate={state}&state={state}&code=x&iss={iss}",
        "state={state}&code=x&code=y&iss={iss}",
        "state={state}&code=x&iss={iss}&iss={iss}",
        "state={state}&error=a&error=b&iss={iss}",
        "state={state}&response=eyJhbGciOiJub25lIn0&iss={iss}",
        "state={state}&code=&iss={iss}",
        "state={state}&code={long}&iss={iss}",
        "state={state}&code=%ff&iss={iss}",
        "state={state}&code=%C3%9F&iss={iss}",
        "state={state}%00&code=x&iss={iss}",
        "state[]={state}&code=x&iss={iss}",
        "state={state};code=x",
        "state={long}&code=x&iss={iss}",
        "{many}",
        "%zz",
    ],
)
async def test_callback_when_it_is_malformed_then_400_and_the_login_is_not_used(
    site: WebSite, query: str
) -> None:
    """A request that means nothing takes nothing, sends nothing, and echoes nothing."""
    async with site.browser() as browser:
        await browser.begin()
        state = site.states[-1]
        known = {"state": state, "iss": ISSUER, "long": "z" * 5000}
        many = "&".join(f"a{number}=1" for number in range(500))
        filled = query.format(**known, many=many)
        response = await browser.http.get(f"/oauth/callback?{filled}")
        assert response.status_code == 400
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert state not in response.text
        assert site.servers.sent(TOKEN) == []
        assert (await browser.come_back()).status_code == 303


@pytest.mark.covers("CB-08", "CB-09", "CB-10", "CB-12", "CB-13", "LGN-07", "MIX-02")
@pytest.mark.parametrize(
    "changes",
    [
        {"iss": None},
        {"iss": "https://evil.test"},
        {"iss": "{iss}/"},
        {"iss": "{iss}", "code": None, "error": "access_denied"},
        {"iss": "{iss}", "error": "access_denied"},
        {"iss": None, "code": None, "error": "access_denied"},
        {
            "iss": "{iss}",
            "code": None,
            "error": "<script>alert(1)</script>",
            "error_description": "<img src=x onerror=alert(1)>\u202e" + "x" * 3000,
            "error_uri": "javascript:alert(1)",
        },
        {"iss": "{iss}", "code": None, "error": ""},
    ],
)
async def test_callback_when_it_is_an_error_or_of_another_server_then_it_is_over(
    site: WebSite, changes: dict[str, str | None]
) -> None:
    """The login is used up, no code goes anywhere, and no foreign word is shown."""
    async with site.browser() as browser:
        await browser.begin()
        filled = {
            name: value and value.replace("{iss}", ISSUER)
            for name, value in changes.items()
        }
        response = await browser.come_back(**filled)
        assert response.status_code == 400
        assert "alert(1)" not in response.text
        assert "xxxx" not in response.text
        assert site.servers.sent(TOKEN) == []
        assert await browser.who() is None
        # And what was used up stays so, whoever asks again.
        assert (await browser.come_back()).status_code == 400
        assert site.servers.sent(TOKEN) == []


@pytest.mark.covers("CB-05", "LGN-04", "CB-04")
async def test_callback_when_twenty_come_at_once_then_one_code_and_one_session(
    site: WebSite,
) -> None:
    """A double delivery waits for the first, and gets the very same cookie."""
    async with site.browser() as browser:
        await browser.begin()
        path = site.callback_path()
        cookies = browser.login_cookies
        lines: list[str] = []

        async def deliver() -> None:
            header = "; ".join(f"{k}={v}" for k, v in cookies.items())
            response = await browser.http.get(path, headers={"cookie": header})
            assert response.status_code == 303
            lines.extend(
                line
                for line in response.headers.get_list("set-cookie")
                if "-login-" not in line
            )

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(deliver)
        assert len(site.servers.sent(TOKEN)) == 1
        assert len(lines) == 20
        assert len(set(lines)) == 1


@pytest.mark.covers("CB-04", "LGN-04")
@pytest.mark.parametrize(("after_s", "status"), [(59, 303), (61, 400)])
async def test_callback_when_it_comes_again_then_a_minute_long(
    site: WebSite, after_s: float, status: int
) -> None:
    """After that, a callback with a copy of the cookie is worth nothing."""
    async with site.browser() as browser:
        await browser.begin()
        copied, path = browser.login_cookies, site.callback_path()
        assert (await browser.http.get(path)).status_code == 303
        first = browser.session_cookie
        browser.http.cookies.clear()
        browser.restore(copied)
        site.clock.now += after_s
        assert (await browser.http.get(path)).status_code == status
        assert browser.session_cookie == (first if status == 303 else None)
        assert len(site.servers.sent(TOKEN)) == 1


@pytest.mark.covers("LGN-04", "SESS-14")
async def test_callback_when_it_comes_again_after_a_logout_then_refused(
    site: WebSite,
) -> None:
    """Nothing that sets a session cookie forgets that the person has logged out."""
    async with site.browser() as browser:
        await browser.begin()
        copied, path = browser.login_cookies, site.callback_path()
        await browser.http.get(path)
        await browser.http.post("/oauth/logout")
        browser.restore(copied)
        assert (await browser.http.get(path)).status_code == 401
        assert browser.session_cookie is None


@pytest.mark.covers("LGN-04", "SESS-14")
async def test_callback_when_it_comes_again_after_the_session_is_lost_then_refused(
    servers: Servers,
) -> None:
    """There is no session any more that it could put into a browser."""
    store = MemoryStore(clock=servers.clock)
    site = WebSite(servers, store=store)
    async with site.browser() as browser:
        await browser.begin()
        copied, path = browser.login_cookies, site.callback_path()
        assert (await browser.http.get(path)).status_code == 303
        rows = [row for row, _ in store._rows.items() if row[0] == "session"]
        for kind, key in rows:
            await store.delete(kind, key)
        browser.restore(copied)
        answer = await browser.http.get(path)
        assert answer.status_code == 400
        assert await browser.who() is None


@pytest.mark.covers("LGN-04")
async def test_callback_when_it_comes_again_to_a_renewed_session_then_it_lives_on(
    site: WebSite,
) -> None:
    """A reload does not put an old cookie in the place of a newer one."""
    site.servers.net.set_token_lifetime(20)
    async with site.browser() as browser:
        await browser.begin()
        copied, path = browser.login_cookies, site.callback_path()
        await browser.http.get(path)
        site.clock.now += 30
        assert await browser.who() == ALICE
        newer = browser.session_cookie
        browser.restore(copied)
        assert (await browser.http.get(path)).status_code == 303
        assert browser.session_cookie == newer
        assert await browser.who() == ALICE
        assert site.servers.sent(REVOKE) == []


@pytest.mark.covers("CB-18", "LGN-12", "PAR-12")
async def test_callback_when_it_is_late_then_refused_though_the_cookie_is_there(
    site: WebSite,
) -> None:
    """The time of the beginning counts, not how long a browser keeps a cookie."""
    async with site.browser() as browser:
        await browser.begin()
        site.clock.now += 11 * 60
        assert len(browser.login_cookies) == 1
        response = await browser.come_back()
        assert response.status_code == 400
        assert site.servers.sent(TOKEN) == []
        site.clock.now -= 11 * 60
        assert (await browser.come_back()).status_code == 400


@pytest.mark.covers("CB-19", "LGN-20", "TOK-06", "MIX-07", "TOK-14")
@pytest.mark.parametrize("token", [{"sub": BOB}, {"token_type": "Bearer"}])
async def test_callback_when_the_tokens_are_wrong_then_the_session_before_lives_on(
    site: WebSite, token: dict[str, str]
) -> None:
    """What was given in error is revoked, and who was logged in stays so."""
    async with site.browser() as browser:
        await browser.log_in()
        before = browser.session_cookie
        site.servers.alter(ISSUER + TOKEN, token)
        await browser.begin()
        assert (await browser.come_back()).status_code in {400, 502}
        assert browser.session_cookie == before
        assert await browser.who() == ALICE
        first, refused = site.servers.issued[1::2]
        assert first not in site.servers.revoked()
        assert refused in site.servers.revoked()
        assert len(site.servers.net.sessions()) == 1


@pytest.mark.covers("CB-19", "ERR-04", "ASGI-20", "TOK-02")
@pytest.mark.parametrize("program", [OUT_OF_ORDER, MALFORMED, ELSEWHERE])
async def test_callback_when_the_token_endpoint_is_broken_then_502_and_sent_once(
    site: WebSite, program: ASGIApp
) -> None:
    """A code is sent once, whatever comes back, and nobody is logged in or out."""
    async with site.browser() as browser:
        await browser.log_in()
        site.servers.on(ISSUER + TOKEN, program)
        await browser.begin()
        for status in (502, 400):
            assert (await browser.come_back()).status_code == status
        assert len(site.servers.sent(TOKEN)) == 2
        assert await browser.who() == ALICE


@pytest.mark.covers("SESS-03", "LOGOUT-10", "SES-01", "SESS-05")
async def test_login_when_logged_in_before_then_the_former_session_is_ended(
    site: WebSite,
) -> None:
    """A new login is a new session; the one before is revoked and dead."""
    async with site.browser() as browser, site.browser() as other:
        await browser.log_in()
        await other.log_in()
        before = browser.cookies
        await browser.log_in()
        assert browser.cookies.keys() == before.keys()
        assert browser.cookies != before
        assert len(site.servers.revoked()) == 1
        assert await browser.who() == ALICE
        assert await other.who() == ALICE
        browser.http.cookies.clear()
        browser.restore(before)
        assert await browser.who() is None


@pytest.mark.covers("COOKIE-08", "CKE-16")
async def test_login_when_the_session_does_not_fit_then_it_fails_and_is_revoked(
    site: WebSite,
) -> None:
    """Half a cookie is never set; the operator reads what helps."""
    noise = secrets.token_hex(5000)
    site.servers.alter(ISSUER + TOKEN, {"access_token": noise})
    async with site.browser() as browser:
        await browser.begin()
        response = await browser.come_back()
        assert response.status_code == 500
        assert response.headers.get_list("set-cookie") == []
        assert_given_back(site.servers)


@pytest.mark.covers("COOKIE-04", "CKE-07", "RET-13", "LGN-09")
async def test_callback_when_the_cookie_was_changed_then_refused(site: WebSite) -> None:
    """No bit of a pending login can be changed, and no session is one."""
    async with site.browser() as browser:
        await browser.log_in()
        session = browser.session_cookie or ""
        await browser.begin(return_to="/notes")
        [(name, value)] = browser.login_cookies.items()
        middle = len(value) // 2
        changed = [
            value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1 :]
            for at in (0, 10, middle, -45 % len(value), len(value) - 1)
        ]
        for each in [*changed, session, value + "=", value[:-1]]:
            browser.restore({name: each})
            assert (await browser.come_back()).status_code == 400
        assert len(site.servers.sent(TOKEN)) == 1
        browser.restore({name: value})
        assert (await browser.come_back()).status_code == 303


@pytest.mark.covers("ASGI-13", "ASG-07", "COOKIE-04")
async def test_login_when_two_apps_share_a_browser_then_neither_reads_the_other_s(
    servers: Servers,
) -> None:
    """Two middlewares, one secret: a login begun at one does not end at the other."""
    one, two = WebSite(servers), WebSite(servers, cookie_name="second")
    async with one.browser() as here, two.browser() as there:
        await here.log_in()
        there.restore(here.cookies)
        assert await there.who() is None
        await here.begin()
        there.restore(here.cookies)
        assert (await there.come_back()).status_code == 400
        assert (await here.come_back()).status_code == 303


@pytest.mark.covers("ASGI-19", "ASG-19")
async def test_login_when_another_worker_ends_it_then_works(servers: Servers) -> None:
    """The pending login travels with the browser; any worker can go on with it."""
    one, two = WebSite(servers), WebSite(servers)
    async with one.browser() as here, two.browser() as there:
        await here.begin(return_to="/notes")
        there.restore(here.cookies)
        response = await there.come_back()
        assert (response.status_code, response.headers["location"]) == (303, "/notes")
        here.restore(there.cookies)
        assert await here.who() == ALICE


def out_of_order(site: WebSite, method: str) -> Callable[[], None]:
    """Let one method of the stores fail; return what repairs it."""
    stores = (site.app._site.store, site.app._site.logins)

    async def fail(*_: Any, **__: Any) -> Awaitable[None]:
        message = "the store does not answer"
        raise StoreError(message)

    def repair() -> None:
        for store in stores:
            delattr(store, method)

    for store in stores:
        setattr(store, method, fail)
    return repair


@pytest.mark.covers("STORE-01", "ASG-12")
async def test_callback_when_the_store_cannot_be_read_then_503_and_nothing_is_sent(
    site: WebSite,
) -> None:
    """Without the store nobody knows whether the login was used."""
    async with site.browser() as browser:
        await browser.begin()
        repair = out_of_order(site, "load")
        assert (await browser.come_back()).status_code == 503
        assert site.servers.sent(TOKEN) == []
        repair()
        assert (await browser.come_back()).status_code == 303


@pytest.mark.covers("STORE-01", "ASG-12")
async def test_callback_when_the_outcome_cannot_be_kept_then_503_and_revoked(
    site: WebSite,
) -> None:
    """Tokens that nobody can have are given back."""
    async with site.browser() as browser:
        await browser.begin()
        out_of_order(site, "save")
        assert (await browser.come_back()).status_code == 503
        assert_given_back(site.servers)
        assert browser.session_cookie is None


def take_time_to_save(site: WebSite) -> None:
    """Let the store give others a turn, as one that is far away does."""
    store = site.app._site.logins
    save = store.save

    async def save_later(*args: Any, **options: Any) -> Any:
        await anyio.lowlevel.checkpoint()
        return await save(*args, **options)

    store.save = save_later  # type: ignore[method-assign]


@pytest.mark.covers("CB-19", "ASGI-11")
async def test_callback_when_the_browser_leaves_then_the_reload_gets_in(
    site: WebSite,
) -> None:
    """A code that was sent is not lost: what came of it waits for the browser."""
    async with site.browser() as browser:
        await browser.begin()
        copied, path = browser.login_cookies, site.callback_path()
        take_time_to_save(site)
        is_asked, go_on = threading.Event(), threading.Event()

        async def wait() -> None:
            is_asked.set()
            await anyio.to_thread.run_sync(go_on.wait, 10)

        site.servers.on(ISSUER + TOKEN, after(wait))

        async def leave() -> None:
            await anyio.to_thread.run_sync(is_asked.wait, 10)
            scope.cancel()
            go_on.set()

        async with anyio.create_task_group() as group:
            group.start_soon(leave)
            with anyio.CancelScope() as scope:
                await browser.http.get(path)
        # Whatever of the answer came through: the browser has not seen it.
        browser.http.cookies.clear()
        browser.restore(copied)
        assert (await browser.http.get(path)).status_code == 303
        assert await browser.who() == ALICE
        assert len(site.servers.sent(TOKEN)) == 1


async def test_callback_when_declined_then_the_next_login_leads_to_the_same_page(
    site: WebSite,
) -> None:
    """Whoever tries again comes out where they were; Eve's links lead nowhere else."""
    async with site.browser() as browser:
        await browser.begin(return_to="/notes?page=2")
        page = await browser.come_back(code=None, error="access_denied")
        assert 'href="/oauth/login?return_to=%2Fnotes%3Fpage%3D2"' in page.text
        await browser.begin(return_to="https://evil.test/")
        page = await browser.come_back(code=None, error="access_denied")
        assert 'href="/oauth/login?return_to=%2F"' in page.text


@pytest.mark.covers("LGN-20", "CB-19")
async def test_callback_when_it_fails_while_logged_in_then_tells_who_is_there(
    site: WebSite,
) -> None:
    """Nothing has changed for them, and the page says so, whatever it was."""
    async with site.browser() as browser:
        await browser.log_in()
        for query in ("state=x&iss=y&code=z", "state=x&state=y", "nothing=at-all"):
            page = await browser.http.get(f"/oauth/callback?{query}")
            assert page.status_code == 400
            assert "You are logged in as @alice.example.com." in page.text
        assert await browser.who() == ALICE
    async with site.browser() as browser:
        page = await browser.http.get("/oauth/callback?state=x&iss=y&code=z")
        assert "You are logged in" not in page.text


@pytest.mark.covers("STORE-01")
async def test_callback_when_it_fails_and_the_store_is_down_then_its_own_failure_is_told(
    site: WebSite,
) -> None:
    """Who is there would be told as well; it is no reason for another page."""
    async with site.browser() as browser:
        await browser.log_in()
        site.clock.now += 60
        repair = out_of_order(site, "load")
        page = await browser.http.get("/oauth/callback?state=x&state=y")
        repair()
    assert page.status_code == 400
    assert "You are logged in" not in page.text
