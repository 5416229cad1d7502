"""What the documentation says of the command line is so."""

from __future__ import annotations

import re
import shlex
from argparse import ArgumentParser
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import anyio
import pytest

from atproto_oauth_asgi.cli.doctor.command import CHECKS
from atproto_oauth_asgi.cli.main import COMMANDS, main
from atproto_oauth_asgi.stores import SQLiteStore
from tests.cli.deployment import HOST, METADATA, SECRET, URL, Deployment

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = (DOCS / "reference/command-line.md").read_text(encoding="utf-8")
PAGES = ["reference/command-line", "how-to/check-a-deployment", "how-to/rotate-keys"]
CALL = re.compile(r"^atproto-oauth-asgi (.+)$", re.MULTILINE)


def sections() -> dict[str, str]:
    parts = re.split(r"^## (.+)$", REFERENCE, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def parser_of(name: str) -> ArgumentParser:
    module = import_module(f"atproto_oauth_asgi.cli.{COMMANDS[name][0]}")
    parser: ArgumentParser = module.build_parser(name)
    return parser


def options_of(name: str) -> set[str]:
    return set(long_options(parser_of(name)))


def long_options(parser: ArgumentParser) -> Iterator[str]:
    for each in parser._actions:
        yield from (text for text in each.option_strings if text[1] == "-")
        if isinstance(each.choices, dict):
            for inner in each.choices.values():
                yield from long_options(inner)


@pytest.mark.parametrize("name", COMMANDS)
def test_options_when_compared_then_reference_lists_each(name: str) -> None:
    """No option is missing from the reference, and it lists no other."""
    text = sections()[name]
    if "reaching-hosts" in text:
        text += sections()["Reaching hosts"]
    listed = set(re.findall(r"^\| `(--[a-z-]+)", text, re.MULTILINE))
    assert listed == options_of(name) - {"--help"}


def test_commands_when_compared_then_reference_lists_each() -> None:
    """Every command has its line and its section."""
    listed = re.findall(r"^\| \[`(\w+)`\]\(#\w+\) \|", REFERENCE, re.MULTILINE)
    assert listed == list(COMMANDS)


def test_checks_when_compared_then_reference_lists_each_in_order() -> None:
    """Every check stands in the reference, in the order in which it is shown."""
    listed = re.findall(r"^\| `([a-z][a-z-]+)` \|", sections()["doctor"], re.MULTILINE)
    assert listed == [check.name for check in CHECKS]


def test_changelog_when_it_counts_checks_then_is_right() -> None:
    """The number of checks is that of the checks."""
    text = (DOCS.parent / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"by {len(CHECKS)} checks" in " ".join(text.split())


def calls(page: str) -> list[str]:
    return CALL.findall((DOCS / f"{page}.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_when_run_in_turn_then_work(
    page: str,
    deployment: Deployment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever follows a page gets no error, against an application that is deployed."""
    monkeypatch.chdir(tmp_path)
    deployment.serve()
    server = deployment.network.internet.name_server
    (tmp_path / "ca.pem").write_bytes(deployment.authority.read_bytes())
    anyio.run(SQLiteStore(tmp_path / "sessions.db").load, "session", "k")
    monkeypatch.setenv("ATPROTO_STORE", "sqlite:sessions.db")
    monkeypatch.setenv("SECRET_KEY", SECRET.decode())
    monkeypatch.setenv("ATPROTO_CLIENT_ID", f"{URL}{METADATA}")
    directory = ["--plc-url=https://plc.test", f"--dns-server={server}"]
    for call in calls(page):
        name, *arguments = shlex.split(call.partition(" > ")[0])
        if name in {"doctor", "resolve"}:
            arguments = [here(each) for each in arguments] + deployment.reaching
        if name == "resolve":
            arguments += [*directory, "--private=.test", "--test-handles"]
        if name == "demo":
            # Runs until it is stopped; it has tests of its own.
            parser_of(name).parse_args(arguments)
        elif name != "--help":
            assert main([name, *arguments]) == 0, call


def here(argument: str) -> str:
    """The same, in the network of the test."""
    for host in ("app.example.com", "staging.internal"):
        argument = argument.replace(f"https://{host}", URL).replace(host, HOST)
    return argument.replace("alice.example.com", "alice.test")


def test_last_line_in_the_guide_when_counted_then_is_one_that_can_be_seen() -> None:
    """The line that the guide shows counts all checks, and none that has failed."""
    text = (DOCS / "how-to/check-a-deployment.md").read_text(encoding="utf-8")
    shown = re.findall(
        r"^(\d+) ok, (\d+) hint, 0 failed, (\d+) skipped$", text, re.MULTILINE
    )
    assert [sum(map(int, counts)) for counts in shown] == [len(CHECKS)]
