"""Files appear whole or not at all, by no link, and leave no draft."""

import os
import stat
from pathlib import Path

import pytest

from attention_atlas.errors import InputError
from attention_atlas.output_files import DRAFT_SECONDS, draft, write_json


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


def test_drafts_of_killed_processes_are_removed(tmp_path: Path) -> None:
    left, others = tmp_path / ".a.x1.draft.json", tmp_path / ".a.x2.draft.json"
    for path in (left, others, tmp_path / ".b.x1.draft.json"):
        path.write_text("half")
    os.utime(left, (0, 0))
    os.utime(tmp_path / ".b.x1.draft.json", (0, 0))
    write_json(tmp_path / "a.json", {})
    assert not left.exists()
    assert others.exists(), f"younger than {DRAFT_SECONDS} s"
    assert (tmp_path / ".b.x1.draft.json").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"a\.json cannot be written: (Not a directory|File exi)"):
        write_json(tmp_path / "file" / "a.json", {})
