"""How a command ends: exit codes, and one-line errors. Never imports torch."""

import atexit
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from hydra.errors import InstantiationException

from attention_atlas.console import discard_output, print_error
from attention_atlas.errors import INPUT_ERROR_EXIT_CODE, InputError
from attention_atlas.interrupts import Interrupted, interrupt_behind
from attention_atlas.output_files import full_disk
from attention_atlas.run_folder import RESUME_HINT

FAILED_JOBS_EXIT_CODE = 1
INTERRUPTED_EXIT_CODE = 130  # as shells have it: 128 + SIGINT

SWEEP_RESUME_HINT = "the same command resumes the sweep"


@contextmanager
def exits(is_sweep: bool = False) -> Iterator[None]:
    """Exit with a message and a code when the commands in the context are interrupted or fail.

    Args:
        is_sweep: Whether the same command resumes all of it.
    """
    try:
        yield
    except BrokenPipeError:  # as in: atlas train --help | head
        discard_output()
        sys.exit()
    except Interrupted as end:
        _exit_interrupted(end, is_sweep)
    except KeyboardInterrupt as interrupt:
        hint = next(iter(interrupt.args), None)
        _print_end("interrupted", SWEEP_RESUME_HINT if is_sweep else hint)
        sys.exit(INTERRUPTED_EXIT_CODE)
    except Exception as error:
        if (end_behind := interrupt_behind(error)) is not None:
            _exit_interrupted(end_behind, is_sweep)
        exit_with(error)


def _exit_interrupted(end: Interrupted, is_sweep: bool) -> NoReturn:
    hint = end.hint or (RESUME_HINT if end.checkpoint is not None else None)
    _print_end(end.message, SWEEP_RESUME_HINT if is_sweep else hint)
    sys.exit(end.exit_code)


def _print_end(message: str, hint: str | None) -> None:
    with suppress(OSError):  # the terminal was closed
        print(message if hint is None else f"{message}; {hint}", file=sys.stderr)


@contextmanager
def exits_at_once() -> Iterator[None]:
    """Exit after the commands in the context by `exit_at_once`, with their exit code."""
    code: object = 0
    try:
        yield
    except SystemExit as end:
        code = 0 if end.code is None else end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()  # such as those of loggers
    exit_at_once(code if isinstance(code, int) else 1)


def exit_at_once(code: int) -> NoReturn:
    """Exit without finalizing the interpreter and without waiting for other ranks.

    Threads of gloo outlive their process group, and one that takes the interpreter lock while the
    interpreter is finalized aborts the process: SIGABRT after all work was done.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed by its reader
            stream.flush()
    os._exit(code)


def exit_with(error: Exception) -> NoReturn:
    """Exit with the message of an error that the user can correct; raise any other."""
    message = user_message(error)
    if message is None or os.environ.get("HYDRA_FULL_ERROR") == "1":
        raise error
    print_error(message)
    sys.exit(INPUT_ERROR_EXIT_CODE)


NOT_VALIDATED = "Early stopping conditioned on metric"  # how Lightning's error begins

OUT_OF_MEMORY = (
    "The device ran out of memory: lower data.batch_size (trainer.accumulate_grad_batches raised "
    "by the same factor trains alike), data.eval_batch_size if it was while testing, the length "
    "of the inputs, or encoder.embed_dim and encoder.depth."
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a device, or the machine, had no memory left."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's, not imported here
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def user_message(error: BaseException) -> str | None:
    """Return the one-line message of an error that the user can correct; None of any other."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, InstantiationException) and (cause := error.__cause__) is not None:
        message = user_message(cause)
        if message is None and isinstance(cause, TypeError | ValueError):
            return f"The config does not fit: {' '.join(str(cause).split())}"
        return message
    if (full := full_disk(error)) is not None:  # such as one that Hydra or Lightning met
        what = full.filename or "The output, or a file of the run,"
        return f"{what} cannot be written: {full.strerror}."
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    if isinstance(error, RuntimeError) and str(error).startswith(NOT_VALIDATED):
        return (
            "Training ended before its first validation, so there is no best checkpoint. Give it "
            "more steps (+trainer.max_steps), or validate earlier (+trainer.val_check_interval)."
        )
    is_missing = isinstance(error, ModuleNotFoundError) and "pip install" in str(error)
    if is_missing or type(error).__name__ == "MisconfigurationException":  # Lightning's
        return " ".join(str(error).split())
    return None
