"""Audio files of any common format: a check of the header, and decoding to 16 kHz."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

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
    import torch

    check_header(path)
    samples, rate = _decode(path, max_samples / SAMPLE_RATE)
    if not np.isfinite(samples).all():
        raise InputError(f"{path} holds samples that are not numbers (NaN or infinity).")
    mono = torch.from_numpy(samples.mean(axis=1, dtype=np.float32))
    if rate != SAMPLE_RATE:
        from torchaudio.functional import resample

        mono = resample(mono, rate, SAMPLE_RATE)
    return (mono[:max_samples] * 32_768).round().clamp(-32_768, 32_767).to(torch.int16).numpy()


def check_header(path: Path) -> None:
    """Check size, header and last sample of a file, without decoding it and without torch.

    Raises:
        InputError: The file is missing, empty, cut off or not audio, or its decoder is missing.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty: it has no bytes at all.")
    if path.suffix.lower() in TORCHCODEC_AUDIO:
        if find_spec("torchcodec") is None:
            install = 'pip install "attention-atlas[audio]"'
            raise InputError(
                f"{path} needs another decoder: {install}, or convert it to WAV or FLAC."
            )
        return
    if path.suffix.lower() == ".wav":
        _check_wav(path)
    import soundfile

    try:
        with soundfile.SoundFile(path) as sound:
            frames = sound.frames
            if frames > 0:
                sound.seek(frames - 1)
                is_complete = len(sound.read(1)) == 1
    except soundfile.SoundFileError as error:
        raise InputError(
            f"{path} cannot be read as audio; it should be a whole WAV, FLAC, OGG or MP3 file."
        ) from error
    if frames == 0:
        raise InputError(f"{path} holds no sound: its length is zero.")
    if not is_complete:
        raise InputError(f"{path} is cut off: its end is missing. Copy the file again.")


def _check_wav(path: Path) -> None:
    """Compare the length in a WAV header with the file: libsndfile accepts a truncated file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(12)
        if header[:4] != b"RIFF" or header[8:] != b"WAVE":
            return  # not a WAV file in spite of its name: libsndfile decides
        while len(chunk := file.read(8)) == 8:
            length = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                streamed = length == 0xFFFF_FFFF  # written to a pipe: the length was not known
                if not streamed and file.tell() + length > size:
                    raise InputError(
                        f"{path} is cut off: its header promises {length:,} bytes of sound, "
                        f"{size - file.tell():,} are there. Copy the file again."
                    )
                return
            file.seek(length + length % 2, 1)
    raise InputError(f"{path} is cut off: it ends before the sound begins. Copy the file again.")


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
