"""Options of sound, checked before torch is imported."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, model_validator

from attention_atlas.data.options import DataOptions
from attention_atlas.errors import InputError
from attention_atlas.option_schema import Fraction, Keywords, Rate, keyword


class AudioOptions(DataOptions):
    """Keywords of `AudioDataModule`."""

    name: Literal["spoken_commands", "speech_commands", "audio_folder"] = keyword(
        "Name of the data set.", ...
    )
    clip_seconds: Annotated[float, Field(ge=0.1, le=60)] = keyword(
        "Length of the input; longer clips are cut, shorter ones padded.", 1.0
    )
    num_mels: Annotated[int, Field(ge=8, le=128)] = keyword("Mel bands.", 40)
    labels: Literal[10, 12, 35] = keyword(
        "Classes of `speech_commands`; 12 has _unknown_ and _silence_ too.", 35
    )

    @property
    def folder(self) -> Path:
        """The path, with `~` resolved.

        Raises:
            InputError: There is none.
        """
        if self.path is None:
            raise InputError(f"data={self.name} needs data.path, the folder with the audio files.")
        return Path(self.path).expanduser()


class AudioAugmentationOptions(Keywords):
    """How training clips are varied; the default is not at all."""

    time_shift: NonNegativeFloat = keyword(
        "Maximum shift in seconds; a clip shorter than the input is put anywhere within it.", 0.0
    )
    tempo: Rate = keyword("The tempo changes by a factor from 1 - tempo to 1 + tempo.", 0.0)
    vocal_tract: Rate = keyword(
        "All frequencies change by a factor from 1 - vocal_tract to 1 + vocal_tract (Jaitly 2013).",
        0.0,
    )
    background_noise: Fraction = keyword("Fraction of the clips that are mixed with noise.", 0.0)
    snr_low: float = keyword("Minimum signal-to-noise ratio of that noise in decibels.", 5.0)
    snr_high: float = keyword("Maximum signal-to-noise ratio of that noise in decibels.", 30.0)
    time_mask: Rate = keyword(
        "Longest masked stretch, as a fraction of the frames (Park 2019).", 0.0
    )
    frequency_mask: Rate = keyword("Widest masked band, as a fraction of the mel bands.", 0.0)
    masks: NonNegativeInt = keyword("Number of time masks, and of frequency masks.", 1)

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.snr_low > self.snr_high:
            raise ValueError(
                f"augmentation.snr_low={self.snr_low:g} is above "
                f"augmentation.snr_high={self.snr_high:g}."
            )
        return self
