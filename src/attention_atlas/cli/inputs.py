"""Inputs named by the arguments of a command, and which texts the model cut."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from attention_atlas.config.untrusted import read_run_config
from attention_atlas.console import print_line
from attention_atlas.data.listing import describe_not_read
from attention_atlas.data.text_files import decode, physical_lines
from attention_atlas.data.user_inputs import UserInput, collect_inputs, skipped_files
from attention_atlas.errors import InputError

if TYPE_CHECKING:
    from attention_atlas.atlas import Sample

MAX_INPUT = 2**28
"""Bytes of standard input, which may have no end."""

TOKEN_LIMIT = "the model takes no more tokens"


def inputs_of(
    source: Path | str, arguments: Sequence[str], text_column: str | None, label_column: str | None
) -> list[UserInput]:
    """The inputs for the model of a run folder, or of a modality such as `text`.

    Columns are called as in the data of the run unless they are named. Other files in a folder are
    reported as skipped.

    Raises:
        InputError: The run or a file cannot be used, or there is no input.
    """
    config = read_run_config(source) if isinstance(source, Path) else None
    modality = str(source) if config is None else config.task.modality
    data = {} if config is None else config.data
    inputs = collect_inputs(
        modality,
        arguments,
        _read_lines,
        text_column or data.get("text_column") or "text",
        label_column or data.get("label_column") or "label",
        data.get("quoted", True),
    )
    for argument in arguments:
        if others := skipped_files(argument, modality):
            print_line(f"{argument}: {describe_not_read(others)}", on_stderr=True)
    return inputs


def _read_lines() -> list[str]:
    """Return the lines of standard input, which end as those of files do.

    Raises:
        InputError: It is not text, or too large.
    """
    content = b"" if sys.stdin is None else sys.stdin.buffer.read(MAX_INPUT + 1)
    if len(content) > MAX_INPUT:
        raise InputError(f"Standard input holds more than {MAX_INPUT:,} bytes; give a file.")
    return [line.rstrip("\n") for line in physical_lines(decode(content, "Standard input"))]


def characters_read(sample: "Sample", max_tokens: int | None) -> int:
    """Return the end of the last token, for a text of more tokens than the model accepts."""
    if max_tokens is None or sample.length < max_tokens:
        return len(sample.text)
    return int(np.nanmax(sample.boxes[:, 1]))


def is_cut(sample: "Sample", max_tokens: int | None) -> bool:
    """Return whether the model did not read more of a text than trailing whitespace."""
    return characters_read(sample, max_tokens) < len(sample.text.rstrip())
