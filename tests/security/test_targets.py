"""Names of code in configs: each attack does its harm by Hydra's own rules, and none by ours."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hydra.utils import instantiate as hydra_instantiate
from lightning.pytorch import callbacks as lightning_callbacks
from omegaconf import DictConfig, OmegaConf

from attention_atlas.config.allowlist import (
    KINDS,
    PROFILER,
    RENAMED,
    check_targets,
    find_target,
    rename_targets,
)
from attention_atlas.config.instantiate import instantiate
from attention_atlas.errors import InputError
from tests.commands import run_script

CALLBACKS = "attention_atlas.pipeline.callbacks"
ITS_MODULE = f"{CALLBACKS}.best_checkpoint"
THROUGH_IMPORTS = {
    "a module that a module imported": f"{ITS_MODULE}.shutil.copyfile",
    "a module that a module of data imported": "attention_atlas.data.audio.module.Path",
    "a library": "torch.optim.optimizer.torch.load",
    "a module of lightning": "lightning.pytorch.callbacks.model_checkpoint.shutil.rmtree",
    "a method": f"{CALLBACKS}.RngState.state_dict",
    "Hydra itself": "hydra.utils.call",
    "Hydra's insides": "hydra._internal.instantiate._instantiate2.instantiate",
    "a look-up": "hydra.utils.get_method",
    "a class that calls what it is given": "lightning.pytorch.callbacks.LambdaCallback",
    "a private name": "torch.optim._functional",
    "an unusual spelling": "torch.optim.SGD ",
    "a path": "torch/optim/SGD",
    "nothing": "",
    "a number": 7,
    "a list": ["torch.optim.SGD"],
    "null": None,
}


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that is there if an attack worked."""
    return tmp_path / "marker"


def copying(marker: Path, **extra: Any) -> dict[str, Any]:
    """A node that leaves the marker, by what a module on the list imported."""
    target = f"{ITS_MODULE}.shutil.copyfile"
    return {"_target_": target, "src": __file__, "dst": str(marker), **extra}


def test_a_module_behind_an_allowed_one_is_not_reached(marker: Path) -> None:
    config = OmegaConf.create(copying(marker))
    with pytest.raises(InputError, match="not allowed"):
        instantiate(config)
    assert not marker.exists()
    hydra_instantiate(config)
    assert marker.exists()


@pytest.mark.parametrize("target", THROUGH_IMPORTS.values(), ids=THROUGH_IMPORTS)
def test_a_detour_to_code_is_refused(target: Any) -> None:
    with pytest.raises(InputError, match="not allowed"):
        check_targets({"_target_": target})
    with pytest.raises(InputError, match="not allowed"):
        check_targets({"callbacks": {"mine": {"_target_": target}}})


