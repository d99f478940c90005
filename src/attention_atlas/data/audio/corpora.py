"""Labelled clips by name: `spoken_commands`, `speech_commands` and `audio_folder`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from attention_atlas.data.audio.clips import ClipDataset
from attention_atlas.data.audio.download import download
from attention_atlas.data.audio.noise import babble, coloured_noise, recorded_noise
from attention_atlas.data.audio.reading import SAMPLE_RATE, read_clip
from attention_atlas.data.audio.speech_commands import (
    BACKGROUND,
    WORDS,
    find_root,
    official_splits,
)
from attention_atlas.data.audio.spoken_words import plan, speak, split_voices
from attention_atlas.data.cache import digest_of
from attention_atlas.data.groups import GROUP, describe_likely_groups, file_groups
from attention_atlas.data.listing import LabelledFile, list_files
from attention_atlas.data.splits import (
    FRACTIONS,
    SPLIT_VERSION,
    divide,
    pick,
    stable_hash,
    stable_uniform,
)
from attention_atlas.errors import InputError, first_names

UNKNOWN, SILENCE = "_unknown_", "_silence_"
EXTRA_FRACTION = 0.1
"""Clips of `_unknown_` and of `_silence_`, each as a fraction of the clips of command words."""

SNR_DB = (5.0, 30.0)
"""Range of the signal-to-noise ratio of `spoken_commands`, drawn uniformly for each sample."""
TAKES = 2
NOISE_PIECES = 4


@dataclass(frozen=True)
class AudioCorpus:
    """A speech data set, split.

    Attributes:
        classes: Names of the classes.
        splits: `train`, `val` and `test`.
        noise: float32 [P, N], pieces of background noise for `train` and for `eval`, each longer
            than a clip; empty if evaluation mixes no noise and training takes generated noise.
        not_read: Names of files that were not read.
        hint: What a user should know about the names of the files.
        contents: A key per clip of each split of the user's own files, the same for copies.
    """

    classes: list[str]
    splits: dict[str, ClipDataset]
    noise: dict[str, Tensor] = field(default_factory=dict)
    not_read: list[str] = field(default_factory=list)
    hint: str | None = None
    contents: dict[str, list[str]] = field(default_factory=dict)


def audio_folder(
    root: Path,
    clip_samples: int,
    seed: int,
    group: str | None = None,
    version: int = SPLIT_VERSION,
    tested_classes: list[str] | None = None,
) -> AudioCorpus:
    """Read the clips of `root/<class>/` or `root/<split>/<class>/`, any rate, mono or stereo.

    A missing val or test is drawn from the training clips, 10 % of each class, equal clips in one
    split.

    Args:
        root: The folder.
        clip_samples: Length of the input in samples.
        seed: Draws the splits.
        group: Pattern of the groups that a split does not divide.
        version: Version of the rule that draws them.
        tested_classes: Classes of a model that is tested on all files of a folder without splits;
            None divides it.

    Raises:
        InputError: A folder or file cannot be used.
    """
    listing = list_files(root, "audio", min_classes=2 if tested_classes is None else 1)
    files = listing.files
    clips = [read_clip(file.path, clip_samples) for file in files]
    groups = None if group is None else file_groups(files, group)
    given = [file.split for file in files]
    classes = sorted({file.label for file in files})
    contents = [digest_of([clip.tobytes()]) for clip in clips]
    if tested_classes is not None and not any(given):
        _check_known(files, tested_classes)
        classes = tested_classes
        indexes = {"test": list(range(len(files)))}
    else:
        names, labels = [file.sample_id for file in files], [file.label for file in files]
        same = None if version == 1 else contents
        indexes = divide(given, names, labels, FRACTIONS, seed, same, groups)
        _check_filled(indexes, root)
    positions = {label: index for index, label in enumerate(classes)}
    splits = {
        name: ClipDataset(
            [clips[index] for index in part],
            [positions[files[index].label] for index in part],
            [f"audio_folder/{files[index].sample_id}" for index in part],
            clip_samples,
            None if groups is None else {GROUP: [groups[index] for index in part]},
        )
        for name, part in indexes.items()
    }
    hint = None if groups else describe_likely_groups(files, indexes)
    return AudioCorpus(classes, splits, {}, listing.not_read, hint, pick(contents, indexes))


def _check_known(files: Sequence[LabelledFile], classes: Sequence[str]) -> None:
    known = set(classes)
    for file in files:
        if file.label not in known:
            raise InputError(
                f"{file.path} is of class {file.label!r}, which the model never saw; it knows "
                f"{first_names(classes)}."
            )


def _check_filled(splits: Mapping[str, Sequence[int]], root: Path) -> None:
    for name, part in splits.items():
        if not part:
            raise InputError(
                f"data.path={root} has too few files to hold some out for {name}; "
                "take at least ten per class, or folders train, val and test."
            )


def spoken_commands(clip_samples: int, seed: int, version: int = SPLIT_VERSION) -> AudioCorpus:
    """Speak the ten words in eSpeak NG's voices; see `split_voices` for those of each split.

    Each clip starts at a random sample and is mixed with noise at an SNR between 5 and 30 dB, both
    fixed for each sample id. Noise is white, pink, brown, or babble of training voices; evaluation
    takes other pieces of it than training.

    Raises:
        InputError: eSpeak NG does not run here.
    """
    utterances = plan(TAKES)
    clips = speak(utterances)
    indexes = {
        name: [index for index, said in enumerate(utterances) if said.voice in set(voices)]
        for name, voices in split_voices(seed, version).items()
    }
    splits = {}
    for name, chosen in indexes.items():
        said = [utterances[index] for index in chosen]
        snr_db = [_snr_db(utterance.sample_id) for utterance in said]
        splits[name] = ClipDataset(
            [clips[index] for index in chosen],
            [WORDS.index(utterance.word) for utterance in said],
            [utterance.sample_id for utterance in said],
            clip_samples,
            groups={
                "voice": [utterance.voice for utterance in said],
                "snr": [snr_bin(value) for value in snr_db],
            },
            snr_db=snr_db,
        )
    heard = [clips[index] for index in indexes["train"]]
    length = noise_length(clip_samples)
    noise = {
        part: torch.cat(
            [
                coloured_noise(NOISE_PIECES, length, noise_seed),
                babble(heard, NOISE_PIECES, length, noise_seed),
            ]
        )
        for part, noise_seed in (("train", 1), ("eval", 2))
    }
    return AudioCorpus(list(WORDS), splits, noise)


def speech_commands(path: Path, labels: int, clip_samples: int, seed: int) -> AudioCorpus:
    """Read the official splits with 10, 12 or 35 labels.

    With 12, `_unknown_` is a draw of the other words and `_silence_` pieces of the recorded
    background noise (Warden 2018, section 7); without such a recording, faint noise.

    Args:
        path: The folder that holds `SpeechCommands/speech_commands_v0.02`, or that folder itself;
            the data set is downloaded if it is missing.
        labels: 10, 12 or 35.
        clip_samples: Length of the input in samples.
        seed: Draws the unknown words.

    Raises:
        InputError: The data set is incomplete, or cannot be downloaded.
    """
    root = find_root(path) or download(path)
    listed = official_splits(root)
    classes = sorted({word for _, word in listed["train"]}) if labels == 35 else list(WORDS)
    background = _background(root)
    names = [*classes, UNKNOWN, SILENCE] if labels == 12 else classes
    splits = {}
    for name, files in listed.items():
        chosen = [(file, word) for file, word in files if word in classes]
        if labels == 12:
            number = int(np.ceil(EXTRA_FRACTION * len(chosen)))
            others = [file for file, word in files if word not in classes]
            others.sort(key=lambda file: stable_hash(seed, file))
            chosen += [(file, UNKNOWN) for file in others[:number]]
        clips = [read_clip(root / file, clip_samples) for file, _ in chosen]
        ids = [f"speech_commands/{file.removesuffix('.wav')}" for file, _ in chosen]
        targets = [names.index(target) for _, target in chosen]
        if labels == 12:
            silent = [f"speech_commands/{SILENCE}/{name}/{index}" for index in range(number)]
            clips += [_silence(sample_id, background, clip_samples) for sample_id in silent]
            ids += silent
            targets += [names.index(SILENCE)] * number
        splits[name] = ClipDataset(clips, targets, ids, clip_samples)
    length = noise_length(clip_samples)
    noise = coloured_noise(NOISE_PIECES, length, seed=1)
    if background:
        noise = torch.cat([noise, recorded_noise(background, length)])
    return AudioCorpus(names, splits, {"train": noise})


def noise_length(clip_samples: int) -> int:
    """Return the samples in a piece of noise: ten seconds, or twice a longer clip."""
    return max(10 * SAMPLE_RATE, 2 * clip_samples)


def snr_bin(snr_db: float) -> str:
    """Return the bin of 5 dB that a ratio belongs to: `snr_05_10` to `snr_25_30`."""
    low = min(int(snr_db // 5) * 5, 25)
    return f"snr_{low:02d}_{low + 5:02d}"


def _snr_db(sample_id: str) -> float:
    low, high = SNR_DB
    return low + (high - low) * stable_uniform("snr", sample_id)


def _background(root: Path) -> list[np.ndarray]:
    """Read the recordings of background noise, at most 90 seconds of each."""
    files = sorted((root / BACKGROUND).glob("*.wav"))
    return [read_clip(file, 90 * SAMPLE_RATE) for file in files]


def _silence(sample_id: str, background: Sequence[np.ndarray], clip_samples: int) -> np.ndarray:
    """Cut a piece of background noise at a random loudness; both depend on the sample id alone."""
    random = np.random.default_rng(stable_hash(sample_id))
    long_enough = [recording for recording in background if len(recording) > clip_samples]
    if not long_enough:
        return np.rint(random.normal(0, 32, clip_samples)).astype(np.int16)
    recording = long_enough[int(stable_uniform("which", sample_id) * len(long_enough))]
    start = int(stable_uniform("where", sample_id) * (len(recording) - clip_samples))
    piece = recording[start : start + clip_samples]
    return np.rint(stable_uniform("loudness", sample_id) * piece).astype(np.int16)
