"""The same numbers as quantus 0.6 where it defines the same: images, removed patch by patch."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attention_atlas.analysis.faithfulness import Faithfulness
from attention_atlas.analysis.faithfulness.curves import Curve, curves
from attention_atlas.analysis.faithfulness.measure import measure
from attention_atlas.analysis.faithfulness.metrics import area
from attention_atlas.analysis.faithfulness.probe import Probe
from attention_atlas.analysis.faithfulness.removal import Removal
from attention_atlas.analysis.faithfulness.removal.boxes import BlurRemoval, MeanRemoval
from attention_atlas.encoder import (
    Classifier,
    PatchEmbedding,
    TransformerEncoder,
    make_readout,
)

pytestmark = [
    pytest.mark.slow,  # importing quantus takes many seconds
    pytest.mark.filterwarnings("ignore"),
]

SIDE, PATCH, B = 4, 4, 5
K = SIDE * SIDE
THRESHOLDS = {0.01: 1, 0.1: 2, 0.2: 3, 0.5: 8}
"""And how many of 16 patches they are."""

Perturb = Callable[..., np.ndarray]


class OfInputs(nn.Module):
    """A classifier as quantus calls it."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        return self.model({"inputs": inputs})


@pytest.fixture(scope="module")
def model() -> Classifier:
    torch.manual_seed(0)
    made = Classifier(
        PatchEmbedding(SIDE * PATCH, 1, PATCH, 16, stem="linear"),
        TransformerEncoder(16, 2, 1, mlp_ratio=1.0),
        make_readout("attention", 16, 2, {}),
        16,
        3,
    )
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return made.eval()


@pytest.fixture(scope="module")
def batch() -> dict[str, Any]:
    torch.manual_seed(1)
    images = torch.randn(B, 1, SIDE * PATCH, SIDE * PATCH)
    return {"inputs": images, "sample_id": [str(number) for number in range(B)]}


@pytest.fixture(scope="module")
def weights() -> Tensor:
    """[B, K], all of a sample different."""
    return torch.rand(B, K, generator=torch.Generator().manual_seed(2))


REMOVALS = [BlurRemoval(), MeanRemoval()]


def pixels(weights: Tensor) -> np.ndarray:
    """[B, K] to [B, 1, height, width]: each pixel has the weight of its patch."""
    grid = weights.reshape(-1, 1, SIDE, SIDE).numpy()
    return grid.repeat(PATCH, axis=2).repeat(PATCH, axis=3)


def replaced_by(images: Tensor) -> Perturb:
    """What quantus calls to change the pixels of some indices to those of other images."""
    other = images.flatten(1).numpy()

    def perturb(arr: np.ndarray, indices: np.ndarray, **_: object) -> np.ndarray:
        changed = arr.copy()
        indices = np.broadcast_to(indices, (len(arr), indices.shape[-1]))
        rows = np.arange(len(arr))[:, None]
        changed[rows, indices] = other[rows, indices]
        return changed

    return perturb


def everything_removed(model: Classifier, batch: dict[str, Any], removal: Removal) -> Tensor:
    return removal.all(batch, model.token_layout(batch))["inputs"]


def ask(
    metric: str, model: Classifier, inputs: Tensor, target: Tensor, weights: Tensor, **options: Any
) -> np.ndarray:
    """What a metric of quantus says of patches, [B] or [B, steps]."""
    import quantus

    made = getattr(quantus, metric)(
        abs=False, normalise=False, disable_warnings=True, display_progressbar=False, **options
    )
    found = made(
        model=OfInputs(model).eval(),
        x_batch=inputs.numpy(),
        y_batch=target.numpy(),
        a_batch=pixels(weights),
        channel_first=True,
        softmax=True,
        device="cpu",
    )
    return np.array(found)


def measured(
    model: Classifier, batch: dict[str, Any], removal: Removal, weights: Tensor, steps: int
) -> dict[str, np.ndarray]:
    found: Faithfulness = measure(
        model,
        [batch],
        [],
        removal,
        thresholds=list(THRESHOLDS),
        steps=steps,
        num_resamples=1,
        own={"patches": lambda *_: weights},
    )
    assert found.sample_ids == batch["sample_id"]
    return {name: np.array(values) for name, values in found.values["patches"].items()}


def whole(model: Classifier, inputs: Tensor) -> tuple[np.ndarray, Tensor]:
    """The probability [B] of the predicted class, and the class."""
    with torch.no_grad():
        chances, target = model({"inputs": inputs}).softmax(1).max(1)
    return chances.numpy(), target


