"""The model of all three tasks: embedding, encoder, readout, head."""

from collections.abc import Sequence

from torch import Tensor, nn

from attention_atlas.encoder.embeddings import Embedding
from attention_atlas.encoder.readout import AttentionReadout, ClsReadout, FirstReadout, Readout
from attention_atlas.encoder.tokens import Batch, TokenLayout, Tokens
from attention_atlas.encoder.transformer import Encoder


class Classifier(nn.Module):
    """Tokens in, logits out.

    Args:
        embedding: Makes `Tokens` of a batch, and describes their layout.
        encoder: Blocks of self-attention.
        readout: Pools the tokens to [B, D].
        embed_dim: D.
        num_classes: C.
        dropout: Dropout rate of the pooled values before the head.
    """

    def __init__(
        self,
        embedding: Embedding,
        encoder: Encoder,
        readout: Readout,
        embed_dim: int,
        num_classes: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.encoder = encoder
        self.readout = readout
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(embed_dim, num_classes)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits [B, C] of a prepared batch."""
        return self.classify(self.embedding(batch))

    def classify(self, tokens: Tokens) -> Tensor:
        """Return logits [B, C] of embedded tokens."""
        return self.predict(self.encoder(self.readout.extend(tokens)))

    def predict(self, encoded: Tokens) -> Tensor:
        """Return logits [B, C] of encoded tokens."""
        logits: Tensor = self.head(self.dropout(self.readout(encoded)))
        return logits

    def token_layout(self, batch: Batch) -> TokenLayout:
        """Return the part of the input that each token of the encoder stands for."""
        return self.readout.extend_layout(self.embedding.token_layout(batch))

    @property
    def leading_tokens(self) -> Sequence[str]:
        """Names of the tokens that the model puts before those of the input."""
        return ["[CLS]"] if isinstance(self.readout, ClsReadout) else []

    @property
    def attention_layers(self) -> list[str]:
        """Names of the encoder's attention modules, first layer first."""
        return [f"encoder.{name}" for name in self.encoder.attention_names]

    @property
    def layer_heads(self) -> list[int]:
        """Number of heads of each attention layer."""
        return self.encoder.num_heads

    @property
    def readout_layer(self) -> str | None:
        """The attention module whose first row the prediction is read from.

        None with a mean readout, which weighs all tokens alike.
        """
        if isinstance(self.readout, AttentionReadout):
            return "readout.attention"
        return self.attention_layers[-1] if isinstance(self.readout, FirstReadout) else None

    def output_projection(self, layer: str) -> Tensor:
        """Return the output projection [D, D] of an attention module."""
        weight: Tensor = self.get_submodule(layer).out_proj.weight  # type: ignore[union-attr,assignment]
        return weight

    @property
    def stages(self) -> dict[str, list[str]]:
        """The parts of the model from output to input, and the names of their modules.

        Head, readout, the layers from last to first, embedding. The final norm belongs to the
        readout, which reads it.
        """
        depth = len(self.attention_layers)
        layers = {f"layer {index}": [f"encoder.layers.{index}"] for index in reversed(range(depth))}
        readout = ["readout", "encoder.norm"]
        return {"head": ["head"], "readout": readout, **layers, "embedding": ["embedding"]}
