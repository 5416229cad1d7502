"""The versions that are allowed, and those that are pinned."""

from __future__ import annotations

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.packaging.project import REQUIREMENTS, project
from tests.packaging.sbom import parse_pins

# The first release of each without an advisory that was known when this was written.
FIRST_WITHOUT_ADVISORY = {
    "anyio": "4.14.2",  # CVE-2026-63349, CVE-2026-63374, CVE-2026-64847
    "cryptography": "50.0.0",  # CVE-2026-69247
    "django": "5.2.19",  # the last of the oldest branch that gets fixes
    "dnspython": "2.9.2",  # CVE-2026-128089
    "httpcore": "1.0.9",  # CVE-2025-43859, of h11 before 0.16
    "httpx": "0.23.0",  # CVE-2021-41945
    "joserfc": "1.7.2",  # GHSA-5jhw-7jv7-qcqq; CVE-2026-49852 before 1.6.8
    "litestar": "2.20.0",  # CVE-2026-25478, CVE-2026-25479
    "quart": "0.21.0",  # GHSA-4grg-w6v8-c28g
    "redis": "4.5.5",  # CVE-2023-28859
    "starlette": "1.3.1",  # CVE-2026-54283; CVE-2026-48710 before 1.0.1
}


def direct() -> list[Requirement]:
    extras = project()["optional-dependencies"].values()
    lines = [*project()["dependencies"], *(line for extra in extras for line in extra)]
    return [Requirement(line) for line in lines]


def lower_bound(requirement: Requirement) -> Version:
    [bound] = [s.version for s in requirement.specifier if s.operator == ">="]
    return Version(bound)


@pytest.mark.covers("SUP-01")
@pytest.mark.parametrize("requirement", direct(), ids=lambda r: r.name)
def test_dependency_when_declared_then_its_lowest_version_has_no_known_advisory(
    requirement: Requirement,
) -> None:
    """Nobody who installs the package gets a release of a dependency known to be bad."""
    first = FIRST_WITHOUT_ADVISORY.get(requirement.name, "0")
    assert lower_bound(requirement) >= Version(first)


@pytest.mark.covers("SUP-01")
@pytest.mark.parametrize("requirement", direct(), ids=lambda r: r.name)
def test_dependency_when_pinned_then_the_pin_is_one_that_is_allowed(
    requirement: Requirement,
) -> None:
    """What the tests run with is what users may get: the pins are the newest."""
    pin = parse_pins(REQUIREMENTS.read_text("utf-8"))[
        canonicalize_name(requirement.name)
    ]
    assert pin.version in requirement.specifier


@pytest.mark.covers("SUP-02")
def test_pins_when_read_then_each_has_hashes() -> None:
    """A file that an index changes afterwards is not installed."""
    pins = parse_pins(REQUIREMENTS.read_text("utf-8"))
    assert len(pins) > len(direct())
    assert [name for name, pin in pins.items() if not pin.sha256] == []
