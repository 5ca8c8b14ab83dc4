"""What a race comes to: candidates compared on the same held-out rows, and the one to take, with the reason.

Pure: arrays in, records out. Covered: a winner is named only where the rows tell it apart from every other candidate;
without one there still is a choice, by rules that a user can follow. Not covered: which candidates to run longer, see
`race`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from advisor import formats
from advisor.prove.records import Choice, Paired
from advisor.texts import LANGUAGES, say, text
from advisor.words import method_name
from executors.base import Text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = Mapping[str, NDArray[np.float64]]

LEAST_ROWS = 20  # held-out rows, below which even the floor cannot be told from a method
LEVEL = 0.05
CHEAPER = 0.1  # a cost lower by less than this share is no difference: times of one run vary as much


def compare(values: Values, best: str = "") -> tuple[Paired, ...]:
    """`best` against every other candidate, those nearest to it first; `best` is by the mean where it is not named.

    `values`: a candidate's value on each row, higher is better, the same rows in the same order for all. All p are
    two-sided, adjusted by Holm over all comparisons here; rows needed are for the level that the correction leaves.
    Raises `ValueError` where the rows are not as many for all.
    """
    from executors.metrics.compare import holm, mean_difference, p_value, rows_needed

    if not _rows(values) or len(values) < 2:
        return ()
    means = {name: _mean(given) for name, given in values.items()}
    best = best or max(values, key=lambda name: means[name])
    others = sorted((name for name in values if name != best), key=lambda name: (-means[name], name))
    gaps = [values[best] - values[name] for name in others]
    ps = [p_value(gap) for gap in gaps]
    found = []
    for name, gap, p, adjusted in zip(others, gaps, ps, holm(ps), strict=True):
        needed = None if adjusted < LEVEL else rows_needed(gap, level=LEVEL / len(others))
        needed = needed and max(needed, len(gap) + 1)
        found.append(Paired(best, name, mean_difference(gap), p, adjusted, needed))
    return tuple(found)


def _mean(values: NDArray[np.float64]) -> float:
    """The same for rows in any order, to the last bit: equal candidates stay equal."""
    return math.fsum(values) / len(values)


def _rows(values: Values) -> int:
    """Rows that all candidates answered; 0 where there is no candidate."""
    sizes = {len(given) for given in values.values()}
    if len(sizes) > 1:
        raise ValueError(f"candidates answered different numbers of rows: {sorted(sizes)}")
    return sizes.pop() if sizes else 0


@dataclass(frozen=True)
class Field:
    """All that a choice is made from. `scale`: how far two values of the metric can lie apart; margins are shares."""

    values: Values
    costs: Mapping[str, float]
    floor: str
    margin: float
    target: float | None
    gains: Mapping[str, float] = field(default_factory=dict)
    scale: float = 1.0
    sign: int = 1  # -1 where values were turned: what is said is in the metric's own direction

    @property
    def n(self) -> int:
        return _rows(self.values)

    def expected(self, name: str) -> float:
        """The mean of a full run: measured, and what it is expected to add to a pilot."""
        return _mean(self.values[name]) + self.gains.get(name, 0.0)

    def cost(self, name: str) -> float:
        return self.costs.get(name, float("inf"))

    def best(self, names: Sequence[str]) -> str:
        """By what is expected; of equal ones the cheaper."""
        return min(names, key=lambda name: (-self.expected(name), self.cost(name), name))

    def cheapest(self, names: Sequence[str]) -> str:
        """By cost; of equal ones the better."""
        return min(names, key=lambda name: (self.cost(name), -self.expected(name), name))

    def told(self, value: float) -> str:
        return formats.score(self.sign * value)


def choose(
    values: Values,
    costs: Mapping[str, float],
    floor: str,
    margin: float,
    target: float | None,
    gains: Mapping[str, float],
    *,
    scale: float = 1.0,
    sign: int = 1,
) -> Choice:
    """The candidate to take. `values` as of `compare`; `costs` of anything that can be ordered, missing ones dearest.

    `gains`: what a full run is expected to add to a candidate's mean that was only piloted. `target` is turned as the
    values are; `margin` is a share of `scale`, which is 1 for metrics on [0, 1], and for others the range that a
    difference can have (`executors.metrics.compare.span`). `sign` is -1 where values were turned, for the texts.

    Rules, in order: nothing scored (none); from 20 rows on, nothing told apart upward from the floor (floor); the
    cheapest at or above the target by point estimates (cheapest_at_target); the cheapest that costs less than the best
    and is not inferior by more than the margin (cheaper_equal); the best.
    """
    given = Field(values, costs, floor, margin, target, gains, scale, sign)
    if not given.n:
        return Choice("", "", rule="none", why=text("choice.none"))
    names = _above_floor(given)
    best = given.best(names or list(values))
    pairs = compare(values, best)
    winner = best if _wins(best, pairs, given) else ""
    chosen, rule = _ruled(given, best, names)
    needed = None if winner else max((p.rows_needed for p in pairs if p.rows_needed), default=None)
    return Choice(chosen, best, winner, rule, _why(given, chosen, best, rule, winner, pairs), needed)


def _above_floor(given: Field) -> list[str]:
    """Candidates that may be taken: all where there is no floor or too few rows, else those told apart upward from it.

    The best is looked at by itself, the others with Holm's correction: a pilot that is only expected to become the
    best does not hide one that was measured to be good.
    """
    from executors.metrics.compare import holm, p_value

    others = [name for name in given.values if name != given.floor]
    if given.floor not in given.values or given.n < LEAST_ROWS:
        return list(given.values)
    if not others:
        return []
    best = given.best(others)
    gaps = {name: given.values[name] - given.values[given.floor] for name in others}
    adjusted = dict(zip(others, holm([p_value(gaps[name]) for name in others]), strict=True))
    adjusted[best] = p_value(gaps[best])
    return [name for name in others if adjusted[name] < LEVEL and gaps[name].mean() > 0]


def _ruled(given: Field, best: str, above: Sequence[str]) -> tuple[str, str]:
    """(chosen, rule); `above`: those that may be taken. The floor may be, too, where something is told apart from it
    and it still is all that the target or the margin asks for."""
    if best == given.floor or not above:
        return given.floor, "floor"
    names = [name for name in given.values if name in above or name == given.floor]
    reached = [name for name in names if given.target is not None and given.expected(name) >= given.target]
    if reached:
        return given.cheapest(reached), "cheapest_at_target"
    most = (1 - CHEAPER) * given.cost(best)
    within = [name for name in names if given.cost(name) < most and _within_margin(given, name, best)]
    return (given.cheapest(within), "cheaper_equal") if within else (best, "best")


def _within_margin(given: Field, name: str, best: str) -> bool:
    """Whether `name` is not inferior to `best`; what full runs are expected to put between them uses up margin."""
    from executors.metrics.compare import non_inferior

    expected = given.gains.get(best, 0.0) - given.gains.get(name, 0.0)
    margin = given.margin * given.scale - expected if given.margin > 0 else 0.0
    return non_inferior(given.values[best] - given.values[name], margin, given.scale)


def _wins(best: str, pairs: Sequence[Paired], given: Field) -> bool:
    """Whether every other is told apart from `best`, downward, on the rows and by what is expected."""
    return bool(pairs) and all(
        pair.told_apart and pair.difference.value > 0 and given.expected(best) > given.expected(pair.other)
        for pair in pairs
    )


# -- what is said --------------------------------------------------------------------------------------


def _why(given: Field, chosen: str, best: str, rule: str, winner: str, pairs: Sequence[Paired]) -> Text:
    parts = [_ground(given, chosen, best, rule)]
    if rule == "best" and given.target is not None:
        parts.append(text("choice.target_missed", target=given.told(given.target)))
    if any(given.gains.get(name) for name in (chosen, best)):
        parts.append(text("choice.expected"))
    parts.append(_standing(given, best, winner, pairs))
    if given.n < LEAST_ROWS:
        parts.append(text("choice.few_rows", n=given.n))
    return {"en": " ".join(part["en"] for part in parts), "zh": "".join(part["zh"] for part in parts)}


def _ground(given: Field, chosen: str, best: str, rule: str) -> Text:
    """Why this one, by its rule."""
    from executors.metrics.compare import p_value

    floor = given.told(given.expected(given.floor)) if given.floor in given.values else ""
    if len(given.values) == 1 and rule == "floor":
        return text("choice.floor_alone", floor=floor, n=given.n)
    if rule == "floor" and best == given.floor:
        return text("choice.floor_best", floor=floor, n=given.n)
    p = p_value(given.values[best] - given.values[given.floor]) if rule == "floor" else 1.0
    target = given.told(given.target) if given.target is not None else ""
    return text(
        f"choice.{rule}",
        chosen=_name(chosen),
        best=_name(best),
        score=given.told(given.expected(best if rule == "floor" else chosen)),
        best_score=given.told(given.expected(best)),
        floor=floor,
        target=target,
        margin=formats.score(given.margin * given.scale),
        n=given.n,
        p=f"{p:.2g}",
    )


def _standing(given: Field, best: str, winner: str, pairs: Sequence[Paired]) -> Text:
    """Whether the rows tell the best apart, and how many could."""
    if not pairs:
        return text("choice.alone")
    if winner:
        return text("choice.winner", best=_name(best))
    open_ = [pair for pair in pairs if not pair.told_apart] or list(pairs)
    others = {lang: listed([method_name(pair.other, lang) for pair in open_], lang) for lang in LANGUAGES}
    needed = [pair.rows_needed for pair in open_ if pair.rows_needed]
    if not needed:
        return text("choice.no_winner_equal", best=_name(best), others=others, n=given.n)
    shown = {lang: formats.compact(max(needed), lang) for lang in LANGUAGES}
    return text("choice.no_winner", best=_name(best), others=others, n=given.n, needed=shown)


def listed(names: Sequence[str], lang: str) -> str:
    """Names as a sentence has them: one, two and three."""
    return say("choice.between", lang).join([*names[:-2], say("choice.and", lang).join(names[-2:])])


def _name(name: str) -> Text:
    return {lang: method_name(name, lang) for lang in LANGUAGES}
