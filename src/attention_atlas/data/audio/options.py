"""What a user may choose about sound, checked before torch is imported."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_atlas.data.augmentation_options import read_augmentation
from attention_atlas.errors import InputError

NAMES = ("spoken_commands", "speech_commands", "audio_folder")
LABELS = (10, 12, 35)


@dataclass(frozen=True)
class AudioSource:
    """Which clips, and in which form.

    Attributes:
        name: One of `NAMES`.
        path: Where the files of `speech_commands` or `audio_folder` lie; not needed by a model
            that only hears what it is given.
        clip_seconds: What the model hears; longer clips are cut, shorter ones padded.
        num_mels: Mel bands.
        labels: `speech_commands` with 10, 12 (`_unknown_` and `_silence_` too) or 35 classes.

    Raises:
        InputError: A name is unknown or a number out of range.
    """

    name: str
    path: str | None = None
    clip_seconds: float = 1.0
    num_mels: int = 40
    labels: int = 35

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise InputError(f"data.name={self.name} is unknown; take one of {', '.join(NAMES)}.")
        if not 0.1 <= self.clip_seconds <= 60:
            raise InputError(
                f"data.clip_seconds={self.clip_seconds} is out of range; take 0.1 to 60 seconds."
            )
        if not 8 <= self.num_mels <= 128:
            raise InputError(f"data.num_mels={self.num_mels} is out of range; take 8 to 128.")
        if self.labels not in LABELS:
            raise InputError(f"data.labels={self.labels} is not possible; take 10, 12 or 35.")

    @property
    def folder(self) -> Path:
        """The path, with `~` resolved.

        Raises:
            InputError: There is none.
        """
        if self.path is None:
            raise InputError(f"data={self.name} needs data.path, the folder with the audio files.")
        return Path(self.path).expanduser()


@dataclass(frozen=True)
class AudioAugmentationOptions:
    """How training clips are varied; the default is not at all.

    Attributes:
        time_shift: Seconds by which a clip may leave the middle; a clip that is shorter than what
            the model hears is put anywhere within it.
        tempo: The tempo changes by a factor between 1 - tempo and 1 + tempo.
        vocal_tract: All frequencies change by a factor between 1 - vocal_tract and
            1 + vocal_tract (Jaitly 2013).
        background_noise: Share of the clips that are mixed with noise.
        snr_low: Least signal-to-noise ratio of that noise in decibels.
        snr_high: Greatest.
        time_mask: Longest stretch that is masked, as a share of the frames (Park 2019).
        frequency_mask: Widest stretch that is masked, as a share of the mel bands.
        masks: How many of each.

    Raises:
        InputError: A number is out of range.
    """

    time_shift: float = 0.0
    tempo: float = 0.0
    vocal_tract: float = 0.0
    background_noise: float = 0.0
    snr_low: float = 5.0
    snr_high: float = 30.0
    time_mask: float = 0.0
    frequency_mask: float = 0.0
    masks: int = 1

    def __post_init__(self) -> None:
        for key in ("tempo", "vocal_tract", "time_mask", "frequency_mask"):
            if not 0 <= getattr(self, key) < 1:
                raise InputError(
                    f"augmentation.{key}={getattr(self, key)} is out of range; "
                    "take a number from 0 to below 1."
                )
        if not 0 <= self.background_noise <= 1:
            raise InputError(
                f"augmentation.background_noise={self.background_noise} is out of range; "
                "it is a share of the clips, from 0 to 1."
            )
        if self.time_shift < 0 or self.masks < 0:
            raise InputError("augmentation.time_shift and augmentation.masks cannot be negative.")
        if self.snr_low > self.snr_high:
            raise InputError(
                f"augmentation.snr_low={self.snr_low} is above "
                f"augmentation.snr_high={self.snr_high}."
            )


def audio_augmentation_options(config: Mapping[str, Any] | None) -> AudioAugmentationOptions:
    """The options in an `augmentation` config node.

    Raises:
        InputError: A key is unknown or a number out of range.
    """
    return read_augmentation(AudioAugmentationOptions, config, "clips")
