"""Configs name code that is run, so only what is on the allow list may be named."""

import pytest
from omegaconf import OmegaConf

from attention_atlas.errors import InputError
from attention_atlas.pipeline.instantiate import instantiate

REFUSED = [
    "os.system",
    "builtins.eval",
    "subprocess.run",
    "torch.load",
    "attention_atlas.pipeline.launch.run_command",
    "attention_atlas.database.open",
    "lightning.pytorch.Trainer.fit",
    "lightning.pytorch.callbacks",
    "hydra.utils.instantiate",
]


@pytest.mark.parametrize("target", REFUSED)
def test_other_targets_are_refused(target: str) -> None:
    with pytest.raises(InputError, match="not allowed"):
        instantiate(OmegaConf.create({"_target_": target}))


@pytest.mark.parametrize(
    "node",
    [
        {"callbacks": {"_target_": "os.system", "command": "true"}},
        {"callbacks": [{"_target_": "os.system", "command": "true"}]},
        {"deep": {"er": [[{"_target_": "os.system"}]]}},
    ],
)
def test_nested_targets_are_refused(node: dict) -> None:
    config = OmegaConf.create({"_target_": "lightning.pytorch.callbacks.Timer", **node})
    with pytest.raises(InputError, match=r"os\.system is not allowed"):
        instantiate(config)


def test_a_target_behind_an_interpolation_is_refused() -> None:
    config = OmegaConf.create({"name": "os.system", "node": {"_target_": "${name}"}})
    with pytest.raises(InputError, match="not allowed"):
        instantiate(config.node)


def test_a_target_on_the_list_is_built() -> None:
    config = OmegaConf.create(
        {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "monitor": "val/loss"}
    )
    assert instantiate(config, patience=7).patience == 7
