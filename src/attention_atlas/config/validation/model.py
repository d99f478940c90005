"""Check that task, data and the parts of a model go together."""

from collections.abc import Mapping

from omegaconf import DictConfig

from attention_atlas.attention_options import Mechanism
from attention_atlas.config.plain import plain
from attention_atlas.data.check import modality_of
from attention_atlas.errors import InputError

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
"""Options of a group for each modality."""

PLURALS = {"text": "texts", "image": "images", "audio": "sounds"}
TASKS = {"text": "nlp", "image": "vision", "audio": "speech"}


def check_modality(config: DictConfig, choices: Mapping[str, str | None]) -> None:
    """Check that data, embedding and augmentation take the modality of the task.

    Raises:
        InputError: One of them is of another modality, or the modality of the task was changed.
    """
    task, modality = config.task.name, config.task.modality
    if choices.get("task") in TASKS.values() and TASKS[modality] != choices["task"]:
        raise InputError(
            f"task.modality={modality} is not possible: task={choices['task']} has its own. Take "
            f"task={TASKS[modality]}."
        )
    found = modality_of(config.data)
    if found != modality:
        raise InputError(
            f"data={config.data.name} holds {PLURALS[found]}, and task={task} takes "
            f"{PLURALS[modality]}. Take task={TASKS[found]}, or other data."
        )
    for group, options in FITTING.items():
        option = choices.get(group)
        if option is not None and option not in options[modality]:
            raise InputError(
                f"{group}={option} does not take {PLURALS[modality]}, which task={task} works on. "
                f"Take {group}={' or '.join(options[modality])}."
            )


def is_pretrained(config: DictConfig) -> bool:
    """Return whether the encoder is a pretrained one."""
    return "freeze" in config.encoder


def check_attention(config: DictConfig) -> None:
    """Check that sizes and options of attention go together, also with the encoder."""
    encoder, embedding = config.encoder, config.embedding
    if is_pretrained(config):  # its sizes are not known yet
        return
    options = plain(config.attention)
    on_grid = "patch_size" in embedding or embedding.get("patch_mels") is not None
    conflict = Mechanism(
        encoder.embed_dim,
        encoder.num_heads,
        **{name: value for name, value in options.items() if name != "bias"},
        grid_axes=2 if on_grid else 1,
        prefix="attention.",
        size_prefix="encoder.",
    ).conflict()
    if conflict is not None:
        raise InputError(conflict)
    if encoder.readout == "cls":
        _check_cls(config)
    elif encoder.depth == 0:
        _check_positions(config)


def _check_cls(config: DictConfig) -> None:
    """Check that the CLS token can read the other tokens."""
    if config.encoder.depth == 0:
        raise InputError(
            "encoder.readout=cls needs a layer that reads the other tokens, and encoder.depth=0 "
            "has none. Take readout=attention or mean, or a depth of 1 or more."
        )
    window = config.attention.get("window")
    if window is not None:
        raise InputError(
            f"encoder.readout=cls does not go with attention.window={window}: the CLS token has "
            "no position among the others, so that no window would show it any of them. "
            "Take encoder.readout=attention or mean, or attention.window=null."
        )


def _check_positions(config: DictConfig) -> None:
    """Check that a layer uses the positions: the query of a readout has none."""
    for key, off in (("rotary", False), ("window", None)):
        value = config.attention.get(key, off)
        if value != off:
            raise InputError(
                f"attention.{key} has no layer to work in: encoder.depth=0. Take "
                f"encoder.depth=1 or more, or attention.{key}={'null' if off is None else 'false'}."
            )


def check_patches(config: DictConfig) -> None:
    """Check that patches fill the input, and that the stem can halve down to their size."""
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
                f"embedding.{key}={size} is not a power of two, which "
                f"embedding.stem={embedding.stem} needs. "
                "Take 1, 2, 4, 8 or another power of two, or embedding.stem=linear."
            )
