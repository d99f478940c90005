"""Clips of sound in memory, with the position and noise that their evaluation repeats."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from attention_atlas.data.loader import Batch, BatchDataset
from attention_atlas.data.splits import stable_uniform


class ClipDataset(BatchDataset):
    """One split of a speech data set, held as int16 at 16 kHz.

    A clip may be shorter than the input. Its position there and the noise mixed with it are numbers
    in [0, 1), fixed for each sample id; training draws others. `labels`, `sample_ids` and `groups`
    are those of `BatchDataset`.

    Args:
        clips: One int16 array per sample; the end of those longer than `clip_samples` is cut off.
        clip_samples: Length of the input in samples.
        snr_db: Signal-to-noise ratio in evaluation, one per sample; None mixes no noise and puts
            each clip in the middle.
    """

    def __init__(
        self,
        clips: Sequence[np.ndarray],
        labels: list[int],
        sample_ids: list[str],
        clip_samples: int,
        groups: Mapping[str, list[str]] | None = None,
        snr_db: Sequence[float] | None = None,
    ) -> None:
        super().__init__(labels, sample_ids, groups)
        self.clip_samples = clip_samples
        clips = [clip[:clip_samples] for clip in clips]
        self._samples = torch.from_numpy(np.concatenate(clips))
        self._num_samples = torch.tensor([len(clip) for clip in clips])
        self._starts = self._num_samples.cumsum(0) - self._num_samples
        if snr_db is None:
            self._snr_db = torch.full((len(clips),), float("inf"))
            self._position = torch.full((len(clips),), 0.5)
        else:
            self._snr_db = torch.tensor(snr_db, dtype=torch.float32)
            # The word seeds the draw: another one would move all clips.
            self._position = torch.tensor([stable_uniform("place", name) for name in sample_ids])
        self._noise = torch.tensor([stable_uniform("noise", name) for name in sample_ids])
        self._is_file = snr_db is None

    def __getitems__(self, indices: list[int]) -> Batch:
        """Return raw clips: `waveform` int16 [B, T]; `num_samples`, `position`, `noise`, `snr_db`
        and `is_file` [B], whether times are those of the clip and not those of the input."""
        chosen = torch.tensor(indices)
        return self.targets(indices) | {
            "waveform": self._padded(indices),
            "num_samples": self._num_samples[chosen],
            "position": self._position[chosen],
            "noise": self._noise[chosen],
            "snr_db": self._snr_db[chosen],
            "is_file": torch.full((len(indices),), self._is_file),
        }

    def _padded(self, indices: list[int]) -> Tensor:
        waveform = torch.zeros(len(indices), self.clip_samples, dtype=torch.int16)
        for row, index in enumerate(indices):
            start, count = int(self._starts[index]), int(self._num_samples[index])
            waveform[row, :count] = self._samples[start : start + count]
        return waveform
