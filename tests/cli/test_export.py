"""Exports are read back by the programs that they are for."""

import csv
import json
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
import xarray
from PIL import Image

from attention_atlas.atlas import AtlasWriter, open_atlas
from tests import made_atlases

TASKS = ("nlp", "vision", "speech")


def run_of(task: str) -> str:
    return f"outputs/{task}/one"


def read_csv(path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("task", TASKS)
def test_figure(printed, tmp_path, task):
    for ending in ("png", "pdf", "svg"):
        path = tmp_path / "new" / f"a.{ending}"
        assert printed("export", run_of(task), "--out", path) == f"Saved 1 sample to {path}\n"
    with Image.open(tmp_path / "new" / "a.png") as image:
        assert len(np.unique(np.asarray(image.convert("L")))) > 20


class Page(HTMLParser):
    """Checks that tags are closed in order, and keeps words, tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "image", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.mark.parametrize("task", TASKS)
def test_page_is_whole_and_needs_nothing_else(printed, runs, tmp_path, task):
    path = tmp_path / "a.html"
    printed("export", run_of(task), f"{task}-0001", "--out", path)
    content = path.read_text(encoding="utf-8")
    assert content.startswith("<!doctype html>")
    page = Page()
    page.feed(content)
    assert page.open == []
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe")
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "data:").startswith("data:")
        assert not any(name.startswith("on") for name in attributes)
    assert "http" not in content
    words = " ".join(page.words)
    for shown in (f"{task}-0001", "Readout", "Layer 0 (encoder.layers.0.attention)", "Layer 1"):
        assert shown in words
    sample = open_atlas(runs / run_of(task))[1]
    rows = re.findall(r'<th scope="row" class="number">(\d+)</th><td>(.*?)</td>(.*)</tr>', content)
    assert [int(row[0]) for row in rows] == list(range(sample.length))
    shown = [re.findall(r">([-\d.]+)<", row[2]) for row in rows]
    received = sample.maps.astype(np.float32).mean(axis=(1, 2))
    expected = np.stack([sample.readout.mean(axis=0), *received], axis=1)
    np.testing.assert_allclose(np.array(shown, float), expected, atol=6e-5)
    if task != "nlp":
        pictures = [attributes for tag, attributes in page.tags if tag == "svg"]
        # The input; the readout and two layers as a mean; four heads of each; the maps of layers.
        assert len(pictures) == 1 + 3 + 3 * 4 + 2 * 4
        assert all(picture["aria-label"] and picture["role"] == "img" for picture in pictures)
    if task == "speech":
        assert "frequency (Hz)" in words
        assert "time (s)" in words
    if task == "vision":
        assert "row (pixels)" in words


def test_text_of_a_page_cannot_become_markup(printed, tmp_path):
    text = '<script>alert("1")</script> & more'
    made = made_atlases.sample("nlp", 2, text=text, sample_id="<b>&")
    with AtlasWriter(
        tmp_path / "atlas.zarr", made_atlases.attributes("nlp"), max_tokens=64
    ) as writer:
        writer.add([made])
    printed("export", tmp_path, "--out", tmp_path / "a.html")
    page = Page()
    page.feed((tmp_path / "a.html").read_text(encoding="utf-8"))
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "b"}
    assert "<b>&" in page.words
    start, end = made.boxes[0]
    assert text[start:end] in page.words


@pytest.mark.parametrize("variant", [None, "null_key", "differential"])
def test_page_of_a_variant_says_what_rows_sum_to(printed, tmp_path, variant):
    run = made_atlases.write(tmp_path, "vision", variant=variant)
    printed("export", run, "--out", tmp_path / "a.html")
    words = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert ("null key: " in words) == (variant == "null_key")
    assert ("signed weights, which sum to" in words) == (variant == "differential")


def test_no_weight_of_a_page_is_less_than_zero_by_nothing(printed, tmp_path):
    made = made_atlases.sample("nlp", 2, variant="differential")
    made = replace(made, readout=np.full_like(made.readout, -1e-6))
    attributes = made_atlases.attributes("nlp", variant="differential")
    with AtlasWriter(tmp_path / "atlas.zarr", attributes, max_tokens=64) as writer:
        writer.add([made])
    printed("export", tmp_path, "--out", tmp_path / "a.html")
    content = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert 'class="number">0.0000</td>' in content
    assert not re.search(r"-0\.000+(?!\d)", content)


@pytest.mark.parametrize("task", TASKS)
def test_tables(printed, runs, tmp_path, task):
    atlas = open_atlas(runs / run_of(task))
    found = {}
    for what in ("tokens", "readout", "maps", "statistics"):
        path = tmp_path / f"{what}.csv"
        said = printed("export", run_of(task), "--what", what, "--out", path)
        count = "3 samples" if what == "maps" else "6 samples"
        assert said.startswith(f"Saved {count} to ")
        assert ("; 3 without maps left out" in said) == (what == "maps")
        found[what] = read_csv(path)
    assert len(found["tokens"]) == sum(sample.length for sample in atlas)
    for row in found["readout"]:
        weights = atlas.sample(row["sample_id"]).readout
        assert np.float32(row["weight"]) == weights[int(row["head"]), int(row["key"])]
    maps = {sample_id: atlas.sample(sample_id).maps.copy() for sample_id in atlas.mapped_sample_ids}
    for row in found["maps"]:
        place = tuple(int(row[name]) for name in ("layer", "head", "query", "key"))
        assert np.float16(row["weight"]) == maps[row["sample_id"]][place]
        maps[row["sample_id"]][place] = np.nan
    assert all(np.isnan(left).all() for left in maps.values())  # each weight was there once
    readout = [row for row in found["statistics"] if row["layer"] == "readout"]
    assert len(readout) == 6 * 4
    assert len(found["statistics"]) == 6 * 3 * 4
    for row in found["statistics"]:
        sample = atlas.sample(row["sample_id"])
        layer, head = row["layer"], int(row["head"])
        entropy = sample.readout_entropy if layer == "readout" else sample.entropy[int(layer)]
        assert np.float32(row["entropy"]) == entropy[head]
        assert (row["label"], row["length"]) == (sample.label_name, str(sample.length))
        assert row["null_share"] == ""


def test_table_of_tokens_says_what_each_receives(printed, runs, tmp_path):
    atlas, path = open_atlas(runs / run_of("nlp")), tmp_path / "a.csv"
    printed("export", run_of("nlp"), "--out", path)
    rows = read_csv(path)
    for sample in (atlas[1], atlas[5]):
        of_sample = [row for row in rows if row["sample_id"] == sample.sample_id]
        assert [row["text"] for row in of_sample] == sample.tokens
        assert [[int(row["start"]), int(row["end"])] for row in of_sample] == sample.boxes.tolist()
        readout = [float(row["readout"]) for row in of_sample]
        np.testing.assert_allclose(readout, sample.readout.mean(axis=0), rtol=1e-6)
        if sample.has_maps:
            layer = [float(row["layer_1"]) for row in of_sample]
            received = sample.maps[1].astype(np.float32).mean(axis=(0, 1))
            np.testing.assert_allclose(layer, received, rtol=1e-6)
        else:
            assert {row["layer_1"] for row in of_sample} == {""}


@pytest.mark.parametrize("task", TASKS)
def test_arrays_of_one_sample(printed, runs, tmp_path, task):
    printed("export", run_of(task), f"{task}-0002", "--out", tmp_path / "a.npz")
    sample = open_atlas(runs / run_of(task)).sample(f"{task}-0002")
    with np.load(tmp_path / "a.npz") as arrays:
        for name in ("maps", "readout", "entropy", "boxes", "logits"):
            np.testing.assert_array_equal(arrays[name], getattr(sample, name))
        assert arrays["tokens"].tolist() == sample.tokens
        assert str(arrays["sample_id"]) == f"{task}-0002"
        drawn = {"nlp": "text", "vision": "image", "speech": "spectrogram"}[task]
        np.testing.assert_array_equal(arrays[drawn], getattr(sample, drawn))


@pytest.mark.parametrize("task", TASKS)
def test_arrays_of_a_whole_atlas(printed, runs, tmp_path, task):
    printed("export", run_of(task), "--out", tmp_path / "a.npz")
    atlas = open_atlas(runs / run_of(task))
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["sample"].tolist() == atlas.sample_ids
        assert arrays["mapped_sample"].tolist() == atlas.mapped_sample_ids
        longest = max(sample.length for sample in atlas)
        assert arrays["maps"].shape == (3, 2, 4, longest, longest)
        for row, sample_id in zip(arrays["maps"], atlas.mapped_sample_ids, strict=True):
            sample = atlas.sample(sample_id)
            np.testing.assert_array_equal(row[..., : sample.length, : sample.length], sample.maps)
            assert np.isnan(row[..., sample.length :, :]).all()
        np.testing.assert_array_equal(arrays["logits"], [sample.logits for sample in atlas])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("choice", [[], ["1"]])
def test_netcdf(printed, runs, tmp_path, task, choice):
    printed("export", run_of(task), *choice, "--out", tmp_path / "a.nc")
    atlas = open_atlas(runs / run_of(task))
    samples = [atlas[1]] if choice else list(atlas)
    with xarray.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as dataset:
        assert dataset["sample"].values.tolist() == [sample.sample_id for sample in samples]
        assert dataset["layer"].values.tolist() == atlas.layers
        assert dataset.attrs["task"] == task
        mapped = [sample for sample in samples if sample.has_maps]
        assert dataset["maps"].dims == ("mapped_sample", "layer", "head", "query", "key")
        assert dataset["maps"].dtype == np.float32
        assert dataset["maps"].attrs["meaning"] == "attention weights; a row sums to 1"
        for sample in mapped:
            row = dataset["maps"].sel(mapped_sample=sample.sample_id).values
            np.testing.assert_array_equal(row[..., : sample.length, : sample.length], sample.maps)
            assert np.isnan(row[..., sample.length :, :]).all()
        for sample in samples:
            readout = dataset["readout"].sel(sample=sample.sample_id).values
            np.testing.assert_array_equal(readout[:, : sample.length], sample.readout)


def test_netcdf_without_maps(printed, tmp_path):
    run = made_atlases.write(tmp_path, "vision", mapped=0)
    printed("export", run, "--out", tmp_path / "a.nc")
    with xarray.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as dataset:
        assert "maps" not in dataset
        assert dataset.sizes["sample"] == 6


@pytest.mark.parametrize("task", TASKS)
def test_bertviz(printed, runs, tmp_path, task):
    printed(
        "export", run_of(task), f"{task}-0001", "--format", "bertviz", "--out", tmp_path / "a.pt"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = torch.load(tmp_path / "a.pt", weights_only=True)
    sample = open_atlas(runs / run_of(task)).sample(f"{task}-0001")
    assert isinstance(loaded["attention"], tuple)
    assert len(loaded["attention"]) == 2
    for layer, attention in enumerate(loaded["attention"]):
        assert attention.shape == (1, 4, sample.length, sample.length)
        np.testing.assert_array_equal(attention[0].numpy(), sample.maps[layer].astype(np.float32))
    assert loaded["tokens"] == sample.tokens
    # What bertviz asks of its arguments, in its head_view.
    assert all(layer.squeeze(0).shape[-1] == len(loaded["tokens"]) for layer in loaded["attention"])


def test_one_of_the_epochs(printed, tmp_path):
    with AtlasWriter(
        tmp_path / "atlas.zarr", made_atlases.attributes("nlp"), max_tokens=64
    ) as writer:
        for epoch in (0, 1):
            writer.add(
                made_atlases.sample("nlp", number, epoch=epoch) for number in range(2 + epoch)
            )
    for epoch in (0, 1):
        printed("export", tmp_path, "--epoch", epoch, "--out", tmp_path / "a.npz")
        with np.load(tmp_path / "a.npz") as arrays:
            assert arrays["epoch"].tolist() == [epoch] * (2 + epoch)


def test_what_was_there_is_replaced_once_the_new_one_is_whole(printed, refused, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")
    assert "has only its readout row stored" in refused(
        "export", run_of("nlp"), "5", "--what", "maps", "--out", path
    )
    assert path.read_text() == "old"
    printed("export", run_of("nlp"), "--out", path)
    assert path.read_text().startswith("sample_id,")
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]


def test_full_disk_leaves_nothing(refused, tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text("old")

    def fail(self, rows):
        raise OSError(28, "No space left on device")

    class Writer:
        def __init__(self, file):
            self.file = file

        def writerow(self, row):
            self.file.write("half")

        writerows = fail

    monkeypatch.setattr("attention_atlas.analysis.export.table.csv.writer", Writer)
    said = refused("export", run_of("nlp"), "--out", path)
    assert said == f"error: {path} cannot be written: No space left on device.\n"
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "a.doc"], "'a.doc' has the ending of no format: use one of .png,"),
        (["--out", "a.png", "--format", "csv"], "'a.png' has the wrong ending: end it in .csv."),
        (["--out", "a.csv", "--format", "excel"], "There is no format 'excel': use one of png,"),
        (["--out", "a.csv", "--what", "all"], "There is no table 'all': use one of tokens,"),
        (["--out", "a.html", "--what", "maps"], "can be chosen for csv alone, and this is html"),
        (["9", "--out", "a.html"], "There is no sample 9: the run has 6"),
        (["5", "--out", "a.pt"], "has only its readout row stored"),
        (["--out", "outputs/nlp.csv/a.csv"], "'outputs/nlp.csv/a.csv' lies"),
        (["--out", "a.html", "--epoch", "4"], "has no epoch 4"),
    ],
)
def test_bad_input(refused, runs, arguments, message):
    if "nlp.csv" in arguments[1]:
        (runs / "outputs" / "nlp.csv").write_text("a file")
        message = "outputs/nlp.csv' is not a folder"
    assert message in refused("export", run_of("nlp"), *arguments)
    assert not list(runs.glob("a.*"))


def test_json_has_the_samples_that_were_written(printed, tmp_path):
    arguments = ("--what", "maps", "--out", tmp_path / "a.csv", "--json")
    shown = json.loads(printed("export", run_of("nlp"), *arguments))
    assert shown["sample_ids"] == ["nlp-0000", "nlp-0001", "nlp-0002"]


def test_help_names_the_endings(printed):
    said = " ".join(printed("export", "--help", columns=200).split())
    assert "netcdf (.nc) or bertviz (.pt)" in said


@pytest.mark.parametrize("room", [3_000, 60_000, 190_000])
@pytest.mark.slow
def test_netcdf_on_a_full_disk_leaves_nothing(tmp_path, runs, room):
    """In a process of its own, whose files may not grow: HDF5 has to live to its end, too."""
    program = (
        "import resource, signal, sys\n"
        "from attention_atlas.cli.app import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))\n"
        f"sys.argv = ['atlas', 'export', {run_of('vision')!r}, '--out', 'a.nc']\n"
        "main()\n"
    )
    (tmp_path / "outputs").symlink_to(runs / "outputs")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: a.nc cannot be written: File too large.\n"
    assert [file.name for file in tmp_path.iterdir()] == ["outputs"]


def test_as_json(printed, tmp_path):
    path = tmp_path / "a.html"
    shown = json.loads(printed("export", run_of("nlp"), "1", "--out", path, "--json"))
    assert shown == {"saved": str(path), "format": "html", "sample_ids": ["nlp-0001"]}
