"""What data can do to a terminal: nothing, at any width and with any kind of output."""

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attention_atlas import console
from attention_atlas.console import SafeOutput, fixed_width, make_console, print_error
from tests import made_atlases
from tests.commands import invoke_atlas

ATLAS = str(Path(sys.executable).with_name("atlas"))
COMMANDS = {
    "title": "\x1b]0;x\x07",
    "erase": "\x1b[2J",
    "conceal": "\x1b[8m",
    "conceal among others": "\x1b[1;8;31m",
    "cursor": "\x1b[A",
    "C1": "\x9b2J",
    "return": "\rforged",
    "backspace": "a\x08b",
    "right to left": "\u202eexe.txt",
    "isolate": "\u2066x\u2069",
    "line separator": "a\u2028b",
    "not UTF-8": os.fsdecode(b"a\xff.txt"),
}
STYLES = ["\x1b[m", "\x1b[0m", "\x1b[1m", "\x1b[38;5;8m", "\x1b[38;2;8;8;8m", "\x1b[1;31m\x1b[0m"]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a run."""
    folder = tmp_path_factory.mktemp("console")
    made_atlases.write(folder / "outputs" / "nlp" / "one", "nlp")
    return folder


def written(text: str) -> str:
    stream = io.StringIO()
    SafeOutput(stream).write(text)
    return stream.getvalue()


@pytest.mark.parametrize("text", COMMANDS.values(), ids=COMMANDS)
def test_a_command_for_the_terminal_is_replaced(text: str) -> None:
    assert "\N{REPLACEMENT CHARACTER}" in written(text)


@pytest.mark.parametrize("text", STYLES)
def test_a_style_stays(text: str) -> None:
    assert written(text) == text


@given(st.text())
def test_nothing_that_is_left_moves_the_cursor(text: str) -> None:
    left = re.sub(r"\x1b\[[0-9;]*m|[\n\t]", "", written(text))
    assert left.isprintable() or not re.search(r"[\x00-\x1f\x7f-\x9f]", left)


def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("There is no run 'a\nerror: forged'\r\n.")
    assert capsys.readouterr().err == "error: There is no run 'a error: forged' .\n"


@pytest.mark.parametrize("name", ["out[/x]", "[red]", ":smile:", "[link=x]a[/link]"])
def test_a_name_is_not_markup(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    make_console(soft_wrap=True).print(f"run folder: {name}")
    assert capsys.readouterr().out == f"run folder: {name}\n"


@pytest.mark.parametrize("columns", ["0", "-1", "", "wide", "²"])
def test_odd_widths_count_as_none(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert fixed_width() is None


@pytest.mark.parametrize("columns", [0, 1, 2, 7, 40, 10**8])
def test_every_width_works(columns: int, here: Path) -> None:
    for command in (["list"], ["info", "outputs/nlp/one"], ["show", "outputs/nlp/one"]):
        done = invoke_atlas(here, *command, COLUMNS=str(columns))
        assert done.exit_code == 0, done.output + repr(done.exception)


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(streams: str, here: Path) -> None:
    command = ["bash", "-c", f"'{ATLAS}' list {streams}"]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("arguments", ["--help", "train --help", "train task=nlp --cfg job"])
def test_a_full_output_is_one_line(arguments: str, tmp_path: Path) -> None:
    command = ["bash", "-c", f"'{ATLAS}' {arguments} > /dev/full"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode in (1, 2)
    assert re.fullmatch(r"error: The output,? .*cannot be written: No space left .*\n", done.stderr)


@pytest.mark.parametrize(("seconds", "is_shown"), [(0.0, True), (60.0, False)])
def test_a_bar_is_shown_for_what_takes_long(
    seconds: float, is_shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    master, slave = pty.openpty()
    monkeypatch.setattr(console, "SECONDS_WITHOUT_BAR", seconds)
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with console.progress_bar("checked jobs") as progress:
            assert progress is not None
            progress(1, 2)
        print("end", file=terminal, flush=True)
        shown = os.read(master, 10_000).decode()
    os.close(master)
    assert ("checked jobs" in shown and "1/2" in shown) is is_shown
    assert is_shown or shown == "end\r\n"
