"""`atlas list` and `atlas info`: which runs there are, and what one recorded."""

import json
import shutil
from dataclasses import replace

import pytest

from attention_atlas.atlas import AtlasWriter
from tests import made_atlases

HEADINGS = ["run", "task", "data", "attention", "accuracy", "samples", "size", "age"]


def flat(text: str) -> str:
    return " ".join(text.split())


def test_list(printed):
    lines = printed("list").splitlines()
    assert lines[0].split() == HEADINGS
    names = [f"outputs/{task}/one" for task in ("nlp", "vision", "speech")]
    assert {line.split()[0] for line in lines[1:]} == set(names)
    assert "nlp movie_reviews scaled_dot 87.50 % 6" in flat("\n".join(lines))


@pytest.mark.parametrize("columns", [60, 75, 100, 200])
def test_list_fits_the_terminal(printed, columns):
    lines = printed("list", columns=columns).splitlines()
    assert max(map(len, lines)) <= columns
    assert any("87.50 %" in line for line in lines)
    if columns >= 100:
        assert lines[0].split() == HEADINGS
        for cell in ("outputs/nlp/one", "movie_reviews", "spoken_commands", "scaled_dot"):
            assert any(cell in line for line in lines)


def test_piped_list_has_a_line_for_each_run_however_long_its_name(printed, runs, tmp_path):
    long = tmp_path / ("a" * 120) / "run"
    shutil.copytree(runs / "outputs" / "nlp" / "one", long)
    lines = printed("list", tmp_path).splitlines()
    assert len(lines) == 2
    assert lines[1].split("\t")[0] == str(long)


def test_list_as_json_and_with_a_broken_run(printed, runs, tmp_path):
    shutil.copytree(runs / "outputs" / "nlp", tmp_path / "nlp")
    (tmp_path / "broken" / "atlas.zarr").mkdir(parents=True)
    described = {run["run"]: run for run in json.loads(printed("list", tmp_path, "--json"))}
    run = described[str(tmp_path / "nlp" / "one")]
    assert run["samples"] == 6
    assert run["test_accuracy"] == 0.875
    assert "incomplete" in described[str(tmp_path / "broken")]["problem"]
    assert "is incomplete" in flat(printed("list", tmp_path))


def test_list_of_a_folder_without_runs(printed, tmp_path):
    assert "No run below" in printed("list", tmp_path)
    assert json.loads(printed("list", tmp_path, "--json")) == []


def test_info(printed):
    facts = json.loads(printed("info", "outputs/speech/one", "--json"))
    assert facts["samples"] == 6
    assert facts["with_full_maps"] == 3
    assert facts["test_accuracy"] == 0.875
    assert facts["finished"] is True
    assert facts["samples_per_epoch"] == {"0": 6}
    words = printed("info", "outputs/speech/one")
    assert "time-frequency boxes" in words
    assert "mechanism scaled_dot score scaled_dot" in flat(words)
    assert "speech-0000, speech-0001, speech-0002" in words
    shown = {line.split("  ")[0]: line.split()[2:] for line in words.splitlines()}
    assert shown["test accuracy"] == ["87.50", "%"]
    assert words.split("size")[1].split()[1] in ("KiB", "MiB")
    assert "patch boxes" in printed("info", "outputs/vision/one")


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_info_fits_the_terminal(printed, columns, tmp_path, monkeypatch):
    attributes = replace(
        made_atlases.attributes("vision"), checkpoint_digest="0123456789abcdef" * 4
    )
    with AtlasWriter(tmp_path / "a" / "atlas.zarr", attributes, max_tokens=64) as writer:
        writer.add([made_atlases.sample("vision", 0)])
    monkeypatch.chdir(tmp_path)
    lines = printed("info", "a", columns=columns).splitlines()
    assert max(map(len, lines)) <= columns
    assert "0123456789abcdef…" in "\n".join(lines)
    assert "0123456789abcdef" * 4 in printed("info", "a")
    assert "classes 0, 1, 2, 3, 4, 5, 6, 7, 8, 9" in flat("\n".join(lines))


def test_info_lists_the_samples_with_full_maps(printed):
    ids = ["nlp-0000", "nlp-0001", "nlp-0002"]
    assert printed("info", "outputs/nlp/one", "--mapped").splitlines() == ids
    assert json.loads(printed("info", "outputs/nlp/one", "--mapped", "--json")) == ids
    assert json.loads(printed("info", "outputs/nlp/one", "--json"))["mapped_sample_ids"] == ids


def test_info_says_whether_maps_are_signed(printed, tmp_path):
    run = made_atlases.write(tmp_path, "nlp", variant="differential")
    assert "signed maps yes" in flat(printed("info", run))
    assert "differential yes" in flat(printed("info", run))
    assert "signed maps no" in flat(printed("info", "outputs/nlp/one"))
    assert json.loads(printed("info", run, "--json"))["signed_maps"] is True


def test_info_of_several_epochs(printed, tmp_path):
    attributes = made_atlases.attributes("nlp")
    with AtlasWriter(tmp_path / "atlas.zarr", attributes, max_tokens=64) as writer:
        for epoch, count in ((0, 2), (4, 3)):
            writer.add(made_atlases.sample("nlp", number, epoch=epoch) for number in range(count))
    assert "epochs 0, 4 samples per epoch 0 2, 4 3" in flat(printed("info", tmp_path))
    assert json.loads(printed("info", tmp_path, "--json"))["samples_per_epoch"] == {"0": 2, "4": 3}


def test_verify(command, printed, tmp_path):
    run = made_atlases.write(tmp_path, "vision")
    assert "are there and decode" in printed("info", run, "--verify")
    assert json.loads(printed("info", run, "--verify", "--json"))["is_whole"] is True
    chunk = next((run / "atlas.zarr" / "rank-0" / "maps").glob("c*"))
    if chunk.is_dir():
        chunk = next(file for file in chunk.rglob("*") if file.is_file())
    chunk.write_bytes(b"damaged")
    done = command("info", run, "--verify")
    assert done.exit_code == 1
    assert "is damaged" in done.stdout
    assert "vision-000" in done.stdout
    found = json.loads(command("info", run, "--verify", "--json").stdout)
    assert found["is_whole"] is False
    assert len(found["damages"]) == 1
