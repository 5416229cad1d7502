"""The wheel and the sdist: how they are built, and what must be true of them."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.metadata import Metadata
from trove_classifiers import classifiers

from tests.packaging.project import (
    PACKAGE,
    ROOT,
    PackagingError,
    project,
    tracked_files,
)

# Beside the package, the sdist holds what a reader of it wants.
_SDIST_FOLDERS = (f"{PACKAGE}/", "docs/")
_SDIST_FILES = frozenset(
    {
        ".gitignore",
        "CHANGELOG.md",
        "LICENSE",
        "PKG-INFO",
        "README.md",
        "SECURITY.md",
        "pyproject.toml",
    }
)
_DIST_INFO = frozenset(
    {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The two files that are published."""

    wheel: Path
    sdist: Path


def build(folder: Path, *, source: Path = ROOT) -> Built:
    """Build both from a source tree, with the pinned backend and no network."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    done = subprocess.run(
        [*command, "-t", "sdist", "-t", "wheel"],
        cwd=source,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise PackagingError(f"the build failed: {done.stderr}")
    return Built(wheel=_only(folder, "*.whl"), sdist=_only(folder, "*.tar.gz"))


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise PackagingError(f"not one {pattern} in {folder.name}/: {len(found)}")
    return found[0]


def rebuild_from_sdist(built: Built, folder: Path) -> Built:
    """Build both again, from what the sdist holds."""
    with tarfile.open(built.sdist) as sdist:
        sdist.extractall(folder / "source", filter="data")
    (source,) = (folder / "source").iterdir()
    return build(folder / "dist", source=source)


def problems(built: Built) -> Iterator[str]:
    """All that is wrong with the two, in words."""
    tracked = tracked_files()
    yield from _differences("wheel", wheel_files(built.wheel), _for_wheel(tracked))
    yield from _differences("sdist", sdist_files(built.sdist), _for_sdist(tracked))
    yield from metadata_problems(read_metadata(built.wheel))


def wheel_files(wheel: Path) -> frozenset[str]:
    """The names of a wheel's files."""
    with zipfile.ZipFile(wheel) as files:
        return frozenset(files.namelist())


def sdist_files(sdist: Path) -> frozenset[str]:
    """The names of an sdist's files, without the folder they all lie in."""
    with tarfile.open(sdist) as files:
        names = [member.name for member in files if member.isfile()]
    return frozenset(name.partition("/")[2] for name in names)


def read_metadata(wheel: Path) -> bytes:
    """The core metadata of a wheel."""
    with zipfile.ZipFile(wheel) as files:
        return files.read(f"{_dist_info()}/METADATA")


def _dist_info() -> str:
    return f"{PACKAGE}-{project()['version']}.dist-info"


def _for_wheel(tracked: Iterable[str]) -> set[str]:
    package = {name for name in tracked if name.startswith(f"{PACKAGE}/")}
    return package | {f"{_dist_info()}/{name}" for name in _DIST_INFO}


def _for_sdist(tracked: Iterable[str]) -> set[str]:
    return {name for name in tracked if name.startswith(_SDIST_FOLDERS)} | _SDIST_FILES


def _differences(what: str, found: Iterable[str], wanted: set[str]) -> Iterator[str]:
    present = set(found)
    yield from (f"{what}: {name} is missing" for name in sorted(wanted - present))
    yield from (f"{what}: {name} is not ours" for name in sorted(present - wanted))


def metadata_problems(raw: bytes) -> Iterator[str]:
    """What an index, or a reader of it, would stumble over."""
    try:
        metadata = Metadata.from_email(raw, validate=True)
    except ExceptionGroup as errors:
        yield from (f"metadata: {error}" for error in errors.exceptions)
        return
    for name in sorted(set(metadata.classifiers or ()) - classifiers):
        yield f"metadata: {name!r} is no classifier of the index"
    if metadata.description_content_type != "text/markdown":
        yield "metadata: the description is not said to be Markdown"
    if not (metadata.description or "").startswith(f"# {metadata.name}\n"):
        yield "metadata: the description is not the README"
    if set(metadata.provides_extra or ()) != set(project()["optional-dependencies"]):
        yield "metadata: the extras are not those of pyproject.toml"
    if not metadata.license_expression or not metadata.license_files:
        yield "metadata: there is no license"
