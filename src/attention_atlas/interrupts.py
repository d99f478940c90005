"""How ctrl-C, SIGTERM and a closed terminal end a command: one line, and exit code 128 + signal.

Until a command may write, a signal ends it at once. From then on it raises `Interrupted`, so that
unfinished files are removed. This module is the first that a command imports, and imports little:
until then, Python answers ctrl-C by a traceback.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import contextmanager, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import FrameType

    Handler = Callable[[int, FrameType | None], None]

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


class Interrupted(BaseException):
    """A command was ended by a signal.

    Args:
        number: Number of the signal.
        checkpoint: The one that was saved before; None if there was nothing to save.

    Attributes:
        hint: What else to tell the user; None for nothing.
    """

    def __init__(self, number: int, checkpoint: Path | None = None) -> None:
        super().__init__(number, checkpoint)
        self.exit_code = 128 + number
        self.checkpoint = checkpoint
        self.hint: str | None = None
        if checkpoint is None:
            self.message = _message(number)
        else:
            self.message = f"ended by {signal.Signals(number).name} after {checkpoint} was saved"


def interrupt_behind(error: BaseException | None) -> Interrupted | None:
    """Return the interrupt that made a library fail while it cleaned up; None without one."""
    while error is not None and not isinstance(error, Interrupted):
        error = error.__cause__ or error.__context__
    return error


def _message(number: int) -> str:
    if number == signal.SIGINT:
        return "interrupted"
    return f"ended by {signal.Signals(number).name}"


def exit_on_signals() -> None:
    """Let signals end the process at once, before it writes anything."""
    install(_exit)


@contextmanager
def raising_signals() -> Iterator[None]:
    """Let signals raise `Interrupted` within the context, and end the process at once after it.

    Once interrupted, the process ends by itself: further ones would only garble its exit code.
    """
    handler = _Raise()
    install(handler)
    try:
        yield
    finally:
        install(_exit)
        if handler.raised_at is not None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def install(handler: Handler, names: Sequence[str] = SIGNALS) -> None:
    """Let this process handle signals, except those that it was started to ignore, as by nohup.

    Processes that it forks end by these signals, but for ctrl-C, which their parent receives too.
    """
    process = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process:
            handler(number, frame)
        elif number != signal.SIGINT:
            os._exit(128 + number)

    for name in names:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            with suppress(ValueError):  # Python allows handlers in the main thread only
                signal.signal(number, handle)


def discard_terminal() -> None:
    """Print to nowhere what would go to a terminal that was closed."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            if os.isatty(stream.fileno()):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _exit(number: int, _: FrameType | None) -> None:
    with suppress(OSError):
        os.write(2, f"{_message(number)}\n".encode())
    os._exit(128 + number)


class _Raise:
    """Raises `Interrupted` once; a signal more than a second later ends the process at once."""

    def __init__(self) -> None:
        self._waits = False
        self.raised_at: float | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            discard_terminal()
        if self.raised_at is not None:
            if time.monotonic() - self.raised_at > 1:
                _exit(number, frame)
        elif not _is_importing(frame):
            self.raised_at = time.monotonic()
            raise Interrupted(number)
        elif not self._waits:  # compiled modules may swallow the exception
            from threading import Timer

            self._waits = True
            timer = Timer(0.05, self._again, [number])
            timer.daemon = True
            timer.start()

    def _again(self, number: int) -> None:
        self._waits = False
        os.kill(os.getpid(), number)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
