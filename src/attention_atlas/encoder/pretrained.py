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
from attention_atlas.errors import InputError, counted
from attention_atlas.pretrained.adapters import add_adapters
from attention_atlas.pretrained.backbone import Backbone

Freeze = Literal["none", "embeddings", "all"] | int


class PretrainedEncoder(Encoder):
    """The blocks of a pretrained model.

    Args:
        backbone: The model.
        inputs: Makes its arguments.
        freeze: Part that is not trained: `none`, `embeddings`, `all`, or the embeddings and a
            number of first blocks.
        lora: Options of `peft.LoraConfig`; with them only the adapters are trained.

    Raises:
        InputError: `freeze` exceeds the number of blocks, or LoRA is not possible.
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
                f"encoder.freeze={freeze} is not possible: the encoder has "
                f"{counted(depth, 'layer')}. Take 0 to {depth}, or all."
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
        """Number of heads of each layer."""
        return self.backbone.heads

    @property
    def block_names(self) -> list[str]:
        """Names of the blocks, first layer first."""
        return [f"backbone.model.{name}" for name in self.backbone.blocks]

    def forward(self, tokens: Tokens) -> Tokens:
        """Encode tokens: [B, K, D] to [B, K, D]."""
        values = self.backbone.encode(tokens.values, self.inputs.blank(tokens))
        return replace(tokens, values=values)

    def train(self, mode: bool = True) -> "PretrainedEncoder":
        """Set training mode; a frozen encoder stays in evaluation mode, without dropout."""
        return super().train(mode and not self.is_fixed)

    def learning_rates(self, top: float, decay: float) -> dict[str, float]:
        """Return learning rates by parameter, multiplied by `decay` per block from the top.

        Parameters before the blocks get one more factor, those behind them none (Howard & Ruder
        2018; Clark 2020).
        """
        depth = len(self.backbone.blocks)
        return {
            name: top * decay ** max(depth - 1 - self._block_index(name), 0)
            for name, _ in self.named_parameters()
        }

    def _freeze_first(self, num_blocks: int) -> None:
        """Freeze the parameters before the blocks, and the first blocks."""
        for name, parameter in self.named_parameters():
            if self._block_index(name) < num_blocks:
                parameter.requires_grad_(False)

    def _freeze_unused(self) -> None:
        """Freeze parameters without a gradient, and their LoRA adapters."""
        for name, parameter in self.backbone.model.named_parameters():
            own = name.replace(".base_layer.", ".")
            module, _, adapter = name.partition(".lora_")
            target = f"{module}.weight" if adapter else own
            if target in self.backbone.unused:
                parameter.requires_grad_(False)

    def _block_index(self, parameter: str) -> int:
        """Return the block of a parameter: -1 before the first, their number behind the last."""
        for index, block in enumerate(self.block_names):
            if parameter.startswith(f"{block}."):
                return index
        is_in_front = self.backbone.is_in_front(parameter.removeprefix("backbone.model."))
        return -1 if is_in_front else len(self.block_names)


class PretrainedEmbedding(Embedding):
    """The part of a pretrained model before its first block.

    Its weights belong to the encoder: there is one model, and this runs its first part.
    """

    def __init__(self, encoder: PretrainedEncoder) -> None:
        super().__init__()
        self._encoder = [encoder]  # in a list, so that its weights are not registered twice
        self.layout_kind = encoder.inputs.layout_kind  # type: ignore[misc]
        num_tokens = encoder.inputs.num_tokens
        self.grid = None if num_tokens is None else (num_tokens,)

    def forward(self, batch: Batch) -> Tokens:
        """Return the tokens of a prepared batch."""
        encoder = self._encoder[0]
        values = encoder.backbone.embed(encoder.inputs(batch))
        return Tokens(values, encoder.inputs.padding(batch))

    def token_layout(self, batch: Batch) -> TokenLayout:
        """Return where the tokens of a prepared batch lie in the input."""
        return self._encoder[0].inputs.layout(batch)


class PretrainedClassifier(Classifier):
    """A classifier around a pretrained encoder, which it runs in one pass; see `Classifier`."""

    encoder: PretrainedEncoder

    def __init__(
        self, encoder: PretrainedEncoder, readout: Readout, num_classes: int, dropout: float = 0.0
    ) -> None:
        width = encoder.backbone.width
        super().__init__(
            PretrainedEmbedding(encoder), encoder, readout, width, num_classes, dropout
        )

    def forward(self, batch: Batch) -> Tensor:
        """Return logits [B, C] of a prepared batch."""
        values = self.encoder.backbone(self.encoder.inputs(batch))
        return self.predict(Tokens(values, self.encoder.inputs.padding(batch)))

    @property
    def leading_tokens(self) -> Sequence[str]:
        """Names of the tokens that the model puts before those of the input."""
        return self.encoder.inputs.leading_tokens

    def output_projection(self, layer: str) -> Tensor:
        """Return the output projection [D, D] of an attention module."""
        prefix = "encoder.backbone.model."
        if not layer.startswith(prefix):
            return super().output_projection(layer)
        return self.encoder.backbone.output_projection(layer.removeprefix(prefix))

    @property
    def stages(self) -> dict[str, list[str]]:
        """The parts of the model from output to input; the embedding has what remains."""
        blocks = list(enumerate(self.encoder.block_names))
        layers = {f"layer {index}": [f"encoder.{name}"] for index, name in reversed(blocks)}
        return {"head": ["head"], "readout": ["readout"], **layers, "embedding": ["encoder"]}
