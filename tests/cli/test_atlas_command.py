"""The `atlas` command, run as a process on atlases of the real writer."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import made_atlases
import numpy as np
import pytest

from attention_atlas.atlas import AtlasWriter, CapturedSample
from attention_atlas.cli import main

HEADINGS = ["run", "task", "data", "attention", "accuracy", "samples", "size", "age"]
TRUECOLOR = {"FORCE_COLOR": "1", "COLORTERM": "truecolor", "TERM": "xterm"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A working directory with outputs/<task>/one for each task."""
    folder = tmp_path_factory.mktemp("cli")
    for task in ("nlp", "vision", "speech"):
        run = made_atlases.write(folder / "outputs" / task / "one", task)
        (run / "result.json").write_text(json.dumps({"test/accuracy": 0.875}))
    return folder


def atlas(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("atlas")
    plain = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "COLUMNS")}
    return subprocess.run(
        [str(command), *arguments],
        cwd=folder,
        env={**plain, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def printed(folder: Path, *arguments: str, **environment: str) -> str:
    done = atlas(folder, *arguments, **environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_list(runs):
    lines = printed(runs, "list").splitlines()
    assert lines[0].split() == HEADINGS
    assert {line.split()[0] for line in lines[1:]} == {
        f"outputs/{task}/one" for task in ("nlp", "vision", "speech")
    }
    assert "nlp movie_reviews scaled_dot 87.50 % 6" in " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= 100


def test_list_as_json_and_with_a_broken_run(runs, tmp_path):
    shutil.copytree(runs / "outputs" / "nlp", tmp_path / "nlp")
    (tmp_path / "broken" / "atlas.zarr").mkdir(parents=True)
    listed = json.loads(printed(runs, "list", str(tmp_path), "--json"))
    described = {run["run"]: run for run in listed}
    assert described[str(tmp_path / "nlp" / "one")]["samples"] == 6
    assert "incomplete" in described[str(tmp_path / "broken")]["problem"]
    assert "is incomplete" in " ".join(printed(runs, "list", str(tmp_path)).split())


def test_list_of_a_folder_without_runs(tmp_path):
    assert "No run below" in printed(tmp_path, "list", ".")


def test_info(runs):
    facts = json.loads(printed(runs, "info", "outputs/speech/one", "--json"))
    assert facts["samples"] == 6
    assert facts["with_full_maps"] == 3
    assert facts["test_accuracy"] == 0.875
    assert facts["finished"] is True
    words = printed(runs, "info", "outputs/speech/one")
    assert "time-frequency boxes" in words
    assert "mechanism scaled_dot score scaled_dot" in " ".join(words.split())
    assert "speech-0000, speech-0001, speech-0002" in words
    shown = {line.split("  ")[0]: line.split()[2:] for line in words.splitlines()}
    assert shown["test accuracy"] == ["87.50", "%"]
    assert words.split("size")[1].split()[1] in ("KiB", "MiB")
    assert "patch boxes" in printed(runs, "info", "outputs/vision/one")


def test_info_lists_the_samples_with_full_maps(runs):
    ids = ["nlp-0000", "nlp-0001", "nlp-0002"]
    assert printed(runs, "info", "outputs/nlp/one", "--mapped").splitlines() == ids
    assert json.loads(printed(runs, "info", "outputs/nlp/one", "--mapped", "--json")) == ids
    assert json.loads(printed(runs, "info", "outputs/nlp/one", "--json"))["mapped_sample_ids"] == (
        ids
    )


def write_run(folder: Path, *samples: CapturedSample, layers: int = 2) -> Path:
    attributes = made_atlases.attributes("nlp", layers)
    with AtlasWriter(folder / "atlas.zarr", attributes, max_tokens=64) as writer:
        writer.add(samples)
    return folder


def without_readout(sample: CapturedSample) -> CapturedSample:
    """The sample as a run keeps it whose readout is a plain mean."""
    nothing = np.zeros(0, np.float32)
    return replace(sample, readout=nothing.reshape(0, len(sample.boxes)), readout_entropy=nothing)


def test_show_without_a_sample_takes_one_with_full_maps(tmp_path):
    samples = [made_atlases.sample("nlp", number, maps=number == 2) for number in range(4)]
    run = str(write_run(tmp_path, *samples))
    for choice in ([], ["--layer", "0", "--head", "2"], ["--layer", "1", "--query", "0"]):
        assert "nlp-0002" in printed(tmp_path, "show", run, *choice)
    failed = atlas(tmp_path, "show", run, "0", "--layer", "0")
    assert failed.returncode == 2
    assert "'nlp-0000' keeps its readout row only" in failed.stderr
    assert "nlp-0002 (`atlas info" in failed.stderr
    assert "--mapped` lists all 1)" in failed.stderr


def test_show_where_no_sample_has_full_maps(tmp_path):
    run = str(write_run(tmp_path, made_atlases.sample("nlp", 3, maps=False)))
    assert "nlp-0003" in printed(tmp_path, "show", run)
    assert "capture=full" in atlas(tmp_path, "show", run, "--layer", "0").stderr


def test_run_whose_readout_is_a_mean(tmp_path):
    samples = [
        without_readout(made_atlases.sample("nlp", number, maps=number == 3))
        for number in (1, 2, 3)
    ]
    run = str(write_run(tmp_path, *samples))
    words = printed(tmp_path, "show", run)
    assert "nlp-0003" in words
    assert "layer 1, attention received (mean of queries), mean of 4 heads" in words
    picture = str(tmp_path / "a.png")
    assert "Saved" in printed(tmp_path, "gallery", run, "--save", picture)
    for command in (["show", run, "0"], ["gallery", run, "--sample", "0", "--save", picture]):
        assert "nlp-0003 (`atlas info" in atlas(tmp_path, *command).stderr


def test_run_without_any_attention(tmp_path):
    sample = without_readout(made_atlases.sample("nlp", 3, layers=0))
    failed = atlas(tmp_path, "show", str(write_run(tmp_path, sample, layers=0)))
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 1
    assert "its encoder has no layers" in failed.stderr


def test_show_a_text(runs):
    words = printed(runs, "show", "outputs/nlp/one", "nlp-0004")
    made = made_atlases.sample("nlp", 4)
    assert "readout, mean of 4 heads" in words
    assert made.text in words
    best = made.readout.mean(0).argmax()
    start, end = made.boxes[best]
    table = words[words.index("what it stands for") :].splitlines()
    assert table[1].split()[2:] == [str(best), made.text[start:end]]
    assert "\x1b" not in words


def test_show_in_colours(runs):
    for task in ("nlp", "vision", "speech"):
        words = printed(
            runs,
            "show",
            f"outputs/{task}/one",
            **TRUECOLOR,
        )
        assert "\x1b[38;2;" in words or "48;2;" in words


def test_show_an_image_and_a_sound(runs):
    image = printed(runs, "show", "outputs/vision/one", "1", "--layer", "1", "--head", "0")
    assert "layer 1, attention received (mean of queries), head 0" in image
    assert "rows 12-16, columns 12-16" in image
    assert "█" in image
    sound = printed(runs, "show", "outputs/speech/one", "2", "--layer", "-1", "--query", "3")
    assert "layer 1, query 3, mean of 4 heads" in sound
    assert "Hz" in sound
    assert "0.92 s" in sound


def test_share_of_the_null_key_is_shown(tmp_path):
    run = str(made_atlases.write(tmp_path, "nlp", variant="null_key"))
    made = made_atlases.sample("nlp", 1, variant="null_key")
    share = made.readout_null_share[2]
    assert f"\nnull key: {share:.2f}\n" in printed(tmp_path, "show", run, "1", "--head", "2")
    shown = json.loads(printed(tmp_path, "show", run, "1", "--head", "2", "--json"))
    assert shown["null_share"] == pytest.approx(share)
    assert shown["signed"] is False
    assert "null_key yes" in " ".join(printed(tmp_path, "info", run).split())


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
def test_negative_weights_are_seen_in_a_terminal(tmp_path, task):
    run = str(made_atlases.write(tmp_path, task, variant="differential"))
    choice = ["2", "--layer", "0", "--head", "0", "--query", "1"]
    words = printed(tmp_path, "show", run, *choice)
    assert "signed weights, which sum to 0.25" in words
    assert "positive weights are ░▒▓█, negative ones .-=#" in words
    table = [line.split() for line in words[words.index("what it stands for") :].splitlines()[1:]]
    made = made_atlases.sample(task, 2, variant="differential").maps[0, 0, 1]
    assert np.abs([float(row[0]) for row in table]).max() == pytest.approx(
        np.abs(made).max(), abs=1e-3
    )
    assert any(float(row[0]) < 0 and "#" in row[1] for row in table)
    coloured = printed(tmp_path, "show", run, *choice, **TRUECOLOR)
    assert "positive weights are blue, negative ones red" in coloured
    colours = [tuple(map(int, found)) for found in re.findall(r"8;2;(\d+);(\d+);(\d+)", coloured)]
    assert any(red > blue + 10 for red, _, blue in colours)
    assert any(blue > red + 10 for red, _, blue in colours)


def test_info_says_whether_maps_are_signed(runs, tmp_path):
    run = str(made_atlases.write(tmp_path, "nlp", variant="differential"))
    assert "signed maps yes" in " ".join(printed(tmp_path, "info", run).split())
    assert "signed maps no" in " ".join(printed(runs, "info", "outputs/nlp/one").split())
    assert json.loads(printed(tmp_path, "info", run, "--json"))["signed_maps"] is True


def test_show_as_json(runs):
    shown = json.loads(printed(runs, "show", "outputs/nlp/one", "2", "--json"))
    assert shown["sample_id"] == "nlp-0002"
    assert len(shown["weights"]) == len(shown["tokens"]) == len(shown["boxes"]) == 5
    assert shown["null_share"] is None


def test_save_and_gallery(runs, tmp_path):
    figure, picture = tmp_path / "sample.png", tmp_path / "maps.png"
    assert "Saved" in printed(runs, "show", "outputs/speech/one", "--save", str(figure))
    folders = [f"outputs/{task}/one" for task in ("nlp", "vision", "speech")]
    assert "Saved" in printed(runs, "gallery", *folders, "--save", str(picture))
    chosen = ["--sample", "nlp-0001", "--sample", "2", "--sample", "speech-0001"]
    assert "Saved" in printed(runs, "gallery", *folders, *chosen, "--save", str(picture))
    for file in (figure, picture):
        assert file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "outputs/nlp/on"], "There is no run 'outputs/nlp/on': the closest is"),
        (["info", "elsewhere"], "There is no run 'elsewhere'"),
        (["info", "outputs"], "neither a run folder nor"),
        (["list", "elsewhere"], "There is no folder 'elsewhere'"),
        (["show", "outputs/nlp/one", "nlp-04"], "the closest is 'nlp-0004'"),
        (["show", "outputs/nlp/one", "6"], "There is no sample 6: the run has 6"),
        (["show", "outputs/nlp/one", "--layer", "2"], "There is no layer 2"),
        (["show", "outputs/nlp/one", "--head", "4"], "There is no head 4"),
        (["show", "outputs/nlp/one", "--epoch", "3"], "has no epoch 3"),
        (["show", "outputs/nlp/one", "5", "--layer", "0"], "keeps its readout row only"),
        (["show", "outputs/nlp/one", "--save", "a.xyz"], "cannot be saved as 'a.xyz'"),
        (
            ["gallery", "outputs/nlp/one", "--save", "a.png", "--sample", "0", "--sample", "1"],
            "once",
        ),
        (["shw"], "No such command 'shw'"),
    ],
)
def test_bad_input_ends_in_a_sentence(runs, arguments, message, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    monkeypatch.setattr(sys, "argv", ["atlas", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""


def test_bad_input_has_a_traceback_on_demand_only(runs):
    plain = atlas(runs, "info", "elsewhere")
    assert plain.returncode == 2
    assert plain.stderr.count("\n") == 1
    full = atlas(runs, "info", "elsewhere", HYDRA_FULL_ERROR="1")
    assert full.returncode == 1
    assert "Traceback" in full.stderr


def test_no_command_imports_torch(runs, tmp_path):
    program = """
import sys
from attention_atlas.cli import main
sys.argv = ["atlas", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert end.code == 0, end.code
assert not {"torch", "lightning", "hydra"} & set(sys.modules)
assert "matplotlib" not in sys.modules or "--save" in sys.argv
"""
    for arguments in (
        ["list"],
        ["info", "outputs/nlp/one"],
        ["show", "outputs/speech/one"],
        ["show", "outputs/vision/one", "--save", str(tmp_path / "figure.pdf")],
    ):
        subprocess.run([sys.executable, "-c", program, *arguments], cwd=runs, check=True)
