"""What a command says: coloured for people, plain in pipes, never another's codes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Literal, TextIO

Colour = Literal["bold", "dim", "green", "yellow", "red"]

_CODES: Mapping[Colour, str] = {
    "bold": "1",
    "dim": "2",
    "green": "32",
    "yellow": "33",
    "red": "31",
}
_FORCED_OFF = ("", "0", "false")


class Terminal:
    """Where a command writes: results to ``out``, everything else to ``err``.

    ``NO_COLOR`` and ``FORCE_COLOR`` of the environment are kept to; without them there
    are colours where a person looks.
    """

    def __init__(
        self, out: TextIO, err: TextIO, *, environment: Mapping[str, str]
    ) -> None:
        self._out = out
        self._err = err
        self._environment = environment
        for stream in (out, err):
            # A name of somebody's server must not stop us for want of a letter.
            if isinstance(stream, TextIOWrapper):
                with suppress(ValueError):
                    stream.reconfigure(errors="backslashreplace")

    @property
    def is_watched(self) -> bool:
        """Whether a person sees the results as they come."""
        return self._out.isatty()

    def line(self, text: str = "") -> None:
        """Write a line of the result."""
        self._out.write(f"{text}\n")
        self._out.flush()

    def note(self, text: str) -> None:
        """Write a line beside the result."""
        self._err.write(f"{text}\n")
        self._err.flush()

    def error(self, text: str) -> None:
        """Write what went wrong."""
        self.note(f"{self._paint('error:', 'red', self._err)} {clean(text)}")

    def warning(self, text: str) -> None:
        """Write what to look out for."""
        self.note(f"{self._paint('warning:', 'yellow', self._err)} {clean(text)}")

    def paint(self, text: str, colour: Colour) -> str:
        """Return text for ``line``, coloured if colours are wanted there."""
        return self._paint(text, colour, self._out)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Show what is waited for, to a person, as long as it takes."""
        if not self._err.isatty():
            yield
            return
        self._err.write(f"\r\x1b[K{clean(text)} ...")
        self._err.flush()
        try:
            yield
        finally:
            self._err.write("\r\x1b[K")
            self._err.flush()

    def _paint(self, text: str, colour: Colour, stream: TextIO) -> str:
        if not self._wants_colours(stream):
            return text
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m"

    def _wants_colours(self, stream: TextIO) -> bool:
        if self._environment.get("NO_COLOR"):
            return False
        forced = self._environment.get("FORCE_COLOR")
        if forced is not None:
            return forced not in _FORCED_OFF
        return stream.isatty() and self._environment.get("TERM") != "dumb"


def clean(text: str) -> str:
    """Return text from elsewhere so that it cannot steer a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines whose columns stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
