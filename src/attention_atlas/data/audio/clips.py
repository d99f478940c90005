"""Clips of sound in memory, each with what its evaluation needs to be the same every time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from attention_atlas.data.loader import Batch
from attention_atlas.data.splits import stable_hash

SAMPLE_RATE = 16_000


def share(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts only."""
    return (stable_hash(*parts) >> 11) / 2.0**53


class ClipDataset:
    """One split of a speech data set, held as int16 at 16 kHz.

    A clip may be shorter than what the model hears. Where it stands in there, and which noise is
    mixed with it, is told by numbers in [0, 1), fixed for each sample id; training draws others.

    Args:
        clips: One int16 array per sample; what is longer than `clip_samples` is cut at the end.
        labels: Class indexes.
        sample_ids: Stable ids.
        clip_samples: Samples that the model hears.
        groups: By which accuracy is reported: name -> one value per sample.
        snr_db: Signal-to-noise ratio in evaluation, one per sample; None mixes no noise and
            places each clip in the middle.
    """

    lengths: list[int] | None = None

    def __init__(
        self,
        clips: Sequence[np.ndarray],
        labels: list[int],
        sample_ids: list[str],
        clip_samples: int,
        groups: Mapping[str, list[str]] | None = None,
        snr_db: Sequence[float] | None = None,
    ) -> None:
        self.labels = labels
        self.sample_ids = sample_ids
        self.clip_samples = clip_samples
        self.groups = dict(groups or {})
        clips = [clip[:clip_samples] for clip in clips]
        self._samples = torch.from_numpy(np.concatenate(clips))
        self._num_samples = torch.tensor([len(clip) for clip in clips])
        self._starts = self._num_samples.cumsum(0) - self._num_samples
        if snr_db is None:
            self._snr_db = torch.full((len(clips),), float("inf"))
            self._place = torch.full((len(clips),), 0.5)
        else:
            self._snr_db = torch.tensor(snr_db, dtype=torch.float32)
            self._place = torch.tensor([share("place", name) for name in sample_ids])
        self._noise = torch.tensor([share("noise", name) for name in sample_ids])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> Batch:
        """Raw clips: `waveform` int16 [B, T], `num_samples`, `place`, `noise`, `snr_db` [B]."""
        chosen = torch.tensor(indices)
        return {
            "waveform": self._padded(indices),
            "num_samples": self._num_samples[chosen],
            "place": self._place[chosen],
            "noise": self._noise[chosen],
            "snr_db": self._snr_db[chosen],
            "label": torch.tensor([self.labels[index] for index in indices]),
            "sample_id": [self.sample_ids[index] for index in indices],
            "groups": {
                name: [values[index] for index in indices] for name, values in self.groups.items()
            },
        }

    def _padded(self, indices: list[int]) -> Tensor:
        waveform = torch.zeros(len(indices), self.clip_samples, dtype=torch.int16)
        for row, index in enumerate(indices):
            start, count = int(self._starts[index]), int(self._num_samples[index])
            waveform[row, :count] = self._samples[start : start + count]
        return waveform


@dataclass(frozen=True)
class AudioCorpus:
    """A speech data set, split.

    Attributes:
        classes: Names of the classes.
        splits: `train`, `val` and `test`.
        noise: float32 [P, N] pieces of background noise for `train` and for `eval`, each longer
            than a clip; empty where evaluation mixes no noise and training takes generated noise.
    """

    classes: list[str]
    splits: dict[str, ClipDataset]
    noise: dict[str, Tensor] = field(default_factory=dict)
