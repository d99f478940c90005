"""What stands in the place of removed tokens, on prepared batches of real runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from attention_atlas.analysis.faithfulness.removal import REMOVALS, build_removal, removable
from attention_atlas.data.text.tokenizer import MASK, PAD
from attention_atlas.encoder import ClsReadout, SpectrogramEmbedding, TokenLayout, make_readout
from attention_atlas.errors import InputError
from attention_atlas.pipeline.load_run import LoadedRun, load_run

TASKS = {"nlp": "text", "vision": "image", "speech": "audio"}
ALL = [(task, name) for task, modality in TASKS.items() for name in REMOVALS[modality]]


@pytest.fixture(scope="module")
def runs(trained_runs: dict[str, Path]) -> dict[str, LoadedRun]:
    return {task: load_run(folder, with_data=True) for task, folder in trained_runs.items()}


def batch_of(run: LoadedRun, count: int = 5) -> tuple[dict[str, Any], TokenLayout]:
    """Test samples of differing lengths, with the layout of their tokens."""
    sample_ids = run.datamodule.datasets["test"].sample_ids[:count]
    batch = next(run.batches(sample_ids, count))
    return batch, run.model.token_layout(batch)


def some(layout: TokenLayout) -> Tensor:
    """A third of the tokens of each sample, padding among them."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(layout.valid.shape, generator=generator) < 1 / 3


