"""Search for a learning rate before training (Smith 2017)."""

from pathlib import Path

from lightning.pytorch.tuner.tuning import Tuner
from omegaconf import DictConfig, OmegaConf

from attention_atlas.data.base import AtlasDataModule
from attention_atlas.errors import InputError
from attention_atlas.pipeline.build import build_trainer
from attention_atlas.tasks import ClassificationTask


def find_learning_rate(
    config: DictConfig, folder: Path, task: ClassificationTask, datamodule: AtlasDataModule
) -> float:
    """Return the learning rate at which the loss falls steepest while the rate is raised.

    The weights are restored afterwards.

    Raises:
        InputError: The loss never fell.
    """
    endless = OmegaConf.merge(config, {"trainer": {"max_epochs": -1}})  # as many steps as it needs
    assert isinstance(endless, DictConfig)
    tuner = Tuner(build_trainer(endless, folder, [], []))
    finder = tuner.lr_find(task, datamodule=datamodule, update_attr=False)  # type: ignore[arg-type]
    found = None if finder is None else finder.suggestion()
    if found is None:
        raise InputError(
            "lr_find=true found no learning rate at which the loss falls; "
            "set optimizer.lr and leave lr_find out."
        )
    print(f"learning rate found: {found:.2g}")
    return float(found)
