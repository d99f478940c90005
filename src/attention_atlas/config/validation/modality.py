"""Check that data, augmentation and embedding are of the modality of the task."""

from collections.abc import Mapping

from omegaconf import DictConfig

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
        InputError: One of them is of another modality.
    """
    task, modality = config.task.name, config.task.modality
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
