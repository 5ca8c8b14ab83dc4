"""What more labelled rows would bring: a curve through a candidate's pilots, with how sure it is.

The error of a method falls with the rows it learns from like a power law above what it never learns (Hestness et al.,
2017; Rosenfeld et al., 2020; on small data Viering & Loog, "The Shape of Learning Curves", 2022):
error(n) = c + a·n^-b. Error is 1 − score, or the metric itself where lower is better. A race has one to four points a
candidate, too few to fit three numbers, so none is fitted: many curves are drawn from a prior (`STAYS`, `EXPONENT`),
anchored at the largest pilot within its interval, and each counts by how well it meets the other pilots within theirs.
Beyond the largest pilot a curve may bend (`BEND`), and a run lies off its curve (`STRAY`).

The prior was set on published curves (`knowledge/curves.csv`). There the 95 % interval holds what two and four times
as many rows come to in 97 of 100 cases of fine-tuning and in 94 of in-context learning; on curves learnt on other data
in 97 to 100 of 100, but only in 76 for words on ten classes, where the error halves with every doubling. It is wide:
about as wide as the error at the largest pilot. See `tests/benchmarks/prove/curves.py`.

Covered: the score at more rows, what more rows would add, each with a 95 % interval, and that in words. Not covered:
published curves (`advisor.curves`), methods that learn nothing from labels, errors that rise again with more rows.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from advisor import formats
from advisor.prove.records import Pilot, Race
from advisor.texts import say
from advisor.words import label, method_name
from executors.base import Score

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEARNERS = frozenset({"probe", "peft", "full", "preference", "small_encoder"})  # what they know, labelled rows told
DRAWS = 20_000
ENOUGH = 200  # curves, of those drawn, that must count before an interval is read from them
STAYS = (1.0, 2.0)  # c as a share of the error at the largest pilot: a beta distribution
EXPONENT = (1.5, 0.35)  # b: a gamma distribution, by shape and scale
BEND = (
    0.25,
    0.05,
)  # deviations of b beyond the largest pilot from b before it, upwards (falling faster) and downwards.
# None for a single pilot: nothing is known of b before it, so it is as wide as can be.
STRAY = 0.1  # deviation of a run from its curve, as a share of its error: another draw of rows or seed would move it so
MORE = 500  # labels asked about
MARGIN = 0.02  # a gain worth having: of the score, or that share of the error where lower is better


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

    @property
    def rows(self) -> int:
        """What the largest pilot learnt from."""
        return self.points[-1].rows

    def at(self, rows: int) -> Score:
        """The score of one run on so many rows: measured where a pilot had them, else with the curve's interval."""
        measured = next((point.score for point in self.points if point.rows == rows), None)
        return measured or self._score(_strayed(_errors(self, rows)))

    def gain(self, more: int) -> Score:
        """What `more` rows than the largest pilot's would add on average, positive where it gets better."""
        low, middle, high = _quantiles(_errors(self, self.rows) - _errors(self, self.rows + more))
        return Score(middle, low, high, self.points[-1].score.n)

    def _score(self, errors: Floats) -> Score:
        low, middle, high = _quantiles(errors)
        n = self.points[-1].score.n
        if not _higher(self.metric):
            return Score(middle, low, high, n)
        least = 0.0 if all(point.score.low >= 0 for point in self.points) else -math.inf  # of R² there is none
        return Score(max(1 - middle, least), max(1 - high, least), 1 - low, n)


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


def curves(race: Race) -> dict[str, Curve]:
    """The curves of a race's candidates that learn from labels, in the order of its standings.

    A pilot counts as one of its share of the rows: it took that share of the steps, too.
    """
    found = {}
    for standing in race.standings:
        own = [p for p in race.pilots if p.candidate == standing.name and learns(standing.methods)]
        curve = fit((replace(p, rows=round(p.share * race.train)) for p in own), race.metric)
        if curve is not None:
            found[standing.name] = curve
    return found


