"""A login that begins with a server: who signs in there says who they are."""

from __future__ import annotations

import pytest

from atproto_oauth_asgi.testing import behaviours
from tests.network.atproto import (
    ALICE,
    BOB,
    ISSUER,
    PAR,
    PDS,
    RESOURCE,
    REVOKE,
)
from tests.web.browsing import WebSite

pytestmark = pytest.mark.anyio


@pytest.mark.covers("DISC-18", "DISC-19")
@pytest.mark.parametrize(("slash", "did"), [("", ALICE), ("/", BOB)])
async def test_login_when_a_server_is_typed_then_whoever_signs_in_is_logged_in(
    site: WebSite, slash: str, did: str
) -> None:
    """The form takes the address of a server; no account is hinted at."""
    site.servers.signs_in = did
    async with site.browser() as browser:
        await browser.log_in(f"{PDS}{slash}")
        [pushed] = site.servers.taken(PAR)
        assert "login_hint" not in pushed.form
        assert await browser.who() == did
        assert site.servers.sent(REVOKE) == []


@pytest.mark.covers("DISC-18")
async def test_login_when_the_server_is_no_pds_then_is_taken_for_the_other_kind(
    site: WebSite,
) -> None:
    """An authorization server may stand on a host of its own."""
    async with site.browser() as browser:
        await browser.begin(ISSUER)
        assert (await browser.come_back()).status_code == 303
        assert await browser.who() == ALICE


@pytest.mark.covers("TOK-07", "MIX-09", "TOK-14")
async def test_login_when_the_server_lies_then_nobody_is_logged_in(
    site: WebSite,
) -> None:
    """It vouches for an account that does not lead to it."""
    async with site.browser() as browser:
        await browser.begin(PDS)
        site.servers.on(PDS + RESOURCE, behaviours.status(404))
        assert (await browser.come_back()).status_code >= 400
        assert await browser.who() is None
        assert len(site.servers.revoked()) == 1


@pytest.mark.covers("DISC-18")
@pytest.mark.parametrize("tail", ["/login", "?x", "#x", "/xrpc/../"])
async def test_login_when_more_than_a_server_is_typed_then_form_again(
    site: WebSite, tail: str
) -> None:
    """Nothing is cut off and guessed at."""
    async with site.browser() as browser:
        data = {"identifier": f"{PDS}{tail}"}
        response = await browser.http.post("/oauth/login", data=data)
        assert response.status_code == 400
        assert site.servers.seen == []
