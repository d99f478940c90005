"""Resampling from any rate in bounded memory. Needs no torch."""

from fractions import Fraction

import numpy as np

MAX_RATE = 10_000_000
"""Samples per second, far above any microphone: a damaged header may declare more."""
_MAX_DENOMINATOR = 10_000
_ZERO_CROSSINGS = 10  # of the low-pass filter, on either side


def resampling_ratio(rate: int, target: int) -> Fraction:
    """Return `target / rate`, or a fraction of smaller numbers that differs by 0.01 % at most.

    The filter has twenty values for each unit of the larger number.
    """
    return Fraction(target, rate).limit_denominator(_MAX_DENOMINATOR)


def reach(rate: int, target: int) -> int:
    """Return how many samples beyond a point in time a resampled value there depends on."""
    return -(-_ZERO_CROSSINGS * max(rate, target) // target) + 1


def resample(samples: np.ndarray, rate: int, target: int) -> np.ndarray:
    """Resample float32 [samples] by a polyphase filter; frequencies change by 0.01 % at most."""
    from scipy.signal import resample_poly  # slow to import

    ratio = resampling_ratio(rate, target)
    resampled: np.ndarray = resample_poly(samples, ratio.numerator, ratio.denominator)
    return resampled.astype(np.float32)
