"""``keygen``: a client key and a secret, into files that nobody else can read."""

from __future__ import annotations

import argparse
import json
import secrets
from pathlib import Path

from atproto_oauth_asgi.cli.private_file import write_private_file
from atproto_oauth_asgi.cli.terminal import Terminal
from atproto_oauth_asgi.client_keys import ClientKey
from atproto_oauth_asgi.crypto.keys import (
    generate_private_key,
    private_jwk,
    public_jwk,
    thumbprint,
)
from atproto_oauth_asgi.exceptions import ConfigurationError

_KEY, _SECRET, _STDOUT = Path("client-key.json"), Path("secret-key.txt"), Path("-")
_SECRET_BYTES = 32
_SIGNING = {"alg": "ES256", "use": "sig"}
_BESIDE = """\
What is in use already stays beside it at first, or people have to log in again:
docs/how-to/rotate-keys.md"""
_EXAMPLES = """\
Without options both are made: client-key.json and secret-key.txt. Files are made for
you alone (mode 600), and none is ever overwritten.

examples:
  %(prog)s
  %(prog)s --key client-key-2027.json
  %(prog)s --public client-key.json
"""


def build_parser(prog: str) -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Make a client key (P-256, as a JWK) and a secret.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, what in (("key", "a new client key"), ("secret", "a new secret")):
        parser.add_argument(
            f"--{name}", type=Path, metavar="FILE", help=f"write {what} here; - prints"
        )
    parser.add_argument(
        "--public",
        type=Path,
        metavar="FILE",
        help="print the public half of a key, as it stands in the JWKS",
    )
    return parser


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Make what is asked for."""
    if options.public is not None:
        _print_public(options.public, terminal)
        if options.key is None and options.secret is None:
            return 0
    key, secret = options.key, options.secret
    if key is None and secret is None:
        key, secret = _KEY, _SECRET
    for path in (key, secret):
        # Both or none: half of it would be in the way of the second attempt.
        if path is not None and path != _STDOUT and path.exists():
            message = f"{path}: it exists, and is not overwritten; choose another name"
            raise ConfigurationError(message)
    if key is not None:
        _make_key(key, terminal)
    if secret is not None:
        _give(secret, secrets.token_urlsafe(_SECRET_BYTES), "a secret", terminal)
    _explain(key, secret, terminal)
    return 0


def _make_key(path: Path, terminal: Terminal) -> None:
    key = generate_private_key()
    kid = thumbprint(key)
    text = json.dumps({**private_jwk(key, kid), **_SIGNING})
    _give(path, text, f"a client key, kid {kid}", terminal)


def _give(path: Path, text: str, what: str, terminal: Terminal) -> None:
    if path != _STDOUT:
        write_private_file(path, f"{text}\n")
        terminal.note(f"{path}: {what}; readable for you alone")
        return
    where = "the terminal may keep" if terminal.is_watched else "a pipe hands on"
    terminal.warning(f"{where} what is printed here: {what}")
    terminal.line(text)


def _print_public(path: Path, terminal: Terminal) -> None:
    key = ClientKey(path.read_text(encoding="utf-8"))
    entry = {**public_jwk(key.private_key), "kid": key.kid, **_SIGNING}
    terminal.line(json.dumps(entry))


def _explain(key: Path | None, secret: Path | None, terminal: Terminal) -> None:
    """Say what to put into the application. It is no result, so it goes beside it."""
    lines = []
    if secret is not None:
        lines.append(f"secret_key={_read(secret)}.strip(),")
    if key is not None:
        lines.append(f"client_keys=[ClientKey({_read(key)})],")
        lines.append('public_url="https://app.example.com",')
    terminal.note("\nConfigure what you have made:\n")
    terminal.note("    app.add_middleware(\n        ATProtoOAuthMiddleware,")
    for line in lines:
        terminal.note(f"        {line}")
    terminal.note("    )\n\nKeep it out of version control, and keep a copy.")
    terminal.note(_BESIDE)


def _read(path: Path) -> str:
    if path == _STDOUT:
        return 'os.environ["..."]'
    return f'Path("{path}").read_text()'
