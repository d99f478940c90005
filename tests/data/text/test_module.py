"""The text data module: batches, windows, masked words, vectors, and what it keeps."""

from pathlib import Path

import numpy as np
import pytest
import torch

from attention_atlas.data.text.cooccurrence import cooccurrence_vectors, frequent_pairs
from attention_atlas.data.text.dataset import TextDataset, drop_words, random_windows
from attention_atlas.data.text.module import TextDataModule
from attention_atlas.data.text.tokenizer import MASK, PAD, EncodedTexts
from attention_atlas.errors import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.getbasetemp() / "text-cache"
    monkeypatch.setenv("ATTENTION_ATLAS_CACHE", str(folder))
    return folder


def make(reviews: Path, **options: object) -> TextDataModule:
    datamodule = TextDataModule("csv", path=str(reviews), batch_size=16, vocab_size=200, **options)
    datamodule.setup()
    return datamodule


def test_a_batch_holds_what_the_model_and_the_atlas_need(reviews: Path) -> None:
    datamodule = make(reviews)
    batch = datamodule.prepare(next(iter(datamodule.val_dataloader())), training=False)
    ids, lengths = batch["inputs"], batch["lengths"]
    assert ids.shape == (20, int(lengths.max()))
    assert ids.max() < datamodule.vocab_size <= 200
    assert batch["spans"].shape == (*ids.shape, 2)
    for row, text in enumerate(batch["text"]):
        valid = int(lengths[row])
        assert (ids[row, :valid] != PAD).all()
        assert (ids[row, valid:] == PAD).all()
        assert (batch["spans"][row, valid:] == 0).all()
        pieces = [text[start:end] for start, end in batch["spans"][row, :valid].tolist()]
        assert "".join(pieces) == text.replace(" ", "")
    assert datamodule.display_inputs(batch) == {"text": batch["text"]}
    assert datamodule.classes == ["bad", "good"]


def test_the_vocabulary_is_as_large_as_asked_for(tmp_path: Path) -> None:
    words = [
        f"{first}{middle}{last}" for first in "bcdfg" for middle in "aeiou" for last in "lmnrs"
    ]
    rows = [f"{' '.join(words[i:] + words[:i])},{'ab'[i % 2]}" for i in range(60)]
    (tmp_path / "words.csv").write_text("\n".join(["text,label", *rows]))
    for size in (100, 120):
        datamodule = TextDataModule("csv", path=str(tmp_path / "words.csv"), vocab_size=size)
        datamodule.setup()
        assert datamodule.vocab_size == size


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_size": 80}, r"data\.vocab_size=80 is not possible: take an integer, 100 or more"),
        ({"max_length": 0}, r"data\.max_length=0 is not possible"),
        ({"augmentation": {"word_dropout": 1.0}}, r"augmentation\.word_dropout=1\.0 is not"),
        ({"augmentation": {"words": 1}}, r"augmentation\.words is not a key"),
    ],
)
def test_an_option_out_of_range_is_named(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TextDataModule("csv", **options)


def test_training_batches_are_pooled_by_length(reviews: Path) -> None:
    datamodule = make(reviews)
    padding = sum(int((batch["inputs"] == PAD).sum()) for batch in datamodule.train_dataloader())
    lengths = np.array(datamodule.datasets["train"].lengths)
    assert padding < 0.25 * (lengths.max() * len(lengths) - lengths.sum())


def test_long_texts_are_cut_in_evaluation_and_seen_by_windows_in_training(reviews: Path) -> None:
    datamodule = make(reviews, max_length=8, augmentation={"crop_length": 4})
    evaluated = next(iter(datamodule.test_dataloader()))
    assert evaluated["lengths"].max() == evaluated["inputs"].shape[1] == 8
    whole = next(iter(datamodule.train_dataloader()))
    assert whole["lengths"].max() > 8
    assert max(datamodule.datasets["train"].lengths) == 4
    torch.manual_seed(0)
    first = datamodule.prepare(whole, training=True)
    second = datamodule.prepare(whole, training=True)
    assert first["inputs"].shape == (16, 4)
    assert not torch.equal(first["inputs"], second["inputs"])
    torch.manual_seed(0)
    assert torch.equal(first["inputs"], datamodule.prepare(whole, training=True)["inputs"])


def test_windows_lie_anywhere_inside_the_text() -> None:
    ids = torch.arange(1, 11).repeat(4000, 1)
    lengths = torch.full((4000,), 10)
    lengths[:2000], ids[:2000, 2:] = 2, PAD
    windows, kept = random_windows(ids, lengths, 4)
    assert windows[0].tolist() == [1, 2, PAD, PAD]
    assert kept[[0, -1]].tolist() == [2, 4]
    starts = windows[2000:, 0]
    assert (windows[2000:] == starts[:, None] + torch.arange(4)).all()
    shares = torch.bincount(starts, minlength=8)[1:8] / 2000
    assert (shares - 1 / 7).abs().max() < 0.05


def test_word_dropout_masks_a_share_of_the_valid_tokens() -> None:
    ids = torch.full((100, 100), 7)
    ids[:, 50:] = PAD
    dropped = drop_words(ids, torch.full((100,), 50), 0.3)
    assert (dropped[:, 50:] == PAD).all()
    assert set(dropped[:, :50].unique().tolist()) == {7, MASK}
    assert (dropped[:, :50] == MASK).float().mean() == pytest.approx(0.3, abs=0.03)


def test_no_augmentation_leaves_training_batches_as_they_are(reviews: Path) -> None:
    datamodule = make(reviews)
    batch = next(iter(datamodule.train_dataloader()))
    prepared = datamodule.prepare(batch, training=True)
    assert torch.equal(prepared["inputs"], batch["inputs"])


def test_a_run_folder_keeps_the_tokenizer(reviews: Path, tmp_path: Path) -> None:
    datamodule = make(reviews)
    datamodule.save(tmp_path)
    other = tmp_path / "other.csv"
    other.write_text("text,label\n" + "".join(f"great dull {i},{i % 2}\n" for i in range(60)))
    again = TextDataModule("csv", path=str(other))
    again.restore(tmp_path)
    again.setup()
    assert again.tokenizer.to_str() == datamodule.tokenizer.to_str()
    assert again.tokenizer.to_str() != make(other).tokenizer.to_str()


def test_the_tokenizer_sees_training_texts_only(reviews: Path) -> None:
    datamodule = make(reviews, seed=3)
    words = {word for text in datamodule.baseline_features("test") for word in text.split()}
    seen = {word for text in datamodule.baseline_features("train") for word in text.split()}
    digits = [word for word in words - seen if word.isdigit() and len(word) == 3]
    assert digits
    assert all(word not in datamodule.tokenizer.get_vocab() for word in digits)


def test_warm_caches_give_the_same_batches(reviews: Path, cache: Path) -> None:
    first = make(reviews)
    entries = sorted(path.name for path in cache.iterdir())
    second = make(reviews)
    assert sorted(path.name for path in cache.iterdir()) == entries
    for before, after in zip(first.val_dataloader(), second.val_dataloader(), strict=True):
        assert torch.equal(before["inputs"], after["inputs"])
        assert before["sample_id"] == after["sample_id"]


def test_vectors_of_the_training_texts_are_kept(reviews: Path) -> None:
    datamodule = make(reviews)
    vectors = datamodule.embedding_vectors(16)
    assert vectors.shape == (datamodule.vocab_size, 16)
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, make(reviews).embedding_vectors(16))
    assert not vectors[[PAD, MASK]].any()


