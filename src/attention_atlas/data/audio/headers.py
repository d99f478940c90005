"""A check of audio files by their header. Needs no torch."""

from importlib.util import find_spec
from pathlib import Path

from attention_atlas.data.audio.resampling import MAX_RATE
from attention_atlas.data.file_types import TORCHCODEC_AUDIO
from attention_atlas.errors import InputError
from attention_atlas.input_files import open_regular


def check_header(path: Path) -> None:
    """Check size, header and last sample of a file, without decoding it.

    Raises:
        InputError: The file is missing, empty, cut off or not audio, or its decoder is missing.
    """
    open_regular(path).close()  # a pipe never ends
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
            frames, rate = sound.frames, sound.samplerate
            if frames > 0:
                sound.seek(frames - 1)
                is_complete = len(sound.read(1)) == 1
    except soundfile.SoundFileError as error:
        raise InputError(
            f"{path} cannot be read as audio; it should be a whole WAV, FLAC, OGG or MP3 file."
        ) from error
    if frames == 0:
        raise InputError(f"{path} holds no sound: its length is zero.")
    if rate > MAX_RATE:
        raise InputError(
            f"{path} declares {rate:,} samples a second; {MAX_RATE:,} is the most that is read."
        )
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
