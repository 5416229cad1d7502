"""The entry: which command it is, and what every command has in common.

A command is a module with ``build_parser`` and ``run``. It is imported when it is asked
for, so that ``--help`` costs next to nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from typing_extensions import override

from atproto_oauth_asgi.cli.terminal import Terminal
from atproto_oauth_asgi.exceptions import ConfigurationError, OAuthError

PROG = "atproto-oauth-asgi"

COMMANDS = {
    "keygen": ("keygen", "make a client key and a secret"),
    "doctor": ("doctor.command", "look at a deployed application"),
    "resolve": ("resolve", "follow an account to its authorization server"),
    "sessions": ("sessions", "count, list and end the sessions in a store"),
    "demo": ("demo", "run an application, and a network to log in with"),
}
"""Name to module and purpose."""

_FAILED, _MISUSED, _INTERRUPTED = 1, 2, 130
_EXAMPLES = f"""\
examples:
  {PROG} keygen
  {PROG} doctor https://app.example.com
  {PROG} resolve alice.example.com

`{PROG} COMMAND --help` tells more.
`python -m atproto_oauth_asgi` is the same command.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 0 good, 1 not good, 2 misused."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    terminal = Terminal(sys.stdout, sys.stderr, environment=os.environ)
    try:
        return _run(given, terminal)
    except KeyboardInterrupt:
        terminal.note("interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever reads has seen enough. Nothing may be flushed to it at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except OAuthError as error:
        return _tell(error, terminal)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        terminal.error(f"{where}{error.strerror or error}")
        return _MISUSED


def _run(given: list[str], terminal: Terminal) -> int:
    parser = _build_parser()
    if not given or given[0] not in COMMANDS:
        # It ends here: a command is missing or unknown, or help was asked for.
        parser.parse_args(given)
        parser.print_help()
        return _MISUSED
    name, *rest = given
    command = _load(name)
    own: argparse.ArgumentParser = command.build_parser(f"{PROG} {name}")
    code: int = command.run(own.parse_args(rest), terminal)
    return code


def _build_parser() -> argparse.ArgumentParser:
    lines = (f"  {name:<10}{purpose}" for name, (_, purpose) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="Log in with your AT Protocol account: what helps to run it.",
        epilog="commands:\n" + "\n".join(lines) + f"\n\n{_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0)
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", nargs="?")
    return parser


class _ShowVersion(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, nargs: int) -> None:
        super().__init__(option_strings, dest, nargs, help="show the version")

    @override
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version  # noqa: PLC0415 - slow, and rarely asked

        sys.stdout.write(f"{PROG} {version('atproto-oauth-asgi')}\n")
        parser.exit()


def _load(name: str) -> ModuleType:
    return import_module(f"atproto_oauth_asgi.cli.{COMMANDS[name][0]}")


def _tell(error: OAuthError, terminal: Terminal) -> int:
    if not isinstance(error, ConfigurationError):
        terminal.error(f"{error} [{error.code}]")
        return _FAILED
    for problem in error.problems:
        terminal.error(f"{problem} [{error.code}]")
    return _MISUSED
