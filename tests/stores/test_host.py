"""The workers of a machine find one safe place, or none."""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from atproto_oauth_asgi.stores.host import host_store_path
from atproto_oauth_asgi.stores.sqlite import SQLiteStore

CLIENT = "https://app.example.com/oauth-client-metadata.json"


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """A directory as the system's: everybody's, with the sticky bit."""
    path = tmp_path / "tmp"
    path.mkdir()
    path.chmod(0o1777)
    return path


def own_directory(temporary: Path) -> Path:
    return temporary / f"atproto-oauth-asgi-{os.geteuid()}"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_host_store_path_when_asked_again_then_is_the_same(temporary: Path) -> None:
    """All workers of a client meet; those of another client do not."""
    first = host_store_path(CLIENT, temporary_directory=temporary)
    assert first is not None
    assert first == host_store_path(CLIENT, temporary_directory=temporary)
    other = host_store_path("http://localhost", temporary_directory=temporary)
    assert other is not None
    assert other != first
    assert other.parent == first.parent == own_directory(temporary)


def test_host_store_path_when_umask_is_open_then_nobody_else_is_let_in(
    temporary: Path,
) -> None:
    """Directory and file are private whatever the umask, and tell nothing."""
    before = os.umask(0)
    try:
        path = host_store_path(CLIENT + "/../x", temporary_directory=temporary)
    finally:
        os.umask(before)
    assert path is not None
    assert (mode_of(path.parent), mode_of(path)) == (0o700, 0o600)
    assert "example" not in str(path.relative_to(temporary))
    assert path.parent == own_directory(temporary)


def test_host_store_path_when_no_directory_is_named_then_takes_the_systems(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lies below the temporary directory of the system."""
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    path = host_store_path(CLIENT)
    assert path is not None
    assert path.parent == own_directory(temporary)


def plant_link(temporary: Path) -> None:
    target = temporary / "elsewhere"
    target.mkdir(mode=0o700)
    own_directory(temporary).symlink_to(target)


def plant_dangling_link(temporary: Path) -> None:
    own_directory(temporary).symlink_to(temporary / "nowhere")


def plant_file(temporary: Path) -> None:
    own_directory(temporary).touch(mode=0o600)


def plant_open_directory(temporary: Path) -> None:
    own_directory(temporary).mkdir()
    own_directory(temporary).chmod(0o750)


def plant_writable_directory(temporary: Path) -> None:
    own_directory(temporary).mkdir()
    own_directory(temporary).chmod(0o702)


def plant_linked_store(temporary: Path) -> None:
    path = host_store_path(CLIENT, temporary_directory=temporary)
    assert path is not None
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def plant_writable_store(temporary: Path) -> None:
    path = host_store_path(CLIENT, temporary_directory=temporary)
    assert path is not None
    path.chmod(0o620)


def drop_sticky_bit(temporary: Path) -> None:
    temporary.chmod(0o777)


def remove_all(temporary: Path) -> None:
    temporary.rmdir()


def put_a_file_there(temporary: Path) -> None:
    temporary.rmdir()
    temporary.touch()


@pytest.mark.parametrize(
    ("plant", "reason"),
    [
        (plant_link, "is a link or a file"),
        (plant_dangling_link, "is a link or a file"),
        (plant_file, "is a link or a file"),
        (plant_open_directory, "others may enter"),
        (plant_writable_directory, "others may enter"),
        (plant_linked_store, "is a link or no file"),
        (plant_writable_store, "others may write to the store's file"),
        (drop_sticky_bit, "anybody may replace"),
        (remove_all, "No such file"),
        (put_a_file_there, "Not a directory"),
    ],
)
def test_host_store_path_when_place_is_not_safe_then_there_is_none(
    temporary: Path,
    plant: Callable[[Path], None],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing is put where others may have prepared something; one warning says why."""
    plant(temporary)
    with caplog.at_level(logging.WARNING):
        assert host_store_path(CLIENT, temporary_directory=temporary) is None
    (record,) = caplog.records
    assert reason in record.getMessage()
    assert "pass store=SQLiteStore(...)" in record.getMessage()
    assert not (temporary / "nowhere").exists()


def as_strangers(
    theirs: Path, look: Callable[..., os.stat_result]
) -> Callable[..., os.stat_result]:
    """Looking at a file, where one of them belongs to another user."""

    def looked_at(path: Path, **options: bool) -> os.stat_result:
        found = list(look(path, **options))
        if path == theirs:
            found[stat.ST_UID] = os.geteuid() + 1
        return os.stat_result(found)

    return looked_at


@pytest.mark.parametrize("whose", ["tmp", "directory", "file"])
def test_host_store_path_when_place_is_somebody_elses_then_there_is_none(
    temporary: Path,
    whose: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What a neighbour has made beforehand is not used, however harmless it looks."""
    path = host_store_path(CLIENT, temporary_directory=temporary)
    assert path is not None
    theirs = {"tmp": temporary, "directory": path.parent, "file": path}[whose]
    # Who runs the tests may not give files away; they may seem to be a stranger's.
    monkeypatch.setattr(Path, "stat", as_strangers(theirs, Path.stat))
    monkeypatch.setattr(Path, "lstat", as_strangers(theirs, Path.lstat))
    with caplog.at_level(logging.WARNING):
        assert host_store_path(CLIENT, temporary_directory=temporary) is None
    assert "belongs to another user" in caplog.text


@pytest.mark.anyio
async def test_host_store_when_directory_is_tidied_away_then_is_made_again(
    temporary: Path,
) -> None:
    """What cleans temporary directories costs the records, not the service."""
    path = host_store_path(CLIENT, temporary_directory=temporary)
    assert path is not None
    store = SQLiteStore(path, private_directory=True)
    await store.save("s", "k", b"v", expires_at=32_500_000_000.0)
    for each in path.parent.iterdir():
        each.unlink()
    path.parent.rmdir()
    assert await store.load("s", "k") is None
    assert await store.save("s", "k", b"w", expires_at=32_500_000_000.0)
    assert mode_of(path.parent) == 0o700
    again = SQLiteStore(path, private_directory=True)
    assert await again.load("s", "k") is not None
    await store.aclose()
    await again.aclose()
