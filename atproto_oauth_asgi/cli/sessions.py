"""``sessions``: what lies in a store: counted, listed, ended."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial

import anyio

from atproto_oauth_asgi.cli.store_arguments import (
    Desk,
    add_store_arguments,
    open_desk,
)
from atproto_oauth_asgi.cli.terminal import Terminal, clean, columns
from atproto_oauth_asgi.exceptions import LoggedOut, SessionError
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.protocol.identifiers import parse_did
from atproto_oauth_asgi.sessions.records import KIND

_AT_ONCE = 200
_NO_KEY = "none"
_EXAMPLES = """\
Records are sealed, so the secret and the client id of the application are needed. The
secret is in a file or in the environment, never among the arguments. Sessions that lie
in cookies are not in a store: they are not counted and not listed, but 'end' ends them,
too.

examples:
  %(prog)s count --store sqlite:/var/lib/notes/sessions.db --secret-file secret-key.txt \\
      --client-id https://app.example.com/oauth-client-metadata.json
  %(prog)s list did:plc:ewvi7nxzyoun6zhxrhs64oiz
  %(prog)s end did:plc:ewvi7nxzyoun6zhxrhs64oiz
"""


def build_parser(prog: str) -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Count the sessions in a store by client key; list or end those of"
        " an account.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, purpose in (
        ("count", "how many there are of each client key"),
        ("list", "those of an account"),
        ("end", "log an account out everywhere"),
    ):
        action = actions.add_parser(name, help=purpose, description=purpose)
        if name != "count":
            action.add_argument("did", help="the account")
        action.add_argument("--json", action="store_true", help="print JSON")
        add_store_arguments(action)
    return parser


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Do what is asked for; return 0."""
    did = None if options.action == "count" else parse_did(options.did)
    desk = open_desk(options)
    actions: dict[str, Callable[[], Awaitable[None]]] = {
        "count": partial(_count, desk, options, terminal),
        "list": partial(_list, desk, options, terminal, str(did)),
        "end": partial(_end, desk, options, terminal, str(did)),
    }
    anyio.run(_closing, desk, actions[options.action])
    return 0


async def _closing(desk: Desk, action: Callable[[], Awaitable[None]]) -> None:
    async with aclosing(desk.store):
        await action()


async def _count(desk: Desk, options: argparse.Namespace, terminal: Terminal) -> None:
    counted: Counter[str] = Counter()
    ended = unreadable = 0
    with terminal.waiting("reading the store"):
        keys = await desk.store.owned_keys(KIND)
        for start in range(0, len(keys), _AT_ONCE):
            found, problems = await desk.sessions.load_all(keys[start:][:_AT_ONCE])
            counted.update(session.kid or _NO_KEY for session in found)
            over = sum(isinstance(each, SessionError) for each in problems)
            ended, unreadable = ended + over, unreadable + len(problems) - over
    if options.json:
        result = {"by_kid": counted, "ended": ended, "unreadable": unreadable}
        terminal.line(json.dumps(result, indent=2))
        return
    rows = [(str(count), f"client key {clean(kid)}") for kid, count in counted.items()]
    others = (ended, "ended"), (unreadable, "of another secret or client")
    rows += [(str(count), what) for count, what in others if count]
    for line in columns(rows or [("0", "sessions")]):
        terminal.line(line)


async def _list(
    desk: Desk, options: argparse.Namespace, terminal: Terminal, did: str
) -> None:
    sessions = await desk.sessions.all_of(did)
    if options.json:
        terminal.line(json.dumps(list(map(_describe, sessions)), indent=2))
        return
    rows = [tuple(_describe(session).values()) for session in sessions]
    heads = ("session", "handle", "client key", "created", "server", "scope")
    for line in columns([heads, *rows]):
        terminal.line(clean(line))


def _describe(session: OAuthSession) -> dict[str, str]:
    return {
        "session_id": session.session_id or "-",
        "handle": session.handle or "-",
        "kid": session.kid or _NO_KEY,
        "created_at": f"{session.created_at:%Y-%m-%dT%H:%M:%SZ}",
        "issuer": session.authserver_iss,
        "scope": session.scope,
    }


async def _end(
    desk: Desk, options: argparse.Namespace, terminal: Terminal, did: str
) -> None:
    """Log out whatever the account has, as "log out everywhere" does."""
    # First what makes cookies worthless: a session must not move on meanwhile.
    await desk.tombstones.bury_account(did)
    keys = await desk.sessions.keys_of(did)
    _, problems = await desk.sessions.load_all(keys)
    for key in keys:
        await desk.sessions.end_at(key, did=did, code=LoggedOut.code)
    count = len(keys) - sum(isinstance(each, SessionError) for each in problems)
    if options.json:
        terminal.line(json.dumps({"did": did, "ended": count}))
        return
    terminal.line(f"{count} ended; cookies of this account do not count any more")
    terminal.note("Their tokens are gone from here. No server was told to revoke them.")
