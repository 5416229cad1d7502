"""Log in, write notes into your own repository, read them back: Litestar.

pip install ".[litestar]" uvicorn, then: uvicorn examples.litestar_app:app --port 8000
"""

import os
from html import escape
from typing import Annotated

from litestar import Litestar, MediaType, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import Redirect

from atproto_oauth_asgi import ATProtoAuth, ATProtoOAuthMiddleware, Network, PDSClient
from atproto_oauth_asgi import raise_for_xrpc as ok
from atproto_oauth_asgi.litestar import provide_auth, provide_pds, provide_user

network = Network()
if plc_url := os.environ.get("ATPROTO_PLC_URL"):
    resolver_url = os.environ["ATPROTO_HANDLE_RESOLVER_URL"]
    network = Network.development(plc_url=plc_url, handle_resolver_url=resolver_url)

NOTE = "com.example.note"
Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]
HEAD = """<!doctype html><title>Notes</title><meta name="color-scheme" content="light dark">
<style>body { font: 1.1rem/1.6 system-ui; max-width: 30rem; margin: 3rem auto }</style>"""


@get("/", media_type=MediaType.HTML, dependencies={"auth": provide_auth})
async def home(auth: NamedDependency[ATProtoAuth]) -> str:
    if not auth.is_authenticated:
        return f'{HEAD}<h1>Notes</h1><a href="{auth.login_url()}">Log in</a>'
    query = {"repo": auth.require(), "collection": NOTE}
    answer = ok(await auth.client.query("com.atproto.repo.listRecords", query))
    notes = [escape(note["value"]["text"]) for note in answer.json()["records"]]
    return f"""{HEAD}<p>You are {escape(auth.handle or auth.require())}.</p>
        <form method="post" action="/notes"><input name="text"><button>Post</button></form>
        <ul>{"".join(f"<li>{note}</li>" for note in notes)}</ul>
        <form method="post" action="/oauth/logout"><button>Log out</button></form>"""


@post("/notes", dependencies={"did": provide_user, "pds": provide_pds})
async def post_note(
    did: NamedDependency[str], pds: NamedDependency[PDSClient], data: Form
) -> Redirect:
    body = {"repo": did, "collection": NOTE, "record": {"text": data["text"]}}
    ok(await pds.procedure("com.atproto.repo.createRecord", json=body))
    return Redirect("/", status_code=303)


app = ATProtoOAuthMiddleware(
    Litestar([home, post_note]),
    secret_key=os.environ.get("SECRET_KEY") or os.urandom(32),
    client_name="Notes",
    scope=f"atproto repo:{NOTE}",
    network=network,
)
