"""The mechanisms that a method applies to, and the reason if it does not.

Each function returns the reason, or None if the method applies.
"""

from attention_atlas.attention import Attention, Hedgehog
from attention_atlas.encoder import AttentionReadout, Classifier, MeanReadout


def always(model: Classifier) -> str | None:
    """Accept every model, for methods that need no attention."""
    return None


def needs_length(model: Classifier) -> str | None:
    """Check for products of the embedded tokens and their gradients."""
    if not model.attention_layers:
        return (
            "the encoder has no layers, so tokens are normalised at once; their length changes "
            "nothing, and the product with the gradient is 0 for each token"
        )
    return None


def needs_readout_row(model: Classifier) -> str | None:
    """Check for the row of the readout itself."""
    if isinstance(model.readout, MeanReadout):
        return "the readout is a mean, which weights all tokens equally and has no row"
    return needs_leading_map(model)


def needs_layers(model: Classifier) -> str | None:
    """Check for maps of the encoder."""
    if not model.attention_layers:
        return "the encoder has no layers, and so no maps"
    return None


def needs_leading_map(model: Classifier) -> str | None:
    """Check for the map that leads to the prediction: of the readout or of the last layer."""
    return None if isinstance(model.readout, AttentionReadout) else needs_layers(model)


def needs_paths(model: Classifier) -> str | None:
    """Check for weights multiplied along paths from layer to layer."""
    modules = _shared_modules(model)
    if any(module.is_signed for module in modules):
        return "differential attention has signed maps, which are not fractions of a token"
    if any(isinstance(module.score, Hedgehog) for module in modules):
        return (
            "linear attention sums over all keys once and for all queries, so no path leads from "
            "one token to another by a weight of its own"
        )
    if any(module.window is not None for module in modules):
        return (
            "a window lets a token see its neighbours only, so paths through the layers show how "
            "far windows reach rather than what was attended to"
        )
    return needs_leading_map(model)


def needs_positive_relevance(model: Classifier) -> str | None:
    """Check for gradient-weighted rollout."""
    if any(module.is_signed for module in _shared_modules(model)):
        return (
            "differential attention has signed maps, and a negative weight with a negative "
            "gradient would count as relevance that is passed on"
        )
    return needs_leading_map(model)


def needs_linear_values(model: Classifier) -> str | None:
    """Check for vectors that each token sends, which sum to the output of attention."""
    if any(module.differential is not None for module in _shared_modules(model)):
        return (
            "differential attention normalises the output of each head, so it is not a sum of what "
            "each token sends"
        )
    return needs_leading_map(model)


def _shared_modules(model: Classifier) -> list[Attention]:
    """Return every `Attention` of a model; those of a pretrained encoder have no variants."""
    return [part for part in model.modules() if isinstance(part, Attention)]
