"""``resolve``: the way from an account to its server, step by step."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, aclosing
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Literal, TypeVar

import anyio

from atproto_oauth_asgi.cli.network_arguments import (
    add_directory_arguments,
    add_reaching_arguments,
    build_network,
)
from atproto_oauth_asgi.cli.terminal import Colour, Terminal, clean, columns
from atproto_oauth_asgi.exceptions import (
    AmbiguousHandle,
    DiscoveryError,
    HandleMismatch,
    OAuthError,
)
from atproto_oauth_asgi.models import AuthServerMetadata
from atproto_oauth_asgi.network.discovery import Discovery
from atproto_oauth_asgi.network.fetch import Fetcher
from atproto_oauth_asgi.network.identity import IdentityResolver
from atproto_oauth_asgi.network.transport import GuardedTransport
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.protocol.did_document import DidDocument
from atproto_oauth_asgi.protocol.identifiers import (
    Did,
    Handle,
    HostUrl,
    is_did,
    normalize_identifier,
)
from atproto_oauth_asgi.stores.locks import unix_now

_T = TypeVar("_T")
Verdict = Literal["ok", "none", "failed"]

_COLOURS: Mapping[Verdict, Colour] = {"ok": "green", "none": "dim", "failed": "red"}
_EXAMPLES = """\
The exit code is 0 if the account can log in, 1 if a step fails.

examples:
  %(prog)s alice.example.com
  %(prog)s did:plc:ewvi7nxzyoun6zhxrhs64oiz --json
  %(prog)s https://pds.example.com
  %(prog)s alice.test --development --plc-url http://localhost:2582 \\
      --handle-resolver-url http://localhost:2583
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step, and what it found.

    Attributes:
        name: of the step.
        verdict: ``none`` is an answer, too: there is nothing.
        took_ms: milliseconds; 0 where nobody was asked.
        text: what was found, or why not.
        code: that of the error, if it was one.
    """

    name: str
    verdict: Verdict
    took_ms: float
    text: str
    code: str | None = None


def build_parser(prog: str) -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Follow an account to its authorization server, as a login does.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("identifier", help="a handle, a DID, or the URL of a server")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_reaching_arguments(parser)
    add_directory_arguments(parser)
    return parser


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Follow, show each step, and return 1 if one fails."""
    network = build_network(options)
    identifier = normalize_identifier(options.identifier, policy=network.url_policy)
    following = partial(follow, waiting=terminal.waiting)
    show = partial(_print_json, identifier) if options.json else _print_table
    return _show(anyio.run(following, identifier, network), show, terminal)


async def follow(
    identifier: Handle | Did | HostUrl,
    network: Network,
    *,
    waiting: Callable[[str], AbstractContextManager[None]],
) -> list[Step]:
    """Return the steps, up to the first one that fails."""
    async with aclosing(GuardedTransport(network)) as transport:
        way = _Way(network, Fetcher(transport, network), waiting=waiting)
        if isinstance(identifier, HostUrl):
            await way.from_host(identifier.origin)
        elif is_did(identifier):
            await way.from_did(Did(identifier))
        else:
            await way.from_handle(Handle(identifier))
        return way.steps


