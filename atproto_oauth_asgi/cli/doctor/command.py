"""The command: asks, checks, and shows what is right and what is wrong."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from urllib.parse import urlsplit

import anyio

from atproto_oauth_asgi.cli.doctor import (
    cookies,
    delivery,
    forms,
    host,
    metadata,
    pages,
)
from atproto_oauth_asgi.cli.doctor.finding import Check, Finding, Verdict
from atproto_oauth_asgi.cli.doctor.seen import Seen
from atproto_oauth_asgi.cli.doctor.visit import Target, visit
from atproto_oauth_asgi.cli.network_arguments import (
    add_reaching_arguments,
    build_network,
)
from atproto_oauth_asgi.cli.terminal import Colour, Terminal, clean
from atproto_oauth_asgi.exceptions import ConfigurationError
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.protocol.urls import check_url
from atproto_oauth_asgi.stores.locks import unix_now

CHECKS: tuple[Check, ...] = (
    *host.make_checks(unix_now),
    *delivery.CHECKS,
    *metadata.CHECKS,
    *pages.CHECKS,
    *forms.CHECKS,
    *cookies.CHECKS,
)
"""Every check, in the order in which they are shown."""

_PATHS = {
    "metadata": "/oauth-client-metadata.json",
    "login": "/oauth/login",
    "logout": "/oauth/logout",
    "session": "/oauth/session",
}
_COLOURS: Mapping[Verdict, Colour] = {
    "ok": "green",
    "hint": "yellow",
    "failed": "red",
    "skipped": "dim",
}
_EXAMPLES = """\
It changes nothing and logs nobody in. The exit code is 1 if a check has failed; hints
fail nothing unless --strict is given.

examples:
  %(prog)s https://app.example.com
  %(prog)s https://app.example.com/notes --identifier alice.example.com
  %(prog)s https://staging.internal --private staging.internal --ca ca.pem --json
"""


def build_parser(prog: str) -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Look at a deployed application as authorization servers and"
        " browsers do.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", help="its public_url, or its client id")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--strict", action="store_true", help="hints fail, too")
    parser.add_argument(
        "--all", action="store_true", help="also show what was skipped, and why"
    )
    parser.add_argument(
        "--identifier",
        metavar="HANDLE",
        help="begin a login for this account: its server looks at the metadata, too",
    )
    parser.add_argument(
        "--cookie-name",
        default="atproto",
        metavar="NAME",
        help="the option cookie_name of the application",
    )
    for name, path in _PATHS.items():
        parser.add_argument(
            f"--{name}-path", default=path, metavar="PATH", help="default: %(default)s"
        )
    add_reaching_arguments(parser)
    return parser


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Look, show, and return 1 if something is wrong."""
    network = build_network(options)
    target = _build_target(options)
    port = urlsplit(target.base_url).port
    if port is not None:
        # No client id has one. The checks say so, if we get to look.
        network = replace(network, allowed_ports=(*network.allowed_ports, port))
    _check_reachable(target, network)
    looking = partial(visit, clock=unix_now, waiting=terminal.waiting)
    return _show(anyio.run(looking, target, network), target, options, terminal)


def _show(
    seen: Seen, target: Target, options: argparse.Namespace, terminal: Terminal
) -> int:
    findings = {check.name: check.look(seen) for check in CHECKS}
    if options.json:
        _print_json(target, findings, terminal)
    else:
        _print_table(target, findings, terminal, with_skipped=options.all)
    failing = {"failed", "hint"} if options.strict else {"failed"}
    return int(any(each.verdict in failing for each in findings.values()))


def _build_target(options: argparse.Namespace) -> Target:
    base = options.url.removesuffix(options.metadata_path).removesuffix("/")
    try:
        parts = urlsplit(base)
        is_right = parts.scheme == "https" and parts.hostname and parts.port != 0
    except ValueError:
        is_right = False
    if not is_right or "?" in base or "#" in base:
        message = "URL: an https URL such as https://app.example.com is needed"
        raise ConfigurationError(message)
    return Target(
        base_url=base,
        metadata_path=options.metadata_path,
        login_path=options.login_path,
        logout_path=options.logout_path,
        session_path=options.session_path,
        identifier=options.identifier,
        cookie_word=options.cookie_name,
    )


def _check_reachable(target: Target, network: Network) -> None:
    """Refuse at once what could not be asked, with its reason.

    Raises:
        Blocked: the URL is not one that is asked for; ``--private`` may help.
    """
    check_url(target.base_url + target.metadata_path, network.url_policy, what="URL")


def _print_json(
    target: Target, findings: Mapping[str, Finding], terminal: Terminal
) -> None:
    checks = [{"name": name, **asdict(found)} for name, found in findings.items()]
    result = {"url": target.base_url, "counts": _count(findings), "checks": checks}
    terminal.line(json.dumps(result, indent=2))


def _print_table(
    target: Target,
    findings: Mapping[str, Finding],
    terminal: Terminal,
    *,
    with_skipped: bool,
) -> None:
    terminal.line(terminal.paint(clean(target.base_url), "bold"))
    width = max(map(len, findings))
    for name, found in findings.items():
        if found.verdict == "skipped" and not with_skipped:
            continue
        verdict = terminal.paint(f"{found.verdict:<8}", _COLOURS[found.verdict])
        terminal.line(f"  {verdict}{name:<{width}}  {clean(found.text)}")
        if found.remedy:
            terminal.line(f"  {'':<8}{'':<{width}}  -> {clean(found.remedy)}")
    counts = _count(findings)
    said = [f"{counts[verdict]} {verdict}" for verdict in _COLOURS]
    terminal.line(", ".join(said))


def _count(findings: Mapping[str, Finding]) -> dict[str, int]:
    counted = Counter(found.verdict for found in findings.values())
    return {verdict: counted[verdict] for verdict in _COLOURS}
