"""Log in with Flask, which knows no event loop: the client itself, no middleware.

    pip install flask
    flask --app examples.flask_app run --port 8000

Then open http://127.0.0.1:8000. The tokens stay here, in memory; Flask's cookie says whose.
"""

import os

from flask import Flask, redirect, request, session
from werkzeug.wrappers import Response

from atproto_oauth_asgi import MemoryStore, OAuthError, SessionError
from atproto_oauth_asgi.sync import OAuthClient
from examples.session_files import network

secret = os.environ.get("SECRET_KEY") or os.urandom(32).hex()
names = ("http://localhost", "http://127.0.0.1:8000/callback", "atproto")
store = MemoryStore()
oauth = OAuthClient(*names, store, store, secret_key=secret, network=network())
app = Flask(__name__)
app.config.update(SECRET_KEY=secret, SESSION_COOKIE_SAMESITE="Lax")
FORM = (
    '<form method="post" action="/login"><input name="handle"><button>Log in</button>'
)
KNOWN = ("code", "state", "iss", "error", "error_description")


@app.get("/")
def home() -> str:
    try:
        kept = oauth.restore(session["did"], session["session_id"])
    except (KeyError, SessionError):
        return FORM
    me = oauth.pds_client(kept).query("com.atproto.server.getSession").json()
    return f"You are {me['handle']}"


@app.post("/login")
def login() -> Response | tuple[str, int]:
    try:
        begun = oauth.start_authorization(request.form["handle"])
    except OAuthError as error:
        return str(error), error.status_hint
    session["binding"] = begun.browser_binding
    return redirect(begun[0], 303)


@app.get("/callback")
def callback() -> Response | tuple[str, int]:
    binding = session.pop("binding", "")
    answer = {name: request.args.get(name) for name in KNOWN}
    try:
        logged_in = oauth.handle_callback(**answer, browser_binding=binding)
    except OAuthError as error:
        return str(error), error.status_hint
    session.update(did=logged_in.did, session_id=logged_in.session_id)
    return redirect("/", 303)
