"""The cache: made once per key, whole or not at all."""

import json
import os
import time
from pathlib import Path

import pytest

from attention_atlas.data import cache
from attention_atlas.data.cache import _discard_damaged, cache_root, cached, digest_of_file


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATTENTION_ATLAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.*")}


def write(text: str, calls: list[str]):
    def make(folder: Path) -> None:
        calls.append(text)
        (folder / "content.txt").write_text(text)

    return make


def test_content_is_made_once_per_key(root: Path) -> None:
    calls: list[str] = []
    first = cached("numbers", {"size": 3, "format": 1}, write("a", calls))
    again = cached("numbers", {"format": 1, "size": 3}, write("b", calls))
    other = cached("numbers", {"size": 4, "format": 1}, write("c", calls))
    assert calls == ["a", "c"]
    assert first == again != other
    assert first.parent == root
    assert (first / "content.txt").read_text() == "a"
    assert json.loads((first / "key.json").read_text()) == {"size": 3, "format": 1}


def test_a_failure_leaves_nothing_behind(root: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        cached("numbers", {"size": 3}, fail)
    assert list(root.iterdir()) == []
    calls: list[str] = []
    assert (cached("numbers", {"size": 3}, write("a", calls)) / "content.txt").exists()


def test_two_processes_that_make_the_same_content_agree(root: Path) -> None:
    calls: list[str] = []

    def slow(folder: Path) -> None:
        cached("numbers", {"size": 3}, write("first", calls))
        write("second", calls)(folder)

    folder = cached("numbers", {"size": 3}, slow)
    assert (folder / "content.txt").read_text() == "first"
    assert [path.name for path in root.iterdir()] == [folder.name]


def test_the_root_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATTENTION_ATLAS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "attention-atlas"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path.home() / ".cache" / "attention-atlas"


@pytest.mark.parametrize("name", ["content.txt", "below/more.txt", "key.json", "digests.json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_folder_is_made_again(root: Path, name: str, damage: str) -> None:
    def make(folder: Path) -> None:
        write("abc", calls)(folder)
        (folder / "below").mkdir()
        (folder / "below" / "more.txt").write_text("more")

    calls: list[str] = []
    folder = cached("numbers", {"size": 3}, make)
    whole = contents(folder)
    path, size = folder / name, (folder / name).stat().st_size
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: size // 2] if damage == "cut" else bytes(size))
    again = cached("numbers", {"size": 3}, make)
    if (name, damage) == ("digests.json", "gone"):  # as from a version that had none
        assert calls == ["abc"]
    else:
        assert calls == ["abc", "abc"]
        assert contents(again) == whole
    assert not list(root.glob(".numbers-*/*"))


def test_a_folder_that_was_mended_meanwhile_stays(root: Path) -> None:
    calls: list[str] = []
    folder = cached("numbers", {"size": 3}, write("abc", calls))
    _discard_damaged(folder)
    assert (folder / "content.txt").read_text() == "abc"


@pytest.mark.parametrize("is_settled", [True, False])
def test_a_file_that_has_not_changed_is_read_once(
    is_settled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "SETTLED_SECONDS", -1 if is_settled else 2)
    reads: list[Path] = []
    digest = cache._digest
    monkeypatch.setattr(cache, "_digest", lambda path: reads.append(path) or digest(path))
    path = tmp_path / "a.png"
    path.write_text("a")
    first = digest_of_file(path)
    assert digest_of_file(path) == first
    assert len(reads) == (1 if is_settled else 2)
    status = path.stat()
    if is_settled:
        time.sleep(0.05)  # more than the resolution of a file system
    path.write_text("b")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert digest_of_file(path) != first
