"""axe-core, which looks for what keeps people with disabilities out of a page."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

_AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"


@cache
def _read_axe() -> str:
    return _AXE.read_text(encoding="utf-8")


def find_barriers(page: Page) -> list[str]:
    """Return what axe-core finds, of all its rules: one line for each element."""
    if not _AXE.exists():
        pytest.skip("axe-core is not installed: make pds")
    # The page's own policy forbids scripts; what the debugger runs is not its.
    page.evaluate(_read_axe())
    found: dict[str, Any] = page.evaluate(
        "() => axe.run({resultTypes: ['violations']})"
    )
    return [
        f"{each['id']}: {node['html']}"
        for each in found["violations"]
        for node in each["nodes"]
    ]
