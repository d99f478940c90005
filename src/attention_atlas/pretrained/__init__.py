"""Models of transformers as encoders of classifiers, and for `atlas record`.

`record` itself needs nothing of this package:

```
model = AutoModel.from_pretrained("bert-base-uncased")
with record(model, queries="first") as recording:
    model(**tokenizer(texts, padding=True, return_tensors="pt"))
recording.maps["encoder.layer.0.attention.self"]  # [B, H, 1, K]
```
"""

from attention_atlas.pretrained.wiring import wire

__all__ = ["wire"]