def told(found: Mapping[str, Curve], lang: str, more: int = MORE, margin: float = MARGIN) -> list[str]:
    """In sentences: would `more` labels help, and which method profits most. `margin`: what is worth labelling for."""
    if not found:
        return [say("learning.none", lang)]
    gains = {name: curve.gain(more) for name, curve in found.items()}
    best = max(gains, key=lambda name: gains[name].value)
    curve, gain = found[best], gains[best]
    least = margin if _higher(curve.metric) else margin * curve.points[-1].score.value
    verdict = "hardly" if gain.high < least else "helps" if gain.low >= least else "unclear"
    values = {"more": f"{more:,}", "method": method_name(best, lang), "metric": label("metric", curve.metric, lang)}
    values |= {"gain": _told(gain, lang), "then": _told(curve.at(curve.rows + more), lang), "rows": f"{curve.rows:,}"}
    lines = [say(f"learning.{verdict}", lang, **values)]
    if len(curve.points) == 1:
        lines.append(say("learning.single", lang, method=values["method"]))
    others = sorted((name for name in gains if name != best), key=lambda name: -gains[name].value)
    if others:
        parts = [f"{method_name(name, lang)} {_told(gains[name], lang)}" for name in others]
        lines.append(say("learning.others", lang, others=say("learning.and", lang).join(parts)))
    return lines


def _told(score: Score, lang: str) -> str:
    value, low, high = (formats.score(one) for one in (score.value, score.low, score.high))
    return say("learning.range", lang, value=value, low=low, high=high)


# -- the curves drawn ----------------------------------------------------------------------------------


def _higher(metric: str) -> bool:
    from executors.metrics import HIGHER_IS_BETTER

    return HIGHER_IS_BETTER.get(metric, True)


@functools.lru_cache(maxsize=64)
def _drawn(curve: Curve) -> tuple[Floats, Floats, Floats, Floats]:
    """Equally likely curves, (DRAWS,) each: error at the largest pilot, share of it that stays, exponent, bend."""
    import numpy as np

    rng = np.random.default_rng(0)
    last, level, down, up = _measured(curve)[-1]
    noise = rng.standard_normal(DRAWS)
    anchor = np.maximum(level + noise * np.where(noise < 0, down, up), 0.0)
    anchor = anchor * np.exp(STRAY * rng.standard_normal(DRAWS))
    stays, exponent = rng.beta(*STAYS, DRAWS), rng.gamma(*EXPONENT, DRAWS)
    turned = rng.standard_normal(DRAWS) if len(curve.points) > 1 else np.zeros(DRAWS)
    bend = turned * np.where(turned > 0, *BEND)
    far = np.zeros(DRAWS)
    for rows, error, below, above in _measured(curve)[:-1]:
        expected = _fallen(anchor, stays, exponent, rows / last)
        sd = np.hypot(np.where(expected > error, above, below), STRAY * error + 1e-9)
        far += ((expected - error) / sd) ** 2
    weight = _weights(far)
    kept = rng.choice(DRAWS, DRAWS, p=weight)
    return anchor[kept], stays[kept], exponent[kept], bend


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
    anchor, stays, exponent, bend = _drawn(curve)
    times = rows / curve.points[-1].rows
    return _fallen(anchor, stays, exponent, times) * max(times, 1.0) ** -bend


def _fallen(anchor: Floats, stays: Floats, exponent: Floats, times: float) -> Floats:
    """The error at `times` as many rows."""
    return anchor * (stays + (1 - stays) * times**-exponent)


def _strayed(errors: Floats) -> Floats:
    """The errors of single runs, which lie about their curve."""
    import numpy as np

    strayed: Floats = errors * np.exp(STRAY * np.random.default_rng(1).standard_normal(len(errors)))
    return strayed


def _quantiles(values: Floats) -> tuple[float, float, float]:
    """The ends of the 95 % interval and the median: low, middle, high."""
    import numpy as np

    low, middle, high = np.quantile(values, (0.025, 0.5, 0.975))
    return float(low), float(middle), float(high)
