"""What `bertviz.head_view` and `bertviz.model_view` take.

```python
import bertviz, torch
bertviz.head_view(**torch.load("sample.pt", weights_only=True))
```
"""

from pathlib import Path

import numpy as np

from attention_atlas.analysis.token_weights import name_of
from attention_atlas.atlas import Sample
from attention_atlas.errors import InputError
from attention_atlas.output_files import draft


def write_bertviz(sample: Sample, path: Path) -> None:
    """Write `attention`, a tuple of L tensors [1, H, K, K], and `tokens`, a list of K texts.

    Raises:
        InputError: If the sample keeps no full maps, or its encoder has no layers.
    """
    maps = sample.read_maps()
    if not len(maps):
        raise InputError("This run has no map of a layer to write: its encoder has no layers.")
    import torch

    attention = tuple(torch.from_numpy(layer[None].astype(np.float32)) for layer in maps)
    tokens = [name_of(token) for token in sample.tokens]
    with draft(path) as unfinished:
        torch.save({"attention": attention, "tokens": tokens}, unfinished)
