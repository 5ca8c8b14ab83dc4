"""What more labelled rows would bring: a curve through a candidate's pilots, with how sure it is.

The error of a method falls with the rows it learns from like a power law above what it never learns (Hestness et al.,
2017; Rosenfeld et al., 2020; for small data Viering and Loog, "The Shape of Learning Curves", 2022):
error(n) = c + a·n^-b. Error is 1 − score, or the metric itself where lower is better. A race has one to four points a
candidate, too few to fit three numbers, so nothing is fitted to a best value: many curves are drawn from a stated
prior, anchored at the largest pilot, and each counts by how well it meets the other pilots. With a single pilot the
interval is the prior's, and wide.

Covered: the score at more rows, the gain of more rows, each with a 95 % interval. Not covered: published curves
(`advisor.curves`), methods that learn nothing from labels, and curves that rise again.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advisor.prove.records import Pilot
from executors.base import Score

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEARNERS = frozenset({"probe", "peft", "full", "preference", "small_encoder"})  # what they know, labelled rows told
DRAWS = 20_000
ENOUGH = 200  # curves, of those drawn, that must count before an interval is read from them
EXPONENT = 0.5  # the spread of b: half a normal distribution
STRAY = 0.05  # how far, of its error, a run lies from its curve: other rows or another seed would move it so


@dataclass(frozen=True)
class Point:
    """What one pilot scored on so many rows."""

    rows: int
    score: Score


@dataclass(frozen=True)
class Curve:
    """A candidate's pilots, fewest rows first, each number of rows once, and what is read from them."""

    points: tuple[Point, ...]
    metric: str

    def at(self, rows: int) -> Score:
        """The score of a run on so many rows: measured where a pilot had them, else with the curve's interval."""
        measured = next((point.score for point in self.points if point.rows == rows), None)
        if measured is not None:
            return measured
        errors = _strayed(_errors(self, rows), 1)
        return self._score(errors)

    def gain(self, more: int) -> Score:
        """What `more` rows would add to the largest pilot's, positive where it gets better, in the metric's units."""
        import numpy as np

        rows = self.points[-1].rows
        fallen = _strayed(_errors(self, rows), 2) - _strayed(_errors(self, rows + more), 1)
        low, middle, high = np.quantile(fallen, (0.025, 0.5, 0.975))
        return Score(float(middle), float(low), float(high), self.points[-1].score.n)

    def _score(self, errors: Floats) -> Score:
        import numpy as np

        low, middle, high = (float(q) for q in np.quantile(errors, (0.025, 0.5, 0.975)))
        n = self.points[-1].score.n
        return Score(1 - middle, 1 - high, 1 - low, n) if _higher(self.metric) else Score(middle, low, high, n)


def learns(methods: Iterable[str]) -> bool:
    """Whether what a method, or any of a chain's, knows of the task comes from labelled rows."""
    return any(method in LEARNERS for method in methods)


def fit(pilots: Iterable[Pilot], metric: str) -> Curve | None:
    """The curve of one candidate's pilots; None where none was scored on any rows.

    Of several with as many rows the one that was scored on the most held-out rows, and of these the latest.
    """
    best: dict[int, Score] = {}
    for pilot in pilots:
        known = best.get(pilot.rows)
        if pilot.score is not None and pilot.rows > 0 and (known is None or pilot.score.n >= known.n):
            best[pilot.rows] = pilot.score
    points = tuple(Point(rows, best[rows]) for rows in sorted(best))
    return Curve(points, metric) if points else None


def project(pilots: Sequence[Pilot], rows: int, metric: str) -> Score:
    """What a candidate would score on `rows` rows: what was measured where its latest pilot had them.

    `pilots`: of one candidate, at least one of them scored. Raises `ValueError` where none is.
    """
    scored = [pilot for pilot in pilots if pilot.score is not None]
    if not scored:
        raise ValueError("no pilot was scored")
    latest = scored[-1]
    assert latest.score is not None
    curve = fit(scored, metric)
    if latest.rows >= rows or curve is None:
        return latest.score
    return curve.at(rows)


# -- the curves drawn ----------------------------------------------------------------------------------


def _higher(metric: str) -> bool:
    from executors.metrics import HIGHER_IS_BETTER

    return HIGHER_IS_BETTER.get(metric, True)


@functools.lru_cache(maxsize=64)
def _drawn(curve: Curve) -> tuple[Floats, Floats, Floats]:
    """(error at the largest pilot, share of it that stays, exponent) of equally likely curves, shape (DRAWS,) each."""
    import numpy as np

    rng = np.random.default_rng(0)
    last, level, down, up = _measured(curve)[-1]
    noise = rng.standard_normal(DRAWS)
    anchor = np.maximum(level + noise * np.where(noise < 0, down, up), 0.0)
    anchor = anchor * np.exp(STRAY * rng.standard_normal(DRAWS))
    stays, exponent = rng.uniform(0, 1, DRAWS), np.abs(EXPONENT * rng.standard_normal(DRAWS))
    far = np.zeros(DRAWS)
    for rows, error, below, above in _measured(curve)[:-1]:
        expected = _fallen(anchor, stays, exponent, rows / last)
        sd = np.hypot(np.where(expected > error, above, below), STRAY * error + 1e-9)
        far += ((expected - error) / sd) ** 2
    weight = _weights(far)
    kept = rng.choice(DRAWS, DRAWS, p=weight)
    return anchor[kept], stays[kept], exponent[kept]


def _weights(far: Floats) -> Floats:
    """How much each curve counts. Where hardly any meets the points, they are trusted less until `ENOUGH` do."""
    import numpy as np

    while True:
        weight = np.exp(-0.5 * (far - far.min()))
        weight /= weight.sum()
        if 1 / np.square(weight).sum() >= ENOUGH:
            return np.asarray(weight)
        far = far / 2


def _measured(curve: Curve) -> list[tuple[int, float, float, float]]:
    """(rows, error, its deviation downwards, upwards) of every point."""
    found = []
    for point in curve.points:
        s = point.score
        down, up = (s.high - s.value) / 1.96, (s.value - s.low) / 1.96
        if _higher(curve.metric):
            found.append((point.rows, max(1 - s.value, 0.0), down, up))
        else:
            found.append((point.rows, s.value, up, down))
    return found


def _errors(curve: Curve, rows: int) -> Floats:
    anchor, stays, exponent = _drawn(curve)
    return _fallen(anchor, stays, exponent, rows / curve.points[-1].rows)


def _fallen(anchor: Floats, stays: Floats, exponent: Floats, times: float) -> Floats:
    """The error at `times` as many rows."""
    return anchor * (stays + (1 - stays) * times**-exponent)


def _strayed(errors: Floats, seed: int) -> Floats:
    """The errors of single runs, which lie about their curve."""
    import numpy as np

    strayed: Floats = errors * np.exp(STRAY * np.random.default_rng(seed).standard_normal(len(errors)))
    return strayed
