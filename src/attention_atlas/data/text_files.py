"""Text from files and standard input: compression, encodings, control characters and lines."""

import codecs
import gzip
import io
import re
import sys
import zlib
from functools import cache
from pathlib import Path

from attention_atlas.data.encodings import sure_encoding
from attention_atlas.errors import InputError
from attention_atlas.input_files import read_regular

MAX_UNPACKED = 2**31
"""Bytes of the content of a compressed file."""
MAX_CHARACTERS = 2_000_000
"""Characters of one text: a tokenizer takes a second and half a gigabyte for each million."""

GZIP, ZIP = b"\x1f\x8b", b"PK\x03\x04"
MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, with which it begins
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f\ufffe\uffff]")
"""Characters that neither XML nor netCDF can hold, with DEL."""
PAGES = re.compile("[\x0b\x0c]")


def read_text(path: Path, cleaned: bool = True, encoding: str | None = None) -> str:
    """Read a text file, which may be compressed by gzip; `cleaned` by `clean_text`.

    Without an `encoding`, it is that of its mark, else UTF-8, else a single-byte one that is
    certain by the content and is printed.

    Raises:
        InputError: The file is missing, not a regular one, unreadable, too large, or its encoding
            is not certain.
    """
    content = read_regular(path)
    if content.startswith(GZIP):
        content = _unpack(content, path)
    if content.startswith(ZIP):
        raise InputError(
            f"{path} is a ZIP archive or a workbook; save its content as CSV in UTF-8."
        )
    text = decode(content, str(path)) if encoding is None else _decode(content, encoding, str(path))
    return clean_text(text) if cleaned else text


def decode(content: bytes, name: str) -> str:
    """Decode the text of the file `name`, without its mark.

    Raises:
        InputError: The encoding is not certain.
    """
    for mark, encoding in MARKS.items():
        if content.startswith(mark):
            return _decode(content[len(mark) :], encoding, name)
    if content.count(b"\0") > len(content) / 5:
        raise InputError(
            f"{name} seems to be UTF-16 without a mark; save it with the encoding UTF-8."
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        sure = sure_encoding(content)
        if sure is None:
            line = len(physical_lines(content[: error.start].decode("utf-8") + "."))
            raise InputError(
                f"{name}, line {line}: not UTF-8 text (byte 0x{content[error.start]:02x}). "
                "Save the file with the encoding UTF-8, or for data=csv name its own, such as "
                "data.encoding=cp1252."
            ) from None
    text = _decode(content, sure, name)
    _say(f"{Path(name).name!r} is not UTF-8: read as {sure}")  # a path may be spelled in two ways
    return text


def clean_text(text: str) -> str:
    """Replace what a file cannot hold: control characters by U+FFFD, page breaks by blanks.

    The positions of characters stay as they are.
    """
    return PAGES.sub(" ", CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text))


def check_length(text: str, name: str) -> None:
    """Check that a text is not too long to be one sample.

    Raises:
        InputError: It is.
    """
    if len(text) > MAX_CHARACTERS:
        raise InputError(
            f"{name} holds a text of {len(text):,} characters, {MAX_CHARACTERS:,} are possible; "
            "divide it, or look for a missing quotation mark."
        )


def physical_lines(content: str) -> list[str]:
    """Split into lines as editors count them; `str.splitlines` also splits at rarer characters."""
    return list(io.StringIO(content, newline=None))


def _unpack(content: bytes, path: Path) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            unpacked = file.read(MAX_UNPACKED + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be unpacked: {error}.") from None
    if len(unpacked) > MAX_UNPACKED:
        raise InputError(f"{path} holds more than {MAX_UNPACKED:,} bytes; unpack and divide it.")
    return unpacked


def _decode(content: bytes, encoding: str, name: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} is not {encoding} text (at byte {error.start}). "
            "Save the file with the encoding UTF-8."
        ) from None
    except LookupError:
        raise InputError(
            f"data.encoding={encoding} is not an encoding of text files: take one such as cp1252, "
            "latin-1 or utf-16."
        ) from None


@cache
def _say(line: str) -> None:
    """Print a line once, although a file is read by the check of a config and by the training."""
    print(line, file=sys.stderr)
