"""Files for secrets: new ones, for their owner alone."""

from __future__ import annotations

import os
from pathlib import Path

from atproto_oauth_asgi.exceptions import ConfigurationError

_ONLY_OWNER = 0o600
_OTHERS = 0o077


def write_private_file(path: Path, text: str) -> None:
    """Make a file that only its owner may read; one that is there stays as it is.

    Raises:
        ConfigurationError: there is something of that name, or others could read it.
        OSError: it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _ONLY_OWNER)
    except FileExistsError as error:
        message = f"{path}: it exists, and is not overwritten; choose another name"
        raise ConfigurationError(message) from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        # Before anything secret is in it. Some disks know no owners.
        if os.name == "posix" and os.fstat(descriptor).st_mode & _OTHERS:
            path.unlink()
            message = f"{path}: on this disk others could read it; choose another"
            raise ConfigurationError(message)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
