"""What lies in people's repositories: their statuses, and the names they go by."""

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
    uri = raise_for_xrpc(answer).json()["uri"]
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
    name = raise_for_xrpc(answer).json()["value"].get("displayName")
    return name[:64] if isinstance(name, str) else ""


async def _read_statuses(pds: PDSClient, did: str) -> list[Status]:
    query = {"repo": did, "collection": STATUS, "limit": 10}
    answer = await pds.query("com.atproto.repo.listRecords", query)
    found = [_parse(each, did) for each in raise_for_xrpc(answer).json()["records"]]
    return [each for each in found if each is not None]


def _parse(item: dict[str, Any], did: str) -> Status | None:
    """Return a status; None for what other programs may have left there instead."""
    value = item["value"]
    try:
        created_at = datetime.fromisoformat(value["createdAt"]).astimezone(UTC)
        emoji = value["status"]
    except (KeyError, TypeError, ValueError):
        return None
    if emoji not in EMOJI:
        return None
    # Nobody stands at the top for years because their clock is ahead.
    created_at = min(created_at, datetime.now(UTC))
    return Status(uri=item["uri"], did=did, emoji=emoji, created_at=created_at)
