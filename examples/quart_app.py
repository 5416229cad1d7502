"""Log in, write notes into your own repository, read them back: Quart.

pip install ".[quart]" uvicorn, then: uvicorn examples.quart_app:app --port 8000
"""

import os
from html import escape

from quart import Quart, Response, redirect, request

from atproto_oauth_asgi import Network
from atproto_oauth_asgi import raise_for_xrpc as ok
from atproto_oauth_asgi.quart import ATProtoOAuth, current_auth, login_required

network = Network()
if plc_url := os.environ.get("ATPROTO_PLC_URL"):
    resolver_url = os.environ["ATPROTO_HANDLE_RESOLVER_URL"]
    network = Network.development(plc_url=plc_url, handle_resolver_url=resolver_url)

NOTE = "com.example.note"
app = Quart(__name__)
ATProtoOAuth(
    app,
    secret_key=os.environ.get("SECRET_KEY") or os.urandom(32),
    client_name="Notes",
    scope=f"atproto repo:{NOTE}",
    network=network,
)
HEAD = """<!doctype html><title>Notes</title><meta name="color-scheme" content="light dark">
<style>body { font: 1.1rem/1.6 system-ui; max-width: 30rem; margin: 3rem auto }</style>"""


@app.get("/")
async def home() -> str:
    auth = current_auth()
    if not auth.is_authenticated:
        return f'{HEAD}<h1>Notes</h1><a href="{auth.login_url()}">Log in</a>'
    query = {"repo": auth.require(), "collection": NOTE}
    answer = ok(await auth.client.query("com.atproto.repo.listRecords", query))
    notes = [escape(note["value"]["text"]) for note in answer.json()["records"]]
    return f"""{HEAD}<p>You are {escape(auth.handle or auth.require())}.</p>
        <form method="post" action="/notes"><input name="text"><button>Post</button></form>
        <ul>{"".join(f"<li>{note}</li>" for note in notes)}</ul>
        <form method="post" action="/oauth/logout"><button>Log out</button></form>"""


@app.post("/notes")
@login_required
async def post_note() -> Response:
    auth, form = current_auth(), await request.form
    record = {"text": form["text"]}
    body = {"repo": auth.require(), "collection": NOTE, "record": record}
    ok(await auth.client.procedure("com.atproto.repo.createRecord", json=body))
    return redirect("/", 303)
