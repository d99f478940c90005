"""Configs name code that is run, so only what is on the allow list may be named."""

import pytest
from omegaconf import OmegaConf

from attention_atlas.config.instantiate import instantiate
from attention_atlas.errors import InputError
from attention_atlas.pipeline.build import _build_optimizer

REFUSED = [
    "os.system",
    "builtins.eval",
    "subprocess.run",
    "torch.load",
    "attention_atlas.pipeline.app.run_command",
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


def test_a_target_that_does_not_exist_is_refused() -> None:
    config = OmegaConf.create({"_target_": "torch.optim.Foo", "_partial_": True})
    with pytest.raises(InputError, match=r"no torch\.optim\.Foo"):
        instantiate(config)


@pytest.mark.parametrize(
    ("target", "values", "words"),
    [
        ("torch.optim.AdamW", {"lr": 0.1, "foo": 1}, "takes no foo; it takes .*betas"),
        ("attention_atlas.tasks.optimization.cosine", {"foo": 1}, "takes no foo; .*warmup"),
    ],
)
def test_what_is_called_later_is_checked_at_once(target: str, values: dict, words: str) -> None:
    config = OmegaConf.create({"_target_": target, "_partial_": True, **values})
    with pytest.raises(InputError, match=words):
        instantiate(config)


@pytest.mark.parametrize(
    ("target", "values", "words"),
    [
        ("torch.optim.AdamW", {"lr": 0.1, "eps": -1.0}, "AdamW cannot be built: .*epsilon"),
        ("torch.optim.SGD", {"lr": 0.1, "nesterov": True}, "SGD cannot be built: .*momentum"),
    ],
)
def test_an_optimizer_is_tried_before_training(target: str, values: dict, words: str) -> None:
    node = {"_target_": target, "_partial_": True, **values}
    with pytest.raises(InputError, match=words):
        _build_optimizer(OmegaConf.create({"optimizer": node}))


def test_what_is_called_later_keeps_its_values() -> None:
    config = OmegaConf.create({"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 0.5})
    assert instantiate(config).keywords == {"lr": 0.5}


def test_a_target_on_the_list_is_built() -> None:
    config = OmegaConf.create(
        {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "monitor": "val/loss"}
    )
    assert instantiate(config, patience=7).patience == 7