@pytest.mark.parametrize("name", ["Trainer", "shutil", "log", "Any"])
def test_what_a_module_imports_is_not_of_its_kind(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = getattr(import_module(ITS_MODULE), name)
    monkeypatch.setattr(import_module(CALLBACKS), name, imported, raising=False)
    check_targets({"_target_": f"{CALLBACKS}.{name}"})  # looks right by its letters
    with pytest.raises(InputError, match=r"not a lightning\.pytorch\.Callback"):
        find_target(f"{CALLBACKS}.{name}")


def test_an_excluded_class_has_no_other_name() -> None:
    """A class is checked by its kind alone, so no module of the list may import an excluded one."""
    for kind in KINDS.values():
        for excluded in kind.excluded:
            package, _, name = excluded.rpartition(".")
            found = getattr(import_module(package), name)
            names = {
                f"{module}.{key}"
                for module in kind.modules
                for key, value in vars(import_module(module)).items()
                if value is found
            }
            assert names == {excluded}


def test_a_class_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module(CALLBACKS)
    odd = type("Odd", (), {"__module__": CALLBACKS, "__qualname__": "Odd"})
    monkeypatch.setattr(module, "Odd", odd, raising=False)
    with pytest.raises(InputError, match=r"not a lightning\.pytorch\.Callback"):
        find_target(f"{CALLBACKS}.Odd")


def test_text_that_turns_into_a_node_stays_text(marker: Path) -> None:
    """Hydra resolves once more before it builds, after a check could have been."""
    inner = f"{{_target_: {ITS_MODULE}.shutil.copyfile, src: {__file__}, dst: {marker}}}"
    config = OmegaConf.create(
        {
            "_target_": "lightning.pytorch.callbacks.EarlyStopping",
            "monitor": "\\${oc.create:'" + inner + "'}",
        }
    )
    checked = OmegaConf.to_container(config, resolve=True)
    check_targets(checked)
    stopping = instantiate(config)
    assert stopping.monitor.startswith("${oc.create:")
    assert not marker.exists()
    hydra_instantiate(checked)
    assert marker.exists()


HIDDEN = {
    "in an argument": lambda evil: {"_target_": "torch.optim.SGD", "lr": evil},
    "in a list": lambda evil: {"_target_": "torch.optim.SGD", "lr": [[evil]]},
    "in _args_": lambda evil: {"_target_": "torch.optim.SGD", "_args_": [evil]},
    "called later": lambda evil: evil | {"_partial_": True},
    "beside a node": lambda evil: {"nodes": [evil]},
    "in place of a profiler": lambda evil: {
        "_target_": "lightning.pytorch.Trainer",
        "profiler": evil,
    },
    "in a plugin": lambda evil: {"_target_": "lightning.pytorch.Trainer", "plugins": [evil]},
}


@pytest.mark.parametrize("hide", HIDDEN.values(), ids=HIDDEN)
def test_a_hidden_target_is_found(hide: Any, marker: Path) -> None:
    with pytest.raises(InputError, match="not allowed"):
        instantiate(OmegaConf.create(hide(copying(marker))))
    assert not marker.exists()


def test_a_target_behind_an_interpolation_is_found(marker: Path) -> None:
    config = OmegaConf.create(
        {
            "evil": copying(marker),
            "part": "shutil.copyfile",
            "callbacks": {
                "whole": "${evil}",
                "pieces": {"_target_": f"{ITS_MODULE}.${{part}}", "src": __file__, "dst": "x"},
                "made": {"_target_": "${oc.decode:os.system}", "command": f"touch {marker}"},
            },
        }
    )
    for name in config.callbacks:
        with pytest.raises(InputError, match="not allowed"):
            instantiate(config.callbacks[name])
    assert not marker.exists()


def test_allowed_code_at_another_node_is_refused() -> None:
    """A logger that writes to a path of its own is no data set."""
    database = {"_target_": "lightning.pytorch.loggers.MLFlowLogger", "tracking_uri": "sqlite:///x"}
    for place in (
        {"data": database},
        {"data": {"_target_": "attention_atlas.data.text.module.TextDataModule", "name": database}},
        {"callbacks": {"mine": database}},
        {"callbacks": database},
        {"task": database},
        {"unheard_of": database},
        {"logger": {"deeper": database}},
        {"logger": [database]},
    ):
        with pytest.raises(InputError, match="not allowed"):
            check_targets(place)
    check_targets({"logger": database})
    with pytest.raises(
        InputError, match=r"callbacks\.mine\._target_=.*not allowed: take a class of"
    ):
        instantiate(OmegaConf.create({"callbacks": {"mine": database}}).callbacks.mine)


@pytest.mark.parametrize("key", ["_recursive_", "_convert_", "_unheard_"])
def test_other_words_of_hydra_are_refused(key: str) -> None:
    config = OmegaConf.create({"_target_": "torch.optim.SGD", "_partial_": True, key: False})
    with pytest.raises(InputError, match=f"{key} of torch.optim.SGD is not possible"):
        instantiate(config)


@pytest.mark.parametrize("node", [{"_partial_": "yes"}, {"_args_": {"a": 1}}, {"_args_": "ab"}])
def test_odd_words_of_ours_are_refused(node: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="true or false as _partial_"):
        instantiate(OmegaConf.create({"_target_": "torch.optim.SGD", **node}))


def test_every_public_callback_can_be_named_but_the_one_that_calls() -> None:
    for name in lightning_callbacks.__all__:
        target = f"lightning.pytorch.callbacks.{name}"
        if name == "LambdaCallback":
            with pytest.raises(InputError, match="not allowed"):
                find_target(target)
        else:
            assert find_target(target) is getattr(lightning_callbacks, name)


def test_names_of_earlier_versions_stand_for_current_ones() -> None:
    for old, new in RENAMED.items():
        assert find_target(old) is find_target(new)
        node = {"task": {"_target_": old, "name": "nlp"}, "list": [{"_target_": ["a"]}]}
        assert rename_targets(node) == {**node, "task": {"_target_": new, "name": "nlp"}}


def test_the_list_holds_what_the_configs_name(repository: Path) -> None:
    named = set()
    for path in (repository / "conf").rglob("*.yaml"):
        config = OmegaConf.load(path)
        if isinstance(config, DictConfig) and "hydra" not in path.relative_to(repository).parts:
            config.pop("hydra", None)  # what Hydra builds itself
            named |= set(_targets(OmegaConf.to_container(config, resolve=False)))
    assert len(named) > 10
    for target in named:
        assert any(kind.has(target) for kind in [*KINDS.values(), PROFILER]), target
        if target.rpartition(".")[2] not in ("MLFlowLogger", "WandbLogger"):
            assert isinstance(find_target(target), object)


def _targets(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["_target_"]] if "_target_" in node else []
        return own + [target for value in node.values() for target in _targets(value)]
    return (
        [target for value in node for target in _targets(value)] if isinstance(node, list) else []
    )


def test_no_module_is_imported_for_a_name_off_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil_module.py").write_text("open('imported', 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="not allowed"):
        instantiate(OmegaConf.create({"_target_": "evil_module.thing"}))
    assert not (tmp_path / "imported").exists()
    assert isinstance(import_module("evil_module"), ModuleType)
    assert (tmp_path / "imported").exists()
    del sys.modules["evil_module"]


def test_the_command_refuses_before_torch_is_imported(tmp_path: Path, marker: Path) -> None:
    node = f"{{_target_: {ITS_MODULE}.shutil.copyfile, src: {__file__}, dst: {marker}}}"
    tmp_path = tmp_path / "here"
    tmp_path.mkdir()
    finished = run_script(
        ["train.py", "task=vision", f"+callbacks.mine={node}"], tmp_path, torch=False
    )
    assert finished.returncode == 2
    assert "callbacks.mine._target_" in finished.stderr
    assert "not allowed" in finished.stderr
    assert not marker.exists()
    assert not any(tmp_path.iterdir())
