"""Data sets whose label depends on one known token, patch or time span, at a random place.

Two classes have each its own signal; the third has none, so that an input without its signal looks
like what the model knows. The place stands in the id of each sample, as its last number.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

CLASSES = ("first", "second", "none")
COUNTS = {"train": 600, "val": 90, "test": 90}
WORDS = {"first": "apple", "second": "orange"}
HERTZ = {"first": 500, "second": 3000, "none": 1300}
PATCH, SIDE = 4, 4
"""Pixels of a patch, and patches in a row."""
SPAN, SPANS = 800, 10
"""Samples of a token at 16 kHz, and tokens in a clip."""


def texts(folder: Path) -> Path:
    """A CSV of texts of 12 to 20 words, each of them one token, with the word of the class."""
    draw = np.random.default_rng(0)
    filler = [f"{a}{b}" for a in ("ba", "do", "ki", "lu", "me") for b in ("ra", "to", "ni", "su")]
    path = folder / "texts.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "label"])
        for index in range(900):
            label = CLASSES[index % 3]
            words = draw.choice(filler, size=draw.integers(12, 21)).tolist()
            place = int(draw.integers(len(words)))
            words[place] = WORDS.get(label, words[place])
            writer.writerow([f"{label}-{index}-{place}", " ".join(words), label])
    return path


def images(folder: Path) -> Path:
    """4 x 4 patches in noise: chequered or, as a blurred one looks, grey; one with stripes."""
    draw = np.random.default_rng(0)
    rows, columns = np.mgrid[:PATCH, :PATCH]
    pattern = {"first": rows % 2, "second": columns % 2, "none": (rows + columns) % 2}
    grey = np.full((PATCH, PATCH), 0.5)
    for split, label, index in _each():
        patches = [grey if draw.random() < 0.3 else pattern["none"] for _ in range(SIDE**2)]
        place = int(draw.integers(SIDE**2))
        patches[place] = pattern[label]
        image = np.block([patches[SIDE * row : SIDE * (row + 1)] for row in range(SIDE)])
        pixels = 128 + 60 * (2 * image - 1) + draw.normal(0, 15, size=image.shape)
        path = _file(folder, split, label, f"{index}-{place}.png")
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return folder


def sounds(folder: Path) -> Path:
    """Half a second of ten short tones, one of them lower or higher than the others."""
    draw = np.random.default_rng(0)
    length = SPAN // 2  # in the middle of its span: the windows of a spectrogram overlap
    seconds = np.arange(length) / 16_000
    for split, label, index in _each():
        wave = 0.02 * draw.normal(size=SPAN * SPANS)
        place = int(draw.integers(SPANS))
        for span in range(SPANS):
            hertz = HERTZ[label if span == place else "none"]
            start = span * SPAN + (SPAN - length) // 2
            tone = np.sin(2 * np.pi * hertz * seconds + draw.uniform(0, 6))
            wave[start : start + length] += 0.3 * tone * np.hanning(length)
        soundfile.write(_file(folder, split, label, f"{index}-{place}.wav"), wave, 16_000)
    return folder


def place_of(sample_id: str) -> int:
    """The token that holds the signal."""
    return int(Path(sample_id).stem.split("-")[-1])


def has_signal(sample_id: str) -> bool:
    """Whether a sample has any."""
    return "none" not in sample_id


def _each() -> Iterator[tuple[str, str, int]]:
    for split, count in COUNTS.items():
        for index in range(count):
            yield split, CLASSES[index % 3], index


def _file(folder: Path, split: str, label: str, name: str) -> Path:
    path = folder / split / label / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
