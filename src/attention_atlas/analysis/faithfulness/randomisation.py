"""Take from a model what it has learned, part by part, and explain it again (Adebayo 2018)."""

import copy
from collections.abc import Iterator

import numpy as np

from attention_atlas.analysis.faithfulness.explain import Explainer
from attention_atlas.analysis.faithfulness.metrics import spearman
from attention_atlas.analysis.faithfulness.probe import Probe
from attention_atlas.encoder import Classifier

Likeness = dict[str, dict[str, list[float | None]]]
"""By method and stage, a rank correlation for each sample."""


def cascade(model: Classifier, fresh: Classifier) -> Iterator[tuple[str, Classifier]]:
    """Give the parts of a model the weights of an untrained one, one after the other.

    Yields:
        The name of a stage, and a copy of the model in which this part and all before it are
        untrained; it is the same object at each stage.
    """
    changed = copy.deepcopy(model)
    for stage, names in model.stages.items():
        for name in names:
            untrained = fresh.get_submodule(name).state_dict()
            changed.get_submodule(name).load_state_dict(untrained)
        yield stage, changed


def likeness_to_untrained(probe: Probe, explainer: Explainer, fresh: Classifier) -> Likeness:
    """Spearman's correlation of each attribution with that of the model with untrained parts.

    The class that is explained stays the one that the trained model predicts.

    Args:
        probe: Of the batch, with the trained model.
        explainer: Gives the attributions.
        fresh: An untrained model of the same config.
    """
    trained = explainer(probe.model, probe.batch, probe.layout, probe.target)
    tokens = [np.flatnonzero(row) for row in probe.removable]
    found: Likeness = {method: {} for method in explainer.methods}
    for stage, model in cascade(probe.model, fresh):
        untrained = explainer(model, probe.batch, probe.layout, probe.target)
        for method in explainer.methods:
            pairs = zip(trained[method], untrained[method], tokens, strict=True)
            found[method][stage] = [
                spearman(before[own], after[own]) for before, after, own in pairs
            ]
    return found
