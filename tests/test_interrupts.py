"""An interrupt ends a command as itself, whatever a library makes of it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from attention_atlas.errors import InputError
from attention_atlas.interrupts import Interrupted, interrupt_behind
from attention_atlas.pipeline.exits import exits


@contextmanager
def cleaning_up_badly() -> Iterator[None]:
    """A library whose clean-up fails where it was interrupted, as OmegaConf's does."""
    node = None
    try:
        yield
    finally:
        node.clear()  # type: ignore[attr-defined]


def read() -> None:
    try:
        with cleaning_up_badly():
            raise Interrupted(2)
    except AttributeError as error:
        raise InputError("config.yaml cannot be read") from error


def test_an_interrupt_is_not_taken_for_a_file_that_cannot_be_read(capsys) -> None:
    with pytest.raises(SystemExit) as ended, exits():
        read()
    assert (ended.value.code, capsys.readouterr().err) == (130, "interrupted\n")


def test_an_error_of_its_own_stays_one() -> None:
    error = InputError("config.yaml cannot be read")
    error.__cause__ = AttributeError()
    assert interrupt_behind(error) is None
