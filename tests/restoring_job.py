"""A job that works as a person who is not there; see ``test_background_jobs``."""

from __future__ import annotations

import os
import sys

import anyio

from atproto_oauth_asgi import Network, OAuthClient, SQLiteStore

REDIRECT_URI = "http://127.0.0.1:5000/callback"
SECRET = "a secret of the tests, 32 bytes or more"


def open_client(store: str, *, plc_url: str, pds_url: str) -> OAuthClient:
    """Return the client that the application and its jobs share."""
    shared = SQLiteStore(store)
    return OAuthClient(
        "http://localhost",
        REDIRECT_URI,
        "atproto",
        shared,
        shared,
        secret_key=SECRET,
        network=Network.development(plc_url=plc_url, handle_resolver_url=pds_url),
    )


async def main(did: str) -> None:
    """Restore the session, and ask the PDS who it is."""
    client = open_client(
        os.environ["STORE"],
        plc_url=os.environ["ATPROTO_PLC_URL"],
        pds_url=os.environ["ATPROTO_HANDLE_RESOLVER_URL"],
    )
    pds = client.pds_client(await client.restore(did))
    answer = await pds.query("com.atproto.server.getSession")
    sys.stdout.write(answer.json()["did"])
    await client.aclose()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
