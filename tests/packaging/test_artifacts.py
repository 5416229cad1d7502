"""The wheel and the sdist hold what is tracked, and say the truth about it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.packaging.artifacts import (
    Built,
    build,
    metadata_problems,
    problems,
    read_metadata,
    rebuild_from_sdist,
    sdist_files,
    wheel_files,
)
from tests.packaging.project import PACKAGE, ROOT, PackagingError, tracked_files

METADATA = """Metadata-Version: 2.4
Name: atproto-oauth-asgi
Version: 0.1.0
Classifier: Programming Language :: Python :: 3
Description-Content-Type: text/plain

# Something else
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("dist"))


def copy_source(folder: Path) -> Path:
    """What a build needs, in a folder where it may be spoilt."""
    for name in tracked_files():
        if not name.startswith("tests/"):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    return folder


@pytest.mark.covers("SUP-03")
def test_wheel_and_sdist_when_built_then_hold_what_is_tracked_and_no_more(
    built: Built,
) -> None:
    """No test, key or file that lies about is published, and none of ours is missing."""
    assert list(problems(built)) == []
    wheel, sdist = wheel_files(built.wheel), sdist_files(built.sdist)
    assert {f"{PACKAGE}/py.typed", f"{PACKAGE}/web/templates/login.html"} <= wheel
    assert {"README.md", "LICENSE", f"{PACKAGE}/py.typed"} <= sdist
    assert not any(name.startswith("tests/") for name in wheel | sdist)


@pytest.mark.covers("SUP-03")
def test_sdist_when_built_again_and_from_itself_then_every_byte_is_the_same(
    built: Built, tmp_path: Path
) -> None:
    """Anybody can build what was published, from the repository or from the sdist."""
    again = build(tmp_path / "again")
    from_sdist = rebuild_from_sdist(built, tmp_path)
    for other in (again, from_sdist):
        assert other.wheel.read_bytes() == built.wheel.read_bytes()
        assert other.sdist.read_bytes() == built.sdist.read_bytes()


@pytest.mark.covers("SUP-03")
def test_check_when_a_stray_file_gets_in_or_one_is_lost_then_names_it(
    tmp_path: Path,
) -> None:
    """The check of the contents can fail, for both files and in both directions."""
    source = copy_source(tmp_path / "source")
    (source / PACKAGE / "notes.txt").write_text("secret", encoding="utf-8")
    (source / PACKAGE / "py.typed").unlink()
    assert list(problems(build(tmp_path / "dist", source=source))) == [
        f"{what}: {PACKAGE}/{problem}"
        for what in ("wheel", "sdist")
        for problem in ("py.typed is missing", "notes.txt is not ours")
    ]


def test_build_when_it_fails_then_says_why(tmp_path: Path) -> None:
    """A broken project file is told with the words of the backend."""
    (tmp_path / "pyproject.toml").write_text("[project", encoding="utf-8")
    with pytest.raises(PackagingError, match="the build failed"):
        build(tmp_path / "dist", source=tmp_path)


def test_metadata_when_it_is_ours_then_nothing_is_wrong(built: Built) -> None:
    """The index takes it, and shows the README."""
    assert list(metadata_problems(read_metadata(built.wheel))) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("Python :: 3\n", "Python :: 2.99\n", "no classifier of the index"),
        ("text/plain", "text/plain", "not said to be Markdown"),
        ("# Some", "# Some", "not the README"),
        ("Name", "Name", "extras are not those"),
        ("Name", "Name", "no license"),
        ("0.1.0", "one", "invalid"),
    ],
)
def test_metadata_when_something_is_wrong_then_it_is_told(
    old: str, new: str, problem: str
) -> None:
    """Each check of the metadata can fail."""
    found = list(metadata_problems(METADATA.replace(old, new).encode()))
    assert any(problem in line for line in found), found
