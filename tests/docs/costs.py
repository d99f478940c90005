"""The formulas of docs/scaling.md as functions: what a step and what an atlas take.

Letters: P parameters, N ranks, D embed width, L layers, H heads, R readout heads, C classes.
"""

import math

FLOAT32, FLOAT16 = 4, 2  # bytes of a number
MAX_MAP_CHUNK_BYTES = 4 * 2**20  # bytes; the maps of a larger sample are cut into layers


def block_parameters(embed_dim: int, mlp_ratio: float) -> int:
    """Parameters of a block, with biases, for a score without parameters of its own."""
    hidden = round(mlp_ratio * embed_dim)
    return 4 * embed_dim**2 + 2 * hidden * embed_dim + 9 * embed_dim + hidden


def model_parameters(embed_dim: int, depth: int, mlp_ratio: float, classes: int) -> int:
    """Parameters of blocks, last norm, attention readout and head: all but the embedding."""
    blocks = depth * block_parameters(embed_dim, mlp_ratio)
    return blocks + 4 * embed_dim**2 + 7 * embed_dim + classes * (embed_dim + 1)


def text_parameters(embed_dim: int, vocabulary: int, pairs: int, max_length: int) -> int:
    """Parameters of the embedding of texts, with learned positions."""
    return embed_dim * (vocabulary + max_length + (pairs + 1 if pairs else 0))


def ddp_memory(parameters: float, ranks: int) -> float:
    """Bytes of a rank: weights, gradients, two moments; buckets where there are several ranks."""
    return FLOAT32 * parameters * (5 if ranks > 1 else 4)


def fsdp_memory(parameters: float, ranks: int, unit: float, element: int) -> float:
    """Bytes of a rank: its share, two units gathered, and the gradient of one."""
    return 4 * FLOAT32 * parameters / ranks + 3 * element * unit


def saved_for_backward(embed_dim: int, heads: int, mlp_ratio: float, mixed: bool) -> float:
    """Bytes that a block keeps of a token for backward, without dropout."""
    numbers = (20 + 4 * mlp_ratio) if mixed else FLOAT32 * (8 + 2 * mlp_ratio)
    return numbers * embed_dim + FLOAT32 * (heads + 4)


def map_bytes(layers: int, heads: int, tokens: int, element: int = FLOAT16) -> int:
    """Bytes of the full maps of a sample, before compression."""
    return layers * heads * tokens**2 * element


def row_bytes(layers: int, heads: int, readout_heads: int, tokens: int, classes: int) -> int:
    """Bytes of the readout row, the entropies and the logits of a sample."""
    return FLOAT32 * (readout_heads * (tokens + 1) + layers * heads + classes)


def map_files(layers: int, heads: int, tokens: int, element: int = FLOAT16) -> int:
    """Files of the maps of a sample; `tokens` is the most that a sample may have."""
    return layers if map_bytes(layers, heads, tokens, element) > MAX_MAP_CHUNK_BYTES else 1


def atlas_files(rows: list[int], mapped: int, files_of_maps: int, arrays: int) -> int:
    """Files of an atlas with so many rows of each rank, and so many samples with maps.

    One for the root, one for each rank and each array in it, one for each array and 128 rows of a
    rank, and those of the maps.
    """
    metadata = 1 + len(rows) * (1 + arrays)
    return metadata + (arrays - 1) * sum(math.ceil(n / 128) for n in rows) + mapped * files_of_maps
