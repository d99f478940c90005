"""Hugging Face models whose attention can be recorded.

```
model = wire(AutoModel.from_pretrained("bert-base-uncased"))
with record(model, queries="first") as recording:
    model(**tokenizer(texts, padding=True, return_tensors="pt"))
recording.maps["encoder.layer.0.attention.self"]  # [B, H, 1, K]
```

Importing this package registers `attn_implementation="attention_atlas"`, so that
`from_pretrained(..., attn_implementation="attention_atlas")` works too.
"""

from attention_atlas.pretrained.wiring import wire

__all__ = ["wire"]
