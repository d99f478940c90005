"""Tiny random models of every architecture of `transformers`, by rules on the names of fields."""

import copy
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel, ResNetConfig
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING, CONFIG_MAPPING_NAMES

LARGEST = 100_000_000
"""Parameters of the largest model that is built."""

WIDTH, HEADS, HEAD_DIM, VOCABULARY, POSITIONS, SIDE = 32, 4, 8, 99, 64, 32

KEY_HEADS = re.compile(r"(.*_)?(kv_heads|key_value_heads|num_query_groups|multi_query_group_num)")

# The first rule that matches a whole name counts. A value is never made larger. Where models of
# these sizes do not work, only the counts are made small.
COUNTS: dict[str, int] = {
    r"vocab_size|.*_vocab_size|vocab_size_.*|num_embeddings": VOCABULARY,
    r"codebook_size": 64,
    r"(.*_)?(num_layers|hidden_layers|n_layers?|encoder_layers|decoder_layers|depth)": 2,
    r"(.*_)?(num_blocks|num_encoder_blocks|layers_per_block)": 2,
    r"(.*_)?(num_experts|n_routed_experts|num_local_experts|n_experts|num_routed_experts)": 4,
    r"(.*_)?(experts_per_tok|experts_per_token|moe_topk|moe_top_k|moe_k)": 2,
    r"n_group|topk_group|num_expert_group|topk_groups": 1,
    r"num_kv_shared_layers": 0,
    r"first_k_dense_replace|moe_layer_start_index": 1,
}
SIZES: dict[str, int] = {
    r"hidden_size_per_layer_input|moe_latent_size": 8,
    r"(.*_)?mamba_(n_heads|num_heads|d_head|head_dim|headdim)|n_mamba_heads": 8,
    r".*index_n_heads|index_num_heads": HEADS,
    KEY_HEADS.pattern: 2,
    r"(.*_)?(n_heads?|num_heads|attention_heads|num_key_heads|num_value_heads)": HEADS,
    r"qk_head_dim": 2 * HEAD_DIM,
    r"(.*_)?(head_dim|kv_channels|d_kv|attention_head_size|key_length|rotary_dim)": HEAD_DIM,
    r"(.*_)?lora_rank": 16,
    r"index_topk|.*index_topk": 4,
    r"(.*_)?(intermediate_size|ffn_dim|d_ff|mlp_dim|inner_dim|n_inner|ffn_hidden_size)": 48,
    r"(.*_)?(intermediate_dim|intermediate_channels|dim_feedforward|ffw_size)": 48,
    r"(.*_)?(hidden_size|d_model|n_embd|embed_dim|embedding_size|hidden_dim|embedding_dim|dim|width)"
    r"|(.*_)?(d_embed|projection_dim|input_embedding_dim|fpn_hidden_size|embed_proj_dim|d_hidden)"
    r"|(.*_)?(feature_dim|output_dim|model_dim|hidden_channels)": WIDTH,
    r"(.*_)?(position_embeddings|n_positions|source_positions|target_positions|context_length)"
    r"|(.*_)?(max_seq_len|max_sequence_length|seq_length|max_seqlen)": POSITIONS,
    r"(.*_)?(image_size|input_size|img_size|resolution)": SIDE,
    r"patch_size": 8,
    r"sliding_window|window_size|local_attention|attention_window_size|chunk_size"
    r"|attention_chunk_size": 4,
    r"num_queries|num_latents|query_length|num_query_tokens|num_denoising": 6,
    r"num_conv_pos_embeddings": 8,
    r"num_conv_pos_embedding_groups": 4,
    r"num_position_embeddings": 16,
}

