"""docs/scaling.md: what a step costs, by its formulas and by measuring."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig

from attention_atlas.encoder import TransformerEncoder
from attention_atlas.encoder.tokens import Tokens
from attention_atlas.pipeline.build import (
    build_callbacks,
    build_task,
    build_trainer,
)
from attention_atlas.pipeline.build_model import build_datamodule
from tests.docs import costs, pages, two_processes

PAGE = "scaling.md"
SIZES = (10e6, 100e6, 1e9)
Compose = Callable[[list[str], Path], DictConfig]


class _Memory(Callback):
    """Sums the bytes that a training holds after its first step."""

    def __init__(self) -> None:
        self.found: dict[str, int] = {}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        optimizer = trainer.optimizers[0]
        averages = [each for each in trainer.callbacks if hasattr(each, "_average_model")]
        self.found = {
            "parameters": sum(p.numel() for p in pl_module.parameters()),
            "weights": sum(p.nbytes for p in pl_module.parameters()),
            "gradients": sum(p.grad.nbytes for p in pl_module.parameters() if p.grad is not None),
            "moments": _moments(optimizer.state),
            "average": sum(p.nbytes for each in averages for p in each._average_model.parameters()),
        }


def _moments(states: dict[Any, dict[str, torch.Tensor]]) -> int:
    """Bytes of the two moments that AdamW keeps of each parameter."""
    return sum(
        state[name].nbytes for state in states.values() for name in ("exp_avg", "exp_avg_sq")
    )


@pytest.mark.filterwarnings("ignore:`ModelCheckpoint")  # it ends before a validation
@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
def test_a_step_holds_what_the_formula_says(
    task: str, tiny: dict[str, list[str]], compose_train: Compose, tmp_path: Path
) -> None:
    config = compose_train(
        [*tiny[task], "+trainer.max_steps=1", "callbacks.early_stopping=null"], tmp_path
    )
    datamodule = build_datamodule(config)
    memory = _Memory()
    trainer = build_trainer(config, tmp_path, [*build_callbacks(config), memory], [])
    trainer.fit(build_task(config, datamodule), datamodule)
    found = memory.found
    parameters = found["parameters"]
    assert parameters > 5000
    held = found["weights"] + found["gradients"] + found["moments"]
    assert held == costs.ddp_memory(parameters, 1)
    assert found["average"] == 4 * parameters


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
def test_a_checkpoint_holds_what_the_page_says(task: str, trained_runs: dict[str, Path]) -> None:
    path = trained_runs[task] / "checkpoints" / "best.ckpt"
    kept = torch.load(path, map_location="cpu", weights_only=True)
    moments = _moments(kept["optimizer_states"][0]["state"])
    weights = [
        tensor.nbytes
        for state in ("state_dict", "current_model_state")
        for name, tensor in kept[state].items()
        if name.startswith("model.") and tensor.is_floating_point()
    ]
    parameters = moments / 8
    # Running means of norms come on top.
    assert 16 * parameters <= moments + sum(weights) < 1.01 * 16 * parameters


@pytest.mark.slow
def test_ddp_reduces_four_bytes_of_each_parameter_once_a_step(
    tiny: dict[str, list[str]], compose_train: Compose, tmp_path: Path
) -> None:
    overrides = [
        *tiny["vision"],
        "data.batch_size=8",
        "trainer=ddp_cpu",
        "trainer.accumulate_grad_batches=2",
        "+trainer.limit_train_batches=4",
        "+trainer.limit_val_batches=0",
        "+trainer.enable_checkpointing=false",
        "trainer.max_epochs=1",
    ]
    config = compose_train(overrides, tmp_path)
    ranks = two_processes.run_two(two_processes.train_by_ddp, tmp_path, config, tmp_path)
    for rank in ranks:
        assert rank["has_own_buckets"]
        # Every second batch takes a step; the others only add to the gradients.
        assert rank["batches"] == [0, 4 * rank["parameters"]] * 2


@pytest.mark.slow
def test_fsdp_holds_a_share_and_sends_each_parameter_three_times(tmp_path: Path) -> None:
    for rank in two_processes.run_two(two_processes.shard_by_fsdp, tmp_path, 32, 3):
        parameters = rank["parameters"]
        held = rank["weights"] + rank["gradients"] + rank["moments"]
        assert held == costs.fsdp_memory(parameters, two_processes.RANKS, 0, 4)
        # What stands beside the blocks is gathered once and kept.
        assert rank["gathered"] == 2 * 4 * parameters - rank["root"]
        assert rank["scattered"] == 4 * parameters
        assert rank["is_silenced"]
        assert rank["gradients_in_no_sync"] == 4 * parameters


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize(("embed_dim", "heads", "mlp_ratio"), [(96, 4, 4.0), (64, 2, 1.0)])
def test_a_block_keeps_what_the_page_says_for_backward(
    embed_dim: int, heads: int, mlp_ratio: float, mixed: bool
) -> None:
    encoder = TransformerEncoder(embed_dim, heads, depth=1, mlp_ratio=mlp_ratio, dropout=0.0)
    weights = {parameter.untyped_storage().data_ptr() for parameter in encoder.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    tokens = torch.randn(2, 128, embed_dim, requires_grad=True)
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        encoder.layers[0](Tokens(tokens))
    of_tokens = costs.saved_for_backward(embed_dim, heads, mlp_ratio, mixed) * 2 * 128
    matrices = (4 + 2 * mlp_ratio) * embed_dim**2  # their copies in bfloat16
    found = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    assert found == of_tokens + (2 * matrices if mixed else 0)


def _commands() -> list[tuple[str, list[str]]]:
    """The sizes and overrides of the models that the page names."""
    text = (pages.DOCS / PAGE).read_text(encoding="utf-8")
    found = re.findall(
        r"^python train\.py (task=\S+ encoder=base.*?) +# (.*) parameters$", text, re.M
    )
    return [(stated, overrides.split()) for overrides, stated in found]


def test_the_commands_of_the_page_make_models_of_these_sizes(
    compose_train: Compose, tmp_path: Path
) -> None:
    commands = _commands()
    assert len(commands) == 3
    datamodule = build_datamodule(compose_train(["task=vision"], tmp_path))
    for (stated, overrides), aimed in zip(commands, SIZES, strict=True):
        config = compose_train(overrides, tmp_path)
        with torch.device("meta"):
            model = build_task(config, datamodule).model
        parameters = sum(parameter.numel() for parameter in model.parameters())
        assert pages.count(parameters) == stated
        assert abs(parameters / aimed - 1) < 0.03
        embedding = sum(parameter.numel() for parameter in model.embedding.parameters())
        encoder = config.encoder
        without = costs.model_parameters(encoder.embed_dim, encoder.depth, encoder.mlp_ratio, 10)
        assert parameters - embedding == without


@pytest.mark.parametrize("pairs", [0, 50])
def test_a_model_of_texts_has_as_many_parameters_as_the_formula_says(
    pairs: int, tiny: dict[str, list[str]], compose_train: Compose, tmp_path: Path
) -> None:
    overrides = [*tiny["nlp"], f"embedding.num_pairs={pairs}", "encoder.mlp_ratio=3"]
    config = compose_train(overrides, tmp_path)
    datamodule = build_datamodule(config)
    model = build_task(config, datamodule).model
    embedding = model.embedding
    found = embedding.pair.num_embeddings - 1 if pairs else 0
    vocabulary = embedding.token.num_embeddings
    in_embedding = costs.text_parameters(16, vocabulary, found, datamodule.max_length)
    expected = in_embedding + costs.model_parameters(16, 1, 3.0, 2)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
