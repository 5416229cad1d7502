"""How often a login waits for the network, counted wave by wave."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from atproto_oauth_asgi.exceptions import DiscoveryError
from atproto_oauth_asgi.testing import AtprotoNetwork, behaviours
from tests.network.waves import Waves, Worker, waves_of

pytestmark = pytest.mark.anyio

ALICE, BOB = "alice.test", "bob.test"
RESOURCE = "/.well-known/oauth-protected-resource"
SERVER = "/.well-known/oauth-authorization-server"


@pytest.fixture(scope="module")
def apart() -> Iterator[AtprotoNetwork]:
    """A network whose authorization server has a host of its own."""
    with AtprotoNetwork(as_host="as.test") as net:
        yield net


@pytest.fixture(scope="module")
def alone() -> Iterator[AtprotoNetwork]:
    """A network whose PDS is its own authorization server."""
    with AtprotoNetwork() as net:
        yield net


@pytest.fixture
def waves(apart: AtprotoNetwork) -> Iterator[Waves]:
    apart.reset()
    with waves_of(apart) as waves:
        yield waves


@pytest.fixture
def waves_alone(alone: AtprotoNetwork) -> Iterator[Waves]:
    alone.reset()
    with waves_of(alone) as waves:
        yield waves


def move_to_new_pds(net: AtprotoNetwork, handle: str) -> None:
    """Let an account live on a second PDS behind the same authorization server."""
    net.move(net.accounts[handle].did, net.add_pds("pds2.test"))


@pytest.mark.parametrize("published", ["in DNS", "on the web", "both"])
async def test_login_when_nothing_is_known_then_waits_six_times_and_once(
    waves: Waves, published: str
) -> None:
    """Handle, DID, PDS, server, PAR, PAR again for the nonce; then one exchange."""
    if published == "in DNS":
        waves.net.internet.sites.pop(ALICE)
    if published == "on the web":
        waves.net.internet.texts.clear()
    assert await Worker(waves).log_in(ALICE) == (6, 1)


async def test_login_when_pds_is_its_own_server_then_waits_five_times_and_once(
    waves_alone: Waves,
) -> None:
    """Both documents of the PDS are asked for at once."""
    assert await Worker(waves_alone).log_in(ALICE) == (5, 1)


async def test_login_when_same_person_comes_again_then_waits_once_and_once(
    waves: Waves,
) -> None:
    """Who they are, where their server is and its nonce are known: PAR is left."""
    worker = Worker(waves)
    await worker.log_in(ALICE)
    assert await worker.log_in(ALICE) == (1, 1)


async def test_login_when_other_person_lives_there_then_waits_three_times_and_once(
    waves: Waves,
) -> None:
    """The handle, the DID, PAR: PDS and server are known."""
    worker = Worker(waves)
    await worker.log_in(ALICE)
    assert await worker.log_in(BOB) == (3, 1)


async def test_login_when_only_the_pds_is_new_then_waits_four_times_and_once(
    waves: Waves,
) -> None:
    """A guess that the new PDS is its own server costs no wait when it is wrong."""
    move_to_new_pds(waves.net, BOB)
    worker = Worker(waves)
    await worker.log_in(ALICE)
    assert await worker.log_in(BOB) == (4, 1)


@pytest.mark.parametrize("published", ["apart", "alone"])
async def test_callback_when_another_worker_gets_it_then_waits_once(
    request: pytest.FixtureRequest, published: str
) -> None:
    """The pending login holds what a worker with empty caches would have to ask."""
    name = "waves" if published == "apart" else "waves_alone"
    waves: Waves = request.getfixturevalue(name)
    worker = Worker(waves)
    _, auth_url = await worker.start(ALICE)
    waits, session = await worker.other().finish(auth_url, ALICE)
    assert (waits, session.handle) == (1, ALICE)


async def test_callback_when_nonce_is_stale_then_another_worker_waits_twice(
    waves: Waves,
) -> None:
    """A remembered nonce that the server has replaced costs one wait, no login."""
    worker = Worker(waves)
    _, auth_url = await worker.start(ALICE)
    waves.net.rotate_nonces()
    waits, session = await worker.other().finish(auth_url, ALICE)
    assert (waits, session.handle) == (2, ALICE)


async def test_start_when_a_pds_is_guessed_about_then_is_asked_once(
    waves: Waves,
) -> None:
    """One request more for an unknown PDS, and none for one that is known."""
    worker = Worker(waves)
    await worker.start(ALICE)
    await worker.start(BOB)
    asked = [seen.path for seen in waves.net.traffic if seen.host == "pds.test"]
    assert sorted(asked) == [SERVER, RESOURCE]


async def test_start_when_the_guess_is_wrong_and_hangs_then_is_not_waited_for(
    waves: Waves,
) -> None:
    """A PDS cannot hold a login up with a document that is not needed."""
    waves.net.on("pds.test", SERVER, behaviours.hang())
    waits, _ = await Worker(waves).start(ALICE)
    assert waits == 6


async def test_start_when_the_guess_is_right_and_slow_then_is_not_asked_again(
    waves_alone: Waves,
) -> None:
    """The PDS has named itself, and its other document is still on its way."""

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await waves_alone.wait()
        original: ASGIApp = scope["extensions"][behaviours.ORIGINAL]["program"]
        await original(scope, receive, send)

    waves_alone.net.on("pds.test", SERVER, slow)
    waits, _ = await Worker(waves_alone).start(ALICE)
    assert waits == 6


async def test_start_when_the_guess_is_right_and_fails_then_is_asked_again(
    waves_alone: Waves,
) -> None:
    """What came of a guess never counts, so that errors are those of a plain login."""
    waves_alone.net.on("pds.test", SERVER, behaviours.status(500), times=1)
    waits, _ = await Worker(waves_alone).start(ALICE)
    assert waits == 6


@pytest.mark.parametrize("guess", [behaviours.hang(), behaviours.status(500)])
async def test_start_when_the_pds_names_no_server_then_says_so(
    waves: Waves, guess: ASGIApp
) -> None:
    """The error is the one of the step, whatever becomes of the guess."""
    waves.net.on("pds.test", SERVER, guess)
    waves.net.on("pds.test", RESOURCE, behaviours.status(404))
    worker = Worker(waves)

    async def start() -> None:
        with pytest.raises(DiscoveryError, match="answered 404"):
            await worker.begin(ALICE)

    waits, _ = await waves.count(start)
    assert waits == 3
