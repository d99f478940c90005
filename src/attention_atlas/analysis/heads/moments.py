"""Mean and deviation of arrays that come one after the other."""

import numpy as np
import numpy.typing as npt


class Moments:
    """Mean and deviation over samples, in one pass (Welford 1962).

    A value that is NaN does not count.

    Args:
        shape: Of the values of one sample.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.count = np.zeros(shape, dtype=np.int64)
        self._mean = np.zeros(shape)
        self._squares = np.zeros(shape)

    def add(self, values: npt.NDArray[np.floating]) -> None:
        """Add the values of one sample."""
        known = ~np.isnan(values)
        self.count += known
        step = np.where(known, values - self._mean, 0.0)
        self._mean += step / np.maximum(self.count, 1)
        self._squares += step * np.where(known, values - self._mean, 0.0)

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """Mean; NaN where nothing counted."""
        return np.where(self.count > 0, self._mean, np.nan)

    @property
    def deviation(self) -> npt.NDArray[np.float64]:
        """Standard deviation over samples (of the population: divided by their number)."""
        return np.where(self.count > 0, np.sqrt(self._squares / np.maximum(self.count, 1)), np.nan)
