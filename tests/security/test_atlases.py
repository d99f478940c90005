"""Someone else's atlas: it is data, whatever it says, and stays within its folder."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hydra.utils import instantiate as hydra_instantiate
from numcodecs import Pickle
from numcodecs.zstd import Zstd
from omegaconf import OmegaConf
from rich.console import Console
from rich.text import Text

from attention_atlas.atlas import AtlasWriter, open_atlas
from attention_atlas.atlas.storage.array_reader import MAX_BYTES, decoded_size
from attention_atlas.errors import InputError
from tests import made_atlases
from tests.commands import content, run_script
from tests.security.payload import Payload

ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b31m\rhidden"
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
COMMANDS = re.compile(r"\x1b(?!\[[0-9;]*m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with an atlas of texts."""
    return made_atlases.write(tmp_path / "theirs", "nlp")


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit a JSON file."""
    values = json.loads(path.read_text())
    edit(values)
    path.write_text(json.dumps(values))


def metadata(run: Path, array: str = "") -> Path:
    """The metadata of the atlas, or of one of its arrays."""
    folder = run / "atlas.zarr"
    return (folder / "rank-0" / array if array else folder) / "zarr.json"


def evil_run(tmp_path: Path, word: str) -> Path:
    """A run that says this word wherever it says anything."""
    run = tmp_path / "theirs"
    attributes = replace(
        made_atlases.attributes("nlp"),
        task=f"nlp{word}",
        data=f"data{word}",
        classes=[f"negative{word}", f"positive{word}"],
        layers=[f"layer{word}", f"other{word}"],
        mechanism={"score": f"dot{word}"},
    )
    with AtlasWriter(run / "atlas.zarr", attributes, max_tokens=64) as writer:
        for number in range(2):
            sample = made_atlases.sample("nlp", number)
            boxes = np.array([[0, 0], [0, 3], [3, 3 + len(word)]], sample.boxes.dtype)
            keys = len(boxes)
            writer.add(
                [
                    replace(
                        sample,
                        sample_id=f"sample{number}{word}",
                        text=f"abc{word} end",
                        boxes=boxes,
                        groups={f"source{word.replace('/', '')}": f"part{word}"},
                        readout=sample.readout[:, :keys],
                        maps=sample.maps[..., :keys, :keys],
                    )
                ]
            )
    (run / "result.json").write_text(json.dumps({"test/accuracy": 0.5, "data": f"data{word}"}))
    return run


def test_nothing_is_built_from_what_an_atlas_says(run: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    node = {
        "_target_": "attention_atlas.pipeline.callbacks.best_checkpoint.shutil.copyfile",
        "src": __file__,
        "dst": str(marker),
    }

    def plant(values: dict[str, Any]) -> None:
        values["attributes"]["config"] = {"data": node, "callbacks": {"mine": node}, **node}
        values["attributes"]["mechanism"] = {"score": "dot", "mine": node}
        values["attributes"] |= node

    change(metadata(run), plant)
    program = (
        "import sys; from attention_atlas.atlas import open_atlas; "
        f"atlas = open_atlas({str(run)!r}); assert atlas.config['_target_']; "
        "[sample.maps for sample in atlas if sample.has_maps]; atlas.verify(); "
        "assert not {'hydra', 'torch', 'attention_atlas.pipeline'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    for command in (["info"], ["show"], ["stats"], ["export", "--out", str(tmp_path / "a.html")]):
        finished = run_script(["atlas", command[0], str(run), *command[1:]], tmp_path)
        assert finished.returncode == 0, finished.stderr
    assert not marker.exists()
    hydra_instantiate(OmegaConf.create(node))
    assert marker.exists()


@pytest.mark.parametrize("array", ["length", "sample_id", "maps"])
def test_a_codec_that_unpickles_is_refused(
    array: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "marker"
    monkeypatch.setattr("numcodecs.pickles.ALLOW_UNSAFE_PICKLE_DECODE", True)
    evil = Pickle().encode(np.array([Payload(marker)], dtype=object))
    for chunk in metadata(run, array).parent.glob("c*"):
        chunk.write_bytes(evil)
    for codecs in (
        [{"name": "numcodecs.pickle", "configuration": {}}],
        [{"name": "pickle"}, {"name": "zstd"}],
        [{"name": "bytes"}, {"name": "numcodecs.pickle"}],
    ):
        change(metadata(run, array), lambda values, codecs=codecs: values.update(codecs=codecs))
        with pytest.raises(InputError, match="has the codecs"):
            _ = open_atlas(run)[0].maps
    assert not marker.exists()
    Pickle().decode(evil)
    assert marker.exists()


@pytest.mark.parametrize("kind", ["object", "O", "|O", "f8,O", "(2,)O", {"names": ["a"]}, "M8[ns]"])
def test_values_that_are_objects_are_refused(kind: Any, run: Path) -> None:
    change(metadata(run, "epoch"), lambda values: values.update(data_type=kind))
    with pytest.raises(InputError, match="damaged"):
        open_atlas(run)


def test_an_older_format_with_filters_is_refused(run: Path) -> None:
    change(metadata(run), lambda values: values.update(zarr_format=2))
    (run / "atlas.zarr" / ".zarray").write_text('{"filters": [{"id": "pickle"}]}')
    with pytest.raises(InputError, match="not an atlas"):
        open_atlas(run)


def test_a_name_cannot_lead_out_of_the_atlas(run: Path, tmp_path: Path) -> None:
    """The sign between the numbers of a chunk is told by the atlas."""
    folder = metadata(run, "split").parent
    (chunk,) = folder.glob("c.0")
    chunk.rename(tmp_path / "0")
    (folder / "c").mkdir()
    leading_out = f"/../{os.path.relpath(tmp_path, folder)}/"
    assert (folder / f"c{leading_out}0").is_file()
    encoding = {"name": "default", "configuration": {"separator": leading_out}}
    change(metadata(run, "split"), lambda values: values.update(chunk_key_encoding=encoding))
    with pytest.raises(InputError, match="names its chunks with"):
        _ = open_atlas(run)[0].split


def test_only_folders_of_ranks_are_opened(run: Path, tmp_path: Path) -> None:
    (run / "atlas.zarr" / "rank-..").mkdir()
    (run / "atlas.zarr" / "rank-0 ").mkdir()
    assert len(open_atlas(run)) == 6


@pytest.mark.parametrize("kind", ["pipe", "device", "link to a secret", "folder"])
def test_a_chunk_that_is_no_plain_chunk_is_damage(kind: str, run: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    chunk = metadata(run, "text").parent / "c.0"
    chunk.unlink()
    if kind == "pipe":
        os.mkfifo(chunk)  # which would be read for ever
    elif kind == "device":
        chunk.symlink_to("/dev/zero")  # which would fill the memory
    elif kind == "folder":
        chunk.mkdir()
    else:
        chunk.symlink_to(tmp_path / "secret")
    program = f"""
