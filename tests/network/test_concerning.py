"""Errors know whose login or session they are about."""

from __future__ import annotations

import anyio
import pytest

from atproto_oauth_asgi.exceptions import DiscoveryError, OAuthError, Unreachable
from atproto_oauth_asgi.network.cache import SingleFlight
from atproto_oauth_asgi.network.concerning import concerning

ALICE, BOB = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb"
ISSUER = "https://pds.example.com"


@pytest.mark.covers("LOG-06")
def test_concerning_when_an_error_comes_then_notes_what_was_not_known() -> None:
    """Who stands nearer to the failure knows better whom it is about."""
    with (
        pytest.raises(DiscoveryError) as caught,
        concerning(did=BOB, issuer=ISSUER, app_state="/notes"),
        concerning(did=ALICE),
    ):
        raise DiscoveryError("x")
    error = caught.value
    assert (error.did, error.issuer, error.app_state) == (ALICE, ISSUER, "/notes")


def test_concerning_when_nothing_fails_or_is_ours_then_stays_out_of_the_way() -> None:
    """Errors of others pass as they are, and nothing is kept on the classes."""
    with pytest.raises(KeyError), concerning(did=ALICE):
        raise KeyError
    with concerning(did=ALICE, issuer=ISSUER, app_state="x"):
        pass
    error = OAuthError()
    assert (error.did, error.issuer, error.app_state) == (None, None, None)


@pytest.mark.anyio
async def test_error_when_several_wait_for_one_then_each_is_told_of_its_own() -> None:
    """Two people's logins wait for one host: neither is told of the other."""
    flights: SingleFlight[str] = SingleFlight()
    found = {}

    async def fail() -> str:
        await anyio.lowlevel.checkpoint()
        raise Unreachable("x")

    async def log_in(did: str) -> None:
        try:
            with concerning(
                did=did, issuer=f"https://{did[-1]}.example", app_state=did
            ):
                await flights.run("host", fail)
        except Unreachable as error:
            found[did] = (error.did, error.issuer, error.app_state)

    async with anyio.create_task_group() as group:
        group.start_soon(log_in, ALICE)
        group.start_soon(log_in, BOB)
    assert found == {
        did: (did, f"https://{did[-1]}.example", did) for did in (ALICE, BOB)
    }
