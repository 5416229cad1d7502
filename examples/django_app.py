"""Log in, write notes into your own repository, read them back: Django.

pip install ".[django]" uvicorn, then: uvicorn examples.django_app:app --port 8000
"""

import os
from html import escape

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, HttpResponseRedirect
from django.urls import path

from atproto_oauth_asgi import ATProtoOAuthMiddleware, Network
from atproto_oauth_asgi import raise_for_xrpc as ok
from atproto_oauth_asgi.django import login_required

network = Network()
if plc_url := os.environ.get("ATPROTO_PLC_URL"):
    resolver_url = os.environ["ATPROTO_HANDLE_RESOLVER_URL"]
    network = Network.development(plc_url=plc_url, handle_resolver_url=resolver_url)

NOTE = "com.example.note"
middleware = ["atproto_oauth_asgi.django.ATProtoMiddleware"]
settings.configure(ROOT_URLCONF=__name__, MIDDLEWARE=middleware, ALLOWED_HOSTS=["*"])
HEAD = """<!doctype html><title>Notes</title><meta name="color-scheme" content="light dark">
<style>body { font: 1.1rem/1.6 system-ui; max-width: 30rem; margin: 3rem auto }</style>"""


async def home(request: ASGIRequest) -> HttpResponse:
    auth = request.atproto
    if not auth.is_authenticated:
        return HttpResponse(f'{HEAD}<a href="{auth.login_url()}">Log in</a>')
    query = {"repo": auth.require(), "collection": NOTE}
    answer = ok(await auth.client.query("com.atproto.repo.listRecords", query))
    notes = [escape(note["value"]["text"]) for note in answer.json()["records"]]
    return HttpResponse(f"""{HEAD}<p>You are {escape(auth.handle or auth.require())}.</p>
        <form method="post" action="/notes"><input name="text"><button>Post</button></form>
        <ul>{"".join(f"<li>{note}</li>" for note in notes)}</ul>
        <form method="post" action="/oauth/logout"><button>Log out</button></form>""")


@login_required
async def post_note(request: ASGIRequest) -> HttpResponse:
    auth, note = request.atproto, {"text": request.POST["text"]}
    body = {"repo": auth.require(), "collection": NOTE, "record": note}
    ok(await auth.client.procedure("com.atproto.repo.createRecord", json=body))
    return HttpResponseRedirect("/", status=303)


urlpatterns = [path("", home), path("notes", post_note)]
app = ATProtoOAuthMiddleware(
    get_asgi_application(),
    secret_key=os.environ.get("SECRET_KEY") or os.urandom(32),
    client_name="Notes",
    scope=f"atproto repo:{NOTE}",
    network=network,
)
