"""Decoding of audio files of any common format to 16 kHz."""

from pathlib import Path

import numpy as np
import torch
from torchaudio.functional import resample

from attention_atlas.data.audio.headers import check_header
from attention_atlas.data.file_types import TORCHCODEC_AUDIO
from attention_atlas.errors import InputError

SAMPLE_RATE = 16_000
"""Samples per second of every clip."""


def read_clip(path: Path, max_samples: int) -> np.ndarray:
    """Decode the beginning of a file to int16, mono, 16 kHz.

    Args:
        path: WAV, FLAC, OGG, MP3 and whatever else libsndfile reads; with the extra `audio` also
            M4A and whatever else torchcodec reads.
        max_samples: Maximum number of samples to return, at 16 kHz.

    Raises:
        InputError: The file is missing, empty, cut off, not audio, or holds NaN or infinity.
    """
    check_header(path)
    samples, rate = _decode(path, max_samples / SAMPLE_RATE)
    if not np.isfinite(samples).all():
        raise InputError(f"{path} holds samples that are not numbers (NaN or infinity).")
    mono = torch.from_numpy(samples.mean(axis=1, dtype=np.float32))
    if rate != SAMPLE_RATE:
        mono = resample(mono, rate, SAMPLE_RATE)
    return (mono[:max_samples] * 32_768).round().clamp(-32_768, 32_767).to(torch.int16).numpy()


def _decode(path: Path, seconds: float) -> tuple[np.ndarray, int]:
    """Return the first seconds as float32 [samples, channels], and the sample rate."""
    if path.suffix.lower() in TORCHCODEC_AUDIO:
        return _decode_with_torchcodec(path, seconds)
    import soundfile

    try:
        with soundfile.SoundFile(path) as sound:
            # The resampler needs a few samples beyond the end of the clip.
            wanted = min(int(seconds * sound.samplerate) + 64, sound.frames)
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
