"""Decoding of audio files of any common format to 16 kHz."""

from pathlib import Path

import numpy as np

from attention_atlas.data.audio.headers import check_header
from attention_atlas.data.audio.resampling import reach, resample
from attention_atlas.data.file_types import TORCHCODEC_AUDIO
from attention_atlas.errors import InputError

SAMPLE_RATE = 16_000
"""Samples per second of every clip."""

LOUDEST = 4.0
"""Largest sample that a decoder or a mix leaves beyond the full scale of 1, in floats."""


def read_clip(path: Path, max_samples: int) -> np.ndarray:
    """Decode the beginning of a file to int16, mono, 16 kHz.

    A clip that exceeds the full scale, as floats can, is attenuated to it and not clipped.

    Args:
        path: WAV, FLAC, OGG, MP3 and whatever else libsndfile reads; with the extra `audio` also
            M4A and whatever else torchcodec reads.
        max_samples: Maximum number of samples to return, at 16 kHz.

    Raises:
        InputError: The file is missing, empty, cut off, not audio, or its samples are not numbers
            or in another range.
    """
    check_header(path)
    samples, rate = _decode(path, max_samples / SAMPLE_RATE)
    _check_range(path, samples)
    mono = samples.mean(axis=1, dtype=np.float32)
    if rate != SAMPLE_RATE:
        mono = resample(mono, rate, SAMPLE_RATE)
    mono = mono[:max_samples]
    scale = 32_768 / max(1.0, float(np.abs(mono).max(initial=0)))
    clip: np.ndarray = (mono * scale).round().clip(-32_768, 32_767).astype(np.int16)
    return clip


def _check_range(path: Path, samples: np.ndarray) -> None:
    if not np.isfinite(samples).all():
        raise InputError(f"{path} holds samples that are not numbers (NaN or infinity).")
    low, high = float(samples.min(initial=0)), float(samples.max(initial=0))
    if max(-low, high) > LOUDEST:
        raise InputError(
            f"{path} holds samples from {low:.6g} to {high:.6g}, but samples in floating point are "
            "-1 to 1; scale them, or save the sound with integers of 16 or 24 bits."
        )


def _decode(path: Path, seconds: float) -> tuple[np.ndarray, int]:
    """Return the first seconds as float32 [samples, channels], and the sample rate."""
    if path.suffix.lower() in TORCHCODEC_AUDIO:
        return _decode_with_torchcodec(path, seconds)
    import soundfile

    try:
        with soundfile.SoundFile(path) as sound:
            beyond = reach(sound.samplerate, SAMPLE_RATE)
            wanted = min(int(seconds * sound.samplerate) + beyond, sound.frames)
            samples = sound.read(wanted, dtype="float32", always_2d=True)
            if len(samples) < wanted:
                raise InputError(f"{path} is cut off: its end is missing. Copy the file again.")
            return samples, sound.samplerate
    except soundfile.SoundFileError as error:
        raise InputError(f"{path} cannot be decoded; it seems to be damaged.") from error


def _decode_with_torchcodec(path: Path, seconds: float) -> tuple[np.ndarray, int]:
    try:
        from torchcodec.decoders import AudioDecoder

        decoded = AudioDecoder(str(path)).get_samples_played_in_range(0.0, seconds)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"{path} cannot be decoded by torchcodec, which also needs FFmpeg; "
            "convert the file to WAV or FLAC."
        ) from error
    return decoded.data.numpy().T, decoded.sample_rate
