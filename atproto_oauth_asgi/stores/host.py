"""Where the workers of one machine share a store that nobody has set up."""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from hashlib import sha256
from pathlib import Path

from atproto_oauth_asgi.exceptions import StoreError
from atproto_oauth_asgi.stores.private_files import (
    make_private_directory,
    make_private_file,
)

_log = logging.getLogger("atproto_oauth_asgi")


def host_store_path(
    client_id: str, *, temporary_directory: Path | None = None
) -> Path | None:
    """Return the path of the host store of a client, which all its workers get.

    It lies in a directory of this user's own, below the temporary directory of the
    system: use it with ``SQLiteStore(path, private_directory=True)``, which makes the
    directory again should it be tidied away. What is kept there has to be sealed.

    Returns:
        None where there is no safe place; a warning has told why, and what to do.
    """
    try:
        directory = _directory(temporary_directory or Path(tempfile.gettempdir()))
        path = directory / f"{sha256(client_id.encode()).hexdigest()}.sqlite"
        make_private_directory(directory)
        make_private_file(path)
    except (OSError, StoreError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        _log.warning(
            "no store for all workers of this host: %s; with more than one of them "
            "refreshes collide: pass store=SQLiteStore(...)",
            reason,
        )
        return None
    return path


def _directory(temporary_directory: Path) -> Path:
    found = temporary_directory.stat()
    # Where everybody may write, the sticky bit keeps everybody from renaming ours.
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        message = "anybody may replace what is in the temporary directory"
        raise StoreError(message)
    if os.name == "posix" and found.st_uid not in {0, os.geteuid()}:
        message = "the temporary directory belongs to another user"
        raise StoreError(message)
    return temporary_directory.absolute() / f"atproto-oauth-asgi-{_user()}"


def _user() -> str:
    return str(os.geteuid()) if os.name == "posix" else "user"
