"""Folders of tiny pretrained models, as `save_pretrained` writes them."""

from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tests.pretrained.architectures import IMAGE, TEXT

WORDS = ["great", "lovely", "fine", "dull", "poor", "awful"]


def save_tokenizer(folder: Path) -> int:
    """A word-piece tokenizer as BERT has one; returns the size of its vocabulary."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    signs = [*"abcdefghijklmnopqrstuvwxyz0123456789.,!?'()/-"]
    pieces = [*special, *signs, *(f"##{sign}" for sign in signs), *WORDS]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", vocab["[SEP]"]), ("[CLS]", vocab["[CLS]"])
    )
    tokenizer.enable_truncation(8)  # as many a saved tokenizer has it
    tokenizer.enable_padding(length=8)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
    ).save_pretrained(folder)
    return len(vocab)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT for texts."""
    folder = tmp_path_factory.mktemp("tiny-bert")
    size = save_tokenizer(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(**{**TEXT, "vocab_size": size, "max_position_embeddings": 64})
    transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViT for images of 16 x 16 pixels."""
    folder = tmp_path_factory.mktemp("tiny-vit")
    torch.manual_seed(0)
    transformers.ViTModel(transformers.ViTConfig(**IMAGE)).save_pretrained(folder)
    processor = transformers.ViTImageProcessor(size={"height": 16, "width": 16})
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_wav2vec2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wav2vec 2.0 for raw sound."""
    folder = tmp_path_factory.mktemp("tiny-wav2vec2")
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        conv_dim=(16, 16, 16),
        conv_kernel=(10, 8, 8),
        conv_stride=(8, 8, 8),
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=4,
    )
    transformers.Wav2Vec2Model(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_ast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audio spectrogram transformer for a second of sound."""
    folder = tmp_path_factory.mktemp("tiny-ast")
    torch.manual_seed(0)
    config = transformers.ASTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_length=100,
        num_mel_bins=32,
    )
    transformers.ASTModel(config).save_pretrained(folder)
    extractor = transformers.ASTFeatureExtractor(max_length=100, num_mel_bins=32)
    extractor.save_pretrained(folder)
    return folder
