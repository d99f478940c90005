"""Files appear whole or not at all, by no link, and leave no draft."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from attention_atlas.data.cache import complete_folder
from attention_atlas.errors import InputError
from attention_atlas.output_files import draft, write_json


def test_a_file_is_replaced_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with draft(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_failure_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")

    def fail() -> None:
        with draft(path) as unfinished:
            unfinished.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_file_has_the_permissions_that_the_user_has_chosen(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        write_json(tmp_path / "a.json", {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o666 & ~mask


def test_two_drafts_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with draft(path) as first:
        with draft(path) as second:
            assert first != second
            second.write_text("second")
        first.write_text("first")
    assert path.read_text() == "first"


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    link = tmp_path / "run" / "a.json"
    link.parent.mkdir()
    link.symlink_to(mine)
    write_json(link, {})
    assert mine.read_text() == "mine"
    assert not link.is_symlink()


WRITES = """
import sys, time
from pathlib import Path
from attention_atlas.data.cache import complete_folder
from attention_atlas.output_files import draft

with globals()[sys.argv[1]](Path(sys.argv[2])) as unfinished:
    print(unfinished.name, flush=True)
    time.sleep(600)
"""
WRITERS = {"draft": ("a.json", draft), "complete_folder": ("data-1", complete_folder)}


@pytest.mark.parametrize("kind", WRITERS)
def test_drafts_of_killed_processes_are_removed(kind: str, tmp_path: Path) -> None:
    """Those that another process writes, and those of other files, stay."""
    name, write = WRITERS[kind]

    def start(path: Path) -> tuple[subprocess.Popen[str], Path]:
        command = [sys.executable, "-c", WRITES, kind, str(path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        return process, path.parent / process.stdout.readline().strip()

    alive, written = start(tmp_path / name)
    killed, left = start(tmp_path / name)
    other, of_other = start(tmp_path / f"b-{name}")
    for process in (killed, other):
        process.kill()
        process.communicate()
    try:
        assert all(path.exists() for path in (written, left, of_other))
        with write(tmp_path / name):
            pass
        assert not left.exists()
        assert written.exists()
        assert of_other.exists()
    finally:
        alive.kill()
        alive.communicate()


def write_many(path: Path) -> None:
    for number in range(200):
        write_json(path, {"number": number})


@pytest.mark.slow
def test_writers_at_once_do_not_take_each_other_for_killed(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        list(pool.map(write_many, [tmp_path / "a.json"] * 4))
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"a\.json cannot be written: (Not a directory|File exi)"):
        write_json(tmp_path / "file" / "a.json", {})
