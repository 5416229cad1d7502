"""A part of the tests, run against the installed wheel."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.packaging.environments import Environment
from tests.packaging.project import PACKAGE, ROOT, tracked_files

# What a version of Python or of a dependency would show in first: proofs, keys and
# sealing, the whole middleware, the glue. No servers of their own, few seconds.
ESSENTIAL = (
    "tests/crypto",
    "tests/protocol",
    "tests/test_config.py",
    "tests/test_dependencies.py",
    "tests/test_dpop.py",
    "tests/test_fastapi.py",
    "tests/test_middleware.py",
    "tests/test_models.py",
)
# With the plugin that pytest finds by itself.
ON_EACH_PYTHON = (*ESSENTIAL, "tests/testing/test_plugin.py")
# And all that goes through the drivers, the transport and the SDK.
THROUGH_DEPENDENCIES = (
    *ESSENTIAL,
    "tests/frameworks",
    "tests/network",
    "tests/stores/test_postgres.py",
    "tests/stores/test_redis.py",
    "tests/test_sdk.py",
    "tests/test_sync.py",
)
# Old releases meet newer ones than they knew, and use what is deprecated by now. Those of
# anyio leave a loop before its sockets are wholly closed.
LENIENT = ("-Wdefault", "--disable-warnings")


def copy_tests(folder: Path) -> None:
    """Copy all that tests may read, but not the package: only the wheel has that."""
    for name in tracked_files():
        if name.startswith(f"{PACKAGE}/"):
            continue
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)


def run_tests(environment: Environment, tree: Path, *arguments: str) -> str:
    """Run tests in a copy of the tree; give the last line that pytest prints."""
    flags = ("-q", "-x", "--no-header", "-p", "no:cacheprovider")
    said = environment.run("-m", "pytest", *flags, *arguments, cwd=tree)
    return said.strip().splitlines()[-1]
