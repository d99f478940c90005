"""Whether a file is audio, found out without decoding it and without torch."""

from pathlib import Path

from attention_atlas.data.file_types import TORCHCODEC_AUDIO
from attention_atlas.errors import InputError

INSTALL = 'pip install "attention-atlas[audio]"'


def check_header(path: Path) -> None:
    """Look at a file's size, header and last sample.

    Raises:
        InputError: The file is missing, empty, cut off, or no audio; or the decoder is missing.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty: it has no bytes at all.")
    if path.suffix.lower() in TORCHCODEC_AUDIO:
        _check_decoder(path)
        return
    if path.suffix.lower() == ".wav":
        _check_wav(path)
    import soundfile

    try:
        with soundfile.SoundFile(path) as sound:
            frames = sound.frames
            if frames > 0:
                sound.seek(frames - 1)
                complete = len(sound.read(1)) == 1
    except soundfile.SoundFileError as error:
        raise InputError(
            f"{path} cannot be read as audio; it should be a whole WAV, FLAC, OGG or MP3 file."
        ) from error
    if frames == 0:
        raise InputError(f"{path} holds no sound: its length is zero.")
    if not complete:
        raise InputError(f"{path} is cut off: its end is missing. Copy the file again.")


def _check_decoder(path: Path) -> None:
    from importlib.util import find_spec

    if find_spec("torchcodec") is None:
        raise InputError(f"{path} needs another decoder: {INSTALL}, or convert it to WAV or FLAC.")


def _check_wav(path: Path) -> None:
    """libsndfile reads what is left of a WAV file that was cut off, and says nothing."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(12)
        if header[:4] != b"RIFF" or header[8:] != b"WAVE":
            return  # not what the name says: libsndfile decides
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
