"""What the stores that live on a server share: a time limit, names, and locks."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import anyio
import anyio.lowlevel

from atproto_oauth_asgi.exceptions import ConfigurationError, StoreError
from atproto_oauth_asgi.stores.locks import Lease

_log = logging.getLogger("atproto_oauth_asgi")

ANSWER_WITHIN_S = 2.0
# Clocks of hosts differ: what has expired stays a while before it is swept.
SWEEP_AFTER_S = 3600.0

_FIRST_WAIT_S = 0.005
_LONGEST_WAIT_S = 0.2


@contextmanager
def asking(server: str, driver_error: type[Exception]) -> Iterator[None]:
    """Let a server answer in two seconds, and turn what goes wrong into ours.

    A cancellation waits as long. Drivers lose a connection, and some their count of
    connections, when they are cancelled; and who asked would not know what was done.

    Args:
        server: its name, for messages.
        driver_error: the root of what its driver raises.

    Raises:
        ConfigurationError: the event loop is none that the driver works on.
        StoreError: there was no answer, or none that helps.
    """
    if anyio.get_cancelled_exc_class().__module__.partition(".")[0] != "asyncio":
        message = f"the {server} store works on asyncio only, not on trio"
        raise ConfigurationError(message)
    try:
        with anyio.CancelScope(shield=True), anyio.fail_after(ANSWER_WITHIN_S):
            yield
    except TimeoutError as error:
        message = f"{server} did not answer within {ANSWER_WITHIN_S:.0f} seconds"
        raise StoreError(message) from error
    except (driver_error, OSError) as error:
        # The name of the class tells what is wrong; the text may name too much.
        message = f"{server} could not be asked: {type(error).__name__}"
        raise StoreError(message) from error


def encode(text: str) -> bytes:
    """Return any text as bytes, lone surrogates included."""
    return text.encode("utf-8", "surrogatepass")


def decode(data: bytes) -> str:
    """Return what ``encode`` was given."""
    return data.decode("utf-8", "surrogatepass")


def digest_of(*parts: str) -> bytes:
    """Return 32 bytes for a list of texts; no other list has the same."""
    digest = hashlib.sha256()
    for part in map(encode, parts):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


@asynccontextmanager
async def held(
    lease_s: float,
    *,
    acquire: Callable[[bytes], Awaitable[bool]],
    release: Callable[[bytes], Awaitable[None]],
    clock: Callable[[], float],
) -> AsyncIterator[Lease]:
    """Hold a lock that is on a server; as ``RecordStore.lock``.

    Args:
        lease_s: seconds.
        acquire: takes the lock for a token, and tells whether it was free.
        release: frees it if it belongs to the token; bounded in time.
        clock: gives Unix seconds.
    """
    token = secrets.token_bytes(16)

    async def ask() -> bool:
        try:
            return await acquire(token)
        except (StoreError, anyio.get_cancelled_exc_class()):
            # The answer may be lost, and the lock ours: then nobody would leave it.
            with anyio.CancelScope(shield=True), suppress(StoreError):
                await release(token)
            raise

    lease = await _acquire(lease_s, ask, clock=clock)
    try:
        yield lease
    finally:
        await _give_back(token, release)


async def _acquire(
    lease_s: float, ask: Callable[[], Awaitable[bool]], *, clock: Callable[[], float]
) -> Lease:
    await anyio.lowlevel.checkpoint_if_cancelled()
    wait_s = _FIRST_WAIT_S
    while True:
        lease = Lease(lease_s, clock=clock)
        if await ask():
            return lease
        await anyio.sleep(_jittered(wait_s))
        wait_s = min(1.5 * wait_s, _LONGEST_WAIT_S)


async def _give_back(token: bytes, release: Callable[[bytes], Awaitable[None]]) -> None:
    """Free a lock. Where that fails, what was done under it stays done."""
    try:
        await release(token)
    except StoreError as error:
        _log.warning("lock not given back, it ends with its lease: %s", error)


def _jittered(wait_s: float) -> float:
    """Return between half and one and a half times as much."""
    return wait_s * (0.5 + secrets.randbelow(1000) / 1000)
