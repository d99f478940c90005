"""The whole chain on models whose evidence is known: one token, patch or span of time.

Input x gradient is the change of the logit with the length of a token's vector, which normalisation
before each layer hides from all but the token's own residual path. Models trained without dropout
are often right on all samples while it is blind for the signal; with half of each embedding and
half of the layers' output left out, the embedding itself has to carry the evidence.
The stem is linear: a convolution would mix a patch with its neighbours.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn import functional as F

from attention_atlas.analysis.attributions import attribute
from attention_atlas.analysis.faithfulness import METRICS, Faithfulness
from attention_atlas.analysis.faithfulness.curves import leave_one_out
from attention_atlas.analysis.faithfulness.measure import measure
from attention_atlas.analysis.faithfulness.probe import Probe
from attention_atlas.analysis.faithfulness.removal import build_removal
from attention_atlas.encoder import Classifier
from attention_atlas.pipeline.load_run import LoadedRun, load_run
from tests.analysis.faithfulness import planted

pytestmark = pytest.mark.slow

SCORED = [name for name, metric in METRICS.items() if metric.against_random]
PROBABILITIES = SCORED[:4]
SMALL = [
    "encoder.embed_dim=32",
    "encoder.num_heads=2",
    "encoder.depth=1",
    "encoder.dropout=0",
    "encoder.drop_path=0.5",
    "embedding.dropout=0.5",
    "task.label_smoothing=0",
    "augmentation=none",
    "callbacks.ema=null",
    "capture=off",
    "data.batch_size=32",
    "optimizer.lr=3e-3",
]


def overrides(task: str, folder: Path) -> list[str]:
    if task == "nlp":
        data = ["data=csv", f"data.path={planted.texts(folder)}", "data.id_column=id"]
        return [*data, "embedding.num_pairs=0", "trainer.max_epochs=15"]
    if task == "vision":
        data = ["data=image_folder", f"data.path={planted.images(folder)}", "data.image_size=16"]
        return [*data, "data.channels=1", "embedding.stem=linear", "trainer.max_epochs=15"]
    data = ["data=audio_folder", f"data.path={planted.sounds(folder)}", "data.clip_seconds=0.5"]
    return [*data, "embedding.stem=linear", "trainer.max_epochs=8"]


@pytest.fixture(scope="module", params=["nlp", "vision", "speech"])
def run(
    request: pytest.FixtureRequest,
    compose_train: Callable[..., Any],
    run_training: Callable[..., dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> LoadedRun:
    """A trained model of each task."""
    folder = tmp_path_factory.mktemp(f"planted_{request.param}")
    (folder / "data").mkdir()
    chosen = [f"task={request.param}", *overrides(request.param, folder / "data"), *SMALL]
    run_training(chosen, folder / "run")
    (folder / "run" / ".hydra").mkdir(exist_ok=True)
    config = OmegaConf.to_yaml(compose_train(chosen, folder / "run"))
    (folder / "run" / ".hydra" / "config.yaml").write_text(config, encoding="utf-8")
    return load_run(folder / "run", with_data=True)


def with_signal(run: LoadedRun) -> list[str]:
    return [name for name in run.datamodule.datasets["test"].sample_ids if planted.has_signal(name)]


def oracle(model: Classifier, batch: dict[str, Any], target: Tensor) -> Tensor:
    """[B, K]: 1 at the token that holds the signal."""
    places = torch.tensor([planted.place_of(name) for name in batch["sample_id"]])
    return F.one_hot(places, model.token_layout(batch).boxes.shape[1]).float()


def measured(run: LoadedRun) -> Faithfulness:
    return measure(
        run.model,
        run.batches(with_signal(run), 64),
        ["readout", "input_gradient", "integrated_gradients", "random", "uniform"],
        build_removal(run.datamodule),
        own={"oracle": oracle, "inverse": lambda *asked: -oracle(*asked)},
    )


def test_the_oracle_scores_best_its_inverse_worst_and_random_between(run: LoadedRun) -> None:
    faithfulness = measured(run)
    for metric in SCORED:
        sign = 1 if METRICS[metric].higher_is_better else -1
        means = {
            method: sign * estimates[metric].mean
            for method, estimates in faithfulness.estimates.items()
            if metric in estimates
        }
        assert faithfulness.better_than_random("oracle", metric) is True, metric
        assert faithfulness.better_than_random("inverse", metric) is False, metric
        assert means["inverse"] <= min(means.values()) + 0.01, metric
        if metric in PROBABILITIES:
            # The zeros of the oracle leave the order of the other tokens open, which ranks count.
            assert means["oracle"] >= max(means.values()) - 0.01, metric
            assert means["oracle"] - means["random"] > 0.3, metric
            assert means["random"] - means["inverse"] > 0.1, metric


def test_input_gradient_and_leave_one_out_find_the_signal(run: LoadedRun) -> None:
    names = with_signal(run)
    batch = next(run.batches(names, len(names)))
    places = np.array([planted.place_of(name) for name in batch["sample_id"]])
    probe = Probe(run.model, batch, build_removal(run.datamodule))
    assert (probe.target == batch["label"]).float().mean() > 0.98
    gradient = attribute(run.model, batch, ["input_gradient"])["input_gradient"].numpy()
    assert (gradient.argmax(axis=1) == places).mean() >= 0.95
    left_out = leave_one_out(probe, [np.flatnonzero(row) for row in probe.removable])
    assert (np.nanargmax(left_out, axis=1) == places).mean() >= 0.95
