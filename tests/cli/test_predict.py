"""`atlas predict`: new inputs to a finished run, whose data may be gone."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from attention_atlas.analysis.attributions import attribute
from attention_atlas.atlas import open_atlas
from attention_atlas.pipeline.load_run import load_run
from tests.commands import invoke_atlas

SENTENCE = "It's great, really! (10/10)"


def files_of(task: str, pictures: Path, sounds: Path) -> list[Path]:
    return sorted((pictures / "left" if task == "vision" else sounds / "low").iterdir())


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
def test_it_says_what_the_run_itself_says(task, trained_runs, tmp_path) -> None:
    """The test samples, given by hand, have the logits and maps that the run's atlas has."""
    run, kept = load_run(trained_runs[task], with_data=True), open_atlas(trained_runs[task])
    ids = run.datamodule.datasets["test"].sample_ids[:5]
    out = tmp_path / "given"
    if task == "nlp":
        lines = [kept.sample(name).text for name in ids]
        (tmp_path / "texts.txt").write_text("\n".join(lines), encoding="utf-8")
        inputs = [str(tmp_path / "texts.txt")]
    else:
        root = Path(run.config.data.path)
        inputs = [str(root / name.removeprefix("audio_folder/")) for name in ids]
    done = invoke_atlas(
        tmp_path, "predict", str(trained_runs[task]), *inputs, "--out", str(out), "--json"
    )
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert [each["prediction"] for each in said] == [
        kept.sample(name).prediction_name for name in ids
    ]
    for name, given, each in zip(ids, open_atlas(out), said, strict=True):
        own = kept.sample(name)
        np.testing.assert_allclose(given.logits, own.logits, atol=1e-4)
        np.testing.assert_allclose(given.readout, own.readout, atol=1e-5)
        np.testing.assert_allclose(given.maps, own.maps, atol=1e-3)
        assert given.tokens == own.tokens
        assert sum(each["probabilities"].values()) == pytest.approx(1)
        assert each["confidence"] == max(each["probabilities"].values())


def test_a_sentence_is_drawn(trained_runs, tmp_path) -> None:
    done = invoke_atlas(tmp_path, "predict", str(trained_runs["nlp"]), SENTENCE)
    assert done.exit_code == 0, done.stderr
    first, how, _, text = done.stdout.splitlines()[:4]
    assert first.split(",")[0] in ("good", "bad")
    assert first.endswith(" %")
    assert how.startswith("readout, mean of")
    assert text.strip() == SENTENCE
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


def test_a_text_that_ends_in_markup_is_not_said_to_be_cut(trained_runs, tmp_path) -> None:
    text = "a great film<br />"
    done = invoke_atlas(tmp_path, "predict", str(trained_runs["nlp"]), text)
    assert done.exit_code == 0, done.stderr
    assert "read up to" not in done.stdout
    done = invoke_atlas(tmp_path, "predict", str(trained_runs["nlp"]), text, "--json")
    assert json.loads(done.stdout)[0]["characters_read"] == len(text)


