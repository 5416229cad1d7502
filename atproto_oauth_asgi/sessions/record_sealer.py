"""Seals what lies in a ``RecordStore``: the store sees nothing that it could read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from atproto_oauth_asgi.crypto.sealing import Sealer
from atproto_oauth_asgi.exceptions import StoreError
from atproto_oauth_asgi.stores.base import Record

# More than any record is kept for.
_MAX_AGE_S = 400 * 86400.0


class SealedOtherwise(StoreError):
    """A record does not open: its secret or its form is not known here."""


class RecordSealer:
    """Seals the records of one client, each bound to its kind and key.

    Args:
        secrets: newest first.
        client_id: records of another client do not open.
        clock: gives Unix seconds.
    """

    def __init__(
        self, secrets: Sequence[bytes], *, client_id: str, clock: Callable[[], float]
    ) -> None:
        self._sealer = Sealer(secrets, purpose=f"record {client_id}")
        self.clock = clock

    def seal(self, text: str, *, kind: str, key: str) -> bytes:
        """Return the text sealed."""
        sealed = self._sealer.seal(
            text.encode(), context=f"{kind} {key}", now=self.clock()
        )
        return sealed.encode("ascii")

    def unseal(self, record: Record, *, kind: str, key: str) -> str:
        """Return the text in a record.

        Raises:
            SealedOtherwise: it was not sealed by us for this place.
        """
        plaintext = self._sealer.unseal(
            record.value.decode("ascii", "replace"),
            context=f"{kind} {key}",
            now=self.clock(),
            max_age_s=_MAX_AGE_S,
        )
        if plaintext is None:
            message = "a record cannot be opened: is its secret_key still configured?"
            raise SealedOtherwise(message)
        return plaintext.decode()
