"""A server that answers like a PDS and does nothing: what is left is the client."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

DPOP_NONCE = "Zm91cnR5LXRocmVlIGNoYXJhY3RlcnMsIGFzIHVzdWFs"
BODY = b'{"uri":"at://did:plc:x/com.example.post/3k","cid":"bafyreia","value":{}}'
HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(BODY)).encode()),
    (b"dpop-nonce", DPOP_NONCE.encode()),
]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer everything alike; there is no lifespan."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})
