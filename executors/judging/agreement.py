"""How far a judge says what people say: Cohen's kappa and Spearman's rank correlation, with intervals.

Kappa is agreement beyond that of chance (Cohen, 1960); of grades it is weighted by the squared distance (Cohen, 1968),
so that 4 for 5 is hardly a disagreement. A judge a grade too mild throughout has a perfect
rank correlation and a lower kappa, so the bound is put on kappa.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from executors.base import Score
from executors.judging.asking import FORMS
from executors.metrics.intervals import Floats, bootstrap, wilson

BOUND = 0.61
"""Kappa from which agreement counts as substantial (Landis and Koch, 1977, Biometrics 33:159-174): a convention."""


@dataclass(frozen=True)
class Agreement:
    """A judge and people on the same `n` answers. None where all labels are alike, so that nothing can be told;
    `spearman` of grades only."""

    n: int
    kappa: Score | None
    spearman: Score | None = None

    @property
    def strength(self) -> str:
        """untold | below | unsure (its interval holds the bound) | enough."""
        if self.kappa is None:
            return "untold"
        return "below" if self.kappa.value < BOUND else "unsure" if self.kappa.low < BOUND else "enough"


def agree(judged: Sequence[str], labelled: Sequence[str], form: str) -> Agreement:
    """How what a judge said agrees with labels of the same answers, as `FORMS` has them."""
    names = FORMS[form]
    codes = np.array([[names.index(one), names.index(other)] for one, other in zip(judged, labelled, strict=True)])
    graded, n = form == "rubric", len(codes)
    if n == 0:
        return Agreement(0, None)
    steps = np.subtract.outer(np.arange(len(names)), np.arange(len(names)))
    weights = (steps**2 if graded else steps != 0).astype(float)
    kappa = None if len(np.unique(codes)) < 2 else _score(codes, lambda sample: _kappa(sample, weights))
    constant = (np.ptp(codes, axis=0) == 0).any()
    return Agreement(n, kappa, _score(codes, _spearman) if graded and not constant else None)


def _score(codes: Floats, statistic: Callable[[Floats], Floats]) -> Score:
    """A statistic with its bootstrap interval, whose lower end is drawn in as if Z² more pairs agreed by chance alone.

    Percentiles of few labels know nothing of the rare large disagreement that is not among them: of 300 made-up samples
    of 30 grades they held the true kappa of .85 in 83 %, and in 95 % so drawn in (of 15 to 100 labels and other
    kappas in 91 % or more). Where all pairs agree the lower end is Wilson's.
    """
    value, n = float(statistic(codes[None])[0]), len(codes)
    low, high = bootstrap(codes, statistic)
    return Score(value, min(value, low, low * wilson(n, n).low), max(value, high), n)


def _kappa(codes: Floats, weights: Floats) -> Floats:
    """Kappa [b] of codes [b, n, 2]; 0 where a resample leaves nothing to disagree on."""
    seen = weights[codes[..., 0], codes[..., 1]].mean(axis=1)
    shares = (codes[..., None] == np.arange(len(weights))).mean(axis=1)  # [b, 2, names]
    chance = np.einsum("bi,ij,bj->b", shares[:, 0], weights, shares[:, 1])
    return _ratio(chance - seen, chance)


def _spearman(codes: Floats) -> Floats:
    """Rank correlation [b] of codes [b, n, 2]; 0 where a resample does not vary."""
    from scipy.stats import rankdata  # type: ignore[import-untyped]

    ranks = rankdata(codes, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    spread = np.sqrt((ranks**2).sum(axis=1)).prod(axis=1)
    return _ratio(ranks.prod(axis=2).sum(axis=1), spread)


def _ratio(top: Floats, below: Floats) -> Floats:
    return np.divide(top, below, out=np.zeros_like(top), where=below > 0)
