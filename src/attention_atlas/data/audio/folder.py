"""`audio_folder`: your own clips, a folder per class."""

from pathlib import Path

from attention_atlas.data.audio.clips import AudioCorpus, ClipDataset
from attention_atlas.data.audio.files import read_clip
from attention_atlas.data.audio.listing import AudioFile, list_audio
from attention_atlas.data.splits import stratified_split
from attention_atlas.errors import InputError

_FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}


def audio_folder(root: Path, clip_samples: int, seed: int) -> AudioCorpus:
    """Clips of `root/<class>/` or `root/<split>/<class>/`, any rate, mono or stereo.

    Without folders `train`, `val` and `test`, a tenth of each class is held out for each of the
    latter; where only `val` is missing, a tenth of `train` stands in for it.

    Raises:
        InputError: A folder or file cannot be used.
    """
    files = list_audio(root)
    classes = sorted({file.label for file in files})
    splits = {
        name: ClipDataset(
            [read_clip(file.path, clip_samples) for file in part],
            [classes.index(file.label) for file in part],
            [f"audio_folder/{file.name}" for file in part],
            clip_samples,
        )
        for name, part in _split(root, files, seed).items()
    }
    return AudioCorpus(classes, splits)


def _split(root: Path, files: list[AudioFile], seed: int) -> dict[str, list[AudioFile]]:
    given = {name: [file for file in files if file.split == name] for name in _FRACTIONS}
    if not given["train"]:
        given = _divide(files, _FRACTIONS, seed)
    elif not given["val"]:
        given |= _divide(given["train"], {"train": 0.9, "val": 0.1}, seed)
    for name, part in given.items():
        if not part:
            raise InputError(
                f"data.path={root} has too few files to hold some out for {name}; "
                "take at least ten per class, or folders train, val and test."
            )
    return given


def _divide(
    files: list[AudioFile], fractions: dict[str, float], seed: int
) -> dict[str, list[AudioFile]]:
    names = [file.name for file in files]
    parts = stratified_split(names, [file.label for file in files], fractions, seed)
    return {name: [files[index] for index in indexes] for name, indexes in parts.items()}
