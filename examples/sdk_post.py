"""Post with the ``atproto`` SDK, logged in by OAuth: typed calls, no event loop.

    pip install 'atproto-oauth-asgi[sdk]'
    python -m examples.sdk_post did:plc:... "hello from the SDK"

The session comes from where ``login_in_terminal`` has put it.
"""

import sys

from atproto import Client

from atproto_oauth_asgi import OAuthError
from atproto_oauth_asgi.sdk import oauth_login
from atproto_oauth_asgi.sync import OAuthClient
from examples.login_in_terminal import REDIRECT_URI, SCOPE
from examples.session_files import SessionFiles, network


def main(did: str, text: str) -> int:
    with OAuthClient(
        "http://localhost",
        REDIRECT_URI,
        SCOPE,
        session_store=SessionFiles(),
        network=network(),
    ) as oauth:
        try:
            client = oauth_login(Client(), oauth.restore(did), oauth=oauth)
            print(client.send_post(text).uri)
        except OAuthError as error:
            print(f"{error.code}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