def test_tokens_that_keep_the_same_company_have_similar_vectors() -> None:
    draw = np.random.default_rng(0)
    texts = []
    for _ in range(2000):
        kind = draw.integers(2)
        company = draw.choice([[10, 11, 12, 13], [20, 21, 22, 23]][kind], size=4)
        texts.append([3 + 2 * kind + draw.integers(2), *company])  # 3, 4: one company; 5, 6: other
    ids = np.array(texts, dtype=np.int32).ravel()
    encoded = EncodedTexts(ids, np.zeros((len(ids), 2)), np.arange(0, len(ids) + 1, 5))
    vectors = cooccurrence_vectors(encoded, vocab_size=30, dim=8)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
    same, other = unit[3] @ unit[4], unit[3] @ unit[5]
    assert same > 0.9 > other + 0.5
    occurs = np.unique(ids)
    assert np.sqrt(np.mean(vectors[occurs] ** 2)) == pytest.approx(0.3, rel=1e-3)


def test_frequent_pairs_lie_inside_a_text_and_know_both_tokens() -> None:
    texts = [[3, 4, 5], [5, 3, 4], [1, 3, 4]] * 5 + [[4, 5]] * 2 + [[6, 7]] * 4
    ids = np.concatenate(texts).astype(np.int32)
    starts = np.cumsum([0, *map(len, texts)])
    encoded = EncodedTexts(ids, np.zeros((len(ids), 2)), starts)
    pairs = frequent_pairs(encoded, vocab_size=10, limit=5)
    assert pairs.tolist() == [
        34,
        45,
        53,
    ]  # 4, 5 ends no text that 5 begins; 1 is unknown; 6, 7 rare
    assert frequent_pairs(encoded, vocab_size=10, limit=2).tolist() == [34, 45]


def test_a_run_folder_keeps_the_pairs(reviews: Path, tmp_path: Path) -> None:
    datamodule = make(reviews)
    pairs = datamodule.token_pairs(3)
    datamodule.save(tmp_path)
    again = make(reviews)
    assert len(pairs) == 3
    assert len(again.token_pairs(2)) == 2
    again.restore(tmp_path)
    assert np.array_equal(again.token_pairs(2), pairs)


def test_more_dimensions_than_tokens_are_zero() -> None:
    encoded = EncodedTexts(
        np.array([1, 2, 3, 1], dtype=np.int32), np.zeros((4, 2)), np.array([0, 4])
    )
    vectors = cooccurrence_vectors(encoded, vocab_size=4, dim=8)
    assert vectors.shape == (4, 8)
    assert not vectors[:, 3:].any()


def test_groups_follow_the_samples(tmp_path: Path) -> None:
    from attention_atlas.data.text.corpora import TextCorpus

    corpus = TextCorpus(
        ["a b", "c", "d e f"],
        [0, 1, 0],
        ["x", "y"],
        ["1", "2", "3"],
        {},
        {"source": ["p", "q", "r"]},
    )
    encoded = EncodedTexts(
        np.arange(3, 9, dtype=np.int32), np.zeros((6, 2), dtype=np.int32), np.array([0, 2, 3, 6])
    )
    dataset = TextDataset(corpus, encoded, [2, 0], max_length=2, pooled_length=2, with_texts=False)
    batch = dataset.__getitems__([1, 0])
    assert batch["groups"] == {"source": ["p", "r"]}
    assert batch["inputs"].tolist() == [[3, 4], [6, 7]]
    assert batch["sample_id"] == ["1", "3"]
    assert "text" not in batch
