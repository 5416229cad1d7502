"""Which ids the tests name, found by reading them: nothing is imported or run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.conformance.rules import ConformanceError

TESTS = Path(__file__).parents[1]


def marked_ids(folder: Path) -> dict[str, str]:
    """The ids of all ``covers`` markers in a folder, each with one place.

    Raises:
        ConformanceError: the ids of a marker cannot be read without running it.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*.py")):
        if "node_modules" in path.parts:
            continue
        source = path.read_text(encoding="utf-8")
        if "covers(" not in source:
            continue
        for line, rule_id in ids_in(source):
            found.setdefault(rule_id, f"{path.relative_to(folder.parent)}:{line}")
    return found


def ids_in(source: str) -> Iterator[tuple[int, str]]:
    """Line and id of every ``covers`` marker in a module.

    Raises:
        ConformanceError: an id is not written out.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _is_covers(node.func):
            for argument in node.args:
                for rule_id in _literal(argument):
                    yield node.lineno, rule_id


def _is_covers(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "covers"
        and ast.unparse(node.value).split(".")[-1] == "mark"
    )


def _literal(node: ast.expr) -> list[str]:
    """The strings of one argument; a starred one may hold several."""
    parts = [node]
    if isinstance(node, ast.Starred) and isinstance(node.value, ast.Tuple | ast.List):
        parts = node.value.elts
    values = [part.value for part in parts if isinstance(part, ast.Constant)]
    ids = [value for value in values if isinstance(value, str)]
    if len(ids) != len(parts):
        raise ConformanceError(f"line {node.lineno}: write the ids out, each a string")
    return ids
