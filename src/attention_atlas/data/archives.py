"""Unpack a downloaded archive: plain files below one folder, and nothing else."""

import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath

from attention_atlas.errors import InputError


def unpack_tar(archive: Path, folder: Path) -> None:
    """Unpack a tar archive, packed or not, into a folder that is not there yet.

    The folder appears whole or not at all. Owners and modes of the archive are not taken over.

    Raises:
        InputError: The archive is damaged, or holds a link, a device, or a name that would lie
            outside of the folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                _unpack(tar, member, draft, archive)
        draft.chmod(0o755)  # mkdtemp makes it private
        draft.rename(folder)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(f"{archive} is no whole archive ({error}); download it again.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, archive: Path) -> None:
    name = PurePosixPath(member.name)
    strange = "\\" in member.name or ":" in member.name  # what Windows would take for a path
    if name.is_absolute() or ".." in name.parts or strange:
        raise InputError(f"{archive} holds {member.name!r}, which would lie outside of {folder}.")
    if member.isdir():
        (folder / name).mkdir(parents=True, exist_ok=True)
        return
    content = tar.extractfile(member) if member.isfile() else None
    if content is None:
        raise InputError(f"{archive} holds {member.name!r}, which is neither file nor folder.")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    with content, (folder / name).open("wb") as file:
        shutil.copyfileobj(content, file)
