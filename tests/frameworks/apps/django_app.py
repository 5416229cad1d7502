"""Django, by ASGI; one of its views is a plain function."""

from __future__ import annotations

from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

from atproto_oauth_asgi import ATProtoOAuthMiddleware, current_auth
from atproto_oauth_asgi.django import login_required, require_scope
from tests.frameworks.apps.behaviour import OPTIONS, PHOTOS, lines, post_note, who

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1"],
    SECRET_KEY="x" * 50,
    MIDDLEWARE=["atproto_oauth_asgi.django.ATProtoMiddleware"],
)
django.setup()


def home(request: HttpRequest) -> JsonResponse:
    del request
    return JsonResponse(who(current_auth()))


async def notes(request: Any) -> JsonResponse:
    status, body = await post_note(request.scope["atproto"])
    return JsonResponse(body, status=status)


async def leave(request: Any) -> JsonResponse:
    await request.scope["atproto"].logout()
    return JsonResponse({})


async def stream(request: Any) -> StreamingHttpResponse:
    return StreamingHttpResponse(lines(request.scope["atproto"]))


@login_required
async def page(request: Any) -> HttpResponse:
    return HttpResponse(request.atproto.require())


@login_required
def plain_page(request: Any) -> HttpResponse:
    return HttpResponse(request.atproto.require())


@require_scope(PHOTOS)
async def photos(request: Any) -> HttpResponse:
    return HttpResponse(request.atproto.require())


urlpatterns = [
    path("", home),
    path("notes", notes),
    path("leave", leave),
    path("stream", stream),
    path("page", page),
    path("photos", photos),
    path("plain-page", plain_page),
]

app = ATProtoOAuthMiddleware(get_asgi_application(), **OPTIONS)