@pytest.mark.parametrize("steps", [16, 8, 4])
@pytest.mark.parametrize("removal", REMOVALS, ids=lambda removal: removal.name)
def test_deletion_and_insertion_are_pixel_flipping(
    model: Classifier,
    batch: dict[str, Any],
    weights: Tensor,
    removal: Removal,
    steps: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Insertion flips the pixels of an empty image back to what they were.

    Quantus counts a step as 1 and starts behind the first one.
    """
    ours = measured(model, batch, removal, weights, steps)
    start, target = whole(model, batch["inputs"])
    empty = everything_removed(model, batch, removal)
    flip = partial(ask, "PixelFlipping", model, target=target, weights=weights)
    size = PATCH * PATCH * K // steps
    deleted = flip(inputs=batch["inputs"], perturb_func=replaced_by(empty), features_in_step=size)
    inserted = flip(inputs=empty, perturb_func=replaced_by(batch["inputs"]), features_in_step=size)
    assert deleted.shape == inserted.shape == (B, steps)
    np.testing.assert_allclose(inserted[:, -1], start, atol=1e-5)
    from quantus.helpers.utils import calculate_auc

    # Quantus 0.6 calls it by the name that it had before numpy 2.
    monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)
    for name, first, values in (
        ("deletion_auc", start, deleted),
        ("insertion_auc", deleted[:, -1], inserted),
    ):
        curve = np.column_stack([first, values])
        expected = calculate_auc(curve, dx=1, batched=True) / steps
        np.testing.assert_allclose(ours[name], expected, atol=1e-5)
        # A curve that is nearly flat would prove nothing of the order.
        backwards = measured(model, batch, removal, -weights, steps)[name]
        assert np.abs(backwards - expected).max() > 0.01


@pytest.mark.parametrize("removal", REMOVALS, ids=lambda removal: removal.name)
def test_drops_are_region_perturbation(
    model: Classifier, batch: dict[str, Any], weights: Tensor, removal: Removal
) -> None:
    """Most relevant first gives the comprehensiveness, least relevant first the sufficiency."""
    ours = measured(model, batch, removal, weights, steps=10)
    _, target = whole(model, batch["inputs"])
    options = {
        "patch_size": PATCH,
        "perturb_func": replaced_by(everything_removed(model, batch, removal)),
    }
    drops = partial(ask, "RegionPerturbation", model, batch["inputs"], target, weights, **options)
    first, last = drops(order="morf"), drops(order="lerf")
    assert first.shape == last.shape == (B, K)
    counts = list(THRESHOLDS.values())
    expected = np.mean([first[:, count - 1] for count in counts], axis=0)
    np.testing.assert_allclose(ours["comprehensiveness"], expected, atol=1e-5)
    expected = np.mean([last[:, K - count - 1] for count in counts], axis=0)
    np.testing.assert_allclose(ours["sufficiency"], expected, atol=1e-5)


@pytest.mark.parametrize("removal", REMOVALS, ids=lambda removal: removal.name)
def test_equal_patches_in_the_order_of_quantus(
    model: Classifier, batch: dict[str, Any], weights: Tensor, removal: Removal
) -> None:
    """Four values for sixteen patches; equal ones come as numpy sorts them."""
    levels = (weights * 4).floor()
    probe = Probe(model, batch, removal)
    sums = pixels(levels).reshape(B, SIDE, PATCH, SIDE, PATCH).sum(axis=(2, 4)).reshape(B, K)
    places = list(np.argsort(np.argsort(-sums, axis=1), axis=1).astype(float))
    found: list[Curve | None] = curves(
        probe, {"levels": levels.double().numpy()}, places, [0.5], steps=K
    )["levels"]
    drops = ask(
        "RegionPerturbation",
        model,
        batch["inputs"],
        probe.target,
        levels,
        patch_size=PATCH,
        order="morf",
        perturb_func=replaced_by(everything_removed(model, batch, removal)),
    )
    for curve, start, expected in zip(found, probe.whole, drops, strict=True):
        assert curve is not None
        ours = [curve.removed[count] for count in range(K + 1)]
        np.testing.assert_allclose(ours, start - np.insert(expected, 0, 0), atol=1e-5)
        assert area(curve.removed, K, K) == pytest.approx(np.trapezoid(ours) / K, abs=1e-9)


@pytest.mark.parametrize("removal", REMOVALS, ids=lambda removal: removal.name)
def test_agreement_with_leave_one_out_is_faithfulness_estimate(
    model: Classifier, batch: dict[str, Any], weights: Tensor, removal: Removal
) -> None:
    """Alvarez-Melis & Jaakkola 2018 with Kendall's tau for Pearson's correlation."""
    import quantus

    _, target = whole(model, batch["inputs"])
    expected = ask(
        "FaithfulnessEstimate",
        model,
        batch["inputs"],
        target,
        weights,
        features_in_step=PATCH * PATCH,
        similarity_func=quantus.similarity_func.correlation_kendall_tau,
        perturb_func=replaced_by(everything_removed(model, batch, removal)),
    )
    ours = measured(model, batch, removal, weights, steps=4)["leave_one_out_correlation"]
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    assert np.abs(expected).max() > 0.1
