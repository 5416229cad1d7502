"""A software bill of materials in CycloneDX: what an installation brings along.

It is made of the pinned requirements and of what the installed packages say of
themselves, so it needs no network and names no index. The same pins give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from typing import Any

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packaging.project import PackagingError, project

_PIN = re.compile(r"^([\w.-]+)==([^\s;]+)((?:.*\\\n)*.*)", re.MULTILINE)
_SHA256 = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One line of the requirements: which version, and the hashes of its files."""

    version: str
    sha256: tuple[str, ...]


def parse_pins(requirements: str) -> dict[str, Pin]:
    """The pins of a requirements file that hold here, by normalized name."""
    return {
        canonicalize_name(name): Pin(
            version=version, sha256=tuple(_SHA256.findall(rest))
        )
        for name, version, rest in _PIN.findall(requirements)
        if _holds_here(rest)
    }


def _holds_here(rest: str) -> bool:
    """Whether the marker of a pin, if it has one, is true of this Python."""
    marker = rest.partition("\\")[0].strip().removeprefix(";").strip()
    return not marker or Marker(marker).evaluate()


def wanted_by(
    requirements: Iterable[str], extras: Iterable[str] = ()
) -> Iterator[Requirement]:
    """The requirements that hold here, with some extras."""
    for line in requirements:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": e}) for e in ("", *extras)):
            yield requirement


def closure(requirements: Iterable[str]) -> dict[str, set[str]]:
    """All that these bring along, by name: each with the names of what it needs."""
    found: dict[str, set[str]] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    todo = list(wanted_by(requirements))
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        needs = list(wanted_by(distribution(name).requires or (), requirement.extras))
        found.setdefault(name, set()).update(canonicalize_name(r.name) for r in needs)
        todo.extend(needs)
    return found


def bill(requirements: str) -> dict[str, Any]:
    """The whole document.

    Args:
        requirements: the text of the pinned requirements.

    Raises:
        PackagingError: something that would be installed is not pinned, or pinned
            without a hash.
    """
    pins = parse_pins(requirements)
    required = closure(project()["dependencies"])
    extras = project()["optional-dependencies"].values()
    everything = closure(
        [*project()["dependencies"], *(line for extra in extras for line in extra)]
    )
    direct = {canonicalize_name(r.name) for r in wanted_by(project()["dependencies"])}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": _ourselves()},
        "components": [
            _component(name, pins, scope="required" if name in required else "optional")
            for name in sorted(everything)
        ],
        "dependencies": [
            {"ref": _ourselves()["bom-ref"], "dependsOn": _refs(direct, pins)},
            *(
                {"ref": _ref(name, pins), "dependsOn": _refs(needs, pins)}
                for name, needs in sorted(everything.items())
            ),
        ],
    }


def _ourselves() -> dict[str, Any]:
    name, version = project()["name"], project()["version"]
    return {
        "type": "library",
        "bom-ref": f"pkg:pypi/{name}@{version}",
        "name": name,
        "version": version,
        "description": project()["description"],
        "licenses": [{"license": {"id": project()["license"]}}],
        "purl": f"pkg:pypi/{name}@{version}",
    }


def _component(name: str, pins: dict[str, Pin], *, scope: str) -> dict[str, Any]:
    ref = _ref(name, pins)
    pin = pins[name]
    if not pin.sha256:
        raise PackagingError(f"{name} is pinned without a hash")
    return {
        "type": "library",
        "bom-ref": ref,
        "name": name,
        "version": pin.version,
        "scope": scope,
        "hashes": [{"alg": "SHA-256", "content": value} for value in pin.sha256],
        **_licenses(name),
        "purl": ref,
    }


def _licenses(name: str) -> dict[str, Any]:
    """What a package says of its license: an SPDX expression, or a text of its own."""
    metadata = distribution(name).metadata
    if expression := metadata.get_all("License-Expression"):
        return {"licenses": [{"expression": expression[0]}]}
    named = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier", [])
        if line.startswith("License :: ")
    ] or [text.splitlines()[0] for text in metadata.get_all("License", [])]
    if not named:
        return {}
    return {"licenses": [{"license": {"name": line}} for line in named]}


def _ref(name: str, pins: dict[str, Pin]) -> str:
    if name not in pins:
        raise PackagingError(f"{name} is not pinned")
    return f"pkg:pypi/{name}@{pins[name].version}"


def _refs(names: Iterable[str], pins: dict[str, Pin]) -> list[str]:
    return sorted(_ref(name, pins) for name in names)
