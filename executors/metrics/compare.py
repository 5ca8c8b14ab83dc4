"""Methods compared on the same held-out rows: a value a row, and whether the differences could be chance.

Covered: paired differences with intervals, exact two-sided tests, Holm's correction, non-inferiority, the rows that
would be needed. A metric of a whole set is turned into a value a row first, see `row_values`. Intervals and tests do
not depend on the order of the rows.

Not covered: intervals under selection (the best of many looks a little better than it is); rows that depend on one
another, such as turns of one conversation.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from executors.base import Prediction, Row, Score
from executors.metrics import HIGHER_IS_BETTER, OVERLAP_TASKS
from executors.metrics.classes import MACRO, row_macro
from executors.metrics.intervals import RESAMPLES, Floats, bootstrap, wilson
from executors.metrics.numeric import read_values
from executors.metrics.overlap import row_overlap
from executors.metrics.texts import text_figures

TEXTS = ("f1", "exact_match", "contains")  # as `text_figures` has them
LEVEL = 0.05
POWER = 0.8
ENUMERATED = 12  # rows that differ, up to which every pattern of signs is looked at
FLIPS = 9_999  # patterns drawn beyond that: with the observed one 10,000, so that p is a round share
LEFT_OUT = 1e-4  # of the shares of differing rows, on which the exact test does not look
NEGLIGIBLE = 1e-9  # tail of the number of differing rows
SHARES = 64  # of differing rows, that the exact test looks at
BLOCK = 2_000_000  # signs held in memory at once
TOLERANCE = 1e-9  # sums of the same numbers in another order are equal up to this share


def row_values(task: str, metric: str, rows: Sequence[Row], predictions: Sequence[Prediction]) -> Floats:
    """What `metric` gives each row, [n], in its own direction; their mean is the metric of the whole set.

    Of a metric that is no mean of rows (macro averages, R², BLEU, chrF) it is what each row adds to it, linear around
    the whole; such values can lie outside the metric's range, and tests on them hold for many rows. Raises `ValueError`
    for a metric that answers alone do not give (of retrieval, of a language model, of a judge).
    """
    if task == "classification" and metric == "accuracy":
        return np.array([float(row.target == p.text.strip()) for row, p in zip(rows, predictions, strict=True)])
    if task == "classification" and metric in MACRO:
        return row_macro(metric, rows, predictions)
    if task == "regression" and metric in ("mae", "mse", "r2", "unparsed"):
        return _row_errors(metric, rows, predictions)
    if metric in TEXTS and task not in ("classification", "regression"):
        return text_figures(task, rows, predictions)[:, TEXTS.index(metric)]
    if metric in ("bleu", "chrf") and task in OVERLAP_TASKS:
        return row_overlap(metric, rows, predictions)
    raise ValueError(f"{metric} of {task} cannot be told from answers alone, a row at a time")


def _row_errors(metric: str, rows: Sequence[Row], predictions: Sequence[Prediction]) -> Floats:
    values, unread = read_values(rows, predictions)
    targets, errors = values[:, 0], values[:, 1] - values[:, 0]
    if metric == "unparsed":
        return unread
    if metric == "mae":
        return np.abs(errors)
    if metric == "mse":
        return errors**2
    if np.ptp(targets) == 0:  # as `regression` has it
        return np.full(len(rows), float((errors == 0).all()))
    found: Floats = 1 - errors**2 / targets.var()
    return found


def span(metric: str, rows: Sequence[Row]) -> float:
    """How far apart two values of `metric` can sensibly lie, of which a margin is a share.

    1 for all that lie on [0, 1], and for R²; of absolute errors the range of the targets, of squared ones its square
    (1 where all targets are equal).
    """
    if metric not in ("mae", "mse"):
        return 1.0
    targets = [float(row.target) for row in rows]
    width = max(targets) - min(targets) or 1.0
    return width if metric == "mae" else width**2


def better(values: Floats, metric: str) -> Floats:
    """`values` of `metric` turned so that higher is better. An unknown metric is taken to be so already."""
    return values if HIGHER_IS_BETTER.get(metric, True) else -values


def paired(
    task: str, metric: str, rows: Sequence[Row], own: Sequence[Prediction], other: Sequence[Prediction]
) -> Score:
    """The mean over rows of what `metric` gives `own` less what it gives `other`, in the metric's own direction."""
    return mean_difference(row_values(task, metric, rows, own) - row_values(task, metric, rows, other))


def mean_difference(differences: Floats) -> Score:
    """The mean of paired differences, [n], with its 95 % interval.

    The interval is the percentiles of 1,000 resamples (paired bootstrap, Koehn 2004). Where all differences are equal,
    and there is nothing to resample, it is as wide as Wilson's of as many rows without one that differs.
    """
    ordered = np.sort(differences)  # else the resamples would depend on the rows' order
    n, mean = len(ordered), float(ordered.mean())
    if np.ptp(ordered) == 0:
        width = wilson(0, n).high
        return Score(mean, mean - width, mean + width, n)
    low, high = bootstrap(ordered, lambda sample: sample.mean(axis=1))
    return Score(mean, min(mean, low), max(mean, high), n)


# -- tests ---------------------------------------------------------------------------------------------


