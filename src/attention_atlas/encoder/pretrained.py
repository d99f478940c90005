"""A pretrained model as the encoder of a classifier: its tokens, its blocks, our readout."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor

from attention_atlas.encoder.classifier import Classifier
from attention_atlas.encoder.embeddings import Embedding
from attention_atlas.encoder.model_inputs import ModelInputs
from attention_atlas.encoder.readout import Readout
from attention_atlas.encoder.tokens import Batch, TokenLayout, Tokens
from attention_atlas.encoder.transformer import Encoder
from attention_atlas.errors import InputError
from attention_atlas.pretrained.adapters import add_adapters
from attention_atlas.pretrained.backbone import Backbone

Freeze = Literal["none", "embeddings", "all"] | int


class PretrainedEncoder(Encoder):
    """The blocks of a pretrained model.

    Args:
        backbone: The model.
        inputs: What it is fed.
        freeze: What is not trained: `none`, `embeddings`, `all`, or the embeddings and so many of
            the first blocks.
        lora: Options of `peft.LoraConfig`; with them, nothing but small matrices beside those of
            the model is trained.

    Raises:
        InputError: There are fewer blocks than are to be frozen, or LoRA is not possible.
    """

    def __init__(
        self,
        backbone: Backbone,
        inputs: ModelInputs,
        freeze: Freeze = "none",
        lora: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.inputs = inputs
        self.is_fixed = lora is None and freeze == "all"
        depth = len(backbone.blocks)
        if isinstance(freeze, int) and freeze > depth:
            raise InputError(
                f"encoder.freeze={freeze} is not possible: the encoder has {depth} layers. Take "
                f"0 to {depth}, or all."
            )
        if lora is not None:
            add_adapters(backbone.model, lora)
        elif self.is_fixed:
            self.requires_grad_(False)
        elif isinstance(freeze, int) or freeze == "embeddings":
            self._freeze_first(freeze if isinstance(freeze, int) else 0)
        self._freeze_unused()
        self.train()  # models are loaded in evaluation mode

    @property
    def attention_names(self) -> list[str]:
        """Names of the attention modules, first layer first."""
        return [f"backbone.model.{name}" for name in self.backbone.layers]

    @property
    def num_heads(self) -> list[int]:
        """How many heads each layer has."""
        return self.backbone.heads

    @property
    def block_names(self) -> list[str]:
        """Names of the blocks, first layer first."""
        return [f"backbone.model.{name}" for name in self.backbone.blocks]

    def forward(self, tokens: Tokens) -> Tokens:
        """[B, K, D] to [B, K, D]."""
        values = self.backbone.encode(tokens.values, self.inputs.blank(tokens))
        return replace(tokens, values=values)

    def train(self, mode: bool = True) -> "PretrainedEncoder":
        """Drop nothing of an encoder that is not trained."""
        return super().train(mode and not self.is_fixed)

    def learning_rates(self, top: float, decay: float) -> dict[str, float]:
        """Learning rates by parameter: that of the last block, times `decay` per block down.

        What stands before the blocks has one step more, and what stands behind them none (Howard &
        Ruder 2018; Clark 2020).
        """
        depth = len(self.backbone.blocks)
        return {
            name: top * decay ** max(depth - 1 - self._place(name), 0)
            for name, _ in self.named_parameters()
        }

    def _freeze_first(self, num_blocks: int) -> None:
        """Freeze what stands before the blocks, and the first of them."""
        for name, parameter in self.named_parameters():
            if self._place(name) < num_blocks:
                parameter.requires_grad_(False)

    def _freeze_unused(self) -> None:
        """Freeze what gets no gradient, and what LoRA adds to it."""
        for name, parameter in self.backbone.model.named_parameters():
            own = name.replace(".base_layer.", ".")
            module, _, adapter = name.partition(".lora_")
            target = f"{module}.weight" if adapter else own
            if target in self.backbone.unused:
                parameter.requires_grad_(False)

    def _place(self, parameter: str) -> int:
        """Which block a parameter belongs to: -1 before the first, and their number behind them."""
        for place, block in enumerate(self.block_names):
            if parameter.startswith(f"{block}."):
                return place
        is_in_front = self.backbone.is_in_front(parameter.removeprefix("backbone.model."))
        return -1 if is_in_front else len(self.block_names)


class PretrainedEmbedding(Embedding):
    """What a pretrained model does before its first block.

    Its weights belong to the encoder: there is one model, and this only runs its first part.
    """

    def __init__(self, encoder: PretrainedEncoder) -> None:
        super().__init__()
        self._encoder = [encoder]  # in a list, so that its weights are not registered twice
        self.layout_kind = encoder.inputs.layout_kind  # type: ignore[misc]
        most = encoder.inputs.num_tokens
        self.grid = None if most is None else (most,)

    def forward(self, batch: Batch) -> Tokens:
        """The tokens of a prepared batch."""
        encoder = self._encoder[0]
        values = encoder.backbone.embed(encoder.inputs(batch))
        return Tokens(values, encoder.inputs.padding(batch))

    def token_layout(self, batch: Batch) -> TokenLayout:
        """Where the tokens of a prepared batch lie in the input."""
        return self._encoder[0].inputs.layout(batch)


class PretrainedClassifier(Classifier):
    """A classifier around a pretrained encoder, which runs it in one go.

    Args:
        encoder: The pretrained model.
        readout: Pools the tokens to [B, D].
        num_classes: C.
        dropout: Share of the pooled values that are dropped before the head.
    """

    encoder: PretrainedEncoder

    def __init__(
        self, encoder: PretrainedEncoder, readout: Readout, num_classes: int, dropout: float = 0.0
    ) -> None:
        width = encoder.backbone.width
        super().__init__(
            PretrainedEmbedding(encoder), encoder, readout, width, num_classes, dropout
        )

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, C] of a prepared batch."""
        values = self.encoder.backbone(self.encoder.inputs(batch))
        return self.predict(Tokens(values, self.encoder.inputs.padding(batch)))

    @property
    def leading_tokens(self) -> Sequence[str]:
        """Names of the tokens that the model puts before those of the input."""
        return self.encoder.inputs.leading_tokens

    def output_projection(self, layer: str) -> Tensor:
        """The weight [D, D] that the heads of an attention module are multiplied by."""
        prefix = "encoder.backbone.model."
        if not layer.startswith(prefix):
            return super().output_projection(layer)
        return self.encoder.backbone.output_projection(layer.removeprefix(prefix))

    @property
    def stages(self) -> dict[str, list[str]]:
        """Its parts from the output to the input; with the embedding goes what is left."""
        blocks = list(enumerate(self.encoder.block_names))
        layers = {f"layer {index}": [f"encoder.{name}"] for index, name in reversed(blocks)}
        return {"head": ["head"], "readout": ["readout"], **layers, "embedding": ["encoder"]}
