"""The command line as a whole: help, colours, errors, the way out."""

from __future__ import annotations

import io
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import pytest
from typing_extensions import override

from atproto_oauth_asgi import ConfigurationError, HandleNotFound
from atproto_oauth_asgi.cli import keygen
from atproto_oauth_asgi.cli.main import COMMANDS, main
from atproto_oauth_asgi.cli.terminal import Terminal, clean, columns

Output = pytest.CaptureFixture[str]

MODULE = [sys.executable, "-m", "atproto_oauth_asgi"]
SCRIPT = [str(Path(sys.executable).with_name("atproto-oauth-asgi"))]


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    @override
    def isatty(self) -> bool:
        return True


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("command", [MODULE, SCRIPT], ids=["module", "script"])
def test_command_when_asked_for_its_version_then_tells_it(command: list[str]) -> None:
    """Both ways to call it work, and say which release it is."""
    done = run(*command, "--version")
    assert done.stdout.startswith("atproto-oauth-asgi ")
    assert (done.returncode, done.stderr) == (0, "")


def test_help_when_shown_then_names_every_command(capsys: Output) -> None:
    """Who asks for help sees what there is, with examples."""
    with pytest.raises(SystemExit) as ending:
        main(["--help"])
    printed = capsys.readouterr().out
    assert ending.value.code == 0
    assert "examples:" in printed
    assert [name for name in COMMANDS if f"  {name} " not in printed] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_when_shown_then_has_examples(
    name: str, capsys: Output
) -> None:
    """Every command shows how it is called."""
    with pytest.raises(SystemExit) as ending:
        main([name, "--help"])
    printed = capsys.readouterr().out
    assert ending.value.code == 0
    assert f"usage: atproto-oauth-asgi {name}" in printed
    assert f"  atproto-oauth-asgi {name}" in printed.partition("examples:")[2]


def test_command_when_there_is_none_then_shows_help(capsys: Output) -> None:
    """Without a word it says what it can do, and that nothing was done."""
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().out


def test_command_when_unknown_then_names_the_known_ones(capsys: Output) -> None:
    """A mistyped command is no traceback."""
    with pytest.raises(SystemExit) as ending:
        main(["doktor"])
    assert ending.value.code == 2
    assert "doctor" in capsys.readouterr().err


def test_command_when_it_shows_help_then_imports_next_to_nothing() -> None:
    """Help is there at once: no command, no HTTP client, no cryptography."""
    program = (
        "import sys\nfrom atproto_oauth_asgi.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'httpx', 'cryptography', 'anyio', 'starlette', 'asyncio', 'ssl'}\n"
        "sys.exit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = run(sys.executable, "-c", program)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (ConfigurationError(["one", "two"]), 2, "error: two [configuration]"),
        (HandleNotFound("nobody"), 1, "error: nobody [handle_not_found]"),
        (OSError(2, "No such file", "key.json"), 2, "error: key.json: No such file"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_error_when_raised_then_is_a_line_with_its_code(
    error: BaseException,
    code: int,
    told: str,
    capsys: Output,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Failures are told in a line, with the code that the documentation lists."""

    def fail(*_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(keygen, "run", fail)
    assert main(["keygen"]) == code
    assert told in capsys.readouterr().err.splitlines()


def test_reader_when_gone_then_the_command_ends_quietly() -> None:
    """``| head`` is no error that anybody has to read."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*MODULE, "keygen", "--secret", "-"],
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    os.close(writer)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"BrokenPipe" not in done.stderr


@pytest.fixture
def silent_host() -> Iterator[socket.socket]:
    """A host that listens and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(60)
        yield listener


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Children hear of Ctrl-C: shells have what runs in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_command_when_interrupted_then_ends_cleanly(silent_host: socket.socket) -> None:
    """Ctrl-C while it waits ends it at once, without a traceback."""
    port = silent_host.getsockname()[1]
    process = subprocess.Popen(
        [
            *(*MODULE, "doctor", "https://notes.internal", "--private=notes.internal"),
            f"--connect=127.0.0.1:{port}",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with silent_host.accept()[0]:
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (130, "", "interrupted\n")


@pytest.mark.parametrize(
    ("environment", "is_watched", "is_coloured"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "0"}, True, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_colours_when_wanted_then_are_there(
    environment: dict[str, str], *, is_watched: bool, is_coloured: bool
) -> None:
    """Colours are for people; the two usual variables decide otherwise."""
    out = Screen() if is_watched else io.StringIO()
    terminal = Terminal(out, out, environment=environment)
    terminal.line(terminal.paint("good", "green"))
    terminal.error("bad")
    assert ("\x1b[32m" in out.getvalue()) is is_coloured
    assert ("\x1b[31m" in out.getvalue()) is is_coloured


def test_waiting_when_watched_then_is_shown_and_wiped() -> None:
    """A person sees what is waited for; nothing of it stays."""
    screen, pipe = Screen(), io.StringIO()
    for stream in (screen, pipe):
        with Terminal(stream, stream, environment={}).waiting("the host"):
            pass
    assert "the host ..." in screen.getvalue()
    assert screen.getvalue().endswith("\r\x1b[K")
    assert pipe.getvalue() == ""


def test_foreign_text_when_cleaned_then_steers_nothing() -> None:
    """Codes of terminals, line ends and turned writing are written out."""
    assert clean("a\x1b[2J\nb\u202ec") == "a\\x1b[2J\\nb\\u202ec"
    assert clean("café") == "café"


def test_columns_when_made_then_stand_below_each_other() -> None:
    """A table is lined up, without blanks at the ends of lines."""
    assert columns([("a", "bb"), ("ccc", "d")]) == ["a    bb", "ccc  d"]


def test_terminal_when_it_cannot_write_a_letter_then_writes_its_number(
    tmp_path: Path,
) -> None:
    """A plain console is no reason to stop."""
    with (tmp_path / "out").open("w", encoding="ascii") as file:
        Terminal(file, file, environment={}).line("caf\u00e9")
    assert (tmp_path / "out").read_text() == "caf\\xe9\n"


def test_command_when_at_a_terminal_then_is_coloured() -> None:
    """On a real terminal an error is red."""
    leader, follower = pty.openpty()
    subprocess.run([*MODULE, "doctor", "no"], stderr=follower, check=False, timeout=60)
    os.close(follower)
    said = os.read(leader, 1000)
    os.close(leader)
    assert b"\x1b[31merror:" in said