def p_value(differences: Floats) -> float:
    """How likely as large a mean difference is, either way, where both methods are equal: exact, two-sided.

    Of rows right or wrong (differences -1, 0, 1): McNemar's, over all numbers of rows that could differ, see
    `_mcnemar`. Else the sign-flip permutation test (Fisher 1935): each row's difference could as well have had the
    other sign. All patterns of signs are looked at for up to 12 rows that differ, else 9,999 drawn by a fixed seed, the
    observed one counted among them (Phipson & Smyth 2010). No p is under 1/10,000.
    """
    sizes = np.sort(np.abs(differences[differences != 0]))
    if not len(sizes):
        return 1.0
    if (sizes == 1).all():
        return _mcnemar(int((differences > 0).sum()), len(sizes), len(differences))
    least = abs(float(differences.sum())) - TOLERANCE * float(sizes.sum())
    if len(sizes) <= ENUMERATED:
        patterns = np.arange(2 ** len(sizes))[:, None] >> np.arange(len(sizes)) & 1
        return float((np.abs((2 * patterns - 1) @ sizes) >= least).mean())
    return (1 + _as_large(sizes, least)) / (1 + FLIPS)


@functools.lru_cache(maxsize=4096)
def _mcnemar(more: int, differing: int, n: int) -> float:
    """McNemar's test by its exact unconditional distribution (Suissa & Shuster 1991): of `n` rows, `differing` differ,
    `more` of them one way.

    The test that takes the number of differing rows as given (the sign test) is exact, too, but errs in 3.5 of 100
    null races where 5 are allowed, and finds less for it (Fagerland, Lydersen & Laake 2013). Here p is the highest over
    the shares of differing rows in their 99.99 % interval, plus what that leaves out (Berger & Boos 1994).
    """
    from scipy.stats import beta, binom  # type: ignore[import-untyped]

    least = abs(2 * more - differing) / math.sqrt(differing)  # the statistic: z of the sign test
    if least == 0:
        return 1.0
    low = beta.ppf(LEFT_OUT / 2, differing, n - differing + 1)
    high = beta.isf(LEFT_OUT / 2, differing + 1, n - differing) if differing < n else 1.0
    counts = np.arange(max(1, binom.ppf(NEGLIGIBLE, n, low)), binom.isf(NEGLIGIBLE, n, high) + 1)  # 0 differing: no z
    fewest = np.floor((counts - least * np.sqrt(counts)) / 2 + TOLERANCE)
    as_large = np.minimum(1.0, 2 * binom.cdf(fewest, counts, 0.5))
    shares = np.linspace(low, high, SHARES)[:, None]
    return min(1.0, float((binom.pmf(counts, n, shares) @ as_large).max()) + LEFT_OUT)


def _as_large(sizes: Floats, least: float) -> int:
    """Of `FLIPS` patterns of signs, those whose sum is `least` or more, either way."""
    rng = np.random.default_rng(0)
    block = max(1, BLOCK // len(sizes))
    found = 0
    for start in range(0, FLIPS, block):
        signs = 2.0 * rng.integers(0, 2, (min(block, FLIPS - start), len(sizes)), dtype=np.int8) - 1
        found += int((np.abs(signs @ sizes) >= least).sum())
    return found


def holm(ps: Sequence[float]) -> list[float]:
    """Each p adjusted for all of them by Holm's step-down (1979), in the order given."""
    adjusted, highest = [1.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda n: ps[n])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = highest
    return adjusted


# -- equivalence ---------------------------------------------------------------------------------------


def non_inferior(differences: Floats, margin: float, scale: float = 1.0) -> bool:
    """Whether the one-sided 95 % bound of what the other lacks lies within `margin`; `differences` are best − other.

    Of rows right or wrong: Tango's score test for paired shares (1998), which stays sensible where few or no rows
    differ. Else the bootstrap's bound, over the differences with one more at each end of the scale: as Agresti & Min
    (2005) add to counts, so that rows not seen to differ still may. `scale`: what a value can lie apart from another.
    """
    if margin <= 0 or not len(differences):
        return False
    if np.isin(differences, (-1, 0, 1)).all() and margin < 1:
        return _tango(int((differences > 0).sum()), int((differences < 0).sum()), len(differences), margin)
    ends = np.array([-scale, scale])
    return _upper(np.sort(np.concatenate([differences, ends]))) <= margin


def _tango(more: int, less: int, n: int, margin: float) -> bool:
    """Whether a difference of `margin` is rejected: `more` rows only the best has right, `less` only the other."""
    b = -(more + less) + margin * (2 * n - more + less)
    share = (math.sqrt(b * b + 8 * n * less * margin * (1 - margin)) - b) / (4 * n)  # of `less`, were it so
    variance = (2 * share + margin * (1 - margin)) / n
    return ((more - less) / n - margin) / math.sqrt(variance) <= -NormalDist().inv_cdf(1 - LEVEL)


def _upper(values: Floats) -> float:
    """The 95th percentile of the means of resamples."""
    rng = np.random.default_rng(0)
    block = max(1, BLOCK // len(values))
    sizes = [min(block, RESAMPLES - start) for start in range(0, RESAMPLES, block)]
    means = [values[rng.integers(0, len(values), (size, len(values)))].mean(axis=1) for size in sizes]
    return float(np.percentile(np.concatenate(means), 100 * (1 - LEVEL)))


def rows_needed(differences: Floats, power: float = POWER, level: float = LEVEL) -> int | None:
    """Rows to tell a mean difference such as this apart, two-sided at `level`; None where it is 0.

    n = (z(1 − level/2)·√E[d²] + z(power)·√(E[d²] − E[d]²))² / E[d]². Of rows right or wrong it is Connor's (1987) for
    McNemar's test, where E[d²] is the share of rows that differ.
    """
    ordered = np.sort(differences)
    mean, square = float(ordered.mean()), float((ordered**2).mean())
    if abs(mean) <= TOLERANCE * math.sqrt(square):
        return None
    normal = NormalDist()
    apart = normal.inv_cdf(1 - level / 2) * math.sqrt(square)
    missed = normal.inv_cdf(power) * math.sqrt(max(0.0, square - mean * mean))
    return math.ceil(((apart + missed) / mean) ** 2)
