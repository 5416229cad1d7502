"""Do something as a person who is not there: for cron, or a queue's worker.

    python -m examples.background_job did:plc:... "a note of the night"

The session comes from where ``login_in_terminal`` has put it. Tokens that have ended
are renewed on the way, and the file holds the new ones before they are used.
"""

import sys

import anyio

from atproto_oauth_asgi import OAuthClient, OAuthError, raise_for_xrpc
from examples.login_in_terminal import REDIRECT_URI, SCOPE
from examples.session_files import SessionFiles, network


async def main(did: str, text: str) -> int:
    oauth = OAuthClient(
        "http://localhost",
        REDIRECT_URI,
        SCOPE,
        session_store=SessionFiles(),
        network=network(),
    )
    collection = "com.example.note"
    record = {"$type": collection, "text": text}
    try:
        pds = oauth.pds_client(await oauth.restore(did))
        answer = await pds.procedure(
            "com.atproto.repo.createRecord",
            json={"repo": did, "collection": collection, "record": record},
        )
        print(raise_for_xrpc(answer).json()["uri"])
    except OAuthError as error:
        # session_expired, session_revoked, account_moved: the person must log in.
        print(f"{error.code}: {error}", file=sys.stderr)
        return 1
    finally:
        await oauth.aclose()
    return 0


if __name__ == "__main__":
    sys.exit(anyio.run(main, *sys.argv[1:3]))
