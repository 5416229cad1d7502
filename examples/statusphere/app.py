"""Statusphere: log in, set a status, see everybody's.

uvicorn examples.statusphere.app:app --port 8000
"""

import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import httpx
from fastapi import Depends, FastAPI, Form, HTTPException, Request
from fastapi.responses import RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates

from atproto_oauth_asgi import (
    ATProtoAuth,
    ATProtoOAuthMiddleware,
    Network,
    OAuthError,
    PDSClient,
    SessionError,
)
from atproto_oauth_asgi.fastapi import current_auth, pds_client, require_scope
from examples.statusphere.index import Index
from examples.statusphere.records import (
    EMOJI,
    STATUS,
    BadAnswerError,
    read_repository,
    write_status,
)

_HERE = Path(__file__).parent
_READ_AGAIN_AFTER_S = 300
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
_log = logging.getLogger("statusphere")

network = Network()
if plc_url := os.environ.get("ATPROTO_PLC_URL"):
    resolver_url = os.environ["ATPROTO_HANDLE_RESOLVER_URL"]
    network = Network.development(plc_url=plc_url, handle_resolver_url=resolver_url)

app = FastAPI(openapi_url=None)
app.mount("/static", StaticFiles(directory=_HERE / "static"), name="static")
app.add_middleware(
    ATProtoOAuthMiddleware,
    secret_key=os.environ.get("SECRET_KEY") or os.urandom(32),
    public_url=os.environ.get("PUBLIC_URL"),
    client_name="Statusphere",
    scope=f"atproto repo:{STATUS}",
    network=network,
)
templates = Jinja2Templates(_HERE / "templates")
index = Index(Path(os.environ.get("STATUSPHERE_DB", "statusphere.sqlite3")))


def check_same_origin(request: Request) -> None:
    """Refuse what another site's page sends.

    The cookie is SameSite=Lax, which keeps other sites out; this also keeps out other
    applications on subdomains of this one's site.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin", "").partition("://")[2]
    if site != "same-origin" and (site or origin != request.headers.get("host")):
        raise HTTPException(403, "this must come from a page of this site")


@app.get("/")
async def home(
    request: Request, auth: Annotated[ATProtoAuth, Depends(current_auth)]
) -> Response:
    """Show the newest statuses, and for who is logged in the way to set one."""
    problem = await _read_if_old(auth) if auth.is_authenticated else None
    return await _page(request, auth, problem=problem)


@app.post("/status", dependencies=[Depends(check_same_origin)])
async def set_status(
    did: Annotated[str, Depends(require_scope(f"repo:{STATUS}?action=create"))],
    pds: Annotated[PDSClient, Depends(pds_client)],
    emoji: Annotated[str, Form(alias="status")],
) -> Response:
    """Write a status into the person's repository, and into the index at once."""
    if emoji not in EMOJI:
        raise HTTPException(400, "this is not one of the statuses")
    await index.add(await write_status(pds, did, emoji=emoji))
    return RedirectResponse("/", status_code=303)


@app.exception_handler(OAuthError)
@app.exception_handler(httpx.HTTPError)
@app.exception_handler(BadAnswerError)
async def explain(request: Request, error: Exception) -> Response:
    """Tell what went wrong with somebody's server, or lead to a new login."""
    auth = request.scope["atproto"]
    if isinstance(error, SessionError) and not auth.is_authenticated:
        return RedirectResponse(auth.login_url(return_to="/"), status_code=303)
    _log.warning("the PDS did not do it: did=%s %s", auth.did, type(error).__name__)
    problem = "Your server did not take that. Please try again in a moment."
    return await _page(request, auth, problem=problem, status_code=502)


async def _read_if_old(auth: ATProtoAuth) -> str | None:
    """Read somebody's repository now and then; return why that did not work."""
    did = auth.require()
    _, read_at = await index.find(did)
    if datetime.now(UTC).timestamp() - read_at < _READ_AGAIN_AFTER_S:
        return None
    try:
        found = await read_repository(auth.client, did, handle=auth.handle)
    except (OAuthError, httpx.HTTPError, BadAnswerError) as error:
        _log.warning("repository not read: did=%s %s", did, type(error).__name__)
        return "Your server does not answer right now: something may be missing here."
    await index.replace(*found)
    return None


async def _page(
    request: Request, auth: ATProtoAuth, *, problem: str | None, status_code: int = 200
) -> Response:
    entries = await index.newest()
    mine = [each.emoji for each in entries if each.person.did == auth.did]
    person, _ = await index.find(auth.did or "")
    context = {
        "auth": auth,
        "person": person,
        "current": mine[0] if mine else None,
        "choices": EMOJI,
        "entries": entries,
        "problem": problem,
    }
    return templates.TemplateResponse(
        request, "home.html", context, status_code=status_code, headers=_HEADERS
    )
