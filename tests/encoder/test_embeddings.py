"""Embeddings: tokens lie where the layout says, padding changes nothing."""

import math

import pytest
import torch
from torch import Tensor

from attention_atlas.encoder import PatchEmbedding, SpectrogramEmbedding, TextEmbedding
from attention_atlas.encoder.positions import sinusoidal, sinusoidal_grid
from attention_atlas.errors import InputError


def spectrogram_embedding(**options) -> SpectrogramEmbedding:
    sizes = {"num_mels": 16, "num_frames": 24, "embed_dim": 8, "hop_seconds": 0.01}
    edges = [100.0 * index for index in range(17)]
    return SpectrogramEmbedding(**sizes, mel_edges=edges, **options).double().eval()


def tokens_that_move(embedding, inputs: Tensor, changed: Tensor) -> set[int]:
    before = embedding({"inputs": inputs}).values
    after = embedding({"inputs": changed}).values
    return set((before != after).any(-1)[0].nonzero().flatten().tolist())


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_text_adds_a_vector_per_token_and_per_position(positions: str) -> None:
    embedding = TextEmbedding(50, 8, max_length=6, positions=positions)
    batch = {"inputs": torch.tensor([[3, 7, 0], [5, 5, 5]]), "lengths": torch.tensor([2, 3])}
    tokens = embedding(batch)
    expected = embedding.token.weight[5] + embedding.position[2]
    torch.testing.assert_close(tokens.values[1, 2], expected)
    assert tokens.key_padding_mask.tolist() == [[False, False, True], [False, False, False]]


def test_text_starts_from_given_vectors_and_padding_stays_zero() -> None:
    vectors = torch.randn(50, 8)
    embedding = TextEmbedding(50, 8, max_length=6, vectors=vectors)
    assert torch.equal(embedding.token.weight[1:], vectors[1:])
    assert not embedding.token.weight[0].any()


def test_a_frequent_pair_of_neighbours_adds_its_vector_to_the_second_token() -> None:
    pairs = torch.tensor([3 * 50 + 7, 7 * 50 + 3])
    embedding = TextEmbedding(50, 8, max_length=6, pairs=pairs)
    batch = {"inputs": torch.tensor([[3, 7, 7, 3, 49]]), "lengths": torch.tensor([5])}
    before = embedding(batch).values
    with torch.no_grad():
        embedding.pair.weight[1:] = torch.tensor([[1.0], [2.0]])
    added = (embedding(batch).values - before).detach()[0]
    torch.testing.assert_close(added[:, 0], torch.tensor([0.0, 1.0, 0.0, 2.0, 0.0]))
    assert before.shape == added[None].shape == (1, 5, 8)


def test_pairs_are_left_out_in_training_only() -> None:
    embedding = TextEmbedding(9, 4, max_length=999, pairs=torch.tensor([30]), pair_dropout=0.5)
    torch.nn.init.ones_(embedding.pair.weight)
    batch = {"inputs": torch.full((1, 999), 3), "lengths": torch.tensor([999])}
    plain = embedding.token.weight[3] + embedding.position
    added = (embedding(batch).values[0] - plain).detach()[1:]
    assert set(added.round(decimals=3).unique().tolist()) == {0.0, 2.0}
    torch.testing.assert_close(added.mean(), torch.tensor(1.0), atol=0.15, rtol=0)
    added = (embedding.eval()(batch).values[0] - plain).detach()[1:]
    torch.testing.assert_close(added, torch.ones_like(added))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_linear_patch_sees_the_pixels_of_its_box_and_no_others(channels: int) -> None:
    embedding = PatchEmbedding(12, channels, patch_size=4, embed_dim=8, stem="linear").double()
    image = torch.rand(1, channels, 12, 12, dtype=torch.double)
    boxes = embedding.token_layout({"inputs": image}).boxes[0]
    assert boxes.shape == (9, 4)
    for token, box in enumerate(boxes.long().tolist()):
        top, left, bottom, right = box
        changed = image.clone()
        changed[..., top:bottom, left:right] += 1
        assert tokens_that_move(embedding, image, changed) == {token}


@pytest.mark.parametrize("stem", ["conv", "pool"])
def test_a_convolutional_patch_is_centred_on_its_box(stem: str) -> None:
    embedding = PatchEmbedding(16, 1, patch_size=4, embed_dim=8, stem=stem).double().eval()
    image = torch.rand(1, 1, 16, 16, dtype=torch.double)
    changed = image.clone()
    changed[..., 0:4, 12:16] += 1
    moved = tokens_that_move(embedding, image, changed)
    assert 3 in moved
    assert 12 not in moved


def test_a_linear_time_frequency_patch_sees_its_seconds_and_hertz() -> None:
    embedding = spectrogram_embedding(patch_frames=4, patch_mels=8, stem="linear")
    sound = torch.rand(1, 16, 24, dtype=torch.double)
    layout = embedding.token_layout({"inputs": sound})
    assert layout.kind == "time_frequency_box"
    assert layout.boxes.shape == (1, 12, 4)
    for token, (start, low, end, high) in enumerate(layout.boxes[0].tolist()):
        frames = slice(round(start / 0.01), round(end / 0.01))
        mels = slice(round(low / 100), round(high / 100))
        changed = sound.clone()
        changed[:, mels, frames] += 1
        assert tokens_that_move(embedding, sound, changed) == {token}


