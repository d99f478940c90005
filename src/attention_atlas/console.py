"""Output on the terminal, of all commands: rich renderables, JSON, progress bars, safe text."""

import errno
import json
import os
import re
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, cast

from attention_atlas.output_files import FULL

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PLAIN_WIDTH = 100  # columns of pictures if the output is not a terminal
MAX_WIDTH = 10_000  # rich pads lines to the width
SECONDS_WITHOUT_BAR = 1.0

Progress = Callable[[int, int], None]
"""Called with the steps done, and all steps."""


def fixed_width() -> int | None:
    """Return the columns that a line may have; None if the output is read by a program."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return min(int(columns), MAX_WIDTH)
    if "COLUMNS" in os.environ or not sys.stdout.isatty():
        return None
    return os.get_terminal_size(sys.stdout.fileno()).columns or None


def make_console(width: int | None = None, soft_wrap: bool = False) -> "Console":
    """Return a console on stdout without markup, highlighting or emoji codes.

    Args:
        width: Columns of a line; None: those of the terminal.
        soft_wrap: Whether lines may be longer, and the terminal wraps them.
    """
    from rich.console import Console

    return Console(
        file=cast("TextIO", SafeOutput(sys.stdout)),
        width=width or fixed_width() or PLAIN_WIDTH,
        soft_wrap=soft_wrap,
        highlight=False,
        markup=False,
        emoji=False,
    )


def one_line(text: str) -> str:
    """Return a text without line breaks, so that no name in it looks like a line of its own."""
    return re.sub(r"[\r\n]+", " ", text)


def print_error(message: str) -> None:
    """Print an error on stderr as one line, whatever names are in it."""
    print_line(f"error: {message}", on_stderr=True)


def print_line(text: str, on_stderr: bool = False) -> None:
    """Print a line on stdout, or on stderr, whatever names are in it."""
    print(one_line(text), file=SafeOutput(sys.stderr if on_stderr else sys.stdout))


def print_parts(console: "Console", *parts: "RenderableType") -> None:
    """Print renderables of rich one below the other."""
    for part in parts:
        console.print(part)


def print_prose(text: str) -> None:
    """Print sentences, wrapped between words to the width of the terminal."""
    text, width = one_line(text), fixed_width()
    if width is not None:
        text = textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
    print(text)


def print_json(value: Any) -> None:
    """Print valid JSON: NaN and infinity are null, arrays are lists."""
    from attention_atlas.atlas.schema import plain_json  # numpy takes a while

    is_unicode = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    values = plain_json(value, nan_as_null=True)
    print(json.dumps(values, indent=2, ensure_ascii=not is_unicode, allow_nan=False))


def discard_output() -> None:
    """Print to nowhere from now on, as when the reader of a pipe has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def checked_output() -> Iterator[None]:
    """Print where nobody reads, if stdout or stderr is closed; exit if the output is full."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - for the whole process
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.errno not in FULL or error.filename:
            raise
        discard_output()
        print_error(f"The output cannot be written: {error.strerror}.")
        sys.exit(1)


@contextmanager
def progress_bar(what: str) -> Iterator[Progress | None]:
    """Show a bar on stderr once the block has worked for a second; None if it is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bar = Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
    task = bar.add_task(what, total=None)
    started = time.monotonic()

    def show(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)
        if time.monotonic() - started > SECONDS_WITHOUT_BAR:
            bar.start()

    try:
        yield show
    finally:
        if bar.live.is_started:
            bar.stop()


# Colours and weights of text, by which nothing is hidden: not 8, conceal.
_SHADE = r"[34]8;(?:5;\d{1,3}|2(?:;\d{1,3}){3})"
_STYLE = rf"(?:{_SHADE}|[0-4]|7|9|2[1-79]|[34][0-79]|9[0-7]|10[0-7])"
# All control characters except line breaks, tabs and styles, those that turn the direction of text
# among them.
_COMMANDS = re.compile(
    rf"\x1b(?!\[(?:{_STYLE}(?:;{_STYLE})*)?m)"
    r"|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class TerminalOutput:
    """A stream to a terminal that may be closed: what is written from then on is lost.

    A training that is told so by SIGHUP saves a checkpoint, unless drawing its progress fails.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text."""
        with _unless_closed():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        with _unless_closed():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of the stream."""
        return getattr(self._stream, name)


@contextmanager
def _unless_closed() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise


class SafeOutput(TerminalOutput):
    """A stream that replaces each control character that a terminal would act on.

    A name in an untrusted atlas may contain such characters, which can set the title of a window,
    hide lines, or write to the clipboard. `rich.control.strip_control_codes` is not enough: it
    leaves ESC and the C1 control characters.
    """

    def write(self, text: str) -> int:
        """Write a text."""
        super().write(_COMMANDS.sub("\N{REPLACEMENT CHARACTER}", text))
        return len(text)
