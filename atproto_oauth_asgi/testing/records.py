"""The records of all accounts, in memory."""

from __future__ import annotations

import hashlib
import json
from base64 import b32encode
from itertools import count
from typing import Any

# CID version 1, dag-cbor, sha2-256 with 32 bytes. The digest here is that of JSON.
_CID_HEAD = bytes([0x01, 0x71, 0x12, 0x20])
_KEY_ALPHABET = "234567abcdefghijklmnopqrstuvwxyz"
_KEY_LENGTH = 13


class Records:
    """Repositories, by DID, collection and record key."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str, str], Any] = {}
        self._numbers = count(1)

    def new_key(self) -> str:
        """Return a record key, greater than all before it."""
        number, key = next(self._numbers), ""
        for _ in range(_KEY_LENGTH):
            number, digit = divmod(number, 32)
            key = _KEY_ALPHABET[digit] + key
        return key

    def put(self, did: str, collection: str, *, rkey: str, value: Any) -> Any:
        """Write a record and return ``uri`` and ``cid``."""
        self._values[did, collection, rkey] = value
        return _reference(did, collection, rkey=rkey, value=value)

    def get(self, did: str, collection: str, *, rkey: str) -> Any | None:
        """Return ``uri``, ``cid`` and ``value``, or None."""
        value = self._values.get((did, collection, rkey))
        if value is None:
            return None
        return {**_reference(did, collection, rkey=rkey, value=value), "value": value}

    def newest(self, did: str, collection: str) -> list[Any]:
        """Return the records of a collection, by record key, greatest first."""
        keys = sorted(
            (key for key in self._values if key[:2] == (did, collection)), reverse=True
        )
        return [self.get(did, collection, rkey=key[2]) for key in keys]

    def delete(self, did: str, collection: str, *, rkey: str) -> None:
        """Delete a record, if it is there."""
        self._values.pop((did, collection, rkey), None)


def cid_of(data: bytes) -> str:
    """Return a content id. Spec: multiformats CID, version 1, base32."""
    raw = _CID_HEAD + hashlib.sha256(data).digest()
    return "b" + b32encode(raw).decode("ascii").rstrip("=").lower()


def _reference(did: str, collection: str, *, rkey: str, value: Any) -> Any:
    text = json.dumps(value, sort_keys=True)
    uri = f"at://{did}/{collection}/{rkey}"
    return {"uri": uri, "cid": cid_of(text.encode())}