# What rules cannot know: fields by model type, dotted where a config stands in another.
NO_TIMM: dict[str, Any] = {
    "use_timm_backbone": False,
    "backbone": None,
    "backbone_config": ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 16, 32], depths=[1] * 4, out_features=["stage4"]
    ),
}
SPECIAL: dict[str, dict[str, Any]] = {
    "detr": NO_TIMM,
    "conditional_detr": NO_TIMM,
    "dab-detr": NO_TIMM,
    "deformable_detr": {**NO_TIMM, "num_feature_levels": 1},
    "table-transformer": NO_TIMM,
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "bamba": {"attn_layer_indices": [1]},
    "esm": {"vocab_size": VOCABULARY, "pad_token_id": 1, "mask_token_id": 4},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "nemotron": {"num_key_value_heads": 2},
    "dbrx": {"attn_config.rope_theta": 10000.0, "attn_config.kv_n_heads": 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "swin": {"image_size": 64, "window_size": 2},
    "donut-swin": {"image_size": 64, "window_size": 2},
    "maskformer-swin": {"image_size": 64, "window_size": 2},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"]},
    "recurrent_gemma": {"num_hidden_layers": 3},
    "falcon_h1": {"mamba_d_ssm": 64},
    "led": {"attention_window": [4, 4]},
    "rt_detr": {"encoder_in_channels": [32, 64, 128], "decoder_in_channels": [32] * 3},
    "rt_detr_v2": {"encoder_in_channels": [32, 64, 128], "decoder_in_channels": [32] * 3},
    "sam": {"prompt_encoder_config.image_embedding_size": 4},
    "sam_hq": {"prompt_encoder_config.image_embedding_size": 4},
    "xmod": {"default_language": "en_XX"},
}


def model_types() -> list[str]:
    """Return the names of all architectures that have a model class of their own."""
    return [name for name in CONFIG_MAPPING_NAMES if name in modeling_auto.MODEL_MAPPING_NAMES]


class _Shrinker:
    """Makes the fields of a config and of those in it small, in the same way."""

    def __init__(self, level: int) -> None:
        self._tokens: dict[int, int] = {}
        self._rules = COUNTS if level > 1 else COUNTS | SIZES
        self._with_lists = level != 1

    def shrink(self, config: PreTrainedConfig) -> None:
        for part in _parts(config):
            fields = vars(part).items()
            layers = {name: v for name, v in fields if isinstance(v, int) and self._rule(name) == 2}
            kinds = vars(part).get("layer_types")
            self.shrink_fields(part, len(set(kinds)) if kinds else 2, set(layers.values()))

    def shrink_fields(self, config: PreTrainedConfig, layers: int, depths: set[int]) -> None:
        layers = max(layers, 2)
        heads = vars(config).get("num_attention_heads")
        shares_keys = vars(config).get("num_key_value_heads", heads) != heads
        for name, value in list(vars(config).items()):
            small = self._small(name, value, layers, depths)
            if KEY_HEADS.fullmatch(name) and not shares_keys and self._rule(name):
                small = HEADS
            if small is not value and value is not None:
                setattr(config, name, small)
        head_dim = vars(config).get("head_dim") or HEAD_DIM
        if vars(config).get("head_dim", 0) is None and self._rule("head_dim"):
            config.head_dim = HEAD_DIM
        rope = vars(config).get("rope_parameters")
        if isinstance(head_dim, int) and isinstance(rope, dict) and rope and self._rule("head_dim"):
            config.rope_parameters = _small_rope(config.rope_parameters, head_dim)

    def _small(self, name: str, value: Any, layers: int, depths: set[int]) -> Any:
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int):
            return self._small_number(name, value, layers)
        if name == "stage_names" and len(value) > 6:
            return value[: layers + 1]
        if name in ("_out_features", "out_features") and value and len(value[-1]) > 6:
            return [f"stage{layers}"]
        if name in ("_out_indices", "out_indices") and value and max(value) > 5:
            return [layers]
        if isinstance(value, list | tuple) and value and self._with_lists:
            return _small_list(name, value, layers, depths)
        return value

    def _small_number(self, name: str, value: int, layers: int) -> int:
        if re.search(r"token_(id|index)|_(token|image|audio|video)_id$", name):
            if value < 50:
                return value
            return self._tokens.setdefault(value, VOCABULARY - 1 - len(self._tokens))
        small = self._rule(name)
        if name == "window_size" and value > SIDE:  # in pixels
            small = SIDE
        if small is None:
            return value
        if small == 2 and re.search("layers|depth|n_layer", name):
            small = layers
        return min(value, small)

    def _rule(self, name: str) -> int | None:
        return next(
            (small for rule, small in self._rules.items() if re.fullmatch(rule, name)), None
        )


