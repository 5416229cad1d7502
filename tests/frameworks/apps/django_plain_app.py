"""The same in Django with a plain middleware below ours, as older packages bring."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse

from atproto_oauth_asgi import ATProtoOAuthMiddleware
from tests.frameworks.apps import django_app
from tests.frameworks.apps.behaviour import OPTIONS


def plain(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    return get_response


settings.ROOT_URLCONF = django_app.__name__
settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.{plain.__name__}"]

app = ATProtoOAuthMiddleware(get_asgi_application(), **OPTIONS)
