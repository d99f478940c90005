"""Unpacking of downloaded archives: plain files below one folder, nothing else."""

import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path

from attention_atlas.errors import InputError


def unpack_tar(archive: Path, folder: Path) -> None:
    """Unpack a tar archive, compressed or not, into a folder that does not exist yet.

    The folder appears complete or not at all. Owners and modes in the archive are ignored.

    Raises:
        InputError: The archive is damaged, or holds a link, a device, or a path outside of the
            folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(draft, filter=_plain_files)
        draft.chmod(0o755)  # mkdtemp makes it private
        draft.rename(folder)
    except tarfile.FilterError as error:
        raise InputError(f"{archive} holds an entry that is refused: {error}.") from error
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(
            f"{archive} is not a complete archive ({error}); download it again."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _plain_files(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """Filter as `filter="data"`, and refuse links, which bypassed it in CVE-2025-4517.

    Names that Windows takes for absolute paths are refused on every system.
    """
    if not member.isfile() and not member.isdir():
        raise tarfile.SpecialFileError(member)
    if member.name.startswith("/") or set(member.name) & set("\\:"):
        raise tarfile.AbsolutePathError(member)
    return tarfile.data_filter(member.replace(mode=None, deep=False), folder)  # type: ignore[arg-type]
