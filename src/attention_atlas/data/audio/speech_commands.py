"""`speech_commands`: one-second clips of 35 words by many speakers (Warden 2018)."""

import hashlib
import shutil
import socket
from pathlib import Path

import numpy as np
import torch

from attention_atlas.data.archives import unpack_tar
from attention_atlas.data.audio.clips import SAMPLE_RATE, AudioCorpus, ClipDataset, share
from attention_atlas.data.audio.files import read_clip
from attention_atlas.data.audio.noise import coloured_noise, recorded_noise
from attention_atlas.data.audio.speech_commands_files import (
    FOLDER,
    WORDS,
    find_root,
    official_splits,
)
from attention_atlas.data.splits import stable_hash
from attention_atlas.errors import InputError

_URL = "http://download.tensorflow.org/data/"
_ARCHIVE = "speech_commands_v0.02.tar.gz"
_SHA256 = "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
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
    root = find_root(path) or _download(path)
    listed = official_splits(root)
    classes = sorted({word for _, word in listed["train"]}) if labels == 35 else list(WORDS)
    background = _background(root)
    splits = {}
    for name, files in listed.items():
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


def _download(path: Path) -> Path:
    """Download the archive where it does not lie in `path` already, check it and unpack it."""
    from torch.hub import download_url_to_file

    created, archive = not path.exists(), path / _ARCHIVE
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not archive.is_file():
            download_url_to_file(_URL + _ARCHIVE, str(archive), hash_prefix=_SHA256, progress=False)
    except (OSError, RuntimeError) as error:
        if created:
            shutil.rmtree(path, ignore_errors=True)
        raise InputError(
            f"data.path={path} holds no Speech Commands, and they could not be downloaded "
            f"({error}). Unpack {_ARCHIVE} into {path / FOLDER}."
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
    with archive.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != _SHA256:
            raise InputError(f"{archive} is not the original archive; remove it.")
    unpack_tar(archive, path / FOLDER)
    return path / FOLDER


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
