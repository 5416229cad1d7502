"""What the last runs of the tests showed: which test of an id ended how."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conformance.rules import ConformanceError

# Below the root of the project. `make docs` empties this folder.
RECORD = Path(".conformance", "record.json")

_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Outcomes of tests by id and by the test's node id.

    Attributes:
        ids: ``passed``, ``failed`` or ``skipped`` of each test that covers an id.
        full_run: when every test was last run, in ISO 8601 and UTC; else None.
    """

    ids: dict[str, dict[str, str]] = field(default_factory=dict)
    full_run: str | None = None


def updated(
    record: Record, ran: Mapping[str, str], covers: Mapping[str, tuple[str, ...]]
) -> Record:
    """A record after a run of some tests: what it says of others stays.

    Args:
        ran: outcomes of all tests that ran, by node id.
        covers: the ids that each test covers, by node id.
    """
    ids = {
        rule_id: {node: outcome for node, outcome in tests.items() if node not in ran}
        for rule_id, tests in record.ids.items()
    }
    for node, outcome in ran.items():
        for rule_id in covers.get(node, ()):
            ids.setdefault(rule_id, {})[node] = outcome
    kept = {
        rule_id: dict(sorted(ids[rule_id].items()))
        for rule_id in sorted(ids)
        if ids[rule_id]
    }
    return Record(ids=kept, full_run=record.full_run)


def load_record(path: Path) -> Record:
    """The record in a file; an empty one if there is no file.

    Raises:
        ConformanceError: it was written by another version, or is damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Record()
    except ValueError as error:
        raise ConformanceError(f"{path} is damaged: make test") from error
    if not _is_record(found):
        raise ConformanceError(f"{path} is of another version: make test")
    return Record(ids=found["ids"], full_run=found["full_run"])


def _is_record(found: Any) -> bool:
    return (
        isinstance(found, dict)
        and found.get("version") == _VERSION
        and isinstance(found.get("ids"), dict)
        and isinstance(found.get("full_run"), str | None)
    )


def save_record(record: Record, path: Path) -> None:
    """Replace the record in a file, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = {"version": _VERSION, "full_run": record.full_run, "ids": record.ids}
    # Two runs of parts may end at once: each has a draft of its own.
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)
