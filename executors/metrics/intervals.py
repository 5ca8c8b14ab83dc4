"""Intervals at 95 %: Wilson's for shares of rows, else the percentiles of bootstrap resamples of the rows.

The same resamples in every call (Efron, 1979; 1,000 of them), so that the same predictions get the same interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from executors.base import Score

RESAMPLES = 1000
Z = 1.959963984540054  # the normal distribution's 97.5 % point
BLOCK = 2_000_000  # row draws held in memory at once

Floats = NDArray[np.float64]


def wilson(successes: float, n: int) -> Score:
    """A share with Wilson's 95 % interval (1927), which stays sensible at 0, 1 and few rows."""
    p = successes / n
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return Score(p, min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half)), n)


def bootstrap(values: Floats, statistic: Callable[[Floats], Floats]) -> tuple[float, float]:
    """The 95 % interval of a statistic of rows. `values` is [n, ...]; `statistic` maps [b, n, ...] to [b]."""
    rng = np.random.default_rng(0)
    n = len(values)
    block = max(1, BLOCK // values.size)
    found = [
        statistic(values[rng.integers(0, n, (min(block, RESAMPLES - start), n))])
        for start in range(0, RESAMPLES, block)
    ]
    low, high = np.percentile(np.concatenate(found), (2.5, 97.5))
    return float(low), float(high)


def mean_score(values: Floats) -> Score:
    """The mean of values between 0 and 1, [n], with its interval.

    Equal values have no spread to resample: then Wilson's interval, which is wide enough for any values of this mean.
    """
    if np.ptp(values) == 0:
        return wilson(float(values.sum()), len(values))
    low, high = bootstrap(values, lambda sample: sample.mean(axis=1))
    return Score(float(values.mean()), low, high, len(values))
