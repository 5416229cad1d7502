"""How often a login waits for the network. No time is measured here."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import anyio

from atproto_oauth_asgi.testing import AtprotoNetwork
from tests.benchmarks.harness import Figure
from tests.network.waves import Waves, Worker, waves_of

_ALICE, _BOB = "alice.test", "bob.test"


def counts() -> Iterator[Figure]:
    """Give the waits of logins, from a name to the session."""
    yield from _figures("cold", _run(_cold), wanted=(6, 1))
    yield from _figures("cold, PDS its own server", _run(_cold, None), wanted=(5, 1))
    yield from _figures("same person again", _run(_again), wanted=(1, 1))
    yield from _figures("other person, known PDS", _run(_other), wanted=(3, 1))
    yield from _figures("other person, new PDS", _run(_new_pds), wanted=(4, 1))
    yield from _figures("callback at another worker", _run(_split), wanted=(6, 1))


async def _cold(waves: Waves) -> tuple[int, int]:
    return await Worker(waves).log_in(_ALICE)


async def _again(waves: Waves) -> tuple[int, int]:
    worker = Worker(waves)
    await worker.log_in(_ALICE)
    return await worker.log_in(_ALICE)


async def _other(waves: Waves) -> tuple[int, int]:
    worker = Worker(waves)
    await worker.log_in(_ALICE)
    return await worker.log_in(_BOB)


async def _new_pds(waves: Waves) -> tuple[int, int]:
    waves.net.move(waves.net.accounts[_BOB].did, waves.net.add_pds("pds2.test"))
    return await _other(waves)


async def _split(waves: Waves) -> tuple[int, int]:
    worker = Worker(waves)
    begun, auth_url = await worker.start(_ALICE)
    ended, _ = await worker.other().finish(auth_url, _ALICE)
    return begun, ended


def _run(
    login: Callable[[Waves], object], as_host: str | None = "as.test"
) -> tuple[int, int]:
    with AtprotoNetwork(as_host=as_host) as net, waves_of(net) as waves:
        # trio notices at once that everybody waits.
        waits: tuple[int, int] = anyio.run(login, waves, backend="trio")  # type: ignore[arg-type]
    return waits


def _figures(
    name: str, waits: tuple[int, int], *, wanted: tuple[int, int]
) -> Iterator[Figure]:
    for half, counted, target in zip(("start", "callback"), waits, wanted, strict=True):
        yield Figure(
            name=f"login {name}: {half}",
            ratio=counted,
            target=target,
            detail="waits for the network, one after the other",
            sense="=",
        )
