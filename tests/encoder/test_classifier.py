"""The classifier: depth, readouts, padding, stochastic depth, names that `record` uses."""

import pytest
import torch

from attention_atlas.attention import record
from attention_atlas.encoder import (
    Classifier,
    TextEmbedding,
    Tokens,
    TransformerEncoder,
    make_readout,
)

D, H, C = 16, 4, 3


def classifier(
    readout: str = "attention", depth: int = 2, positions: str = "learned", **options
) -> Classifier:
    torch.manual_seed(0)
    attention = {"score": "scaled_dot", "rotary": options.pop("rotary", False)}
    encoder = TransformerEncoder(D, H, depth, mlp_ratio=2.0, attention=attention, **options)
    embedding = TextEmbedding(40, D, max_length=12, positions=positions)
    torch.nn.init.normal_(embedding.token.weight)
    return Classifier(embedding, encoder, make_readout(readout, D, H, attention), D, C).double()


def batch(width: int = 6) -> dict:
    inputs = torch.zeros(2, width, dtype=torch.long)
    inputs[0, :4] = torch.tensor([5, 6, 7, 8])
    inputs[1, :6] = torch.tensor([9, 10, 11, 12, 13, 14])
    spans = torch.stack([torch.arange(width), torch.arange(1, width + 1)], -1).expand(2, -1, -1)
    return {"inputs": inputs, "lengths": torch.tensor([4, 6]), "spans": spans}


@pytest.mark.parametrize("readout", ["attention", "cls", "mean"])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_padding_and_neighbours_do_not_change_the_logits(readout: str, depth: int) -> None:
    model = classifier(readout, depth).eval()
    logits = model(batch(6))
    assert logits.shape == (2, C)
    torch.testing.assert_close(model(batch(11)), logits)
    alone = {key: value[:1] for key, value in batch(6).items()}
    torch.testing.assert_close(model(alone), logits[:1])


@pytest.mark.parametrize("readout", ["attention", "cls", "mean"])
def test_every_parameter_gets_a_gradient(readout: str) -> None:
    model = classifier(readout)
    model(batch()).square().sum().backward()
    without = [name for name, value in model.named_parameters() if value.grad is None]
    assert without == []


def test_the_readout_row_leads_straight_to_the_prediction() -> None:
    model = classifier("attention").eval()
    with record(model, layers=model.readout_layer, queries="first") as recording:
        model(batch())
    row = recording.maps["readout.attention"]
    assert row.shape == (2, H, 1, 6)
    torch.testing.assert_close(row.sum(-1), torch.ones(2, H, 1, dtype=torch.double))
    assert not row[0, :, 0, 4:].any()


def test_attention_layers_are_what_record_finds() -> None:
    model = classifier("cls").eval()
    with record(model) as recording:
        model(batch())
    assert list(recording.maps) == model.attention_layers
    assert model.readout_layer == "encoder.layers.1.attention"
    assert recording.maps[model.readout_layer].shape == (2, H, 7, 7)


def test_the_cls_token_has_no_box() -> None:
    model = classifier("cls")
    layout = model.token_layout(batch())
    assert layout.boxes.shape == (2, 7, 2)
    assert layout.boxes[:, 0].isnan().all()
    assert layout.valid.tolist() == [[True] * 5 + [False] * 2, [True] * 7]
    assert layout.boxes[1, 1:].tolist() == batch()["spans"][1].tolist()


def test_the_mean_weighs_valid_tokens_alike() -> None:
    model = classifier("mean", depth=0).eval()
    tokens = model.embedding(batch())
    expected = model.encoder.norm(tokens.values)[0, :4].mean(0)
    torch.testing.assert_close(model.readout(model.encoder(tokens))[0], expected)
    assert model.readout_layer is None


def test_a_window_follows_the_grid() -> None:
    encoder = TransformerEncoder(D, H, 1, attention={"window": 1}).double().eval()
    rows, columns, changed = 4, 5, 7  # the third token of the second row
    values = torch.randn(1, rows * columns, D, dtype=torch.double)
    other = values.clone()
    other[:, changed] += torch.randn(D)
    moved = {}
    for grid in ((rows, columns), None):
        before, after = (encoder(Tokens(v, grid=grid)) for v in (values, other))
        assert before.grid == grid
        moved[grid] = (before.values != after.values).any(-1)[0].nonzero().flatten().tolist()
    assert moved[rows, columns] == [1, 2, 3, 6, 7, 8, 11, 12, 13]
    assert moved[None] == [6, 7, 8]


@pytest.mark.parametrize("readout", ["attention", "cls", "mean"])
def test_rotary_positions_tell_the_order_of_tokens(readout: str) -> None:
    changes = {}
    for rotary in (False, True):
        model = classifier(readout, positions="none", rotary=rotary).eval()
        swapped = batch()
        swapped["inputs"][1] = swapped["inputs"][1].flip(0)
        changes[rotary] = (model(batch())[1] - model(swapped)[1]).abs().max()
    assert changes[False] < 1e-12 < 1e-3 < changes[True]


def test_the_cls_token_has_no_position_on_the_grid() -> None:
    model = classifier("cls", positions="none", rotary=True).eval()
    tokens = model.readout.extend(model.embedding(batch()))
    assert tokens.values.shape[1] == 7
    assert tokens.grid == (6,)
    assert model.encoder(tokens).grid == (6,)


def test_a_sample_that_skips_all_branches_keeps_its_tokens() -> None:
    model = classifier(depth=1, dropout=0.0)
    model.encoder.layers[0].drop_path.p = 1.0
    tokens = model.embedding(batch())
    skipped = model.encoder.layers[0].train()(tokens)
    assert torch.equal(skipped.values, tokens.values)


def test_stochastic_depth_grows_with_the_layer_and_is_off_in_evaluation() -> None:
    model = classifier(depth=3, drop_path=0.4, dropout=0.0)
    rates = [layer.drop_path.p for layer in model.encoder.layers]
    assert rates == pytest.approx([0.4 / 3, 0.8 / 3, 0.4])
    assert torch.equal(model.eval()(batch()), model(batch()))
    assert not torch.equal(model.train()(batch()), model(batch()))
