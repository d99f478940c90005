"""Record a batch while the model runs on it, for an atlas."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from attention_atlas.atlas.captured_batch import CapturedBatch
from attention_atlas.attention import Recording, record
from attention_atlas.data.base import DisplayInputs
from attention_atlas.data.loader import Batch
from attention_atlas.data.splits import evenly_spaced
from attention_atlas.encoder import TokenLayout
from attention_atlas.pipeline.recording.file_times import boxes_in_file

Array = np.ndarray


class Recordable(Protocol):
    """A model of which an atlas can be made: `Classifier`, or any pretrained one.

    Called with a prepared batch it gives logits [B, C]; C is 0 where it predicts nothing.
    """

    @property
    def leading_tokens(self) -> Sequence[str]:
        """Names of the tokens that it puts before those of the input, where they are known."""

    @property
    def attention_layers(self) -> list[str]:
        """Names of its attention modules, first layer first."""

    @property
    def readout_layer(self) -> str | None:
        """The module whose first row leads to the prediction, if any."""

    def token_layout(self, batch: Batch) -> TokenLayout:
        """The part of the input that each token stands for."""

    def register_forward_hook(self, hook: Callable[..., None]) -> Any:
        """As every `nn.Module` has it."""


class BatchRecorder:
    """Records one batch after the other.

    Records the readout row, the entropy of each head and the weight of a null key of every saved
    sample, and the full maps of the chosen ones. The kernel and the output of the model do not
    change.

    Args:
        chosen: Ids of the samples whose maps are saved.
        save_others: Whether the other samples are saved too, without maps.
        has_null_key: Whether each row has a null key.
        entropy_queries: Evenly spaced queries of a sample whose rows the entropy of a head is the
            mean of; None takes all.
        dtype: Type of the maps and of spectrograms, `float16` or `float32`.
    """

    def __init__(
        self,
        chosen: set[str],
        save_others: bool,
        has_null_key: bool,
        entropy_queries: int | None = None,
        dtype: str = "float32",
    ) -> None:
        self.chosen = chosen
        self.save_others = save_others
        self.statistics = ("entropy", "null_share") if has_null_key else ("entropy",)
        self.entropy_queries = entropy_queries
        self.dtype = {"float16": torch.float16, "float32": torch.float32}[dtype]
        self._contexts = ExitStack()
        self._recordings: _Recordings | None = None

    def open(self, model: Recordable, batch: Batch) -> None:
        """Open the recordings of a batch, before the model runs on it."""
        ids = batch["sample_id"]
        mapped = [index for index, sample_id in enumerate(ids) if sample_id in self.chosen]
        saved = list(range(len(ids))) if self.save_others else mapped
        if not saved:
            return
        rows = None
        if self.entropy_queries is not None:
            num_tokens = model.token_layout(batch).boxes.shape[1]
            if self.entropy_queries < num_tokens:
                rows = evenly_spaced(num_tokens, self.entropy_queries)
        self._recordings = self._record(model, len(ids), saved, mapped, rows)

    def close(self) -> None:
        """Remove the observers from the model."""
        self._contexts.close()

    def discard(self) -> None:
        """Remove the observers from the model, in which a batch has failed."""
        with suppress(ValueError):  # nothing was recorded
            self.close()

    def take(
        self,
        model: Recordable,
        batch: Batch,
        display_inputs: Callable[[Batch], DisplayInputs],
        split: str,
        epoch: int,
    ) -> CapturedBatch | None:
        """Return the recorded batch; None if none of its samples is saved.

        Args:
            model: The model that ran.
            batch: The batch that it ran on.
            display_inputs: Gives the inputs of a batch, as those of the data module.
            split: The split of the samples.
            epoch: The epoch that they are saved under.
        """
        self.close()
        recordings, self._recordings = self._recordings, None
        if recordings is None:
            return None
        layout, saved = model.token_layout(batch), recordings.saved
        valid, boxes = _picked(layout.valid, saved), _numpy(_picked(layout.boxes, saved))
        if "clip" in batch:
            boxes = boxes_in_file(boxes, _numpy(_picked(batch["clip"], saved)))
        logits = _numpy(_picked(recordings.logits[0], saved))
        statistics: dict[str, Any] = recordings.statistics(self.statistics, valid)
        valid = _numpy(valid)
        readout, maps = recordings.readout_rows(valid.shape), recordings.maps(valid, self.dtype)
        order = _first_valid(valid)
        if order is not None:
            boxes = np.take_along_axis(boxes, order[:, :, None], axis=1)
            readout = np.take_along_axis(readout, order[:, None], axis=2)
        shown = display_inputs(batch).items()
        inputs: dict[str, Any] = {kind: self._cast(_picked(of, saved)) for kind, of in shown}
        return CapturedBatch(
            sample_id=_picked(batch["sample_id"], saved),
            label=_numpy(_picked(batch["label"], saved)),
            prediction=logits.argmax(axis=1) if logits.shape[1] else np.full(len(logits), -1),
            logits=logits,
            length=valid.sum(axis=1),
            boxes=boxes,
            readout=readout,
            maps=maps,
            split=split,
            epoch=epoch,
            groups={
                name: _picked(values, saved) for name, values in batch.get("groups", {}).items()
            },
            **inputs,
            **statistics,
        )

    def _cast(self, values: Any) -> Any:
        """Return inputs of a floating-point type in the type of the maps."""
        if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
            return values
        return torch.from_numpy(values).to(self.dtype).numpy()  # five times as fast as numpy

    def _record(
        self,
        model: Recordable,
        num_samples: int,
        saved: list[int],
        mapped: list[int],
        rows: list[int] | None,
    ) -> "_Recordings":
        """Open as few recordings as possible."""
        logits: list[Tensor] = []

        def opened(names: Any, **options: Any) -> Recording:
            recording = record(cast(nn.Module, model), names, **options)
            return self._contexts.enter_context(recording)

        def store(module: nn.Module, arguments: Any, output: Tensor) -> None:
            logits[:] = [output.detach()]

        self._contexts.callback(model.register_forward_hook(store).remove)
        statistics = self.statistics
        layers, readout = model.attention_layers, model.readout_layer
        samples = None if len(saved) == num_samples else saved
        of_statistics = of_maps = of_readout = None
        if layers:
            of_statistics = opened(layers, queries=rows, samples=samples, statistics=statistics)
        if layers and mapped:
            is_same = len(mapped) == len(saved) and rows is None
            of_maps = of_statistics if is_same else opened(layers, samples=mapped)
        if readout is not None:
            of_readout = opened(readout, queries="first", samples=samples, statistics=statistics)
        return _Recordings(
            layers, readout, saved, mapped, rows, of_statistics, of_maps, of_readout, logits
        )


@dataclass(frozen=True)
class _Recordings:
    """Open recordings of one batch, N samples of which are saved.

    Attributes:
        layers: Names of the L attention modules of the encoder.
        readout: Name of the attention module of the readout; None for a mean.
        saved: Indices in the batch of the saved samples.
        mapped: Indices in the batch of the samples whose maps are saved.
        rows: Queries of the layers whose statistics are averaged; None for all.
        statistics_recording: These rows of the layers, of the saved samples.
        map_recording: All rows of the layers, of the mapped samples.
        readout_recording: The first row of the readout, of the saved samples.
        logits: The output of the model, one tensor [B, C].
    """

    layers: list[str]
    readout: str | None
    saved: list[int]
    mapped: list[int]
    rows: list[int] | None
    statistics_recording: Recording | None
    map_recording: Recording | None
    readout_recording: Recording | None
    logits: list[Tensor]

    def statistics(self, names: Sequence[str], valid: Tensor) -> dict[str, Array]:
        """Return by name the mean over valid queries [N, L, H], and the readout's row [N, R]."""
        found: dict[str, Array] = {}
        for name in names:
            of_layers, of_readout = np.zeros((len(valid), 0, 0)), np.zeros((len(valid), 0))
            if self.statistics_recording is not None:
                by_layer = self.statistics_recording.statistics[name]
                rows = torch.stack([by_layer[layer] for layer in self.layers], dim=1)
                chosen = valid if self.rows is None else valid[:, self.rows]
                weights = chosen.to(rows.device, rows.dtype)
                total = torch.einsum("blhq,bq->blh", rows, weights)
                of_layers = _numpy(total / weights.sum(1).clamp(min=1)[:, None, None])
            if self.readout_recording is not None and self.readout is not None:
                of_readout = _numpy(self.readout_recording.statistics[name][self.readout][:, :, 0])
            found |= {name: of_layers, f"readout_{name}": of_readout}
        return found

    def readout_rows(self, size: tuple[int, ...]) -> Array:
        """Return the readout's row [N, R, K]; R is 0 without an attention readout."""
        if self.readout_recording is None or self.readout is None:
            return np.zeros((size[0], 0, size[1]))
        return _numpy(self.readout_recording.maps[self.readout][:, :, 0])

    def maps(self, valid: Array, dtype: torch.dtype) -> dict[int, Array]:
        """Return the maps [L, H, length, length] of each mapped sample, by its index in N.

        Args:
            valid: [N, K], True where a token is not padding.
            dtype: Type of the maps.
        """
        indices = [self.saved.index(index) for index in self.mapped]
        lengths = valid.sum(axis=1)
        if self.map_recording is None:  # a model without layers
            return {index: np.zeros((0, 0, lengths[index], lengths[index])) for index in indices}
        layers = [self.map_recording.maps[layer].to(dtype) for layer in self.layers]
        maps = torch.stack(layers, dim=1).detach().cpu().numpy()
        found = {}
        for index, of_sample in zip(indices, maps, strict=True):
            length = int(lengths[index])
            tokens: Any = slice(length) if valid[index, :length].all() else valid[index]
            found[index] = of_sample[:, :, tokens][..., tokens]
        return found


def _first_valid(valid: Array) -> Array | None:
    """Return the order [N, K] of the tokens with the valid ones first; None if they are first."""
    if (valid[:, 1:] <= valid[:, :-1]).all():
        return None
    return np.argsort(~valid, axis=1, kind="stable")


def _picked(values: Any, indices: list[int]) -> Any:
    """Return some samples of an array, a tensor or a list."""
    if len(indices) == len(values):
        return values
    return [values[index] for index in indices] if isinstance(values, list) else values[indices]


def _numpy(values: Tensor) -> Array:
    if values.is_floating_point():
        values = values.float()
    array: Array = values.detach().cpu().numpy()
    return array
