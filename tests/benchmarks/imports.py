"""What an application pays at its start: imports in fresh interpreters.

All packages are compiled before. Nothing is on the path but the packages; the optional
ones among them, which a plain installation has not, are taken for absent.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from tempfile import TemporaryDirectory

import atproto_oauth_asgi
from tests.benchmarks.harness import Case, Figure, measure

_PATHS = [
    str(Path(atproto_oauth_asgi.__file__).parents[1]),
    sysconfig.get_path("purelib"),
    sysconfig.get_path("platlib"),
]
# anyio, httpcore, httpx and starlette look for these; some take longer than they do.
_ABSENT = (
    "bcrypt",
    "brotli",
    "brotlicffi",
    "click",
    "h2",
    "python_multipart",
    "rich",
    "sniffio",
    "socksio",
    "trio",
    "zstandard",
)
_BASE = "import starlette.applications, httpx"
_ROWS = (
    ("import atproto_oauth_asgi", "import atproto_oauth_asgi", 1.15),
    (
        "the middleware imported",
        "from atproto_oauth_asgi import ATProtoOAuthMiddleware",
        1.70,
    ),
)
# Each takes a tenth of a second.
_ROUNDS = 9


def figures() -> Iterator[Figure]:
    """Give what imports cost on top of those of starlette and httpx."""
    with TemporaryDirectory() as bytecode:
        for name, statement, target in _ROWS:
            case = Case(
                name=f"{name}: CPU",
                base_name="starlette and httpx",
                base=_start(_BASE, bytecode=bytecode),
                work=_start(f"{_BASE}\n{statement}", bytecode=bytecode),
                target=target,
                timer=_cpu_time,
            )
            yield measure(case, rounds=_ROUNDS)


def _start(program: str, *, bytecode: str) -> Callable[[], object]:
    """Return what runs a program in an interpreter of its own."""
    fence = (
        f"import sys; sys.path += {_PATHS}\n"
        f"sys.modules.update(dict.fromkeys({_ABSENT}))\n"
    )
    # -I: no variable counts, such as one that forbids to keep bytecode. -S: no .pth
    # file, of which each may import something.
    options = ["-I", "-S", "-X", f"pycache_prefix={bytecode}"]
    command = [sys.executable, *options, "-c", fence + program]
    return lambda: subprocess.run(command, check=True)


def _cpu_time(function: Callable[[], object], repeats: int) -> int:
    """Return the CPU time of the processes that the function starts."""
    before = _children_s()
    for _ in range(repeats):
        function()
    return round((_children_s() - before) * 1e9)


def _children_s() -> float:
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
