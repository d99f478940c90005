"""A pretrained encoder that runs in two parts: before its first block, and from it on."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from attention_atlas.attention import record
from attention_atlas.attention.observers import Pass, WeightsPass
from attention_atlas.attention.watching import watch
from attention_atlas.errors import InputError

Inputs = dict[str, Tensor]


class Backbone(nn.Module):
    """A model of transformers, cut before its first block.

    Args:
        model: An encoder.
        example: Arguments for one sample.

    Attributes:
        blocks: Names of the blocks in `model`, in order.
        layers: Names of the attention modules in `model`, in the order in which they run.
        heads: Number of heads of each layer.
        first_sees_others: Whether the first token attends to others; False for causal models.
        unused: Names of parameters of `model` without a gradient, such as those of a pooler, for
            which data-parallel ranks would wait.
        num_tokens: Tokens of the example.
        width: D.

    Raises:
        InputError: The layers of the model do not attend from all tokens to all tokens, or in a way
            that is not known.
    """

    def __init__(self, model: PreTrainedModel, example: Inputs) -> None:
        super().__init__()
        self.model = model
        was_training = model.training
        model.eval()
        recorded, projections = record(model, queries="first"), _projections(model)
        try:
            with torch.no_grad(), recorded as recording, projections as self._projections:
                hidden = model(**example).last_hidden_state
        except ValueError as error:
            raise InputError(str(error)) from error
        self.num_tokens, self.width = hidden.shape[1:]
        # A pooling head attends too, by a query of its own.
        ran = {name: calls for name, calls in recording.calls.items() if calls}
        self.layers = [name for name, calls in ran.items() if calls[0].grid is not None]
        self.heads = [recording.calls[name][0].shape[1] for name in self.layers]
        calls = [recording.calls[name] for name in self.layers]
        if any(len(each) > 1 for each in calls):
            raise InputError(
                f"{type(model).__name__} runs one module as several layers; its maps can be "
                "recorded by record(model), but not stored layer by layer."
            )
        if any(call.shape[::3] != (1, self.num_tokens) for each in calls for call in each):
            raise InputError(
                f"{type(model).__name__} attends within windows or to fewer tokens than it gives; "
                "its maps can be recorded by record(model), but not shown over whole inputs."
            )
        self.blocks = _blocks_of(self.layers)
        self.first_sees_others = bool(recording.maps[self.layers[-1]][..., 1:].any())
        self.unused = self._find_unused(example)
        self._front = self._find_front(example)
        model.train(was_training)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the encoded tokens [B, K, D]."""
        hidden: Tensor = self.model(**inputs).last_hidden_state
        return hidden

    def output_projection(self, layer: str) -> Tensor:
        """Return the output projection [D, H * E] of an attention module.

        Its name differs by architecture: it is the linear map that takes the output of the heads.

        Raises:
            InputError: No linear map takes this output.
        """
        if layer not in self._projections:
            raise InputError(
                f"{layer} of {type(self.model).__name__} has no linear map behind its heads, so "
                "the output of each token is not known."
            )
        return _weight_of(self.model.get_submodule(self._projections[layer]))

    def embed(self, inputs: Inputs) -> Tensor:
        """Return the input of the first block, [B, K, D]."""
        with self._first_block(_Stop.at) as found:
            try:
                self.model(**inputs)
            except _Stop:
                hidden: Tensor = found[0]
                return hidden
        raise AssertionError("the first block did not run")

    def is_in_front(self, parameter: str) -> bool:
        """Whether a parameter of `model` is used before the first block."""
        owner = parameter.rpartition(".")[0]
        return owner in self._front or any(
            owner.startswith(f"{name}.")
            for name in self._front
            if not self.blocks[0].startswith(f"{name}.")
        )

    def _find_unused(self, example: Inputs) -> set[str]:
        """Find the parameters that the autograd graph of a pass does not reach.

        No gradient is computed, which would take as much memory as the weights.
        """
        with torch.enable_grad():
            end = self.model(**example).last_hidden_state.grad_fn
        ends = [] if end is None else [end]
        seen = set(ends)
        while ends:
            parents = {node for node, _ in ends.pop().next_functions if node is not None} - seen
            seen |= parents
            ends += parents
        reached = {id(node.variable) for node in seen if hasattr(node, "variable")}
        return {name for name, value in self.model.named_parameters() if id(value) not in reached}

    def _find_front(self, example: Inputs) -> set[str]:
        """Find the modules that run before the first block, those around the blocks included."""
        entered: set[str] = set()
        with ExitStack() as stack, torch.no_grad():
            for name, module in self.model.named_modules():
                hook = partial(_add_name, entered, name)
                stack.callback(module.register_forward_pre_hook(hook).remove)
            self.embed(example)
        return {name for name in entered if not f"{name}.".startswith(f"{self.blocks[0]}.")}

    def encode(self, values: Tensor, inputs: Inputs) -> Tensor:
        """Return the encoded tokens [B, K, D] of an input of the first block.

        Args:
            values: Input of the first block, [B, K, D].
            inputs: Arguments of the shapes that give these tokens; only their masks matter.
        """
        with self._first_block(lambda hidden: values.to(hidden.dtype)):
            return self.forward(inputs)

    @contextmanager
    def _first_block(self, change: Any) -> Iterator[list[Tensor]]:
        """Yield a list that gets the input of the first block, and change that input, once."""
        found: list[Tensor] = []

        def hook(
            block: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            hidden = arguments[0] if arguments else named["hidden_states"]
            if found:
                return arguments, named
            found.append(hidden)
            changed = change(hidden)
            if arguments:
                return (changed, *arguments[1:]), named
            return arguments, {**named, "hidden_states": changed}

        block = self.model.get_submodule(self.blocks[0])
        handle = block.register_forward_pre_hook(hook, with_kwargs=True)
        try:
            yield found
        finally:
            handle.remove()


class _Stop(Exception):  # noqa: N818  not an error
    """Ends a forward pass before the first block."""

    @staticmethod
    def at(hidden: Tensor) -> Tensor:
        raise _Stop


def _weight_of(projection: nn.Module) -> Tensor:
    """Return the weight [out, in] of a linear map, LoRA adapters added."""
    weight = projection.weight
    assert isinstance(weight, Tensor)
    base: Any = projection
    if hasattr(projection, "get_delta_weight"):
        base = projection.get_base_layer()  # type: ignore[operator]
        for adapter in projection.active_adapters:  # type: ignore[union-attr]
            weight = weight + projection.get_delta_weight(adapter)  # type: ignore[operator]
    return weight.T if isinstance(base, Conv1D) else weight


def _add_name(entered: set[str], name: str, module: nn.Module, arguments: tuple[Any, ...]) -> None:
    entered.add(name)


def _blocks_of(layers: list[str]) -> list[str]:
    """Return the block of each attention module.

    The name of a block is that of the module up to the first number by which all of them differ: a
    block with numbered parts, as in T5, is not divided.
    """
    depth = max(layer.count(".") for layer in layers) + 1
    for length in range(1, depth):
        blocks = [".".join(layer.split(".")[:length]) for layer in layers]
        if len(set(blocks)) == len(layers) and all(block[-1].isdigit() for block in blocks):
            return blocks
    return layers


@contextmanager
def _projections(model: PreTrainedModel) -> Iterator[dict[str, str]]:
    """Yield a dict that a pass fills with the linear map behind the heads of each layer."""
    found: dict[str, str] = {}
    last: dict[str, Tensor] = {}  # the output of the layer that ran last

    def attended(layer: str, seen: Pass | WeightsPass) -> None:
        last.clear()
        if seen.output is not None:
            last[layer] = seen.output.transpose(1, 2).flatten(2)

    def entered(name: str, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        for layer, merged in last.items():
            if arguments and torch.equal(arguments[0], merged):
                found[layer] = name

    with ExitStack() as stack:
        stack.enter_context(watch(model, attended))
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear | Conv1D):
                stack.callback(module.register_forward_pre_hook(partial(entered, name)).remove)
        yield found
