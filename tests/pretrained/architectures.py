"""Tiny Hugging Face models with random weights, one of each architecture, and inputs for them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from torch import Tensor

Inputs = dict[str, Tensor]


def text() -> Inputs:
    """Three texts, two of them padded."""
    ids = torch.randint(5, 60, (3, 9))
    valid = torch.ones(3, 9, dtype=torch.long)
    valid[1, 6:] = 0
    valid[2, 3:] = 0
    return {"input_ids": ids, "attention_mask": valid}


def texts_in_and_out() -> Inputs:
    """Texts, and others that a decoder writes."""
    return {**text(), "decoder_input_ids": torch.randint(5, 60, (3, 5))}


def images(side: int = 16) -> Callable[[], Inputs]:
    """Two images."""
    return lambda: {"pixel_values": torch.randn(2, 3, side, side)}


def texts_and_images() -> Inputs:
    """As many texts as images."""
    return {**text(), "pixel_values": torch.randn(3, 3, 16, 16)}


def clips() -> Inputs:
    """Two clips of raw sound, of which one is padded."""
    valid = torch.ones(2, 640, dtype=torch.long)
    valid[1, 400:] = 0
    return {"input_values": torch.randn(2, 640), "attention_mask": valid}


def spectrograms() -> Inputs:
    """Two log-mel spectrograms, frames before bands."""
    return {"input_values": torch.randn(2, 24, 16)}


def mels_and_text() -> Inputs:
    """Two log-mel spectrograms, bands before frames, and texts that a decoder writes."""
    return {
        "input_features": torch.randn(2, 8, 24),
        "decoder_input_ids": torch.randint(5, 60, (2, 5)),
    }


@dataclass(frozen=True)
class Architecture:
    """A model class, its smallest useful config, and what it is fed.

    `maps` tells which modules give what the eager model calls `attentions` and the like.
    """

    name: str
    model: str
    options: dict[str, Any]
    inputs: Callable[[], Inputs]
    maps: dict[str, str]
    remark: str = ""
    config: str = field(default="")

    def build(self, implementation: str) -> transformers.PreTrainedModel:
        """The model in evaluation mode, with the same weights each time."""
        torch.manual_seed(1)
        config_class = getattr(transformers, self.config or self.model.replace("Model", "Config"))
        config = config_class(**self.options, attn_implementation=implementation)
        built: transformers.PreTrainedModel = getattr(transformers, self.model)(config).eval()
        return built

    def make_inputs(self) -> Inputs:
        """The same inputs each time."""
        torch.manual_seed(2)
        return self.inputs()


TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 60,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
IMAGE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 16,
    "patch_size": 4,
}
SOUND: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": (16, 16),
    "conv_kernel": (10, 3),
    "conv_stride": (5, 4),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "feat_extract_norm": "layer",
    "mask_time_prob": 0.0,
}
SEQUENCES: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "vocab_size": 60,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
TO_SEQUENCE = {
    "encoder_attentions": "encoder.layers.*.self_attn",
    "decoder_attentions": "decoder.layers.*.self_attn",
    "cross_attentions": "decoder.layers.*.encoder_attn",
}


def one(pattern: str) -> dict[str, str]:
    """The modules of a model with one stack of layers."""
    return {"attentions": pattern}


BERT_LAYERS = one("encoder.layer.*.attention.self")

ARCHITECTURES = [
    Architecture("BERT", "BertModel", TEXT, text, BERT_LAYERS),
    Architecture(
        "DistilBERT",
        "DistilBertModel",
        {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48, "vocab_size": 60},
        text,
        one("transformer.layer.*.attention"),
    ),
    Architecture("RoBERTa", "RobertaModel", TEXT, text, BERT_LAYERS),
    Architecture("XLM-RoBERTa", "XLMRobertaModel", TEXT, text, BERT_LAYERS),
    Architecture(
        "ALBERT",
        "AlbertModel",
        {**TEXT, "embedding_size": 16},
        text,
        one("encoder.albert_layer_groups.*.attention"),
        "one module runs as every layer: look at `recording.calls[name]`",
    ),
    Architecture("ELECTRA", "ElectraModel", {**TEXT, "embedding_size": 16}, text, BERT_LAYERS),
    Architecture(
        "ModernBERT",
        "ModernBertModel",
        {
            **TEXT,
            "local_attention": 4,
            "global_attn_every_n_layers": 2,
            "cls_token_id": 1,
            "sep_token_id": 2,
        },
        text,
        one("layers.*.attn"),
        "windows in most layers",
    ),
    Architecture("ViT", "ViTModel", IMAGE, images(), one("layers.*.attention")),
    Architecture("DeiT", "DeiTModel", IMAGE, images(), one("layers.*.attention")),
    Architecture("DINOv2", "Dinov2Model", IMAGE, images(), one("encoder.layer.*.attention")),
    Architecture(
        "BEiT",
        "BeitModel",
        {**IMAGE, "use_relative_position_bias": True},
        images(),
        one("layers.*.attention"),
        "relative positions on the scores",
    ),
    Architecture(
        "Swin",
        "SwinModel",
        {
            "image_size": 32,
            "patch_size": 2,
            "embed_dim": 16,
            "depths": [2, 2],
            "num_heads": [2, 4],
            "window_size": 4,
        },
        images(32),
        one("encoder.layers.*.blocks.1.attention"),
        "a sample of a map is a window, and windows are shifted in every second block",
    ),
    Architecture(
        "CLIP",
        "CLIPModel",
        {
            "text_config": {**TEXT, "projection_dim": 16},
            "vision_config": {**IMAGE, "projection_dim": 16},
            "projection_dim": 16,
        },
        texts_and_images,
        {
            "text_model_output.attentions": "text_model.*.self_attn",
            "vision_model_output.attentions": "vision_model.*.self_attn",
        },
        "both towers; the one of texts is causal",
    ),
    Architecture("SigLIP", "SiglipVisionModel", IMAGE, images(), one("*.self_attn")),
    Architecture(
        "AST",
        "ASTModel",
        {
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "patch_size": 8,
            "frequency_stride": 4,
            "time_stride": 4,
            "max_length": 24,
            "num_mel_bins": 16,
        },
        spectrograms,
        one("*.attention"),
        "patches overlap",
    ),
    Architecture("wav2vec2", "Wav2Vec2Model", SOUND, clips, one("encoder.layers.*.attention")),
    Architecture("HuBERT", "HubertModel", SOUND, clips, one("encoder.layers.*.attention")),
    Architecture(
        "Whisper",
        "WhisperModel",
        {
            **SEQUENCES,
            "num_mel_bins": 8,
            "max_source_positions": 12,
            "max_target_positions": 40,
            "suppress_tokens": None,
            "begin_suppress_tokens": None,
        },
        mels_and_text,
        TO_SEQUENCE,
        "encoder, decoder, and what the decoder sees of the sound",
    ),
    Architecture(
        "T5",
        "T5Model",
        {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": 60},
        texts_in_and_out,
        {
            "encoder_attentions": "encoder.*.SelfAttention",
            "decoder_attentions": "decoder.*.SelfAttention",
            "cross_attentions": "decoder.*.EncDecAttention",
        },
        "relative positions on the scores; scores are not scaled",
    ),
    Architecture(
        "BART",
        "BartModel",
        {**SEQUENCES, "max_position_embeddings": 40},
        texts_in_and_out,
        TO_SEQUENCE,
    ),
    Architecture(
        "GPT-2",
        "GPT2Model",
        {
            "n_embd": 32,
            "n_layer": 3,
            "n_head": 4,
            "vocab_size": 60,
            "n_positions": 40,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        text,
        one("h.*.attn"),
        "causal",
    ),
    Architecture(
        "Llama",
        "LlamaModel",
        {**TEXT, "num_key_value_heads": 2},
        text,
        one("layers.*.self_attn"),
        "causal; two queries share a key",
    ),
]

OWN = [
    Architecture("MPNet", "MPNetModel", TEXT, text, one("encoder.layer.*.attention.attn")),
    Architecture("DeBERTa", "DebertaModel", TEXT, text, BERT_LAYERS),
    Architecture("DeBERTa v2", "DebertaV2Model", TEXT, text, BERT_LAYERS),
]
