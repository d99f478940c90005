"""Downloaded archives and data sets: nothing is written outside, and no pickle is opened."""

import ast
import gzip
import io
import pickle
import struct
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from attention_atlas.data.archives import unpack_tar
from attention_atlas.data.audio.corpora import speech_commands
from attention_atlas.data.check import check_audio
from attention_atlas.data.image.corpora import read_corpus
from attention_atlas.data.image.mnist import read_idx
from attention_atlas.data.image.options import ImageOptions, ImageSource
from attention_atlas.errors import InputError
from tests.commands import content
from tests.security.payload import Payload


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    """An entry of an archive."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode = kind, link, 0o4755
    entry.size = 4 if kind == tarfile.REGTYPE else 0
    return entry


def pack(path: Path, *members: tarfile.TarInfo) -> Path:
    """Write an archive of these entries, each file with four bytes."""
    with tarfile.open(path, "w:gz") as tar:
        for entry in members:
            tar.addfile(entry, io.BytesIO(b"evil") if entry.isfile() else None)
    return path


ESCAPES: dict[str, Callable[[Path], list[tarfile.TarInfo]]] = {
    "upwards": lambda outside: [member("../outside/marker")],
    "upwards from below": lambda outside: [
        member("data", tarfile.DIRTYPE),
        member("data/../../outside/marker"),
    ],
    "absolute": lambda outside: [member(f"{outside}/marker")],
    "through a link": lambda outside: [
        member("data", tarfile.SYMTYPE, str(outside)),
        member("data/marker"),
    ],
    "through a relative link": lambda outside: [
        member("data", tarfile.SYMTYPE, "../outside"),
        member("data/marker"),
    ],
}


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=ESCAPES)
def test_an_entry_cannot_lie_outside(
    escape: Callable[[Path], list[tarfile.TarInfo]], tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    archive = pack(tmp_path / "data.tar.gz", *escape(outside))
    before = content(tmp_path)
    with pytest.raises(InputError, match=r"data\.tar\.gz holds"):
        unpack_tar(archive, tmp_path / "inside")
    assert content(tmp_path) == before
    (tmp_path / "inside").mkdir()
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "inside", filter="fully_trusted")
    assert (outside / "marker").read_bytes() == b"evil"


@pytest.mark.parametrize(
    "entry",
    [
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("link", tarfile.LNKTYPE, "../secret"),
        member("pipe", tarfile.FIFOTYPE),
        member("device", tarfile.CHRTYPE),
        member("C:\\marker"),
        member("..\\marker"),
    ],
    ids=lambda entry: f"{entry.name} {entry.type!r}",
)
def test_links_devices_and_windows_paths_are_refused(
    entry: tarfile.TarInfo, tmp_path: Path
) -> None:
    archive = pack(tmp_path / "data.tar.gz", member("fine"), entry)
    with pytest.raises(InputError, match=r"data\.tar\.gz holds"):
        unpack_tar(archive, tmp_path / "inside")
    assert [path.name for path in tmp_path.iterdir()] == ["data.tar.gz"]


def test_a_whole_archive_is_unpacked_without_its_modes(tmp_path: Path) -> None:
    archive = pack(tmp_path / "data.tar.gz", member("a/b/file"), member("a", tarfile.DIRTYPE))
    unpack_tar(archive, tmp_path / "inside")
    file = tmp_path / "inside" / "a" / "b" / "file"
    assert file.read_bytes() == b"evil"
    assert not file.stat().st_mode & 0o4111


@pytest.mark.parametrize("cut", [10, 60, -20])
def test_a_damaged_archive_leaves_nothing(cut: int, tmp_path: Path) -> None:
    archive = pack(tmp_path / "data.tar.gz", member("one"), member("two"))
    archive.write_bytes(archive.read_bytes()[:cut])
    with pytest.raises(InputError, match="not a complete archive"):
        unpack_tar(archive, tmp_path / "inside")
    assert [path.name for path in tmp_path.iterdir()] == ["data.tar.gz"]


def test_an_archive_that_lies_in_the_data_folder_is_checked_first(tmp_path: Path) -> None:
    """The library that makes this data set unpacks what it finds there, whatever it is."""
    from torchaudio.datasets.utils import _extract_tar

    data = tmp_path / "data"
    data.mkdir()
    archive = data / "speech_commands_v0.02.tar.gz"
    pack(archive, member("../../../marker"))
    check_audio({"name": "speech_commands", "path": str(data), "labels": 10})
    with pytest.raises(InputError, match="not the original archive"):
        speech_commands(data, 10, 16000, seed=0)
    assert content(data).keys() == {archive.name}
    folder = data / "SpeechCommands" / "speech_commands_v0.02"
    folder.mkdir(parents=True)
    _extract_tar(str(archive), str(folder))
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("name", "folder", "file", "meta"),
    [
        ("cifar10", "cifar-10-batches-py", "test_batch", "batches.meta"),
        ("cifar100", "cifar-100-python", "test", "meta"),
    ],
)
def test_the_pickles_of_cifar_are_not_opened(
    name: str, folder: str, file: str, meta: str, tmp_path: Path
) -> None:
    marker, data = tmp_path / "marker", tmp_path / "data"
    (data / folder).mkdir(parents=True)
    for path in (data / folder / file, data / folder / meta):
        path.write_bytes(pickle.dumps(Payload(marker)))
    for path in (data, data / folder):
        with pytest.raises(InputError, match="version for Python, which is not opened"):
            read_corpus(ImageSource(ImageOptions(name=name, path=str(path))))
    assert not marker.exists()
    pickle.loads((data / folder / file).read_bytes())
    assert marker.exists()


@pytest.mark.slow
def test_a_packed_file_that_blows_up_is_read_as_far_as_it_is_images(tmp_path: Path) -> None:
    """A gigabyte of zeros in a megabyte, behind a head that claims little or too much."""
    zeros = bytes(2**20)
    for shape, words in (((10, 28, 28), "cannot reshape"), ((2**31, 2**31, 2**31), "values")):
        with gzip.open(tmp_path / "t10k-images-idx3-ubyte.gz", "wb", compresslevel=1) as file:
            file.write(struct.pack(">HBB3I", 0, 8, 3, *shape))
            for _ in range(1024):
                file.write(zeros)
        tracemalloc.start()
        with pytest.raises(InputError, match=words):
            read_idx(tmp_path, "t10k-images-idx3-ubyte")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2**24


def test_a_pickle_in_a_folder_of_texts_is_not_opened(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    from attention_atlas.data.text.hub import load_hub_texts
    from attention_atlas.data.text.options import TextOptions

    marker, data = tmp_path / "marker", tmp_path / "data"
    data.mkdir()
    for name in ("train.pkl", "train.pickle", "train.parquet"):
        (data / name).write_bytes(pickle.dumps(Payload(marker)))
    (data / "data.py").write_text(f"import os\nos.mkdir({str(marker)!r})\n")
    with pytest.raises(InputError, match="could not be loaded from"):
        load_hub_texts(TextOptions(name="imdb", path=str(data)))
    assert not marker.exists()
    pickle.loads((data / "train.parquet").read_bytes())
    assert marker.exists()


UNPICKLERS = {"pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}


def test_no_module_of_the_project_unpickles(repository: Path) -> None:
    """No module imports what unpickles, and what can be told not to is told so."""
    loads = 0
    for path in sorted((repository / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported: list[str] = []
            if isinstance(node, ast.Import):
                imported = [name.name for name in node.names]
            elif isinstance(node, ast.ImportFrom):
                imported = [node.module or ""]
            assert not UNPICKLERS & {name.partition(".")[0] for name in imported}, path
            if not isinstance(node, ast.Call):
                continue
            options = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if ast.unparse(node.func) == "torch.load":
                assert options["weights_only"] == "True", path
                loads += 1
            assert options.get("weights_only") in (None, "True"), path
            assert options.get("allow_pickle") in (None, "False"), path
    assert loads


def test_configs_of_the_project_name_no_folder_of_their_own(repository: Path) -> None:
    """What a run writes lies below its run folder."""
    for path in (repository / "conf").rglob("*.yaml"):
        text = str(OmegaConf.to_yaml(OmegaConf.load(path)))
        for key in ("dirpath:", "save_dir:", "tracking_uri:", "default_root_dir:"):
            for line in text.splitlines():
                assert key not in line or "${run_folder}" in line, f"{path}: {line}"
