"""Check a composed config for everything that can be known before torch is imported."""

import ctypes
import importlib.util
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from attention_atlas.analysis.files import check_writable
from attention_atlas.combinations import GATES, find_conflict
from attention_atlas.data.check import check_source, modality_of
from attention_atlas.errors import InputError
from attention_atlas.pipeline.compose import flat, unknown_key, unresolved
from attention_atlas.pipeline.targets import check_targets


@dataclass(frozen=True)
class Rule:
    """What a value may be, and how that is said.

    Attributes:
        words: What is accepted, to follow "take".
        types: Accepted types; a whole number is accepted where a float is.
        low: Least number.
        high: Greatest number.
        below: Whether `high` itself is out of range.
        above: Whether `low` itself is out of range.
        choices: The only values there are.
        optional: Whether null is accepted.
        items: What each item of a list must follow.
        length: How many items a list must have.
    """

    words: str
    types: tuple[type, ...]
    low: float = -float("inf")
    high: float = float("inf")
    below: bool = False
    above: bool = False
    choices: tuple[Any, ...] = ()
    optional: bool = False
    items: "Rule | None" = None
    length: int | None = None

    def accepts(self, value: Any) -> bool:
        """Whether a resolved value follows the rule."""
        if value is None:
            return self.optional
        if isinstance(value, bool) and bool not in self.types:
            return False
        if not isinstance(value, self.types):
            return False
        if self.choices:
            return value in self.choices
        if isinstance(value, list) and self.items is not None:
            return len(value) == self.length and all(self.items.accepts(item) for item in value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            too_low = value <= self.low if self.above else value < self.low
            too_high = value >= self.high if self.below else value > self.high
            return not (too_low or too_high or value != value)
        return True


def whole(low: int, optional: bool = False) -> Rule:
    """A whole number of at least `low`."""
    return Rule(f"a whole number, {low} or more", (int,), low, optional=optional)


def share(below: bool = True) -> Rule:
    """A number from 0 to 1."""
    return Rule(f"a number from 0 to {'below ' if below else ''}1", (int, float), 0, 1, below)


def number(low: float, above: bool = False, optional: bool = False) -> Rule:
    """A number of at least, or above, `low`."""
    words = f"a number above {low:g}" if above else f"a number, {low:g} or more"
    return Rule(words, (int, float), low, above=above, optional=optional)


def choice(*choices: Any) -> Rule:
    """One of some values."""
    words = "one of " + ", ".join(str(value) for value in choices)
    return Rule(words, tuple({type(value) for value in choices}), choices=choices)


def text(words: str, optional: bool = False) -> Rule:
    """Any text."""
    return Rule(words, (str,), optional=optional)


MONITORED = {
    "val/loss": "min",
    "val/accuracy": "max",
    "val/macro_f1": "max",
    "val/calibration_error": "min",
}
"""Metrics that each validation logs, and whether less or more of it is better."""

RULES: dict[str, Rule] = {
    "seed": Rule("a whole number from 0 to 4294967295", (int,), 0, 2**32 - 1),
    "num_threads": whole(1),
    "ckpt_path": text("a checkpoint file", optional=True),
    "init": text("the folder of a finished run", optional=True),
    "resume": Rule("auto", (str,), choices=("auto",), optional=True),
    "run": text("the folder of a run"),
    "split": choice("train", "val", "test"),
    "task.label_smoothing": share(),
    "task.recipe.max_epochs": whole(1),
    "task.recipe.ema_decay": share(),
    "data.path": text("a file or folder", optional=True),
    "data.batch_size": whole(1),
    "data.eval_batch_size": whole(1, optional=True),
    "data.num_workers": whole(0),
    "embedding.init": choice("cooccurrence", "random"),
    "embedding.positions": choice("learned", "sinusoidal", "none"),
    "embedding.stem": choice("conv", "pool", "linear"),
    "embedding.patch_size": whole(1),
    "embedding.patch_frames": whole(1),
    "embedding.patch_mels": whole(1, optional=True),
    "embedding.num_pairs": whole(0),
    "embedding.pair_dropout": share(),
    "embedding.dropout": share(),
    "encoder.embed_dim": whole(1),
    "encoder.num_heads": whole(1),
    "encoder.depth": whole(0),
    "encoder.mlp_ratio": number(0, above=True),
    "encoder.dropout": share(),
    "encoder.drop_path": share(),
    "encoder.head_dropout": share(),
    "encoder.readout": choice("attention", "cls", "mean"),
    "encoder.name": text("the id of a model on the Hugging Face Hub, a folder, or minilm"),
    "encoder.freeze": Rule(
        "none, embeddings, all, or how many of the first layers", (str, int), low=0
    ),
    "encoder.lr": number(0, above=True),
    "encoder.layer_decay": Rule("a number above 0, at most 1", (int, float), 0, 1, above=True),
    "encoder.lora": Rule("a group of values", (dict,), optional=True),
    "attention.score": choice("dot", "scaled_dot", "cosine", "multiplicative", "additive"),
    "attention.dropout": share(),
    "attention.num_kv_heads": whole(1, optional=True),
    "attention.window": whole(1, optional=True),
    "attention.gate": Rule(" or ".join(GATES), (str,), choices=GATES, optional=True),
    "optimizer.lr": number(0, above=True),
    "optimizer.weight_decay": number(0),
    "optimizer.momentum": share(),
    "optimizer.betas": Rule(
        "two numbers from 0 to below 1, such as [0.9,0.98]", (list,), items=share(), length=2
    ),
    "schedule.warmup": share(below=False),
    "schedule.final": share(below=False),
    "trainer.accelerator": choice("auto", "cpu", "gpu", "cuda", "mps", "tpu"),
    "trainer.devices": Rule("1, the number of one device in a list, or auto", (int, str, list)),
    "trainer.num_nodes": Rule("1", (int,), 1, 1),
    "trainer.strategy": choice("auto", "ddp", "fsdp"),
    "trainer.precision": choice("auto", "32-true", "bf16-mixed"),
    "trainer.fast_dev_run": Rule(
        "debug=fast, which runs three batches of each split", (bool,), choices=(False,)
    ),
    "trainer.max_epochs": whole(1),
    "trainer.check_val_every_n_epoch": whole(1),
    "trainer.gradient_clip_val": number(0, optional=True),
    "trainer.accumulate_grad_batches": whole(1),
    "trainer.log_every_n_steps": whole(1),
    "trainer.limit_train_batches": number(0, above=True, optional=True),
    "trainer.limit_val_batches": number(0, above=True, optional=True),
    "trainer.limit_test_batches": number(0, above=True, optional=True),
    "trainer.overfit_batches": number(0),
    "callbacks.checkpoint.monitor": choice(*MONITORED),
    "callbacks.checkpoint.mode": choice("min", "max"),
    "callbacks.early_stopping.monitor": choice(*MONITORED),
    "callbacks.early_stopping.mode": choice("min", "max"),
    "callbacks.early_stopping.patience": whole(0),
    "callbacks.ema.decay": share(),
    "capture.num_samples": whole(0, optional=True),
    "capture.entropy_queries": whole(1, optional=True),
    "capture.every_n_epochs": whole(1, optional=True),
    "capture.dtype": choice("float16", "float32"),
}
"""What a value may be where its default does not tell all of it."""

SEARCHES = ("tpe", "grid")
"""Sweepers that draw values by Optuna."""

OPEN = ("data", "augmentation", "optimizer", "schedule", "trainer", "callbacks", "logger")
"""Nodes that are passed on to a class, which may take more keywords than the config lists."""

FIXED = {
    "run_folder": "It follows hydra.run.dir, which may be changed.",
    "task.modality": "It belongs to the task; take another task.",
    "callbacks.checkpoint.dirpath": "The best checkpoint is looked for in the run folder.",
    "callbacks.checkpoint.filename": "The best checkpoint is looked for under that name.",
}
"""Values that other parts count on, and why they stay."""

RUN_FILES = ("checkpoints", "atlas.zarr", "result.json", "baseline.json")
"""What a run, an evaluation or a baseline leaves in its folder."""

FITTING = {
    "embedding": {
        "text": ("text",),
        "image": ("patches",),
        "audio": ("frames", "time_frequency"),
    },
    "augmentation": {
        "text": ("text", "none"),
        "image": ("image", "image_rand", "mixup", "cutmix", "none"),
        "audio": ("audio", "none"),
    },
}
"""Options of a group that take the modality of a task."""

PLURALS = {"text": "texts", "image": "images", "audio": "sounds"}
TASKS = {"text": "nlp", "image": "vision", "audio": "speech"}

COMPILERS = ("g++", "clang++", "c++", "cl")
"""C++ compilers that torch.compile looks for, unless the variable CXX names one."""

EXTRAS = {
    "TensorBoardLogger": ("tensorboard", "tensorboard"),
    "WandbLogger": ("wandb", "wandb"),
    "MLFlowLogger": ("mlflow", "mlflow"),
}
"""Logger class -> the package it imports, and the extra of this project that installs it."""


def check_config(
    config: DictConfig, reference: DictConfig, choices: Mapping[str, str | None]
) -> None:
    """Check a composed config: names, types, ranges, sizes, devices and files.

    Args:
        config: As composed.
        reference: The same group options with no value changed.
        choices: The option of each group.

    Raises:
        InputError: Something cannot be used; the message names the key or the file.
    """
    _check_keys(config, reference)
    _check_values(config, reference)
    _check_targets(config)
    _check_attention(config)
    _check_fitting(config, choices, "embedding")
    _check_fitting(config, choices, "augmentation")
    _check_patches(config)
    _check_monitors(config)
    _check_recorded_epochs(config)
    _check_logger(config)
    _check_compiler(config)
    _check_sweeper(config, choices)
    check_devices(config)
    _check_processes(config)
    _check_learning_rate_search(config)
    if config.callbacks.get("checkpoint") is None:
        raise InputError(
            "callbacks.checkpoint=null is not possible: the best checkpoint is what is tested."
        )
    if config.ckpt_path is not None:
        check_checkpoint(Path(config.ckpt_path), "ckpt_path")
    _check_init(config)
    _check_source(config)


def check_data(
    config: DictConfig, reference: DictConfig, choices: Mapping[str, str | None]
) -> None:
    """Check a config of which only the data counts; arguments and errors of `check_config`."""
    _check_keys(config, reference)
    _check_values(config, reference)
    _check_targets(config)
    _check_fitting(config, choices, "augmentation")
    _check_source(config)


def check_fixed(config: DictConfig, reference: DictConfig) -> None:
    """Check that values which other parts count on are as they were.

    Raises:
        InputError: One of them was changed.
    """
    given, known = flat(unresolved(config)), flat(unresolved(reference))
    for key, reason in FIXED.items():
        if key in given and key in known and given[key] != known[key]:
            shown = "null" if given[key] is None else given[key]
            raise InputError(f"{key}={shown} is not possible: it stays {known[key]}. {reason}")


def check_run_folder(folder: Path) -> None:
    """Check that a folder can be made, and holds no earlier run, with which it would be mixed.

    Raises:
        InputError: It cannot, or it does.
    """
    check_writable(folder)
    for name in RUN_FILES:
        if (folder / name).exists():
            raise InputError(
                f"The folder {folder} holds {name} of an earlier run, and two runs are not mixed. "
                "Take another folder, or leave hydra.run.dir and hydra.sweep.dir out."
            )


def _check_source(config: DictConfig) -> None:
    """The data is of the modality that the task takes, and can be read."""
    modality, given = config.task.modality, modality_of(config.data)
    if given != modality:
        raise InputError(
            f"data={config.data.name} holds {PLURALS[given]}, and task={config.task.name} takes "
            f"{PLURALS[modality]}. Take task={TASKS[given]}, or other data."
        )
    data = OmegaConf.to_container(config.data, resolve=True)
    assert isinstance(data, dict)
    check_source({str(key): value for key, value in data.items()})


def check_checkpoint(path: Path, key: str) -> None:
    """Check that a file can be a checkpoint, which is a zip archive.

    Raises:
        InputError: It is missing, cannot be read, or is cut off.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{key}={path} {what}; give a checkpoint such as checkpoints/last.ckpt.")
    try:
        whole_archive = zipfile.is_zipfile(path)
        path.open("rb").close()
    except OSError as error:
        raise InputError(f"{key}={path} cannot be read: {error.strerror}.") from error
    if not whole_archive:
        raise InputError(f"{key}={path} is no checkpoint, or was cut off while it was written.")


def _check_init(config: DictConfig) -> None:
    """Weights come from one place, and that run is finished."""
    init = config.get("init")  # evaluate.py has none
    if init is None:
        return
    if config.ckpt_path is not None:
        raise InputError(
            f"init={init} and ckpt_path={config.ckpt_path} both say where the weights come from: "
            "leave one of them out."
        )
    if not (Path(init) / "result.json").is_file():
        raise InputError(
            f"init={init} is no finished run: it has no result.json. Give the folder of a run that "
            "has ended, such as outputs/<task>/<time>."
        )
    check_checkpoint(Path(init) / "checkpoints" / "best.ckpt", "The checkpoint of init")
    if not is_pretrained(config):
        return
    try:
        name = json.loads((Path(init) / "result.json").read_text(encoding="utf-8"))["encoder"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"init={init} has a result.json that is none: {error!r}.") from error
    if name != config.encoder.name:
        raise InputError(
            f"init={init} was trained with encoder={name}, not with "
            f"encoder.name={config.encoder.name}: take the same, or leave init out."
        )


def check_devices(config: DictConfig) -> None:
    """Check that the machine has the devices that the trainer is told to use.

    Raises:
        InputError: It has fewer, or `trainer.devices` cannot be read.
    """
    accelerator, devices = config.trainer.accelerator, config.trainer.devices
    if isinstance(devices, ListConfig):
        devices = list(devices)
    if sys.platform == "darwin" or accelerator in ("mps", "tpu"):
        # Which of these are there Lightning knows, and says before it trains.
        _check_one_device(config, _device_numbers(devices, 1) or [])
        return
    on_gpu, available = _available(accelerator)
    kind = "GPU" if on_gpu else "CPU core"
    has = f"this machine has {available} {kind}{'' if available == 1 else 's'}"
    if on_gpu and available == 0:
        raise InputError(f"trainer.accelerator={accelerator} needs a GPU, and {has}.")
    wanted = _device_numbers(devices, available)
    if wanted is None:
        raise InputError(
            f"trainer.devices={devices} is not possible: take {RULES['trainer.devices'].words}."
        )
    if any(index >= available for index in wanted):
        raise InputError(
            f"trainer.devices={config.trainer.devices} is more than there are: {has}. "
            "Take trainer.devices=1."
        )
    if on_gpu or devices != "auto":  # auto is one process on the CPU
        _check_one_device(config, wanted)


def _check_sweeper(config: DictConfig, choices: Mapping[str, str | None]) -> None:
    """A search can be had, and pruning has one."""
    sweeper = choices.get("hydra/sweeper")
    if sweeper == "optuna":  # would minimise whatever it is told, and begin anew each time
        raise InputError("hydra/sweeper=optuna is not possible: take hydra/sweeper=tpe or grid.")
    if sweeper in SEARCHES and not _is_installed("hydra_plugins.hydra_optuna_sweeper"):
        raise InputError(f'hydra/sweeper={sweeper} needs: pip install "attention-atlas[sweep]".')
    if sweeper == "basic" and config.callbacks.get("pruning") is not None:
        raise InputError(
            "callbacks=pruning needs a search, as by -m hydra/sweeper=tpe: add it, or leave "
            "pruning out."
        )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


def _check_processes(config: DictConfig) -> None:
    """A run of several processes starts them itself, and each does the same."""
    if config.trainer.strategy == "fsdp" and config.callbacks.get("ema") is not None:
        raise InputError(
            "trainer=fsdp spreads the weights over the ranks, and callbacks.ema can keep no "
            "average of them: add callbacks.ema=null."
        )
    on_gpu, _ = _available(config.trainer.accelerator)
    if config.trainer.get("sync_batchnorm") and not on_gpu and num_processes(config) > 1:
        raise InputError(
            "trainer.sync_batchnorm=true is for GPUs: add trainer.sync_batchnorm=false, or take "
            "trainer=ddp_cpu."
        )


def _check_learning_rate_search(config: DictConfig) -> None:
    """Check that there is one learning rate to look for, and one process that looks."""
    if not config.lr_find:
        return
    if num_processes(config) > 1:
        raise InputError(
            "lr_find=true takes one process: search with trainer.devices=1, and set optimizer.lr."
        )
    encoder = config.encoder
    if is_pretrained(config) and not (encoder.freeze == "all" and encoder.lora is None):
        raise InputError(
            "lr_find=true looks for one learning rate of all parameters, but those of a pretrained "
            "encoder have their own: set encoder.lr and optimizer.lr and leave lr_find out, or "
            "take encoder.freeze=all without encoder.lora."
        )


def num_processes(config: DictConfig) -> int:
    """How many processes a run takes on this machine."""
    if config.trainer.strategy == "auto":
        return 1
    devices = config.trainer.devices
    devices = list(devices) if isinstance(devices, ListConfig) else devices
    on_gpu, available = _available(config.trainer.accelerator)
    if devices == "auto" and not on_gpu:
        return 1
    return len(_device_numbers(devices, available) or [0])


def is_pretrained(config: DictConfig) -> bool:
    """Whether the encoder is a pretrained one."""
    return "freeze" in config.encoder


def precision_of(config: DictConfig) -> str:
    """The precision that is trained in: where none is chosen, what suits the device."""
    precision = str(config.trainer.precision)
    if precision != "auto":
        return precision
    on_gpu, _ = _available(config.trainer.accelerator)
    return "bf16-mixed" if on_gpu else "32-true"


def _available(accelerator: str) -> tuple[bool, int]:
    """Whether training runs on GPUs, and how many of them or of CPU cores there are."""
    on_gpu = accelerator in ("gpu", "cuda") or (accelerator == "auto" and count_gpus() > 0)
    return on_gpu, count_gpus() if on_gpu else os.cpu_count() or 1


def _check_one_device(config: DictConfig, wanted: list[int]) -> None:
    if len(wanted) > 1 and config.trainer.strategy == "auto":
        raise InputError(
            f"trainer.devices={config.trainer.devices} asks for {len(wanted)} devices, and one "
            "process takes one. Take trainer=ddp or trainer=ddp_cpu, or trainer.devices=1."
        )


def count_gpus() -> int:
    """How many CUDA devices this process may use, asked of the driver without torch."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def _device_numbers(devices: Any, available: int) -> list[int] | None:
    """The numbers of the devices, as Lightning reads them; None where it would not."""
    if devices in ("auto", -1, "-1"):
        return list(range(available))
    if isinstance(devices, str):
        parts = [part.strip() for part in devices.split(",") if part.strip()]
        if not parts or not all(part.isdecimal() for part in parts):
            return None
        devices = [int(part) for part in parts] if "," in devices else int(parts[0])
    if isinstance(devices, list):
        valid = bool(devices) and all(type(index) is int and index >= 0 for index in devices)
        return devices if valid and len(set(devices)) == len(devices) else None
    return list(range(devices)) if type(devices) is int and devices > 0 else None


def _check_keys(config: DictConfig, reference: DictConfig) -> None:
    """No key that nothing reads, and none missing."""
    known = flat(unresolved(reference))
    given = flat(unresolved(config))
    for key in given:
        if key not in known and not _is_open(key, reference):
            raise InputError(unknown_key(key, known))
    for key in known:
        top = key.split(".")[0]
        if key not in given and (top not in OPEN or key == top):
            raise InputError(f"{key} is missing from the config; it cannot be deleted.")


def _is_open(key: str, reference: DictConfig) -> bool:
    top, _, rest = key.partition(".")
    switched_off = top == "capture" and not reference.get(top)  # debug=fast sets num_samples
    is_adapter = key.startswith("encoder.lora.") and "lora" in (reference.get("encoder") or {})
    return bool(rest) and (top in OPEN or switched_off or is_adapter)


def _check_values(config: DictConfig, reference: DictConfig) -> None:
    """Each value is of the type of its default and follows its rule."""
    for key in flat(unresolved(config)):
        value, default = _resolved(config, key), _resolved(reference, key)
        rule = RULES.get(key) or _rule_of(default, key)
        if isinstance(default, DictConfig) and isinstance(value, DictConfig):
            continue
        if rule is not None:
            _follow(rule, key, _unwrapped(value))


def check_rule(key: str, value: Any) -> None:
    """Check one value by the rule for its key.

    Raises:
        InputError: It does not follow the rule.
    """
    _follow(RULES[key], key, value)


def _follow(rule: Rule, key: str, value: Any) -> None:
    if not rule.accepts(value):
        shown = "null" if value is None else repr(value) if value == "" else value
        null = ", or null" if rule.optional else ""
        raise InputError(f"{key}={shown} is not possible: take {rule.words}{null}.")


def _rule_of(default: Any, key: str) -> Rule | None:
    """What the type of a default tells; a default of null tells nothing."""
    optional = key.split(".")[0] in OPEN and not key.startswith("data.")
    if isinstance(default, DictConfig):
        return Rule("a group of values", (dict,), optional=optional)
    if isinstance(default, ListConfig):
        return Rule("a list, such as [1,2]", (list,), optional=optional)
    if isinstance(default, bool):
        return Rule("true or false", (bool,), optional=optional)
    if isinstance(default, int):
        return Rule("a whole number", (int,), optional=optional)
    if isinstance(default, float):
        return Rule("a number", (int, float), optional=optional)
    return Rule("text", (str,), optional=optional) if isinstance(default, str) else None


def _resolved(config: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(config, key)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"{key} cannot be resolved: {reason}.") from error


def _check_attention(config: DictConfig) -> None:
    """Sizes and options of attention go together, also with the encoder around it."""
    encoder, embedding = config.encoder, config.embedding
    if is_pretrained(config):  # its sizes are not known yet
        _check_pretrained(config)
        return
    options = OmegaConf.to_container(config.attention, resolve=True)
    assert isinstance(options, dict)
    on_grid = "patch_size" in embedding or embedding.get("patch_mels") is not None
    conflict = find_conflict(
        encoder.embed_dim,
        encoder.num_heads,
        **{str(name): value for name, value in options.items() if name != "bias"},
        grid_axes=2 if on_grid else 1,
        prefix="attention.",
        size_prefix="encoder.",
    )
    if conflict is not None:
        raise InputError(conflict)
    if encoder.readout == "cls":
        _check_cls(config)
    elif encoder.depth == 0:
        _check_places(config)


def _check_pretrained(config: DictConfig) -> None:
    """What of a pretrained encoder is trained is one of the words there are."""
    freeze = config.encoder.freeze
    if isinstance(freeze, str) and freeze not in ("none", "embeddings", "all"):
        raise InputError(
            f"encoder.freeze={freeze} is not possible: take {RULES['encoder.freeze'].words}."
        )


def _check_cls(config: DictConfig) -> None:
    """The CLS token can read the other tokens."""
    if config.encoder.depth == 0:
        raise InputError(
            "encoder.readout=cls needs a layer that reads the other tokens, and encoder.depth=0 "
            "has none. Take readout=attention or mean, or a depth of 1 or more."
        )
    window = config.attention.get("window")
    if window is not None:
        raise InputError(
            f"encoder.readout=cls does not go with attention.window={window}: the CLS token has "
            "no place among the others, so that no window would show it any of them. "
            "Take encoder.readout=attention or mean, or attention.window=null."
        )


def _check_places(config: DictConfig) -> None:
    """Without a layer nothing asks where a token stands: the query of a readout has no place."""
    for key, off in (("rotary", False), ("window", None)):
        value = config.attention.get(key, off)
        if value != off:
            raise InputError(
                f"attention.{key} has no layer to work in: encoder.depth=0. Take "
                f"encoder.depth=1 or more, or attention.{key}={'null' if off is None else 'false'}."
            )


def _check_targets(config: DictConfig) -> None:
    """Every class or function that the config names is on the allow list."""
    try:
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(f"The config has no value: {str(error).splitlines()[0]}.") from error
    check_targets(plain)


def _check_fitting(config: DictConfig, choices: Mapping[str, str | None], group: str) -> None:
    """The chosen option of a group takes the modality of the task."""
    modality = config.task.modality
    option = choices.get(group)
    fitting = FITTING[group][modality]
    if option is not None and option not in fitting:
        raise InputError(
            f"{group}={option} does not take {PLURALS[modality]}, which "
            f"task={config.task.name} works on. Take {group}={' or '.join(fitting)}."
        )


def _check_patches(config: DictConfig) -> None:
    """Patches fill what they are cut from, and the convolutional stem can halve down to them."""
    embedding, data = config.embedding, config.data
    for key, whole_key in (("patch_size", "image_size"), ("patch_mels", "num_mels")):
        size, total = embedding.get(key), data.get(whole_key)
        if size is not None and total is not None and total % size:
            divisors = [str(part) for part in range(1, total + 1) if total % part == 0]
            raise InputError(
                f"embedding.{key}={size} does not divide data.{whole_key}={total}. "
                f"Take one of {', '.join(divisors)}."
            )
    for key in ("patch_size", "patch_frames", "patch_mels"):
        size = embedding.get(key)
        if size is not None and embedding.stem != "linear" and size & (size - 1):
            raise InputError(
                f"embedding.{key}={size} is no power of two, which "
                f"embedding.stem={embedding.stem} needs. "
                "Take 1, 2, 4, 8 or another power of two, or embedding.stem=linear."
            )


def _check_monitors(config: DictConfig) -> None:
    """There is something to choose the best checkpoint by, and what is called better is better."""
    every, epochs = config.trainer.get("check_val_every_n_epoch", 1), config.trainer.max_epochs
    if every > epochs:
        raise InputError(
            f"trainer.check_val_every_n_epoch={every} is more than trainer.max_epochs={epochs}: "
            "there is no validation to choose the best checkpoint by."
        )
    for name in ("checkpoint", "early_stopping"):
        node = config.callbacks.get(name)
        mode = None if node is None else MONITORED.get(node.get("monitor"))
        if mode is not None and node.get("mode") != mode:
            raise InputError(
                f"callbacks.{name}.mode={node.get('mode')} takes the worst {node.monitor} for the "
                f"best. Take callbacks.{name}.mode={mode}."
            )


def _check_recorded_epochs(config: DictConfig) -> None:
    """There is something to record of each epoch that is to be recorded, and when it is over."""
    every = config.capture.get("every_n_epochs")
    if every is None or "dtype" not in config.capture:  # with capture=off nothing is recorded
        return
    trainer, given = config.trainer, f"capture.every_n_epochs={every}"
    if every > trainer.max_epochs:
        raise InputError(
            f"{given} is more than trainer.max_epochs={trainer.max_epochs}: no epoch would be "
            "recorded. Take less, or null."
        )
    if config.capture.num_samples == 0:
        raise InputError(
            f"{given} records the samples that capture.num_samples chooses, and that is 0. Take "
            "capture.num_samples=1 or more, or capture.every_n_epochs=null."
        )
    validated = trainer.get("check_val_every_n_epoch", 1)
    if every % validated:
        raise InputError(
            f"{given} asks for epochs that are not validated, with "
            f"trainer.check_val_every_n_epoch={validated}. Take a multiple of {validated}."
        )
    if trainer.get("val_check_interval") not in (None, 1.0):
        raise InputError(
            f"{given} records when an epoch is over, and trainer.val_check_interval="
            f"{trainer.val_check_interval} validates within it. Leave one of the two out."
        )


def _check_logger(config: DictConfig) -> None:
    """The package of the chosen logger is there."""
    target = str((config.logger or {}).get("_target_", "")).rpartition(".")[2]
    if target in EXTRAS:
        package, extra = EXTRAS[target]
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"logger={extra} needs the package {package}: "
                f"pip install 'attention-atlas[{extra}]'"
            )


def _check_compiler(config: DictConfig) -> None:
    """There is a C++ compiler if a kernel is to be compiled."""
    names = [os.environ["CXX"]] if "CXX" in os.environ else list(COMPILERS)
    if config.attention.get("compile") and not any(shutil.which(name) for name in names):
        raise InputError(
            f"attention.compile=true needs a C++ compiler, and there is no {' or '.join(names)} "
            "to be found. Install one, name one by the variable CXX, or leave it out."
        )


def _unwrapped(value: Any) -> Any:
    if isinstance(value, DictConfig | ListConfig):
        return OmegaConf.to_container(value, resolve=False)
    return value
