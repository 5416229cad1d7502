"""Build what is published, and try it: ``python -m tests.packaging``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.packaging.artifacts import Built, build, problems
from tests.packaging.environments import make_environment
from tests.packaging.lowest import lowest_pins, write_constraints
from tests.packaging.project import (
    REQUIREMENTS,
    ROOT,
    PackagingError,
    project,
    supported_pythons,
)
from tests.packaging.pythons import find_python
from tests.packaging.sbom import bill
from tests.packaging.suite import (
    LENIENT,
    ON_EACH_PYTHON,
    THROUGH_DEPENDENCIES,
    copy_tests,
    run_tests,
)

DIST = ROOT / "dist"
# Not in dist/, all of which is sent to the index.
SBOM = ROOT / "sbom"
SMOKE = Path(__file__).with_name("smoke.py")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def package() -> None:
    """Build both files into ``dist/``, and check what they hold."""
    for old in (*DIST.glob("*.whl"), *DIST.glob("*.tar.gz")):
        old.unlink()
    built = build(DIST)
    if found := list(problems(built)):
        raise PackagingError("\n".join(found))
    say(f"built    {built.wheel.name}, {built.sdist.name}")


def newest_built() -> Built:
    wheels, sdists = sorted(DIST.glob("*.whl")), sorted(DIST.glob("*.tar.gz"))
    if not wheels or not sdists:
        raise PackagingError("there is nothing in dist/: make package")
    return Built(wheel=wheels[-1], sdist=sdists[-1])


def everywhere() -> None:
    """Try the wheel on every Python that is there."""
    wheel = newest_built().wheel
    tried = 0
    for version in supported_pythons():
        python = find_python(version)
        if python is None:
            say(f"{version:8} is not on this machine")
            continue
        with tempfile.TemporaryDirectory() as folder:
            on_one_python(version, python, wheel, Path(folder))
        tried += 1
    if not tried:
        raise PackagingError("no Python that is supported was found (see PYTHONS)")


def on_one_python(version: str, python: Path, wheel: Path, folder: Path) -> None:
    """Install the wheel bare, with each extra, and with the tests; try all of them."""
    started = time.monotonic()
    bare = make_environment(folder / "bare", python)
    bare.install(str(wheel))
    modules = bare.run("-I", "-W", "error", str(SMOKE)).strip()
    for extra in project()["optional-dependencies"]:
        with_extra = make_environment(folder / extra, python)
        with_extra.install(f"{wheel}[{extra}]")
        with_extra.run("-I", str(SMOKE), extra)
    tests = try_tests(python, wheel, folder, REQUIREMENTS, ON_EACH_PYTHON)
    took = f"{time.monotonic() - started:.0f} s"
    say(f"{version:8} {modules}, a login, every extra; {tests}; {took}")


def try_tests(
    python: Path, wheel: Path, folder: Path, constraints: Path, tests: tuple[str, ...]
) -> str:
    """Run some of the tests against the wheel with all extras."""
    folder.chmod(0o755)  # PostgreSQL runs as somebody else
    tree = folder / "tree"
    copy_tests(tree)
    environment = make_environment(folder / "full", python)
    extras = ",".join(project()["optional-dependencies"])
    groups = [
        f"--group={ROOT / 'pyproject.toml'}:{name}" for name in ("test", "services")
    ]
    environment.install(f"{wheel}[{extras}]", *groups, constraints=constraints)
    return run_tests(environment, tree, *tests)


def lowest() -> None:
    """Try the wheel with the lowest versions that it allows, on the oldest Python."""
    wheel = newest_built().wheel
    version, python = oldest_python()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pins = lowest_pins(version)
        constraints = write_constraints(pins, version, folder)
        say(f"{version:8} " + " ".join(f"{k} {v}" for k, v in sorted(pins.items())))
        bare = make_environment(folder / "bare", python)
        bare.install(str(wheel), "--resolution=lowest-direct", constraints=constraints)
        bare.run("-I", str(SMOKE))
        tests = (*LENIENT, *THROUGH_DEPENDENCIES)
        said = try_tests(python, wheel, folder, constraints, tests)
        say(f"lowest   a login; {said}")


def oldest_python() -> tuple[str, Path]:
    for version in supported_pythons():
        if (python := find_python(version)) is not None:
            return version, python
    raise PackagingError("no Python that is supported was found (see PYTHONS)")


def sbom() -> None:
    """Write the bill of materials."""
    SBOM.mkdir(exist_ok=True)
    target = SBOM / f"{project()['name']}-{project()['version']}.cdx.json"
    document = bill(REQUIREMENTS.read_text(encoding="utf-8"))
    target.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    say(
        f"written  {target.relative_to(ROOT)}: {len(document['components'])} components"
    )


COMMANDS: dict[str, Callable[[], None]] = {
    "package": package,
    "everywhere": everywhere,
    "lowest": lowest,
    "sbom": sbom,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if all that was asked for is as it should be, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.packaging")
    parser.add_argument("commands", nargs="+", choices=sorted(COMMANDS))
    try:
        for command in parser.parse_args(arguments).commands:
            COMMANDS[command]()
    except PackagingError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
