"""Which method applies to which mechanism, and why not to the others."""

from attention_atlas.attention import Attention, Hedgehog
from attention_atlas.encoder import AttentionReadout, Classifier, MeanReadout


def always(model: Classifier) -> str | None:
    """For methods that need no attention."""
    return None


def needs_length(model: Classifier) -> str | None:
    """For products of the embedded tokens and their gradients."""
    if not model.attention_layers:
        return (
            "the encoder has no layers, so tokens are normalised at once; their length changes "
            "nothing, and the product with the gradient is 0 for each token"
        )
    return None


def needs_readout_row(model: Classifier) -> str | None:
    """For the row of the readout itself."""
    if isinstance(model.readout, MeanReadout):
        return "the readout is a mean, which weighs all tokens alike and has no row"
    return needs_leading_map(model)


def needs_layers(model: Classifier) -> str | None:
    """For maps of the encoder."""
    if not model.attention_layers:
        return "the encoder has no layers, and so no maps"
    return None


def needs_leading_map(model: Classifier) -> str | None:
    """For the map that leads to the prediction: of the readout or of the last layer."""
    return None if isinstance(model.readout, AttentionReadout) else needs_layers(model)


def needs_paths(model: Classifier) -> str | None:
    """For shares of what a token is made of, multiplied or passed from layer to layer."""
    modules = _shared_modules(model)
    if any(module.is_signed for module in modules):
        return (
            "differential attention has signed maps, which are no shares of what a token is made of"
        )
    if any(isinstance(module.score, Hedgehog) for module in modules):
        return (
            "linear attention sums over all keys once and for all queries, so no path leads from "
            "one token to another by a weight of its own"
        )
    if any(module.window is not None for module in modules):
        return (
            "a window lets a token see its neighbours only, so paths through the layers show how "
            "far windows reach more than what was attended to"
        )
    return needs_leading_map(model)


def needs_positive_relevance(model: Classifier) -> str | None:
    """For gradient-weighted rollout."""
    if any(module.is_signed for module in _shared_modules(model)):
        return (
            "differential attention has signed maps, and a negative weight with a negative "
            "gradient would count as relevance that is passed on"
        )
    return needs_leading_map(model)


def needs_linear_values(model: Classifier) -> str | None:
    """For vectors that each token sends, which sum to the output of attention."""
    if any(module.differential is not None for module in _shared_modules(model)):
        return (
            "differential attention normalises the output of each head, so it is no sum of what "
            "each token sends"
        )
    return needs_leading_map(model)


def _shared_modules(model: Classifier) -> list[Attention]:
    """Every `Attention` of a model; those of a pretrained encoder have no variants."""
    return [part for part in model.modules() if isinstance(part, Attention)]
