"""A wrong option is an error where it is written, also through ``add_middleware``."""

from typing import assert_type

from fastapi import FastAPI
from quart import Quart
from starlette.applications import Starlette
from starlette.middleware import Middleware

from atproto_oauth_asgi import (
    ATProtoOAuthMiddleware,
    ClientKey,
    LoginLimits,
    MemoryStore,
    Network,
    OAuthConfig,
    SQLiteStore,
)

SECRET = b"not a secret, for nothing here runs"


def right(key: str, *, app: Starlette, fast: FastAPI, quart: Quart) -> None:
    """All of it in one go, by each way in which it may be written."""
    config = OAuthConfig(
        secret_key=[SECRET, "an older one"],
        public_url="https://app.example.com",
        scope="atproto repo:com.example.post",
        client_keys=[key, ClientKey(key, use="publish")],
        store=SQLiteStore("sessions.sqlite3"),
        limits=LoginLimits(
            concurrent=None, client_key=lambda request: request.url.path
        ),
        network=Network(timeout_s=5.0),
        clock=lambda: 0,
    )
    app.add_middleware(ATProtoOAuthMiddleware, config=config)
    fast.add_middleware(ATProtoOAuthMiddleware, secret_key=SECRET, max_age_s=3600)
    Starlette(middleware=[Middleware(ATProtoOAuthMiddleware, secret_key=SECRET)])
    quart.asgi_app = ATProtoOAuthMiddleware(  # type: ignore[method-assign]
        quart.asgi_app, secret_key=SECRET
    )
    middleware = ATProtoOAuthMiddleware(app, secret_key=SECRET, store=MemoryStore())
    assert_type(middleware.config, OAuthConfig)


def misspelt(app: Starlette) -> None:
    ATProtoOAuthMiddleware(app, secret=SECRET)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    app.add_middleware(ATProtoOAuthMiddleware, secret_keys=SECRET)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Middleware(ATProtoOAuthMiddleware, secret_key=SECRET, scopes="atproto")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    OAuthConfig(secret_key=SECRET, public_uri="https://app.example.com")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Network(timeout=5.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    LoginLimits(per_host=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def of_another_type(app: FastAPI, key: str) -> None:
    ATProtoOAuthMiddleware(app, secret_key=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ATProtoOAuthMiddleware(app, secret_key=SECRET, max_age_s="14 days")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    app.add_middleware(ATProtoOAuthMiddleware, secret_key=SECRET, public_url=443)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    app.add_middleware(ATProtoOAuthMiddleware, config={"secret_key": SECRET})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ATProtoOAuthMiddleware(app, secret_key=SECRET, store="redis://localhost")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ClientKey(key, use="both")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def by_position(app: Starlette) -> None:
    ATProtoOAuthMiddleware(app, SECRET)  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
    OAuthConfig(SECRET)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def changed_afterwards(config: OAuthConfig, network: Network) -> None:
    config.scope = "atproto"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    network.timeout_s = 1.0  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def no_secret() -> None:
    OAuthConfig()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
