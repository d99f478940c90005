"""Keep what an atlas says from taking over the terminal."""

import re
from typing import Any, TextIO

# All signs that a terminal takes for commands, but line breaks, tabs, and colours: `ESC[...m`.
_COMMANDS = re.compile(r"\x1b(?!\[[0-9;]*m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]")


class Shown:
    """A stream that shows a mark for each sign that would command the terminal.

    A name in someone else's atlas may hold such signs, which can set the title of a window, hide
    lines, or write to the clipboard.

    Args:
        stream: Where the text goes.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text."""
        self._stream.write(_COMMANDS.sub("\N{REPLACEMENT CHARACTER}", text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        """Give whatever else the stream has."""
        return getattr(self._stream, name)
