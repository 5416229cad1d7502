"""An atproto network in your tests: real logins, no Internet, no browser.

    with AtprotoNetwork() as net:
        app = make_app(network=net.network)
        client = TestClient(app, base_url="http://127.0.0.1:8000")
        login_as(client, "alice.test")

``behaviours`` holds ready-made ways for its servers to misbehave.
"""

from atproto_oauth_asgi.testing import behaviours
from atproto_oauth_asgi.testing.accounts import Account
from atproto_oauth_asgi.testing.internet import Received
from atproto_oauth_asgi.testing.login import login_as
from atproto_oauth_asgi.testing.network import AtprotoNetwork
from atproto_oauth_asgi.testing.sign_in import Browser, SignInError, approve, deny

__all__ = [
    "Account",
    "AtprotoNetwork",
    "Browser",
    "Received",
    "SignInError",
    "approve",
    "behaviours",
    "deny",
    "login_as",
]