from attention_atlas.atlas import open_atlas
from attention_atlas.errors import InputError
try:
    open_atlas({str(run)!r})[0].text
except InputError as error:
    print(error)
"""
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert "is damaged: rank-0/text" in finished.stdout
    assert "hunter2" not in finished.stdout


def bomb(size: int) -> bytes:
    """A chunk of Zstandard with nothing but a head that claims so many bytes."""
    return b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + b"\x01\x00\x00"


def test_a_chunk_that_claims_too_much_is_damage(run: Path) -> None:
    for array in ("readout", "text", "maps"):
        folder = metadata(run, array).parent
        for chunk in folder.glob("c.*"):
            chunk.write_bytes(bomb(2**62))
    atlas = open_atlas(run)
    for read in (lambda: atlas[0].readout, lambda: atlas[0].text, lambda: atlas[0].maps):
        with pytest.raises(InputError, match=f"claims {2**62} bytes"):
            read()
    assert atlas.verify().damages


def test_a_chunk_that_blows_up_is_not_unpacked(run: Path) -> None:
    """A gigabyte in some kilobytes, of which Zstandard would make a gigabyte again."""
    small = Zstd().encode(np.zeros(2**30, np.uint8))
    assert len(small) < 2**20
    (metadata(run, "readout").parent / "c.0.0.0").write_bytes(small)
    with pytest.raises(InputError, match=f"claims {2**30} bytes"):
        _ = open_atlas(run)[0].readout


def test_the_head_of_a_chunk_is_read_as_zstandard_writes_it() -> None:
    for size in (0, 1, 255, 256, 257, 65_791, 65_792, 70_000, 2**20):
        assert decoded_size(bytes(Zstd(level=1, checksum=True).encode(bytes(size)))) == size
    assert decoded_size(bomb(2**40)) == 2**40
    assert decoded_size(b"") is decoded_size(b"\x28\xb5\x2f\xfd") is decoded_size(b"x" * 20) is None


HUGE = {
    "rows": ("length", {"shape": [10**15]}),
    "rows in one chunk": (
        "length",
        {
            "shape": [10**12],
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**12]}},
        },
    ),
    "small chunks": (
        "epoch",
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**14]}}},
    ),
    "fewer than none": ("length", {"shape": [-1]}),
    "half a row": ("length", {"shape": [1.5]}),
    "chunks of nothing": (
        "length",
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0]}}},
    ),
    "axes": ("length", {"shape": [6, 6]}),
}


@pytest.mark.parametrize("huge", HUGE.values(), ids=HUGE)
def test_a_shape_beyond_measure_is_damage(huge: tuple[str, dict[str, Any]], run: Path) -> None:
    array, values = huge
    change(metadata(run, array), lambda content: content.update(values))
    with pytest.raises(InputError, match="damaged"):
        open_atlas(run)
    assert MAX_BYTES < 2**40


def test_texts_beyond_measure_are_damage(run: Path) -> None:
    evil = Zstd().encode((2**32 - 1).to_bytes(4, "little"))
    (metadata(run, "text").parent / "c.0").write_bytes(evil)
    with pytest.raises(InputError, match="cannot be decoded"):
        _ = open_atlas(run)[0].text


COMMAND_LINES = {
    "info": ["info"],
    "info of the mapped": ["info", "--mapped"],
    "show": ["show"],
    "show as JSON": ["show", "--json"],
    "stats": ["stats", "--by", "layer"],
    "an unknown sample": ["show", "nobody"],
    "an unknown layer": ["show", "--layer", "7"],
}


@pytest.mark.parametrize("arguments", COMMAND_LINES.values(), ids=COMMAND_LINES)
def test_a_name_cannot_command_the_terminal(arguments: list[str], tmp_path: Path) -> None:
    run = evil_run(tmp_path, ESCAPE)
    command = ["atlas", arguments[0], str(run), *arguments[1:]]
    finished = run_script(command, tmp_path, FORCE_COLOR="1")
    assert finished.returncode in (0, 2)
    assert "Traceback" not in finished.stderr
    assert finished.stdout + finished.stderr
    assert not COMMANDS.search(finished.stdout), ascii(finished.stdout)
    assert not COMMANDS.search(finished.stderr), ascii(finished.stderr)


def test_a_list_of_runs_cannot_command_the_terminal(tmp_path: Path) -> None:
    evil_run(tmp_path, ESCAPE)
    finished = run_script(["atlas", "list", str(tmp_path)], tmp_path)
    assert "owned" in finished.stdout
    assert not COMMANDS.search(finished.stdout), ascii(finished.stdout)


def test_such_a_name_would_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Console().print(Text(ESCAPE))
    assert "\x1b]0;owned" in capsys.readouterr().out


class Elements(HTMLParser):
    """Gathers the elements of a page and their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, list[tuple[str, str | None]]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, attrs))


