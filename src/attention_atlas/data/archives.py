"""Unpacking of downloaded archives: plain files below one folder, nothing else."""

import gzip
import tarfile
import zlib
from pathlib import Path

from attention_atlas.data.cache import complete_folder
from attention_atlas.errors import InputError


def unpack_tar(archive: Path, folder: Path) -> None:
    """Unpack a tar archive, compressed or not, into a folder that does not exist yet.

    The folder appears complete or not at all. Owners and modes in the archive are ignored.

    Raises:
        InputError: The archive is damaged, or holds a link, a device, or a path outside of the
            folder.
    """
    with complete_folder(folder) as draft:
        _extract(archive, draft)


def _extract(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter=_plain_files)
    except tarfile.FilterError as error:
        raise InputError(f"{archive} holds an entry that is refused: {error}.") from error
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"{archive} is not a complete archive ({error}); download it again."
        ) from error


def _plain_files(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """Filter as `filter="data"`, and refuse links, which bypassed it in CVE-2025-4517.

    Names that Windows takes for absolute paths are refused on every system.
    """
    if not member.isfile() and not member.isdir():
        raise tarfile.SpecialFileError(member)
    if member.name.startswith("/") or set(member.name) & set("\\:"):
        raise tarfile.AbsolutePathError(member)
    return tarfile.data_filter(member.replace(mode=None, deep=False), folder)  # type: ignore[arg-type]
