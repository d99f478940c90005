"""Record a batch while the model runs on it, and give what an atlas keeps of it."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from attention_atlas.atlas.captured_batch import CapturedBatch
from attention_atlas.attention import Recording, record
from attention_atlas.data.base import DisplayInputs
from attention_atlas.data.loader import Batch
from attention_atlas.encoder import TokenLayout

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
        """What each token stands for in the input."""

    def register_forward_hook(self, hook: Callable[..., None]) -> Any:
        """As every `nn.Module` has it."""


class BatchRecorder:
    """Records one batch after the other.

    Of every sample that is kept the readout row and the entropy of each head, and with a null key
    its share; of the chosen samples every layer and head in full. The model's kernel and output
    stay as they are.

    Args:
        chosen: Ids of the samples that are kept in full.
        keep_others: Whether the other samples are kept too.
        has_null_key: Whether each row has a null key.
        entropy_queries: Evenly spaced queries of a sample whose rows the entropy of a head is the
            mean of; None takes all.
        dtype: Of the maps and of spectrograms, `float16` or `float32`.
    """

    def __init__(
        self,
        chosen: set[str],
        keep_others: bool,
        has_null_key: bool,
        entropy_queries: int | None = None,
        dtype: str = "float32",
    ) -> None:
        self.chosen = chosen
        self.keep_others = keep_others
        self.statistics = ("entropy", "null_share") if has_null_key else ("entropy",)
        self.entropy_queries = entropy_queries
        self.dtype = {"float16": torch.float16, "float32": torch.float32}[dtype]
        self._contexts = ExitStack()
        self._recordings: _Recordings | None = None

    def open(self, model: Recordable, batch: Batch) -> None:
        """Ask for what is kept of a batch, before the model runs on it."""
        ids = batch["sample_id"]
        in_full = [place for place, sample_id in enumerate(ids) if sample_id in self.chosen]
        kept = list(range(len(ids))) if self.keep_others else in_full
        if not kept:
            return
        rows = None
        if self.entropy_queries is not None:
            rows = _evenly(model.token_layout(batch).boxes.shape[1], self.entropy_queries)
        self._recordings = self._record(model, len(ids), kept, in_full, rows)

    def close(self) -> None:
        """Leave the model as it was."""
        self._contexts.close()

    def take(
        self,
        model: Recordable,
        batch: Batch,
        display_inputs: Callable[[Batch], DisplayInputs],
        split: str,
        epoch: int,
    ) -> CapturedBatch | None:
        """What is kept of the batch that the model ran on; None if nothing is.

        Args:
            model: That ran.
            batch: On which it ran.
            display_inputs: Gives the inputs of a batch, as those of the data module.
            split: That the samples belong to.
            epoch: That they are kept under.
        """
        self.close()
        recordings, self._recordings = self._recordings, None
        if recordings is None:
            return None
        layout, kept = model.token_layout(batch), recordings.kept
        valid, boxes = _picked(layout.valid, kept), _numpy(_picked(layout.boxes, kept))
        logits = _numpy(_picked(recordings.logits[0], kept))
        statistics = recordings.statistics(self.statistics, valid)
        valid = _numpy(valid)
        readout, maps = recordings.readout_rows(valid.shape), recordings.maps(valid, self.dtype)
        order = _first_valid(valid)
        if order is not None:
            boxes = np.take_along_axis(boxes, order[:, :, None], axis=1)
            readout = np.take_along_axis(readout, order[:, None], axis=2)
        columns: dict[str, Any] = {
            **{kind: self._cast(_picked(of, kept)) for kind, of in display_inputs(batch).items()},
            **statistics,
        }
        return CapturedBatch(
            sample_id=_picked(batch["sample_id"], kept),
            label=_numpy(_picked(batch["label"], kept)),
            prediction=logits.argmax(axis=1) if logits.shape[1] else np.full(len(logits), -1),
            logits=logits,
            length=valid.sum(axis=1),
            boxes=boxes,
            readout=readout,
            maps=maps,
            split=split,
            epoch=epoch,
            groups={
                name: _picked(values, kept) for name, values in batch.get("groups", {}).items()
            },
            **columns,
        )

    def _cast(self, values: Any) -> Any:
        """Inputs that are no whole numbers in the type of the maps."""
        if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
            return values
        return torch.from_numpy(values).to(self.dtype).numpy()  # five times as fast as numpy

    def _record(
        self,
        model: Recordable,
        num_samples: int,
        kept: list[int],
        in_full: list[int],
        rows: list[int] | None,
    ) -> "_Recordings":
        """Open the records of a batch, as few as do."""
        enter, statistics = self._contexts.enter_context, self.statistics
        module = cast(nn.Module, model)
        layers, readout = model.attention_layers, model.readout_layer
        samples = None if len(kept) == num_samples else kept
        whole = full = first = None
        if layers:
            whole = enter(
                record(module, layers, queries=rows, samples=samples, statistics=statistics)
            )
        if layers and in_full:
            everyone = len(in_full) == len(kept) and rows is None
            full = whole if everyone else enter(record(module, layers, samples=in_full))
        if readout is not None:
            first = enter(
                record(module, readout, queries="first", samples=samples, statistics=statistics)
            )
        logits: list[Tensor] = []
        self._contexts.callback(_keep_output(model, logits).remove)
        return _Recordings(layers, readout, kept, in_full, rows, whole, full, first, logits)


@dataclass(frozen=True)
class _Recordings:
    """What is recorded of a batch, of which N samples are kept.

    Attributes:
        layers: Names of the encoder's attention modules.
        readout: Name of the module whose first row is the readout's; None for a mean.
        kept: Places in the batch of the samples that are kept.
        in_full: Places in the batch of the samples that are kept in full.
        rows: Queries of the layers whose statistics are kept; None for all.
        whole: These rows of the layers, for their statistics.
        full: The layers, of the samples that are kept in full.
        first: The first row of the readout.
        logits: Gets what the model gives.
    """

    layers: list[str]
    readout: str | None
    kept: list[int]
    in_full: list[int]
    rows: list[int] | None
    whole: Recording | None
    full: Recording | None
    first: Recording | None
    logits: list[Tensor]

    def statistics(self, names: Sequence[str], valid: Tensor) -> dict[str, Array]:
        """[N, L, H], the mean over the rows of valid queries, and [N, R] of the readout row."""
        found = {}
        for name in names:
            of_layers = of_readout = None
            if self.whole is not None and self.layers:
                by_layer = self.whole.statistics[name]
                rows = torch.stack([by_layer[layer] for layer in self.layers], dim=1)
                chosen = valid if self.rows is None else valid[:, self.rows]
                weights = chosen.to(rows.device, rows.dtype)
                total = torch.einsum("blhq,bq->blh", rows, weights)
                of_layers = _numpy(total / weights.sum(1).clamp(min=1)[:, None, None])
            if self.first is not None and self.readout is not None:
                of_readout = _numpy(self.first.statistics[name][self.readout][:, :, 0])
            found[name] = np.zeros((len(valid), 0, 0)) if of_layers is None else of_layers
            found[f"readout_{name}"] = (
                np.zeros((len(valid), 0)) if of_readout is None else of_readout
            )
        return found

    def readout_rows(self, size: tuple[int, ...]) -> Array:
        """[N, R, K]; without an attention readout there are no rows."""
        if self.first is None or self.readout is None:
            return np.zeros((size[0], 0, size[1]))
        return _numpy(self.first.maps[self.readout][:, :, 0])

    def maps(self, valid: Array, dtype: torch.dtype) -> dict[int, Array]:
        """[L, H, length, length] of each sample that is kept in full, by its place among the kept.

        Args:
            valid: [N, K], True where a token is not padding.
            dtype: Of the maps.
        """
        places = [self.kept.index(place) for place in self.in_full]
        if self.full is None:  # of no layer
            lengths = {place: int(valid[place].sum()) for place in places}
            return {place: np.zeros((0, 0, size, size)) for place, size in lengths.items()}
        layers = [self.full.maps[layer].to(dtype) for layer in self.layers]
        maps = torch.stack(layers, dim=1).detach().cpu().numpy()
        found = {}
        for place, of_sample in zip(places, maps, strict=True):
            length = int(valid[place].sum())
            tokens: Any = slice(length) if valid[place, :length].all() else valid[place]
            found[place] = of_sample[:, :, tokens][..., tokens]
        return found


def _keep_output(model: Recordable, outputs: list[Tensor]) -> Any:
    def keep(module: nn.Module, arguments: Any, output: Tensor) -> None:
        outputs[:] = [output.detach()]

    return model.register_forward_hook(keep)


def _evenly(num_tokens: int, num_rows: int) -> list[int] | None:
    """Rows at equal steps, the first among them; None where all are wanted."""
    if num_rows >= num_tokens:
        return None
    return [row * num_tokens // num_rows for row in range(num_rows)]


def _first_valid(valid: Array) -> Array | None:
    """[N, K] places of the tokens with the valid ones first; None where they stand so already."""
    if (valid[:, 1:] <= valid[:, :-1]).all():
        return None
    return np.argsort(~valid, axis=1, kind="stable")


def _picked(values: Any, places: list[int]) -> Any:
    """The values of some samples of a batch: of an array, a tensor or a list."""
    if len(places) == len(values):
        return values
    return [values[place] for place in places] if isinstance(values, list) else values[places]


def _numpy(values: Tensor) -> Array:
    if values.is_floating_point():
        values = values.float()
    array: Array = values.detach().cpu().numpy()
    return array