def frames_of(
    layout: TokenLayout, run: LoadedRun, removed: Tensor, patch: tuple[int, int]
) -> Tensor:
    """bool [B, mels, frames], counted from the number of each token on its grid."""
    mels, frames = run.datamodule.num_mels, run.datamodule.num_frames
    columns = -(-frames // patch[1])
    inside = torch.zeros(len(removed), mels, frames, dtype=torch.bool)
    for sample, token in removed.nonzero().tolist():
        row, column = patch[0] * (token // columns), patch[1] * (token % columns)
        inside[sample, row : row + patch[0], column : column + patch[1]] = True
    assert layout.valid.shape[1] == columns * (mels // patch[0])
    return inside


@pytest.mark.parametrize(("task", "name"), ALL)
def test_nothing_removed_is_the_batch_itself(
    runs: dict[str, LoadedRun], task: str, name: str
) -> None:
    batch, layout = batch_of(runs[task])
    before = {key: value.clone() for key, value in batch.items() if isinstance(value, Tensor)}
    removal = build_removal(runs[task].datamodule, name)
    none = torch.zeros_like(layout.valid)
    same = removal.remove(batch, none, layout)
    assert same.keys() == batch.keys()
    for key, value in before.items():
        assert torch.equal(same[key], value), key
    changed = removal.remove(batch, some(layout), layout)
    assert not torch.equal(changed["inputs"], before["inputs"])
    for key, value in before.items():
        assert torch.equal(batch[key], value), f"{key} of the batch was written to"
    assert changed["sample_id"] == batch["sample_id"]
    assert changed["inputs"].dtype == batch["inputs"].dtype
    assert changed["inputs"].shape == batch["inputs"].shape


@pytest.mark.parametrize(("task", "name"), ALL)
def test_padding_and_special_tokens_stay(runs: dict[str, LoadedRun], task: str, name: str) -> None:
    """With a CLS token before the others, all tokens but that and padding can be removed."""
    batch, layout = batch_of(runs[task])
    removal = build_removal(runs[task].datamodule, name)
    readout = make_readout("cls", 16, 2, {})
    assert isinstance(readout, ClsReadout)
    extended = readout.extend_layout(layout)
    assert not removable(extended)[:, 0].any()
    assert torch.equal(removable(extended)[:, 1:], layout.valid)
    everything = torch.ones_like(extended.valid)
    with_cls = removal.remove(batch, everything, extended)
    without = removal.all(batch, layout)
    for key in ("inputs", "lengths", "spans"):
        if key in batch:
            assert torch.equal(with_cls[key], without[key])
    cls_alone = torch.zeros_like(extended.valid)
    cls_alone[:, 0] = True
    assert torch.equal(removal.remove(batch, cls_alone, extended)["inputs"], batch["inputs"])
    if task == "nlp":
        assert not layout.valid.all(), "the batch has no padding to leave alone"
        assert (without["inputs"][~layout.valid] == PAD).all()


@pytest.mark.parametrize(("task", "name"), ALL)
def test_a_replacement_may_be_made_once_for_many_copies(
    runs: dict[str, LoadedRun], task: str, name: str
) -> None:
    batch, layout = batch_of(runs[task])
    removal = build_removal(runs[task].datamodule, name)
    made = removal.replacement(batch, layout)
    once = removal.remove(batch, some(layout), layout, made)
    assert torch.equal(once["inputs"], removal.remove(batch, some(layout), layout)["inputs"])


@pytest.mark.parametrize(("task", "name"), ALL)
def test_a_model_takes_a_batch_without_any_token(
    runs: dict[str, LoadedRun], task: str, name: str
) -> None:
    batch, layout = batch_of(runs[task])
    changed = build_removal(runs[task].datamodule, name).all(batch, layout)
    with torch.no_grad():
        logits = runs[task].model(changed)
    assert torch.isfinite(logits).all()


def test_a_masked_token_is_that_of_word_dropout(runs: dict[str, LoadedRun]) -> None:
    run = runs["nlp"]
    batch, layout = batch_of(run)
    removed = some(layout)
    masked = build_removal(run.datamodule).remove(batch, removed, layout)["inputs"]
    expected = batch["inputs"].clone()
    for sample, token in removed.nonzero().tolist():
        if token < batch["lengths"][sample]:
            expected[sample, token] = MASK
    assert torch.equal(masked, expected)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trained = run.datamodule.prepare(batch, training=True)["inputs"]
    dropped = trained != batch["inputs"]
    assert set(trained[dropped].tolist()) == set(masked[masked != batch["inputs"]].tolist())


def test_a_padded_token_leaves_a_shorter_text(runs: dict[str, LoadedRun]) -> None:
    run = runs["nlp"]
    batch, layout = batch_of(run)
    removed = some(layout)
    changed = build_removal(run.datamodule, "pad").remove(batch, removed, layout)
    with torch.no_grad():
        logits = run.model(changed)
    for sample, length in enumerate(batch["lengths"].tolist()):
        kept = [token for token in range(length) if not removed[sample, token]]
        assert 0 < len(kept) < length
        assert int(changed["lengths"][sample]) == len(kept)
        assert torch.equal(changed["inputs"][sample, : len(kept)], batch["inputs"][sample, kept])
        assert torch.equal(changed["spans"][sample, : len(kept)], batch["spans"][sample, kept])
        assert not changed["inputs"][sample, len(kept) :].any()
        # What the model says of the text that these words alone are.
        alone = {
            "inputs": batch["inputs"][sample : sample + 1, kept],
            "lengths": torch.tensor([len(kept)]),
            "spans": batch["spans"][sample : sample + 1, kept],
        }
        with torch.no_grad():
            torch.testing.assert_close(run.model(alone)[0], logits[sample], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["blur", "mean"])
def test_pixels_of_a_removed_patch(runs: dict[str, LoadedRun], name: str) -> None:
    run = runs["vision"]
    batch, layout = batch_of(run)
    removed, images = some(layout), batch["inputs"]
    changed = build_removal(run.datamodule, name).remove(batch, removed, layout)["inputs"]
    side = 4
    inside = removed.reshape(-1, side, side).repeat_interleave(4, 1).repeat_interleave(4, 2)
    inside = inside[:, None].expand_as(images)
    assert torch.equal(changed[~inside], images[~inside])
    if name == "mean":
        assert not changed[inside].any()
    else:
        # Another implementation: reflected without the border, no kernel beyond the image.
        blurred = gaussian_filter(
            images.double().numpy(), sigma=4, axes=(2, 3), mode="mirror", radius=12
        )
        np.testing.assert_allclose(changed[inside], blurred[inside], atol=1e-5)


def test_zero_is_the_mean_of_the_training_images(runs: dict[str, LoadedRun]) -> None:
    datamodule = runs["vision"].datamodule
    dataset = datamodule.datasets["train"]
    raw = dataset.__getitems__(list(range(len(dataset))))
    inputs = datamodule.prepare(raw, training=False)["inputs"]
    assert inputs.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0] * inputs.shape[1], abs=1e-3)
    # The default differs from it.
    batch, layout = batch_of(runs["vision"])
    assert build_removal(datamodule).all(batch, layout)["inputs"].abs().max() > 0.1


@pytest.mark.parametrize("patch", [None, (8, 8)])
@pytest.mark.parametrize("name", ["mean", "silence"])
def test_boxes_of_a_removed_sound(
    runs: dict[str, LoadedRun], name: str, patch: tuple[int, int] | None
) -> None:
    """In spans of time as the run has them, and in boxes of 8 bands by 8 frames."""
    run = runs["speech"]
    datamodule = run.datamodule
    batch, layout = batch_of(run)
    if patch is not None:
        embedding = SpectrogramEmbedding(
            datamodule.num_mels,
            datamodule.num_frames,
            16,
            datamodule.hop_seconds,
            datamodule.mel_edges,
            patch_frames=patch[1],
            patch_mels=patch[0],
        )
        layout = embedding.token_layout(batch)
    removed = some(layout)
    removal = build_removal(datamodule, name)
    changed = removal.remove(batch, removed, layout)
    inside = frames_of(layout, run, removed, patch or (datamodule.num_mels, 4))
    assert 0 < inside.sum() < inside.numel()
    assert torch.equal(changed["inputs"][~inside], batch["inputs"][~inside])
    assert torch.equal(changed["level"], batch["level"])
    if name == "mean":
        whole = removal.all(batch, layout)["inputs"]
        spectrum = whole[0, :, 0]
        assert torch.equal(whole, spectrum[None, :, None].expand_as(whole))
        assert torch.equal(changed["inputs"][inside], whole[inside])
    else:
        silent = datamodule.log_mel(torch.zeros(1, datamodule.clip_samples))
        decibels = 10 / np.log(10) * silent.expand(len(removed), -1, -1).numpy()
        in_input = {name: values for name, values in changed.items() if name != "clip"}
        heard = datamodule.display_inputs(in_input)["spectrogram"]
        np.testing.assert_allclose(heard[inside], decibels[inside], rtol=1e-5, atol=1e-3)
        assert heard[inside].max() <= heard.min() + 1e-3, "nothing is more silent"


def test_the_mean_spectrum_is_that_of_training(runs: dict[str, LoadedRun]) -> None:
    datamodule = runs["speech"].datamodule
    batch, layout = batch_of(runs["speech"])
    state = torch.get_rng_state()
    found = build_removal(datamodule).all(batch, layout)["inputs"][0, :, 0]
    assert torch.equal(torch.get_rng_state(), state), "the global generator was drawn from"
    again = build_removal(datamodule).all(batch, layout)["inputs"][0, :, 0]
    assert torch.equal(found, again)
    dataset = datamodule.datasets["train"]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        heard = torch.stack(
            [
                datamodule.prepare(dataset.__getitems__([index]), training=True)["inputs"][0]
                for _ in range(4)
                for index in range(len(dataset))
            ]
        ).mean(dim=2)
    error = heard.std(dim=0) / len(dataset) ** 0.5
    assert ((found - heard.mean(dim=0)).abs() < 4 * error).all()


@pytest.mark.parametrize("task", list(TASKS))
def test_the_first_removal_is_the_default(runs: dict[str, LoadedRun], task: str) -> None:
    default = build_removal(runs[task].datamodule)
    assert default.name == {"nlp": "mask", "vision": "blur", "speech": "mean"}[task]
    for name in REMOVALS[TASKS[task]]:
        removal = build_removal(runs[task].datamodule, name)
        assert removal.name == name
        assert removal.description


@pytest.mark.parametrize(
    ("task", "name", "sentence"),
    [
        ("nlp", "blur", "removal=blur is not possible for text: take mask or pad."),
        ("vision", "gray", "removal=gray is not possible for image: take blur or mean."),
        ("speech", "", "removal= is not possible for audio: take mean or silence."),
    ],
)
def test_an_unknown_removal_is_refused(
    runs: dict[str, LoadedRun], task: str, name: str, sentence: str
) -> None:
    with pytest.raises(InputError) as caught:
        build_removal(runs[task].datamodule, name)
    assert str(caught.value) == sentence
