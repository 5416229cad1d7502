"""Log in from a terminal, without an event loop; the session is kept in a file.

    python -m examples.login_in_terminal alice.example.com

See ``session_files`` for the key that is needed. The other two examples of this kind
go on with the session: ``background_job`` and ``sdk_post``.
"""

import sys
from urllib.parse import parse_qsl, urlsplit

from atproto_oauth_asgi import MemoryStateStore, OAuthError
from atproto_oauth_asgi.sync import OAuthClient
from examples.session_files import SessionFiles, network

# Nobody listens there: the address bar of the browser holds what is asked for below.
REDIRECT_URI = "http://127.0.0.1:1/callback"
SCOPE = "atproto transition:generic"


def main(handle: str) -> int:
    with OAuthClient(
        "http://localhost",
        REDIRECT_URI,
        SCOPE,
        MemoryStateStore(),
        SessionFiles(),
        network=network(),
    ) as oauth:
        try:
            auth_url, _ = oauth.start_authorization(handle)
            print("Open this page, say yes, and paste where you end up:\n")
            print(auth_url, end="\n\n", flush=True)
            answer = dict(parse_qsl(urlsplit(input()).query))
            known = ("code", "state", "iss", "error", "error_description")
            session = oauth.handle_callback(**{k: answer.get(k) for k in known})
        except OAuthError as error:
            print(f"{error.code}: {error}", file=sys.stderr)
            return 1
        me = oauth.pds_client(session).query("com.atproto.server.getSession")
        print(f"You are {me.json()['handle']}, {session.did}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
