"""The Starlette example, whose server leaves the callback's query out of its log."""

from __future__ import annotations

import logging

from atproto_oauth_asgi.logs import CallbackQueryFilter
from examples.starlette_app import app

__all__ = ["app"]

for name in ("uvicorn.access", "hypercorn.access"):
    logging.getLogger(name).addFilter(CallbackQueryFilter())
