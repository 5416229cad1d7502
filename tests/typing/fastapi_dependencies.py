"""The dependencies give what their parameters are declared as."""

from typing import Annotated, assert_type

from fastapi import Depends, FastAPI

from atproto_oauth_asgi import ATProtoAuth, PDSClient
from atproto_oauth_asgi.fastapi import (
    current_auth,
    current_user,
    optional_user,
    page_user,
    pds_client,
)

app = FastAPI()


@app.get("/")
async def everything(
    auth: Annotated[ATProtoAuth, Depends(current_auth)],
    did: Annotated[str, Depends(current_user)],
    visitor: Annotated[str | None, Depends(optional_user)],
    reader: Annotated[str, Depends(page_user)],
    client: Annotated[PDSClient, Depends(pds_client)],
) -> dict[str, str | None]:
    return {did: auth.handle, reader: visitor, str(client.base_url): None}


async def called(auth: ATProtoAuth) -> None:
    assert_type(await current_auth(), ATProtoAuth)
    assert_type(await current_user(auth), str)
    assert_type(await optional_user(auth), str | None)
    assert_type(await pds_client(auth), PDSClient)
    await current_user()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await current_user("did:plc:somebody")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
