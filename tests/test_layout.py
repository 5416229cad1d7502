"""The code keeps to its own size limits, and stays away from a few habits."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

import pytest

import atproto_oauth_asgi.exceptions

PACKAGE = Path(atproto_oauth_asgi.exceptions.__file__).parent

MAX_FUNCTION_LINES = 50
MAX_MEDIAN_LINES = 10
MAX_90TH_PERCENTILE_LINES = 30
MAX_MODULE_LINES = 350
# asyncio, because anyio serves trio as well; random, because it can be predicted; the
# others, because they run what they read.
BANNED_MODULES = frozenset({"asyncio", "marshal", "pickle", "random", "shelve"})
BANNED_CALLS = frozenset({"__import__", "eval", "exec"})

# Lines that no test runs: few, small, and each with its reason.
MAX_UNCOVERED = 24
PRAGMA = re.compile(r"#\s*pragma\b.*", re.IGNORECASE)
GOOD_PRAGMA = re.compile(r"# pragma: no (cover|branch) - \w.{9,}")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules() -> dict[str, str]:
    """The source of every module, by its path in the package."""
    return {
        str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8")
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def trees() -> dict[str, ast.Module]:
    return {name: ast.parse(source) for name, source in modules().items()}


def docstring_lines(node: Function) -> int:
    if ast.get_docstring(node) is None:
        return 0
    return lines(node.body[0])


def lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def is_stub(node: Function) -> bool:
    """Whether the body is but a docstring or ``...``, as in protocols."""
    return all(
        isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)
        for part in node.body
    )


def function_lengths(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Name and lines of every function; docstrings and decorators do not count."""
    for node in ast.walk(tree):
        if isinstance(node, Function) and not is_stub(node):
            yield f"{node.name}:{node.lineno}", lines(node) - docstring_lines(node)


def lengths_by_name() -> dict[str, int]:
    return {
        f"{module}:{name}": length
        for module, tree in trees().items()
        for name, length in function_lengths(tree)
    }


def catches_everything(node: ast.ExceptHandler) -> bool:
    if node.type is None:
        return True
    names = {part.id for part in ast.walk(node.type) if isinstance(part, ast.Name)}
    return not names.isdisjoint({"Exception", "BaseException"})


def is_log_call(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    target = node.func.value
    return isinstance(target, ast.Name) and target.id.strip("_").startswith("log")


def swallows(node: ast.ExceptHandler) -> bool:
    """Whether any error at all ends here, with nobody told."""
    parts = [part for statement in node.body for part in ast.walk(statement)]
    told = any(isinstance(part, ast.Raise) or is_log_call(part) for part in parts)
    return catches_everything(node) and not told


def imported_modules(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module:
        return {node.module.partition(".")[0]}
    return set()


def called_name(node: ast.Call) -> str | None:
    return node.func.id if isinstance(node.func, ast.Name) else None


def bad_habits(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            yield f"{node.lineno}: assert, which vanishes under python -O"
        if isinstance(node, ast.ExceptHandler) and swallows(node):
            yield f"{node.lineno}: swallows every error"
        if isinstance(node, ast.Call) and called_name(node) in BANNED_CALLS:
            yield f"{node.lineno}: calls {called_name(node)}"
        yield from (
            f"imports {name}"
            for name in sorted(imported_modules(node) & BANNED_MODULES)
        )


def pragmas(source: str) -> list[str]:
    """What is said to coverage, with line numbers."""
    return [
        f"{number}: {found[0]}"
        for number, line in enumerate(source.splitlines(), start=1)
        if (found := PRAGMA.search(line))
    ]


def unexplained(source: str) -> list[str]:
    return [each for each in pragmas(source) if not GOOD_PRAGMA.search(each)]


def test_lines_when_not_covered_then_are_few_and_say_why() -> None:
    """Whoever reads a line that no test runs finds the reason beside it."""
    sources = modules()
    assert {
        name: found for name in sources if (found := unexplained(sources[name]))
    } == {}
    assert sum(len(pragmas(source)) for source in sources.values()) <= MAX_UNCOVERED


def test_functions_when_measured_then_none_is_too_long() -> None:
    """Every function fits on a screen."""
    too_long = {
        name: length
        for name, length in lengths_by_name().items()
        if length > MAX_FUNCTION_LINES
    }
    assert too_long == {}


def test_functions_when_measured_then_most_are_short() -> None:
    """Half of the functions have ten lines or fewer, nine in ten have thirty."""
    lengths = sorted(lengths_by_name().values())
    assert median(lengths) <= MAX_MEDIAN_LINES
    assert quantiles(lengths, n=10)[-1] <= MAX_90TH_PERCENTILE_LINES


def test_modules_when_measured_then_none_is_too_long() -> None:
    """Every module can be read in one go."""
    sizes = {name: source.count("\n") for name, source in modules().items()}
    too_long = {name: size for name, size in sizes.items() if size > MAX_MODULE_LINES}
    assert too_long == {}


@pytest.mark.covers("CRYPT-02", "SUP-04")
def test_package_when_searched_then_has_no_bad_habits() -> None:
    """No check that ``-O`` removes, no swallowed error, nothing that runs what it reads."""
    found = [
        f"{name}: {habit}"
        for name, tree in trees().items()
        for habit in bad_habits(tree)
    ]
    assert found == []


BAD = '''
import random
from asyncio.locks import Lock

def f(a):
    """Two
    lines."""
    assert a
    try:
        a()
    except (ValueError, Exception):
        pass
    try:
        a()
    except:
        return eval("1")

def stub(a): ...
'''

GOOD = """
import secrets

def f(a):
    try:
        a()
    except Exception:
        _log.warning("failed")
    try:
        a()
    except BaseException:
        raise
    except ValueError:
        pass
"""


def test_measures_when_given_bad_code_then_see_it() -> None:
    """The measures of this file bite: each finds what it looks for."""
    tree = ast.parse(BAD)
    assert sorted(bad_habits(tree)) == [
        "11: swallows every error",
        "15: swallows every error",
        "16: calls eval",
        "8: assert, which vanishes under python -O",
        "imports asyncio",
        "imports random",
    ]
    assert list(function_lengths(tree)) == [("f:5", 10)]


@pytest.mark.parametrize(
    ("comment", "is_good"),
    [
        ("# pragma: no cover - only Windows has none", True),
        ("# pragma: no branch - another thread was quicker", True),
        ("# pragma: no cover", False),
        ("# pragma: no cover - x", False),
        ("# pragma: no cover: only Windows has none", False),
        ("#PRAGMA NO COVER - only Windows has none", False),
    ],
)
def test_pragma_when_it_gives_no_reason_then_is_seen(
    comment: str, is_good: bool
) -> None:
    """In whatever form coverage would take it."""
    assert bool(unexplained(f"if a:  {comment}")) is not is_good


def test_measures_when_given_good_code_then_accept_it() -> None:
    """What logs or raises does not swallow; a narrow handler may."""
    assert list(bad_habits(ast.parse(GOOD))) == []