def test_frames_span_all_frequencies() -> None:
    embedding = spectrogram_embedding(patch_frames=4, stem="linear")
    boxes = embedding.token_layout({"inputs": torch.zeros(2, 16, 24)}).boxes
    assert boxes.shape == (2, 6, 4)
    torch.testing.assert_close(boxes[1, 2], torch.tensor([0.08, 0.0, 0.12, 1600.0]))


@pytest.mark.parametrize("stem", ["conv", "pool"])
@pytest.mark.parametrize("options", [{}, {"patch_mels": 8}])
def test_frames_past_the_length_are_padding(options: dict, stem: str) -> None:
    embedding = spectrogram_embedding(patch_frames=4, stem=stem, **options)
    batch = {"inputs": torch.rand(2, 16, 24).double(), "lengths": torch.tensor([24, 9])}
    tokens = embedding(batch)
    row = [False, False, False, True, True, True]
    assert tokens.key_padding_mask[1].tolist() == row * embedding.rows
    assert not tokens.key_padding_mask[0].any()
    assert embedding.token_layout(batch).valid[1].tolist() == [
        not pad for pad in row * embedding.rows
    ]


def test_a_patch_of_all_mel_bands_is_one_row_of_a_grid() -> None:
    embedding = spectrogram_embedding(patch_frames=4, patch_mels=16)
    tokens = embedding({"inputs": torch.rand(2, 16, 24).double()})
    assert tokens.values.shape == (2, 6, 8)
    assert tokens.grid == (1, 6)


@pytest.mark.parametrize(
    ("embedding", "inputs", "grid"),
    [
        (TextEmbedding(50, 8, max_length=9), torch.ones(2, 5, dtype=torch.long), (5,)),
        (PatchEmbedding(12, 1, 4, 8).double(), torch.zeros(2, 1, 12, 12), (3, 3)),
        (spectrogram_embedding(patch_frames=4), torch.zeros(2, 16, 20), (6,)),
        (spectrogram_embedding(patch_frames=4, patch_mels=8), torch.zeros(2, 16, 20), (2, 6)),
    ],
    ids=["text", "patches", "frames", "time_frequency"],
)
def test_the_grid_is_that_of_the_layout(embedding, inputs: Tensor, grid: tuple[int, ...]) -> None:
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    spans = torch.arange(5)[None, :, None].expand(2, -1, 2)
    batch = {"inputs": inputs, "lengths": torch.full((2,), inputs.shape[-1]), "spans": spans}
    tokens = embedding(batch)
    boxes = embedding.token_layout(batch).boxes[0]
    assert tokens.grid == grid
    assert len(boxes) == tokens.values.shape[1] == math.prod(grid)
    if len(grid) == 2:  # top or frequency is the same along a row, left or time along a column
        row, column = (0, 1) if embedding.layout_kind == "patch_box" else (1, 0)
        places = boxes.view(*grid, 4)
        assert torch.equal(places[..., row], places[:, :1, row].expand(grid))
        assert torch.equal(places[..., column], places[:1, :, column].expand(grid))


@pytest.mark.parametrize("positions", ["none", "learned", "sinusoidal"])
def test_equal_tokens_differ_by_position_unless_there_are_no_positions(positions: str) -> None:
    text = TextEmbedding(50, 8, max_length=6, positions=positions)
    patches = PatchEmbedding(12, 1, 4, 8, stem="linear", positions=positions)
    frames = spectrogram_embedding(patch_frames=4, stem="linear", positions=positions).float()
    same = {
        text: torch.full((1, 6), 7),
        patches: torch.ones(1, 1, 12, 12),
        frames: torch.ones(1, 16, 24),
    }
    for embedding, inputs in same.items():
        batch = {"inputs": inputs, "lengths": torch.tensor([inputs.shape[-1]])}
        values = embedding(batch).values[0]
        alike = torch.allclose(values, values[:1].expand_as(values), atol=1e-5)
        assert alike == (positions == "none")
        assert embedding.position.requires_grad == (positions == "learned")


def test_sinusoids_tell_every_position_apart() -> None:
    assert sinusoidal(100, 16).shape == (100, 16)
    assert torch.pdist(sinusoidal(100, 16)).min() > 0.1
    assert torch.pdist(sinusoidal_grid(7, 9, 16)).min() > 0.1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PatchEmbedding(28, 1, 5, 8), "does not divide the image size 28"),
        (lambda: PatchEmbedding(12, 1, 6, 8, stem="conv"), "power of two"),
        (lambda: spectrogram_embedding(patch_mels=5), "does not divide the 16 mel bands"),
        (lambda: spectrogram_embedding(patch_frames=3), "power of two"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