def _parts(config: PreTrainedConfig) -> Iterator[PreTrainedConfig]:
    yield config
    for value in vars(config).values():
        if isinstance(value, PreTrainedConfig):
            yield from _parts(value)


def _small_rope(parameters: dict[str, Any], head_dim: int) -> dict[str, Any]:
    if any(isinstance(value, dict) for value in parameters.values()):
        return {name: value and _small_rope(value, head_dim) for name, value in parameters.items()}
    pairs = int(head_dim * parameters.get("partial_rotary_factor", 1.0)) // 2
    small = {**parameters, "mrope_section": [pairs - 2 * (pairs // 3), pairs // 3, pairs // 3]}
    for name, value in parameters.items():
        if isinstance(value, list | tuple) and name.endswith("_factor"):
            small[name] = list(value[:pairs])
        elif name == "original_max_position_embeddings":
            small[name] = POSITIONS
    return small


def _small_list(name: str, values: Any, layers: int, depths: set[int]) -> Any:
    kind = type(values)
    if len(values) > 4 and len(values) in depths:  # one for each layer
        if isinstance(values[0], list | dict | tuple):
            return values[:layers]
        unique = list(dict.fromkeys(values))
        return kind((unique + values[:1] * layers)[:layers])
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return values
    if re.search(r"indexes|attn_layers|deepstack", name):
        return kind(range(min(len(values), layers)))
    if re.search(r"depths|num_blocks|blocks_per_stage|layers$", name):
        return kind(min(value, 2) for value in values)
    if re.search(r"heads", name):
        return kind(max(1, value // min(values)) for value in values)
    if re.search(r"hidden_size|embed_dim|conv_dim|channel", name) and min(values) > 16:
        return kind(value * 16 // min(values) // 16 * 16 for value in values)
    return values


def tiny_config(model_type: str, level: int = 0) -> PreTrainedConfig:
    """Return the config of a small model: 1 leaves lists as they are, 2 shrinks only counts."""
    config = CONFIG_MAPPING[model_type]()
    _Shrinker(level).shrink(config)
    for path, value in SPECIAL.get(model_type, {}).items():
        *holders, name = path.split(".")
        owner = config
        for holder in holders:
            owner = getattr(owner, holder)
        setattr(owner, name, value)
    return config


def base_class(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """Return the class without a head."""
    kind = modeling_auto.MODEL_MAPPING[type(config)]
    return kind[0] if isinstance(kind, tuple | list) else kind


def generating_class(config: PreTrainedConfig) -> type[PreTrainedModel] | None:
    """Return the class that writes text; None if there is none."""
    for mapping in (
        modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
        modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING,
        modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING,
    ):
        kind = mapping.get(type(config), None)
        if isinstance(kind, type) and issubclass(kind, GenerationMixin):
            return kind
    return None


def build(
    kind: type[PreTrainedModel], config: PreTrainedConfig, implementation: str | None = None
) -> PreTrainedModel:
    """Return a model in evaluation mode, with the same weights each time.

    Weights are larger than those that training starts from, so that maps are not nearly uniform.

    Raises:
        ValueError: The model would be large.
    """
    options = {} if implementation is None else {"attn_implementation": implementation}
    with torch.device("meta"):
        size = _size(kind._from_config(copy.deepcopy(config), **options))
    if size > LARGEST:
        raise ValueError(f"it has {size // 10**6} million parameters")
    torch.manual_seed(1)
    model = kind._from_config(copy.deepcopy(config), **options).float().eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(noise * max(1, parameter[0].numel()) ** -0.5)
            elif parameter.is_floating_point():
                parameter.add_(noise * 0.1)
    return model


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
