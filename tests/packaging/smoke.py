"""Run by the Python of a fresh environment: is all there, and does it work?

    python -I smoke.py [EXTRA ...]

The extras are those that were installed. It knows nothing of the source tree, and uses
only what the wheel brings along.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx

import atproto_oauth_asgi
from atproto_oauth_asgi import ATProtoOAuthMiddleware, PostgresStore, RedisStore
from atproto_oauth_asgi.testing import AtprotoNetwork, login_as

DISTRIBUTION = "atproto-oauth-asgi"
ORIGIN = "http://127.0.0.1:8000"
# What pytest imports is for those who have it.
FOR_TESTS = "pytest"
STORES: dict[str, Callable[[], object]] = {
    "postgres": lambda: PostgresStore("postgresql://127.0.0.1/none"),
    "redis": lambda: RedisStore("redis://127.0.0.1/0"),
}


def check(condition: object, message: str) -> None:
    if not condition:
        raise SystemExit(message)


def check_place() -> None:
    """The package is the installed one, with its marker for type checkers."""
    folder = Path(atproto_oauth_asgi.__file__).parent
    check(folder.is_relative_to(sys.prefix), f"not the installed package: {folder}")
    check((folder / "py.typed").is_file(), "py.typed is missing")


def distributions_by_extra() -> dict[str, set[str]]:
    """The normalized names that each extra asks for."""
    found: dict[str, set[str]] = {}
    for line in importlib.metadata.requires(DISTRIBUTION) or ():
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if extra:
            name = re.match(r"[\w.-]+", line)
            check(name, f"cannot be read: {line}")
            found.setdefault(extra[1], set()).add(normalized(name[0] if name else ""))
    return found


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def modules() -> list[str]:
    path, prefix = atproto_oauth_asgi.__path__, f"{atproto_oauth_asgi.__name__}."
    return [module.name for module in pkgutil.walk_packages(path, prefix)]


def import_all(absent: set[str]) -> int:
    """Import every module; one may fail for want of what is not installed only."""
    imported = 0
    for name in modules():
        if name.endswith("__main__"):
            continue
        try:
            importlib.import_module(name)
        except ImportError as error:
            cause = error.__cause__ if error.__cause__ is not None else error
            missing = normalized((getattr(cause, "name", None) or "?").split(".")[0])
            check(missing in absent, f"{name} cannot be imported: {error!r}")
        else:
            imported += 1
    return imported


def load_entry_points(absent: set[str]) -> None:
    """Commands and plugins lead to something that is there."""
    for entry in importlib.metadata.distribution(DISTRIBUTION).entry_points:
        if entry.group.startswith(FOR_TESTS) and FOR_TESTS in absent:
            continue
        entry.load()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the DID of who asks."""
    body = str(scope["atproto"].did).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def log_in() -> None:
    """A whole login, on the network for tests."""
    with AtprotoNetwork() as net:
        wrapped = ATProtoOAuthMiddleware(
            app, secret_key=os.urandom(32), network=net.network
        )
        transport = httpx.ASGITransport(wrapped)
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
            before = await client.get("/")
            await login_as(client, "alice.test")
            after = await client.get("/")
        did = net.accounts["alice.test"].did
    check((before.text, after.text) == ("None", did), f"nobody came in: {after.text}")


def main(installed: list[str]) -> None:
    by_extra = distributions_by_extra()
    wanted = {name for extra in installed for name in by_extra[extra]}
    absent = {name for names in by_extra.values() for name in names} - wanted
    if importlib.util.find_spec(FOR_TESTS) is None:
        absent.add(FOR_TESTS)
    check_place()
    imported = import_all(absent)
    load_entry_points(absent)
    for extra in installed:
        if extra in STORES:
            STORES[extra]()
    if not installed:
        anyio.run(log_in)
    sys.stdout.write(f"{imported} modules\n")


if __name__ == "__main__":
    main(sys.argv[1:])
