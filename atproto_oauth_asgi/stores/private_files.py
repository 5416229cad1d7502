"""Files and directories that other users of the machine cannot tamper with.

Owners and modes are checked where the system has them (POSIX).
"""

from __future__ import annotations

import os
import stat
import threading
from contextlib import suppress
from pathlib import Path

from atproto_oauth_asgi.exceptions import StoreError

_making = threading.Lock()


def make_private_directory(path: Path) -> None:
    """Make a directory for this user alone, unless there is one; check it.

    Raises:
        StoreError: it is a link, belongs to somebody else, or others may enter it.
        OSError: it cannot be made.
    """
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        message = "the store's directory is a link or a file: remove it"
        raise StoreError(message)
    _check_owner(found, "directory")
    if _is_posix() and found.st_mode & 0o077:
        message = "others may enter the store's directory: chmod 700 it"
        raise StoreError(message)


def make_private_file(path: Path, *, beside: tuple[str, ...] = ()) -> None:
    """Make an empty file for this user alone, unless there is one; check it.

    Args:
        path: absolute.
        beside: endings that give the names of further files; where there are such
            files, they are checked, too.

    Raises:
        StoreError: others may change what it holds, or put another one in its place.
        OSError: it cannot be made.
    """
    _check_directory(path.parent)
    # Closing any descriptor of a file drops every lock that this process has on it,
    # those of SQLite included. This one is of a file that nobody has opened yet: who
    # finds it made waits here until it is closed. No other is ever opened.
    with _making, suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    for ending in ("", *beside):
        _check_file(Path(f"{path}{ending}"))


def is_open_to_all(found: os.stat_result) -> bool:
    """Return whether every user of the machine may put files into a directory."""
    return _is_posix() and bool(found.st_mode & stat.S_IWOTH)


def _check_directory(path: Path) -> None:
    # Whoever may make files there can make those that SQLite looks for beside its own.
    if is_open_to_all(path.stat()):
        message = "everybody may write to the directory of the store: choose another"
        raise StoreError(message)


def _check_file(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        message = "the store's file is a link or no file: name the file itself"
        raise StoreError(message)
    _check_owner(found, "file")
    if _is_posix() and found.st_mode & 0o022:
        message = "others may write to the store's file: chmod 600 it"
        raise StoreError(message)


def _check_owner(found: os.stat_result, what: str) -> None:
    if _is_posix() and found.st_uid != os.geteuid():
        message = f"the store's {what} belongs to another user"
        raise StoreError(message)


def _is_posix() -> bool:
    return os.name == "posix"
