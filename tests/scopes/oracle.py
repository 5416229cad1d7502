"""The official library for scopes, in a process of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.reference_network import process
from tests.reference_network.process import check_node_modules, find_node

_MODULES = Path(process.__file__).parent / "node_modules"
_LIBRARY = _MODULES / "@atproto" / "oauth-scopes" / "dist" / "index.js"
_PROGRAM = Path(__file__).with_suffix(".mjs")


class Oracle:
    """Asks it; every call blocks until the answer is there.

    Raises:
        NetworkNotInstalledError: Node or the npm packages are missing.
    """

    def __init__(self) -> None:
        node = find_node()
        check_node_modules()
        self._process = subprocess.Popen(
            [str(node), str(_PROGRAM), str(_LIBRARY)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate(timeout=15)  # the end of its input ends it

    def print(self, scopes: list[str]) -> list[str | None]:
        """The canonical spelling of each, or None if it is not a scope."""
        printed: list[str | None] = self._ask("print", scopes=scopes)
        return printed

    def check(
        self, granted: list[str], asked: list[tuple[str, dict[str, str]]]
    ) -> list[str | None]:
        """None for each that is allowed, else the scope that is missing."""
        missing: list[str | None] = self._ask("check", granted=granted, asked=asked)
        return missing

    def expand(self, include: str, permissions: list[dict[str, Any]]) -> list[str]:
        """The scopes of a permission set."""
        scopes: list[str] = self._ask(
            "expand", include=include, permissions=permissions
        )
        return scopes

    def _ask(self, question: str, **given: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"question": question, **given}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())
