"""Sessions in encrypted files, one for each account: a ``SessionStore`` of one's own.

``SESSION_KEY`` is the key: ``Fernet.generate_key().decode()`` of the ``cryptography``
package makes one. ``SESSION_FILES`` names the folder. Nothing here keeps two programs from
renewing one session at the same moment: where that can happen, use ``SQLiteStore``.
"""

import hashlib
import os
from pathlib import Path
from tempfile import NamedTemporaryFile

from cryptography.fernet import Fernet

from atproto_oauth_asgi import Network, OAuthSession, SessionStore
from atproto_oauth_asgi.models import (
    deserialize_oauth_session,
    serialize_oauth_session,
)


class SessionFiles(SessionStore):
    def __init__(self) -> None:
        self._folder = Path(os.environ.get("SESSION_FILES", "sessions"))
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._fernet = Fernet(os.environ["SESSION_KEY"])

    async def save_session(self, session: OAuthSession) -> None:
        sealed = self._fernet.encrypt(serialize_oauth_session(session).encode())
        path = self._path(session.did)
        with NamedTemporaryFile(dir=self._folder, delete=False) as new:  # mode 0600
            new.write(sealed)
        os.replace(new.name, path)  # whole or not at all, whenever the power fails

    async def get_session(self, did: str) -> OAuthSession | None:
        path = self._path(did)
        if not path.exists():
            return None
        text = self._fernet.decrypt(path.read_bytes()).decode()
        return deserialize_oauth_session(text)

    async def delete_session(self, did: str) -> None:
        self._path(did).unlink(missing_ok=True)

    def _path(self, did: str) -> Path:
        return self._folder / hashlib.sha256(did.encode()).hexdigest()


def network() -> Network:
    """Return the public network, or the one that the environment names."""
    plc_url = os.environ.get("ATPROTO_PLC_URL")
    if plc_url is None:
        return Network()
    resolver_url = os.environ["ATPROTO_HANDLE_RESOLVER_URL"]
    return Network.development(plc_url=plc_url, handle_resolver_url=resolver_url)
