"""What the explanations say of the house is so: files, layers, dependencies, numbers."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from atproto_oauth_asgi.sessions import marks, outcomes, pauses
from tests.documentation import DOCS, ROOT, name_of

_PAGES = [DOCS / "architecture.md", *sorted((DOCS / "explanation").glob("*.md"))]
_FILE = re.compile(r"`([a-z_]+(?:/[a-z_.]+)*\.(?:py|pyi|toml|txt))\b")


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", _PAGES, ids=name_of)
def test_files_when_named_then_are_there(page: Path) -> None:
    """Every file that is named is in the package, or in the repository."""
    named = set(_FILE.findall(page.read_text(encoding="utf-8")))
    places = (ROOT / "atproto_oauth_asgi", ROOT)
    missing = {
        name for name in named if not any((place / name).exists() for place in places)
    }
    assert missing == set()


def test_house_when_compared_then_has_every_layer_in_its_order() -> None:
    """The picture is that of the import contract."""
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    house = text.partition("```text\n")[2].partition("```")[0]
    drawn = [re.split(r"\s{3,}", line.strip())[0] for line in house.splitlines()]
    order = [name.strip("/") for names in drawn for name in names.split()]
    contract = project()["tool"]["importlinter"]["contracts"][0]
    layers = [re.findall(r"\w+", layer) for layer in contract["layers"]]
    public = [[name for name in layer if name[0] != "_"] for layer in layers]
    assert set(order) == {name for layer in public for name in layer}
    places = [sorted(order.index(name) for name in layer) for layer in public if layer]
    assert places == sorted(places)


def names_in(section: str) -> set[str]:
    """The packages in a table of the page about dependencies."""
    text = (DOCS / "explanation/dependencies.md").read_text(encoding="utf-8")
    part = text.partition(f"## {section}\n")[2].partition("\n## ")[0]
    rows = [line for line in part.splitlines() if line.startswith("| `")]
    columns = 1 if section == "Always" else 2
    cells = ["|".join(row.split("|")[: columns + 1]) for row in rows]
    return {name for cell in cells for name in re.findall(r"`([\w-]+)`", cell)}


def requirement(text: str) -> str:
    return re.split(r"[\[<>=!~; ]", text)[0]


def test_dependencies_when_compared_then_each_has_its_reason() -> None:
    """No package is there without a reason, and no reason without a package."""
    found = {requirement(each) for each in project()["project"]["dependencies"]}
    assert names_in("Always") == found


def test_extras_when_compared_then_each_is_listed_with_its_packages() -> None:
    """Extras, too."""
    extras = project()["project"]["optional-dependencies"]
    wanted = {requirement(each) for packages in extras.values() for each in packages}
    assert names_in("Where you want it") == {*extras, *wanted}


def test_refresh_page_when_compared_then_its_numbers_are_those_of_the_code() -> None:
    """Lease, pauses, and how long an outcome is kept."""
    text = (DOCS / "explanation/refresh-flow.md").read_text(encoding="utf-8")
    assert (marks.LEASE_S, "after 30 seconds" in text) == (30, True)
    assert (pauses._LONGEST_PAUSE_S, "up to 60 seconds" in text) == (60, True)
    assert (outcomes._KEPT_AFTER_CONFIRMATION_S, "for five minutes more" in text) == (
        300,
        True,
    )
