"""What lies in people's repositories: their statuses, and the names they go by."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import anyio

from atproto_oauth_asgi import PDSClient, raise_for_xrpc

STATUS = "xyz.statusphere.status"
PROFILE = "app.bsky.actor.profile"
EMOJI = {
    "👍": "fine",
    "👎": "not so well",
    "💙": "grateful",
    "🥹": "moved",
    "😧": "worried",
    "🙃": "ironic",
    "😎": "cool",
    "🤓": "learning",
    "🥳": "celebrating",
    "😴": "asleep",
    "🔥": "on fire",
    "🌊": "at sea",
    "🌱": "growing",
    "🚀": "taking off",
    "☕": "having coffee",
    "🎧": "listening to music",
}


_RECORD_KEY = re.compile("[A-Za-z0-9._:~-]{1,512}")
_AT_MOST = 10


class BadAnswerError(Exception):
    """A server has answered, and not what was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One status of somebody."""

    uri: str
    did: str
    emoji: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody, as their own server describes them."""

    did: str
    handle: str
    display_name: str


async def write_status(pds: PDSClient, did: str, *, emoji: str) -> Status:
    """Write a status into somebody's repository."""
    now = datetime.now(UTC)
    record = {"$type": STATUS, "status": emoji, "createdAt": now.isoformat()}
    body = {"repo": did, "collection": STATUS, "record": record}
    answer = await pds.procedure("com.atproto.repo.createRecord", json=body)
    with _distrust():
        uri = _own_uri(raise_for_xrpc(answer).json()["uri"], did)
    return Status(uri=uri, did=did, emoji=emoji, created_at=now)


async def read_repository(
    pds: PDSClient, did: str, *, handle: str | None
) -> tuple[Person, list[Status]]:
    """Read who somebody is, and their newest statuses, from their server."""
    names: list[str] = []
    statuses: list[Status] = []

    async def read_name() -> None:
        names.append(await _read_display_name(pds, did))

    async def read_statuses() -> None:
        statuses.extend(await _read_statuses(pds, did))

    try:
        async with anyio.create_task_group() as both:
            both.start_soon(read_name)
            both.start_soon(read_statuses)
    except ExceptionGroup as group:
        raise group.exceptions[0] from group
    return Person(did=did, handle=handle or did, display_name=names[0]), statuses


async def _read_display_name(pds: PDSClient, did: str) -> str:
    query = {"repo": did, "collection": PROFILE, "rkey": "self"}
    answer = await pds.query("com.atproto.repo.getRecord", query)
    if answer.is_client_error:  # there is no profile, or it is not to be read
        return ""
    with _distrust():
        name = raise_for_xrpc(answer).json()["value"].get("displayName")
    if not isinstance(name, str):
        return ""
    # JSON can hold halves of characters, which nothing else can.
    return name[:64].encode(errors="replace").decode()


async def _read_statuses(pds: PDSClient, did: str) -> list[Status]:
    query = {"repo": did, "collection": STATUS, "limit": _AT_MOST}
    answer = await pds.query("com.atproto.repo.listRecords", query)
    with _distrust():
        items = raise_for_xrpc(answer).json()["records"][:_AT_MOST]
    found = [_parse(each, did) for each in items]
    return [each for each in found if each is not None]


def _parse(item: Any, did: str) -> Status | None:
    """Return a status; None for what other programs may have left there instead."""
    try:
        with _distrust():
            return _parse_trusting(item, did)
    except BadAnswerError:
        return None


def _parse_trusting(item: Any, did: str) -> Status | None:
    value = item["value"]
    emoji = value["status"]
    if emoji not in EMOJI:
        return None
    created_at = datetime.fromisoformat(value["createdAt"]).astimezone(UTC)
    # Nobody stands at the top for years because their clock is ahead.
    created_at = min(created_at, datetime.now(UTC))
    uri = _own_uri(item["uri"], did)
    return Status(uri=uri, did=did, emoji=emoji, created_at=created_at)


def _own_uri(uri: str, did: str) -> str:
    """Return the URI of a status, if it lies in this person's repository.

    A server that names a status of somebody else would take its place in the index.
    """
    start = f"at://{did}/{STATUS}/"
    if not (uri.startswith(start) and _RECORD_KEY.fullmatch(uri, len(start))):
        raise ValueError("not the URI of a status of this person")
    return uri


@contextmanager
def _distrust() -> Iterator[None]:
    """Turn what happens with JSON of an unexpected shape into one error."""
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
        raise BadAnswerError("the server has answered something else") from error
