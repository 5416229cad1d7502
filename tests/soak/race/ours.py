"""Our client: ``python -m tests.soak.race.ours log-in|work FOLDER``.

Its processes share an ``SQLiteStore``. It is spoken to as ``theirs.mjs`` is: a line of
JSON in, a line of JSON out.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import anyio
from anyio import to_thread

from atproto_oauth_asgi import Network, OAuthClient, OAuthError, SQLiteStore
from atproto_oauth_asgi.stores.locks import unix_now

_REDIRECT_URI = "http://127.0.0.1:5000/callback"
_OK = 200


async def main(task: str, folder: str) -> None:
    """Do what is asked, line by line."""
    async with aclosing(_open_client(folder)) as client:
        _say("ready")
        while line := await to_thread.run_sync(sys.stdin.readline):
            act = _log_in if task == "log-in" else _work
            _say(await act(client, json.loads(line)))


def _open_client(folder: str) -> OAuthClient:
    network = Network.development(
        plc_url=os.environ["ATPROTO_PLC_URL"],
        handle_resolver_url=os.environ["ATPROTO_HANDLE_RESOLVER_URL"],
    )
    store = SQLiteStore(Path(folder, "store.sqlite"))
    return OAuthClient(
        "http://localhost",
        _REDIRECT_URI,
        "atproto",
        store,
        store,
        secret_key="a secret of the soak, 32 bytes or more",
        # So that the front knows who asks.
        network=replace(network, user_agent=f"soak/{os.getpid()}"),
    )


async def _log_in(client: OAuthClient, asked: dict[str, str]) -> dict[str, str]:
    if identifier := asked.get("identifier"):
        auth_url, _ = await client.start_authorization(identifier)
        return {"authUrl": auth_url}
    session = await client.handle_callback(
        **dict(parse_qsl(urlsplit(asked["back"]).query))
    )
    return {"did": session.did}


async def _work(client: OAuthClient, asked: dict[str, Any]) -> dict[str, int]:
    answered: list[str] = []

    async def ask(did: str) -> None:
        if await _is_answered(client, did):
            answered.append(did)

    dids: Sequence[str] = asked["dids"]
    await anyio.sleep(asked["at"] - unix_now())
    async with anyio.create_task_group() as tasks:
        for did in dids:
            tasks.start_soon(ask, did)
    return {"answered": len(answered)}


async def _is_answered(client: OAuthClient, did: str) -> bool:
    try:
        pds = client.pds_client(await client.restore(did))
        answer = await pds.query("com.atproto.server.getSession")
    except OAuthError:
        return False
    return answer.status_code == _OK


def _say(word: object) -> None:
    print(json.dumps(word), flush=True)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2])
