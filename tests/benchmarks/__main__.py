"""Measure, print a table, and fail where something costs more than it should."""

from __future__ import annotations

import sys

from tests.benchmarks import crypto
from tests.benchmarks.harness import measure, report


def main() -> int:
    """Return 0 if all targets are met, slack included; else 1."""
    figures = [measure(case) for case in crypto.cases()]
    figures.extend(crypto.counts())
    return 0 if report(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
