"""Attributions: how much each token mattered for a prediction, by eleven methods.

```
weights = attribute(model, batch, ["readout", "rollout", "raw:0.3", "integrated_gradients"])
weights["rollout"]  # [B, K]
```

Letters: B batch, L layers, H heads, Q queries, K keys (the tokens of `model.token_layout(batch)`),
D embedding width, E head width, C classes.
"""

from attention_atlas.analysis.attributions.attribute import attribute, why_not
from attention_atlas.analysis.attributions.methods import METHODS, Method, find_method

__all__ = ["METHODS", "Method", "attribute", "find_method", "why_not"]
