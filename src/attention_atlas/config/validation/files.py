"""Check the files that a run reads, and the folder that it writes."""

import zipfile
from pathlib import Path

from omegaconf import DictConfig

from attention_atlas.config.validation.model import is_pretrained
from attention_atlas.errors import InputError
from attention_atlas.output_files import check_writable
from attention_atlas.run_folder import (
    CHECKPOINTS,
    LAST,
    OUTPUTS,
    RESULT,
    best_checkpoint,
    read_json,
    read_result,
)


def check_run_folder(folder: Path) -> None:
    """Check that a folder can be made, and holds no earlier run, with which it would be mixed.

    Raises:
        InputError: It cannot, or it does.
    """
    check_writable(folder)
    for name in OUTPUTS:
        if (folder / name).exists():
            raise InputError(
                f"The folder {folder} holds {name} of an earlier run, and two runs are not mixed. "
                "Take another folder, or leave hydra.run.dir and hydra.sweep.dir out."
            )


def check_checkpoint(path: Path, key: str) -> None:
    """Check that a file can be a checkpoint, which is a zip archive.

    Raises:
        InputError: It is missing, cannot be read, or is cut off.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{key}={path} {what}; give a checkpoint such as {CHECKPOINTS}/{LAST}.")
    try:
        whole_archive = zipfile.is_zipfile(path)
        path.open("rb").close()
    except OSError as error:
        raise InputError(f"{key}={path} cannot be read: {error.strerror}.") from error
    if not whole_archive:
        raise InputError(f"{key}={path} is not a checkpoint, or was cut off while it was written.")


def check_init(config: DictConfig) -> None:
    """Check that weights come from one source, a finished run."""
    init = config.get("init")  # an evaluation has none
    if init is None:
        return
    if config.ckpt_path is not None:
        raise InputError(
            f"init={init} and ckpt_path={config.ckpt_path} both say where the weights come from: "
            "leave one of them out."
        )
    if read_json(Path(init), RESULT) is None:
        raise InputError(
            f"init={init} is not a finished run: it has no {RESULT}. Give the folder of a run "
            "that has ended, such as outputs/<task>/<time>."
        )
    check_checkpoint(best_checkpoint(Path(init)), "The checkpoint of init")
    if not is_pretrained(config):
        return
    name = read_result(Path(init)).get("encoder")
    if name != config.encoder.name:
        raise InputError(
            f"init={init} was trained with encoder={name}, not with "
            f"encoder.name={config.encoder.name}: take the same, or leave init out."
        )
