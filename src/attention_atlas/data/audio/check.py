"""Finding out what is wrong with a choice of audio, before torch is imported."""

from collections.abc import Mapping
from typing import Any

from attention_atlas.data.audio.folder import list_audio
from attention_atlas.data.audio.options import AudioSource, audio_augmentation_options
from attention_atlas.data.audio.reading import check_header
from attention_atlas.data.audio.speech_commands import find_root, official_splits

_MAX_FILES = 5_000
"""Headers that are looked at; of larger folders, files spread evenly. Loading looks at all."""


def check(config: Mapping[str, Any]) -> None:
    """Look at the names, numbers and files of a `data` node.

    Raises:
        InputError: Something cannot be used.
    """
    keys = ("name", "path", "clip_seconds", "num_mels", "labels")
    source = AudioSource(**{key: config[key] for key in keys if key in config})
    audio_augmentation_options(config.get("augmentation") or {})
    if source.name == "speech_commands" and (root := find_root(source.folder)):
        official_splits(root)
    if source.name == "audio_folder":
        files = list_audio(source.folder)
        for file in files[:: -(-len(files) // _MAX_FILES)]:
            check_header(file.path)