def elements(page: str) -> list[tuple[str, list[tuple[str, str | None]]]]:
    """All elements of a page."""
    parser = Elements()
    parser.feed(page)
    return parser.found


def test_text_cannot_become_markup_of_a_page(tmp_path: Path) -> None:
    run, page = evil_run(tmp_path, MARKUP), tmp_path / "page.html"
    finished = run_script(["atlas", "export", str(run), "--out", str(page)], tmp_path)
    assert finished.returncode == 0, finished.stderr
    text = page.read_text(encoding="utf-8")
    assert "alert(1)" in text
    for tag, attributes in elements(text):
        assert tag not in ("script", "img", "iframe", "object", "link", "base")
        for name, value in attributes:
            assert not name.startswith("on")
            assert name not in ("src", "href") or (value or "").startswith("data:image/png;base64,")
    assert any(tag == "script" for tag, _ in elements(f"<p>{MARKUP}</p>"))


def test_text_cannot_become_markup_of_a_drawing(tmp_path: Path) -> None:
    run, drawing = evil_run(tmp_path, MARKUP), tmp_path / "drawing.svg"
    finished = run_script(["atlas", "show", str(run), "--save", str(drawing)], tmp_path)
    assert finished.returncode == 0, finished.stderr
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(drawing).iter()}
    assert "path" in tags
    assert not {"script", "img", "foreignObject"} & tags


@pytest.mark.parametrize("name", ["a.html", "a.csv", "a.npz", "a.svg", "a.nc", "a.pt"])
def test_a_sample_id_is_no_file_name(name: str, tmp_path: Path) -> None:
    run = evil_run(tmp_path, "/../../../marker")
    (tmp_path / "out").mkdir()
    before = content(tmp_path).keys()
    finished = run_script(["atlas", "export", str(run), "--out", f"out/{name}"], tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert content(tmp_path).keys() - before == {f"out/{name}"}


def test_what_is_exported_needs_no_pickle(run: Path, tmp_path: Path) -> None:
    import torch

    for name in ("a.npz", "a.pt"):
        run_script(["atlas", "export", str(run), "--out", name], tmp_path)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert all(arrays[key].dtype != object for key in arrays)
    assert torch.load(tmp_path / "a.pt", weights_only=True)
