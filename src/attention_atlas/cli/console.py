"""Output on the terminal: rich renderables, JSON, progress bars, safe text."""

import json
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PLAIN_WIDTH = 100  # columns of pictures if the output is not a terminal

Progress = Callable[[int, int], None]
"""Called with the steps done, and all steps."""


def fixed_width() -> int | None:
    """Return the columns that a line may have; None if the output is read by a program."""
    if "COLUMNS" in os.environ:
        return int(os.environ["COLUMNS"]) if os.environ["COLUMNS"].isdigit() else None
    return os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else None


def make_console(width: int | None = None) -> "Console":
    """Return a console on stdout without markup, highlighting or emoji codes."""
    from rich.console import Console

    width = width or fixed_width() or PLAIN_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False)


def print_parts(console: "Console", *parts: "RenderableType") -> None:
    """Print renderables of rich one below the other."""
    for part in parts:
        console.print(part)


def print_prose(text: str) -> None:
    """Print sentences, wrapped between words to the width of the terminal."""
    width = fixed_width()
    if width is not None:
        text = textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
    print(text)


def print_json(value: Any) -> None:
    """Print valid JSON: NaN and infinity are null, arrays are lists."""
    from attention_atlas.atlas.schema import plain_json  # numpy takes a while

    is_unicode = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    values = plain_json(value, nan_as_null=True)
    print(json.dumps(values, indent=2, ensure_ascii=not is_unicode, allow_nan=False))


@contextmanager
def progress_bar(what: str) -> Iterator[Progress | None]:
    """Show a bar on stderr while the block works; None if stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield show


# All control characters except line breaks, tabs, and colours: `ESC[...m`.
_COMMANDS = re.compile(r"\x1b(?!\[[0-9;]*m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]")


class SafeOutput:
    """A stream that replaces each control character that a terminal would act on.

    A name in an untrusted atlas may contain such characters, which can set the title of a window,
    hide lines, or write to the clipboard. `rich.control.strip_control_codes` is not enough: it
    leaves ESC and the C1 control characters.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text."""
        self._stream.write(_COMMANDS.sub("\N{REPLACEMENT CHARACTER}", text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of the stream."""
        return getattr(self._stream, name)
