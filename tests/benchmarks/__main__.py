"""Measure, print a table, and fail where something costs more than it should."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from anyio.from_thread import start_blocking_portal

from tests.benchmarks import (
    client,
    crypto,
    hops,
    imports,
    memory,
    middleware,
    peers,
    requests,
    scopes,
    stores,
)
from tests.benchmarks.harness import Figure, Loop, measure, report
from tests.serving import served_in_process


def main() -> int:
    """Return 0 if all targets are met, slack included; else 1."""
    return 0 if report([*_figures()]) else 1


def _figures() -> Iterator[Figure]:
    for case in (*crypto.cases(), *scopes.cases()):
        yield measure(case)
    yield from crypto.counts()
    yield from memory.figures()
    yield from imports.figures()
    yield from requests.figures()
    echo_server = served_in_process("tests.benchmarks.echo:app", settings={})
    with start_blocking_portal() as portal, echo_server as echo:
        loop = Loop(portal)
        for case in client.cases(loop, echo):
            yield measure(case)
        yield from client.counts(loop, echo)
        for case in middleware.cases(loop):
            yield measure(case)
        yield from middleware.counts(loop)
        yield from stores.figures(loop)
        yield from hops.counts()
        yield from peers.figures(echo)


if __name__ == "__main__":
    sys.exit(main())
