"""`speech_commands`: one-second clips of 35 words by many speakers (Warden 2018)."""

import shutil
import socket
from pathlib import Path

import numpy as np
import torch

from attention_atlas.data.audio_clips import SAMPLE_RATE, AudioCorpus, ClipDataset, share
from attention_atlas.data.audio_files import read_clip
from attention_atlas.data.noise import coloured_noise, recorded_noise
from attention_atlas.data.splits import stable_hash
from attention_atlas.data.spoken_words import WORDS
from attention_atlas.errors import InputError

_FOLDER = "SpeechCommands/speech_commands_v0.02"
_ARCHIVE = "speech_commands_v0.02.tar.gz"
_LISTS = {"val": "validation_list.txt", "test": "testing_list.txt"}
_UNKNOWN, _SILENCE = "_unknown_", "_silence_"
_BACKGROUND = "_background_noise_"
_SHARE = 0.1
"""Clips of `_unknown_` and of `_silence_`, each in units of the clips of command words."""


def speech_commands(path: Path, labels: int, clip_samples: int, seed: int) -> AudioCorpus:
    """The official splits with 10, 12 or 35 labels.

    With 12, `_unknown_` is a draw of the other words and `_silence_` stretches of the recorded
    background noise, as in Warden 2018, section 7; where there is no such recording, faint noise.

    Args:
        path: The folder that holds `SpeechCommands/speech_commands_v0.02`, or that folder itself;
            the data set is downloaded where it is not there.
        labels: 10, 12 or 35.
        clip_samples: Samples that the model hears.
        seed: Draws the unknown words.

    Raises:
        InputError: The data set is incomplete, or cannot be downloaded.
    """
    root = _find(path) or _download(path)
    words = sorted(
        folder.name
        for folder in root.iterdir()
        if folder.is_dir() and not folder.name.startswith(("_", "."))
    )
    classes = words if labels == 35 else list(WORDS)
    for word in classes:
        if word not in words:
            raise InputError(f"{root} has no folder {word}; unpack the whole data set there.")
    background = _background(root)
    splits = {}
    for name, files in _official_splits(root, words).items():
        chosen = [(file, word) for file, word in files if word in classes]
        clips = [read_clip(root / file, clip_samples) for file, _ in chosen]
        targets = [word for _, word in chosen]
        ids = [f"speech_commands/{file.removesuffix('.wav')}" for file, _ in chosen]
        if labels == 12:
            number = int(np.ceil(_SHARE * len(chosen)))
            others = sorted(
                (file for file, word in files if word not in classes),
                key=lambda file: stable_hash(seed, file),
            )[:number]
            clips += [read_clip(root / file, clip_samples) for file in others]
            ids += [f"speech_commands/{file.removesuffix('.wav')}" for file in others]
            silent = [f"speech_commands/{_SILENCE}/{name}/{index}" for index in range(number)]
            clips += [_silence(sample_id, background, clip_samples) for sample_id in silent]
            ids += silent
            targets += [_UNKNOWN] * len(others) + [_SILENCE] * number
        names = [*classes, _UNKNOWN, _SILENCE]
        splits[name] = ClipDataset(
            clips, [names.index(target) for target in targets], ids, clip_samples
        )
    if labels == 12:
        classes = [*classes, _UNKNOWN, _SILENCE]
    length = max(10 * SAMPLE_RATE, 2 * clip_samples)
    noise = coloured_noise(4, length, seed=1)
    if background:
        noise = torch.cat([noise, recorded_noise(background, length)])
    return AudioCorpus(classes, splits, {"train": noise})


def _find(path: Path) -> Path | None:
    for root in (path / _FOLDER, path / "speech_commands_v0.02", path):
        if (root / _LISTS["test"]).is_file():
            return root
    return None


def _download(path: Path) -> Path:
    from torchaudio.datasets import SPEECHCOMMANDS

    if path.exists() and not path.is_dir():
        raise InputError(f"data.path={path} is a file; give a folder for the data set.")
    created = not path.exists()
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)
    try:
        path.mkdir(parents=True, exist_ok=True)
        SPEECHCOMMANDS(path, download=True)
    except (OSError, RuntimeError) as error:
        if created:
            shutil.rmtree(path, ignore_errors=True)
        raise InputError(
            f"data.path={path} holds no Speech Commands, and they could not be downloaded "
            f"({error}). Unpack {_ARCHIVE} into {path / _FOLDER}."
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
    return path / _FOLDER


def _official_splits(root: Path, words: list[str]) -> dict[str, list[tuple[str, str]]]:
    """File, relative to the root, and word of each clip, by split."""
    listed = {name: _read_list(root, file) for name, file in _LISTS.items()}
    splits: dict[str, list[tuple[str, str]]] = {"train": [], "val": [], "test": []}
    for word in words:
        for path in sorted((root / word).glob("*.wav")):
            file = f"{word}/{path.name}"
            name = next((name for name, files in listed.items() if file in files), "train")
            splits[name].append((file, word))
    for name, part in splits.items():
        if not part:
            raise InputError(f"{root} has no clip for {name}; unpack the whole data set there.")
    return splits


def _read_list(root: Path, name: str) -> set[str]:
    try:
        lines = (root / name).read_text(encoding="utf-8").split()
    except OSError as error:
        raise InputError(
            f"{root / name} is missing; it comes with the data set and tells its official split."
        ) from error
    for file in lines:
        if (root / file).parent.is_dir() and not (root / file).is_file():
            raise InputError(f"{root / file} is listed in {name} but does not exist.")
    return set(lines)


def _background(root: Path) -> list[np.ndarray]:
    """The recordings of background noise, each at most a minute and a half."""
    files = sorted((root / _BACKGROUND).glob("*.wav"))
    return [read_clip(file, 90 * SAMPLE_RATE) for file in files]


def _silence(sample_id: str, background: list[np.ndarray], clip_samples: int) -> np.ndarray:
    """A stretch of background at a drawn loudness, the same for each sample id."""
    random = np.random.default_rng(stable_hash(sample_id))
    long_enough = [recording for recording in background if len(recording) > clip_samples]
    if not long_enough:
        return np.rint(random.normal(0, 32, clip_samples)).astype(np.int16)
    recording = long_enough[int(share("which", sample_id) * len(long_enough))]
    start = int(share("where", sample_id) * (len(recording) - clip_samples))
    stretch = recording[start : start + clip_samples]
    return np.rint(share("loudness", sample_id) * stretch).astype(np.int16)