class _Way:
    """The steps that were taken, and those that come next."""

    def __init__(
        self,
        network: Network,
        fetcher: Fetcher,
        *,
        waiting: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self.steps: list[Step] = []
        self._service = network.handle_resolver_url
        self._resolver = IdentityResolver(fetcher, network, clock=unix_now)
        self._discovery = Discovery(fetcher, network, clock=unix_now)
        self._waiting = waiting

    async def from_handle(self, handle: Handle) -> None:
        """Find the account of a handle, and go on from there."""
        did = await self._find_did(handle)
        if did is not None:
            await self.from_did(did, handle=handle)

    async def from_did(self, did: Did, *, handle: Handle | None = None) -> None:
        """Find the host of an account, and go on from there."""
        document = await self._take(
            "did-document",
            self._resolver.document(did),
            lambda found: f"{found.pds_url}, handle {found.claimed_handle or 'none'}",
        )
        if document is None:
            return
        if await self._verify(document, handle):
            await self.from_pds(document.pds_url)

    async def from_host(self, origin: str) -> None:
        """Take a host for a PDS, and if it says that it is none, for a server."""
        await self.from_pds(origin)
        if self.steps[-1].code != DiscoveryError.code or len(self.steps) > 1:
            return
        self.steps = [replace(self.steps[0], verdict="none")]
        metadata = self._discovery.server_metadata(origin)
        await self._take("server-metadata", metadata, _describe)

    async def from_pds(self, pds_url: str) -> None:
        """Find the authorization server of a host."""
        issuer = await self._take(
            "pds-metadata", self._discovery.issuer_of(pds_url), str
        )
        if issuer is not None:
            await self._take(
                "server-metadata",
                self._discovery.server_metadata(issuer, pds_url=pds_url),
                _describe,
            )

    async def _find_did(self, handle: Handle) -> Did | None:
        if self._service is not None:
            asked = self._resolver.did_by_service(handle, self._service)
            return await self._take("resolver", asked, str)
        by_dns = await self._take(
            "dns", self._resolver.did_by_dns(handle), _or("no record")
        )
        by_web = await self._take(
            "well-known", self._resolver.did_by_web(handle), _or("nothing there")
        )
        return self._choose(by_dns, by_web)

    def _choose(self, by_dns: Did | None, by_web: Did | None) -> Did | None:
        """Decide as a login does: DNS comes first, one way that works is enough."""
        is_ambiguous = any(step.code == AmbiguousHandle.code for step in self.steps)
        if is_ambiguous:
            return None
        did = by_dns or by_web
        if did is None:
            if all(step.verdict == "none" for step in self.steps):
                text = "no account is published for this handle"
                self._note("handle", "failed", text, code="handle_not_found")
            return None
        self.steps = [
            # The other way is not needed then, as in a login.
            replace(step, verdict="none") if step.verdict == "failed" else step
            for step in self.steps
        ]
        if by_dns and by_web and by_dns != by_web:
            text = (
                f"the web server names another account, which does not count: {by_web}"
            )
            self._note("well-known", "none", text)
        return did

    async def _verify(self, document: DidDocument, handle: Handle | None) -> bool:
        """Check both directions: handle to account, and account to handle."""
        claimed = document.claimed_handle
        if handle is not None:
            if claimed == handle:
                self._note("handle", "ok", "the account claims it")
                return True
            text = f"the account claims {claimed or 'none'}"
            self._note("handle", "failed", text, code=HandleMismatch.code)
            return False
        if claimed is None:
            self._note("handle", "none", "the account claims none")
            return True
        await self._take("handle", self._handle_of(document.did), _or("not verified"))
        return self.steps[-1].verdict != "failed"

    async def _handle_of(self, did: Did) -> Handle | None:
        return (await self._resolver.resolve(did)).handle

    async def _take(
        self, name: str, step: Awaitable[_T], tell: Callable[[_T], str]
    ) -> _T | None:
        began = time.perf_counter()
        try:
            with self._waiting(name):
                found = await step
        except OAuthError as error:
            self._note(name, "failed", str(error), code=error.code, began=began)
            return None
        verdict: Verdict = "none" if found is None else "ok"
        self._note(name, verdict, tell(found), began=began)
        return found

    def _note(
        self,
        name: str,
        verdict: Verdict,
        text: str,
        *,
        code: str | None = None,
        began: float | None = None,
    ) -> None:
        took_s = 0.0 if began is None else time.perf_counter() - began
        took_ms = round(1000 * took_s, 1)
        step = Step(name=name, verdict=verdict, took_ms=took_ms, text=text, code=code)
        self.steps.append(step)


def _or(nothing: str) -> Callable[[object], str]:
    return lambda found: nothing if found is None else str(found)


def _describe(server: AuthServerMetadata) -> str:
    return f"PAR at {server.pushed_authorization_request_endpoint}"


def _show(
    steps: list[Step], show: Callable[[list[Step], Terminal], None], terminal: Terminal
) -> int:
    show(steps, terminal)
    return int(any(step.verdict == "failed" for step in steps))


def _print_json(
    identifier: Handle | Did | HostUrl, steps: list[Step], terminal: Terminal
) -> None:
    told = str(getattr(identifier, "origin", identifier))
    result = {"identifier": told, "steps": [asdict(step) for step in steps]}
    terminal.line(json.dumps(result, indent=2))


def _print_table(steps: list[Step], terminal: Terminal) -> None:
    rows = columns([(step.name, f"{step.took_ms:6.0f} ms") for step in steps])
    for step, row in zip(steps, rows, strict=True):
        verdict = terminal.paint(f"{step.verdict:<8}", _COLOURS[step.verdict])
        code = f" [{step.code}]" if step.code else ""
        terminal.line(f"{verdict}{row}  {clean(step.text)}{code}")
