"""The config of an evaluation: that of the run with some changes. Never imports torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from attention_atlas.config.plain import absolute_paths, unresolved
from attention_atlas.config.untrusted import read_run_config
from attention_atlas.config.validation import check_checkpoint, check_config
from attention_atlas.config.validation.schema import EvaluationConfig
from attention_atlas.data.check import OWN_FILES, modality_of
from attention_atlas.errors import InputError
from attention_atlas.option_schema import check_options
from attention_atlas.run_folder import EVALUATIONS, best_checkpoint, check_weights

NODES = ("data", "capture", "trainer")
"""Config groups that an evaluation may change."""

MODEL_INPUT = ("max_length", "image_size", "channels", "clip_seconds", "num_mels")
"""Options of `data` that the model was built for: other data takes them from the run."""

NOT_OF_A_RUN = ("profiler", "plugins", "callbacks", "logger", "default_root_dir", "model_registry")
"""Options of `trainer` that an evaluation ignores: they could write anywhere."""


def check_evaluation(config: DictConfig, choices: Mapping[str, str | None]) -> None:
    """Check the config of an evaluation, and that the run can be rebuilt.

    Raises:
        InputError: `run` is not a run folder, or the evaluation does not fit it.
    """
    if config.run is None:
        raise InputError("run is missing; give a run folder: run=outputs/<task>/<time>.")
    own = {str(key): config[key] for key in config if key not in NODES}  # those refer to the run
    check_options(EvaluationConfig, own)
    folder = Path(config.run)
    capture = config.get("capture") or {}  # only if it was chosen
    if capture.get("every_n_epochs") is not None:
        raise InputError(
            "capture.every_n_epochs is for training: an evaluation records one epoch. Leave it out."
        )
    run = read_run_config(folder)
    if (link := folder / EVALUATIONS).is_symlink():  # its target may lie outside of the run folder
        raise InputError(f"{link} is a link to {link.readlink()}: remove it, or name that one.")
    check_weights(folder)
    check_checkpoint(best_checkpoint(folder), "The run's checkpoint")
    evaluation = evaluation_config(run, config, choices)
    evaluation.run_folder = str(folder)
    found = modality_of(evaluation.data)
    if found != run.task.modality:
        raise InputError(
            f"data={evaluation.data.name} holds {found}, and {folder} was trained on "
            f"{run.task.modality}. Take data of the same kind."
        )
    if evaluation.trainer.strategy != "auto":
        raise InputError(
            f"trainer.strategy={evaluation.trainer.strategy} is not possible: an evaluation takes "
            "one process. Leave it out."
        )
    is_divided = config.split is not None or not names_other_files(run, evaluation)
    check_config(evaluation, {}, complete=False, is_divided=is_divided)


def names_other_files(run: DictConfig, evaluation: DictConfig) -> bool:
    """Whether an evaluation takes files of the user from elsewhere than its run."""
    keys = ("name", "path", "splits")
    of_run, changed = (
        absolute_paths({key: data.get(key) for key in keys}) for data in (run.data, evaluation.data)
    )
    return changed["name"] in OWN_FILES and changed != of_run


def evaluation_config(
    run: DictConfig, config: DictConfig, choices: Mapping[str, str | None]
) -> DictConfig:
    """Return the config of a run with the changes of an evaluation.

    Args:
        run: From `read_run_config`; it is not changed.
        config: Config of the evaluation: a whole node for a chosen option of a group, or single
            values.
        choices: The option of each group, None for the run's own.
    """
    merged = run.copy()
    merged.ckpt_path = merged.init = None  # what the run started from may be gone
    merged.trainer.update(strategy="auto", devices=1)  # one process tests, however many trained
    for name in NOT_OF_A_RUN:
        merged.trainer.pop(name, None)
    for name in NODES:
        if name not in config or config[name] is None:
            continue
        changes: dict[Any, Any] = unresolved(config[name])
        if choices.get(name) is None:
            merged[name] = OmegaConf.merge(merged[name], changes)
            continue
        merged[name] = changes
        if name == "data":
            form = {key: run.data[key] for key in MODEL_INPUT if key in run.data and key in changes}
            merged.data = OmegaConf.merge(merged.data, form)
    return merged
