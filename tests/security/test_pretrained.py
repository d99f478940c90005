"""Pretrained models and runs with them that are someone else's: nothing of theirs is run."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from omegaconf import OmegaConf

from attention_atlas.errors import InputError
from attention_atlas.pipeline.load_run import load_run
from attention_atlas.pretrained.source import load_model
from tests.pretrained.architectures import TEXT
from tests.pretrained.conftest import save_tokenizer
from tests.security.payload import Payload


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A tiny BERT as `save_pretrained` writes it."""
    folder = tmp_path / "model"
    size = save_tokenizer(folder)
    config = transformers.BertConfig(**{**TEXT, "vocab_size": size, "max_position_embeddings": 64})
    transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def run(model: Path, reviews: Path, run_training, tmp_path: Path) -> Path:
    """A run around it, with LoRA."""
    pytest.importorskip("peft")
    overrides = ["task=nlp", "data=csv", f"data.path={reviews}", "encoder=pretrained"]
    overrides += [f"encoder.name={model}", "encoder.lora={r: 2, target_modules: all-linear}"]
    run_training([*overrides, "debug=fast", "data.batch_size=8"], tmp_path / "run")
    return tmp_path / "run"


def test_code_beside_the_weights_is_not_run(model: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (model / "own.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n")
    config = json.loads((model / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}}
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="has no config that can be loaded"):
        load_model(str(model), "text")
    assert not marker.exists()


@pytest.mark.slow
@pytest.mark.parametrize("with_weights", [True, False])
def test_code_of_a_known_kind_of_model_is_not_asked_for(with_weights, tmp_path: Path) -> None:
    """transformers asks on standard input where it knows the config and no model for it."""
    folder, marker = tmp_path / "model", tmp_path / "marker"
    folder.mkdir()
    (folder / "own.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n")
    part = transformers.BertConfig(**TEXT).to_dict()
    config = {"model_type": "vision-encoder-decoder", "auto_map": {"AutoModel": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(config | {"encoder": part, "decoder": part}))
    program = f"""
from attention_atlas.errors import InputError
from attention_atlas.pretrained.source import load_model
try:
    load_model({str(folder)!r}, "text", with_weights={with_weights})
except InputError as error:
    print(error)
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, input="y\n" * 9, capture_output=True, text=True, check=True)
    assert "has no model that can be loaded" in done.stdout
    assert "Do you wish" not in done.stdout
    assert not marker.exists()


def test_weights_that_are_a_payload_are_not_unpickled(model: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (model / "model.safetensors").unlink()
    torch.save({"embeddings": Payload(marker)}, model / "pytorch_model.bin")
    with pytest.raises(InputError, match="has no model that can be loaded"):
        load_model(str(model), "text")
    assert not marker.exists()
    with (model / "pytorch_model.bin").open("rb"):
        pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.exists()  # it would


def test_options_of_lora_that_name_code_or_files_are_refused(run: Path) -> None:
    path = run / ".hydra" / "config.yaml"
    config = OmegaConf.load(path)
    config.encoder.lora = {"r": 2, "target_modules": "all-linear", "megatron_core": "os"}
    OmegaConf.save(config, path)
    with pytest.raises(InputError, match=r"encoder\.lora\.megatron_core is not possible"):
        load_run(run, with_data=True)


def test_a_run_is_not_asked_for_what_its_config_names(run: Path, model: Path) -> None:
    load_run(run, with_data=True)
    shutil.rmtree(run / "pretrained")
    with pytest.raises(InputError, match="does not describe the pretrained encoder"):
        load_run(run, with_data=True)