@pytest.mark.slow
def test_standard_input_is_read_by_lines(trained_runs, tmp_path) -> None:
    import subprocess

    from tests.cli.test_process import ATLAS

    lines = ["great film", "", "so dull, so poor", "fine", "(10/10)"]
    done = subprocess.run(
        [str(ATLAS), "predict", str(trained_runs["nlp"]), "-", "--json"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert [each["input"] for each in json.loads(done.stdout)] == [line for line in lines if line]


@pytest.mark.parametrize("task", ["vision", "speech"])
def test_a_folder_gives_a_table(task, trained_runs, pictures, sounds, tmp_path) -> None:
    folder = files_of(task, pictures, sounds)[0].parent
    done = invoke_atlas(tmp_path, "predict", str(trained_runs[task]), str(folder), COLUMNS="200")
    assert done.exit_code == 0, done.stderr
    first, heading, *lines = done.stdout.splitlines()
    assert first.endswith(f"files of {folder}")
    assert heading.split()[:2] == ["input", "class"]
    assert [line.split()[0] for line in lines] == sorted(path.name for path in folder.iterdir())
    word = "rows" if task == "vision" else "Hz"
    assert all(word in line and " % " in line for line in lines)


def test_files_may_be_given_from_here_and_from_the_root(trained_runs, pictures, tmp_path) -> None:
    shutil.copytree(pictures / "left", tmp_path / "left")
    names = sorted(path.name for path in (tmp_path / "left").iterdir())[:4]
    given = [f"left/{names[0]}", *(str(tmp_path / "left" / name) for name in names[1:])]
    done = invoke_atlas(tmp_path, "predict", str(trained_runs["vision"]), *given, COLUMNS="200")
    assert done.exit_code == 0, done.stderr
    first, _, *lines = done.stdout.splitlines()
    assert first.endswith(f"files of {tmp_path / 'left'}")
    assert [line.split()[0] for line in lines] == names


def test_a_method_is_the_attribution_of_that_name(trained_runs, tmp_path) -> None:
    done = invoke_atlas(
        tmp_path, "predict", str(trained_runs["nlp"]), SENTENCE, "--method", "gradient_rollout",
        "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    (said,) = json.loads(done.stdout)
    run = load_run(trained_runs["nlp"])
    from attention_atlas.data.user_inputs import collect_inputs

    dataset = run.datamodule.make_dataset(collect_inputs("text", [SENTENCE], list))
    batch = run.datamodule.prepare(dataset[0], training=False)
    expected = attribute(run.model, batch, ["gradient_rollout"])["gradient_rollout"][0]
    torch.testing.assert_close(torch.tensor(said["weights"]), expected, rtol=0, atol=1e-5)


def test_columns_are_called_as_in_the_file_that_was_learned_from(trained_runs, tmp_path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_runs["nlp"], run)
    config = run / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("text_column: text", "text_column: review"))
    (tmp_path / "new.csv").write_text("review,text\nso great,wrong\n")
    for options, expected in ([], "so great"), (["--text-column", "text"], "wrong"):
        done = invoke_atlas(tmp_path, "predict", str(run), "new.csv", "--json", *options)
        assert [each["input"] for each in json.loads(done.stdout)] == [expected]


def test_quotation_marks_mean_what_they_meant_in_training(trained_runs, tmp_path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_runs["nlp"], run)
    (tmp_path / "new.csv").write_text('text\n"so great\n')
    done = invoke_atlas(tmp_path, "predict", str(run), "new.csv")
    assert "ends with one, and has two for each inside" in done.stderr
    config = run / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("quoted: true", "quoted: false"))
    done = invoke_atlas(tmp_path, "predict", str(run), "new.csv", "--json")
    assert json.loads(done.stdout)[0]["input"] == '"so great'


def test_other_files_of_a_folder_are_reported(trained_runs, pictures, tmp_path) -> None:
    shutil.copytree(pictures / "left", tmp_path / "new")
    (tmp_path / "new" / ".git").mkdir()
    for name in ("notes.txt", "sound.wav", ".hidden", ".git/HEAD"):
        (tmp_path / "new" / name).touch()
    done = invoke_atlas(tmp_path, "predict", str(trained_runs["vision"]), "new", "")
    assert done.exit_code == 0
    assert done.stderr == "new: 2 files were not read, such as notes.txt\n"


def test_a_text_that_is_cut_is_reported(trained_runs, tmp_path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_runs["nlp"], run)
    config = run / ".hydra" / "config.yaml"
    config.write_text(re.sub(r"max_length: \d+", "max_length: 8", config.read_text()))
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    name = "model.embedding.position"
    checkpoint["state_dict"][name] = checkpoint["state_dict"][name][:8]
    torch.save(checkpoint, run / "checkpoints" / "best.ckpt")
    text = "great " * 30
    done = invoke_atlas(tmp_path, "predict", str(run), text, "so dull")
    assert done.exit_code == 0, done.output
    assert f"read up to character 47 of {len(text)}" in done.stdout
    assert done.stdout.count("read up to") == 1
    done = invoke_atlas(tmp_path, "predict", str(run), "so dull", text, "fine", "great")
    behind = done.stdout.split("not read to the end, as the model takes no more tokens:\n")[1]
    assert len(behind.splitlines()) == 1
    assert behind.startswith("  great great")


def test_the_data_need_not_be_there(trained_runs, reviews, tmp_path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_runs["nlp"], run)
    config = run / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace(str(reviews), "/gone/reviews.csv"))
    done = invoke_atlas(tmp_path, "predict", str(run), SENTENCE, "dull")
    assert done.exit_code == 0, done.stderr


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        ("vision", ["nothing.png"], "nothing.png does not exist"),
        ("vision", ["here"], "here holds no image file"),
        ("vision", ["broken.png"], "broken.png cannot be decoded"),
        ("speech", ["broken.wav"], "broken.wav"),
        ("nlp", [" "], "There is no input"),
        ("nlp", ["./great"], "./great does not exist"),
        ("nlp", ["table.csv"], "table.csv has no column 'text'"),
        ("nlp", ["binary.txt"], "binary.txt, line 1: not UTF-8 text"),
        ("nlp", ["good", "--method", "magic"], "There is no attribution 'magic'"),
        ("nlp", ["good", "--out", "taken"], "taken already holds an atlas"),
        ("nlp", ["good", "--out", "table.csv"], "table.csv cannot be made"),
    ],
)
def test_what_cannot_be_used_ends_in_a_one_line_error(
    task, arguments, message, trained_runs, tmp_path
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "taken" / "atlas.zarr").mkdir(parents=True)
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    (tmp_path / "table.csv").write_text("review,label\nfine,good\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff and more")
    before = sorted(tmp_path.rglob("*"))
    done = invoke_atlas(tmp_path, "predict", str(trained_runs[task]), *arguments)
    assert done.exit_code == 2, done.stdout
    assert message in done.stderr
    assert isinstance(done.exception, SystemExit)
    assert sorted(tmp_path.rglob("*")) == before
