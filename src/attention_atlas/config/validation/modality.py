"""Check that the data, and what is made of it, are of the modality of the task."""

from collections.abc import Mapping

from omegaconf import DictConfig, OmegaConf

from attention_atlas.data.check import check_source, modality_of
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
"""Options of a group that take the modality of a task."""

PLURALS = {"text": "texts", "image": "images", "audio": "sounds"}
TASKS = {"text": "nlp", "image": "vision", "audio": "speech"}


def check_fitting(config: DictConfig, choices: Mapping[str, str | None], group: str) -> None:
    """The chosen option of a group takes the modality of the task."""
    modality = config.task.modality
    option = choices.get(group)
    fitting = FITTING[group][modality]
    if option is not None and option not in fitting:
        raise InputError(
            f"{group}={option} does not take {PLURALS[modality]}, which "
            f"task={config.task.name} works on. Take {group}={' or '.join(fitting)}."
        )


def check_data_source(config: DictConfig) -> None:
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
