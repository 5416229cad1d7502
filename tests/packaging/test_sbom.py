"""The bill of materials names all that an installation brings along."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.packaging import __main__ as command
from tests.packaging.lowest import direct_dependencies
from tests.packaging.project import REQUIREMENTS, PackagingError, project
from tests.packaging.sbom import bill, closure, parse_pins

PINS = REQUIREMENTS.read_text("utf-8")


def test_bill_when_made_then_names_every_dependency_with_version_and_hashes() -> None:
    """Direct ones and what they need; required or, for the sake of an extra, optional."""
    components = {part["name"]: part for part in bill(PINS)["components"]}
    assert {canonicalize_name(name) for name in direct_dependencies()} <= set(
        components
    )
    assert components["h11"]["scope"] == "required"
    assert components["pydantic"]["scope"] == "optional"
    assert "pytest" not in components
    pins = parse_pins(PINS)
    for name, part in components.items():
        assert part["version"] == pins[name].version
        assert len(part["hashes"]) == len(pins[name].sha256) > 0
        assert part["purl"] == part["bom-ref"] == f"pkg:pypi/{name}@{part['version']}"
        assert part["licenses"], name


def test_bill_when_made_then_its_graph_holds_together() -> None:
    """Every reference leads to a component, and every component can be reached."""
    document = bill(PINS)
    ours = document["metadata"]["component"]["bom-ref"]
    known = {part["bom-ref"] for part in document["components"]} | {ours}
    edges = {entry["ref"]: entry["dependsOn"] for entry in document["dependencies"]}
    assert set(edges) == known
    assert {ref for refs in edges.values() for ref in refs} <= known
    assert len(edges[ours]) == len(project()["dependencies"])


def test_closure_when_an_extra_is_asked_for_then_brings_what_it_needs() -> None:
    """The extras of dependencies are followed, and only those that are asked for."""
    assert "psycopg-binary" in closure(["psycopg[binary]"])
    assert "psycopg-binary" not in closure(["psycopg"])
    assert closure(["anyio; python_version < '3'"]) == {}


def test_bill_when_something_is_not_pinned_or_has_no_hash_then_refuses() -> None:
    """A gap is told, not passed over."""
    without = "\n".join(line for line in PINS.splitlines() if "h11==" not in line)
    with pytest.raises(PackagingError, match="h11 is not pinned"):
        bill(without)
    bare = [f"{name}=={pin.version}" for name, pin in parse_pins(PINS).items()]
    with pytest.raises(PackagingError, match="is pinned without a hash"):
        bill("\n".join(bare))


def test_sbom_when_written_twice_then_is_the_same_and_names_no_index(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It depends on the pins alone: no time, no random number, no machine."""
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "SBOM", tmp_path / "sbom")
    written = []
    for _ in range(2):
        assert command.main(["sbom"]) == 0
        [path] = (tmp_path / "sbom").iterdir()
        written.append(path.read_text("utf-8"))
    assert written[0] == written[1]
    assert json.loads(written[0])["bomFormat"] == "CycloneDX"
    assert written[0].count("://") == 1  # its schema


def test_pins_when_one_is_for_other_pythons_then_it_does_not_count() -> None:
    """A package may be pinned once for older Pythons and once for newer ones."""
    sha = "a" * 64
    pins = parse_pins(
        f"a==1 ; python_full_version >= '3' \\\n    --hash=sha256:{sha}\n    # via b\n"
        f"a==2 ; python_full_version < '3' \\\n    --hash=sha256:{sha}\n"
        f"c==3 \\\n    --hash=sha256:{sha} \\\n    --hash=sha256:{sha}\n"
    )
    assert {name: pin.version for name, pin in pins.items()} == {"a": "1", "c": "3"}
    assert pins["c"].sha256 == (sha, sha)
