"""How often a race names a winner where there is none, and where there is one: 2,000 races through `choose`.

A race: the rows of a real pair (or four) of runs, see `answered`, 200 of them drawn with replacement, and a floor that
has a fifth of them right. Who gave which answer to a row is dealt anew, so that the truth is known and candidates agree
as far as real ones do:

- equal candidates: the answers to a row are dealt to the candidates at random;
- a true gap of .10: of the rows on which a pair differs so many are dealt to one that it is .10 better in truth. The
  pairs are those whose own gap lies between .05 and .15, since candidates further apart differ on more rows for it;
- permuted labels: the floor is one of the equal candidates.

How many rows a pair differs on decides what 200 rows can tell: no valid test names the winner in 80 % of races where it
is more than about a quarter. Figures at given shares of such rows stand beside the others, without a bar.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import numpy as np

from advisor.prove.choice import choose
from advisor.prove.records import Choice
from executors.metrics import wilson
from tests.benchmarks.harness import Figure
from tests.benchmarks.prove.answered import Right, correlation, load_answered, pairs

COMMAND = "python -m tests.benchmarks.bench_prove --only nullraces"
RACES = 2000
ROWS = 200
GAP = 0.10
LIKE_GAP = (0.05, 0.15)  # gaps of real pairs that a true gap of .10 is dealt on
FLOOR, FLOOR_RIGHT = "floor", 0.2
NAMES = ("a", "b", "c", "d")
DIFFERING = (0.1, 0.2, 0.3, 0.4)

Chance = np.random.Generator
Dealt = Callable[[Chance], Sequence[Right]]
"""A race's candidates, [ROWS] each."""


def nullraces() -> list[Figure]:
    """False winners among equal candidates, and winners named at a true gap."""
    found = [correlation(one, other) for one, other in pairs()]
    return [
        *_false("two equal candidates", lambda chance: equal(_pair(chance), chance)),
        *_false("four equal candidates", lambda chance: equal(_four(chance), chance)),
        *_permuted(),
        Figure("correlation of right answers, real pairs: median", float(np.median(found)), n=len(found)),
        _named("true gap .10, as real pairs agree", _apart(), 0.80),
        *(_named(f"true gap .10, {share:.0%} of rows differ", _synthetic(share)) for share in DIFFERING),
    ]


# -- figures -------------------------------------------------------------------------------------------


def _false(title: str, dealt: Dealt) -> list[Figure]:
    return [_rate(f"{title}: false winner", [c.winner != "" for c in races(dealt)], 0.06, "<=")]


def _permuted() -> list[Figure]:
    """The floor is no worse than what learnt from permuted labels."""
    found = list(races(lambda chance: equal(_four(chance), chance), floor=NAMES[0]))
    return [
        _rate("permuted labels, four with the floor: false winner", [c.winner != "" for c in found], 0.06, "<="),
        _rate("permuted labels, four with the floor: the floor is advised", [c.rule == "floor" for c in found]),
    ]


def _named(title: str, dealt: Dealt, bar: float | None = None) -> Figure:
    return _rate(f"{title}: winner named", [c.winner == NAMES[0] for c in races(dealt)], bar, ">=" if bar else "")


def _rate(title: str, held: Sequence[bool], bar: float | None = None, op: str = "") -> Figure:
    share = wilson(sum(held), len(held))
    return Figure(title, share.value, bar, op, share.n, (share.low, share.high), command=COMMAND)


def races(dealt: Dealt, floor: str = FLOOR) -> Iterator[Choice]:
    """What `RACES` races come to, costs rising with the name."""
    chance = np.random.default_rng(0)
    costs = {name: float(n) for n, name in enumerate((FLOOR, *NAMES))}
    for _ in range(RACES):
        values = dict(zip(NAMES, dealt(chance), strict=False))
        if floor == FLOOR:
            values[FLOOR] = (chance.random(ROWS) < FLOOR_RIGHT).astype(float)
        yield choose(values, costs, floor, 0.0, None, {})


# -- races ---------------------------------------------------------------------------------------------


def equal(runs: Sequence[Right], chance: Chance) -> Sequence[Right]:
    """Rows of `runs`, each row's answers dealt at random."""
    rows = np.stack(runs)[:, chance.integers(0, len(runs[0]), ROWS)]
    return list(chance.permuted(rows, axis=0))


def apart(one: Right, other: Right, chance: Chance) -> Sequence[Right]:
    """Rows of a pair, those that differ dealt so that the first is `GAP` better in truth."""
    taken = chance.integers(0, len(one), ROWS)
    differ = (one != other)[taken]
    share = float((one != other).mean())
    wins = chance.random(ROWS) < min(1.0, (share + GAP) / (2 * share))
    return np.where(differ, wins, one[taken]).astype(float), np.where(differ, ~wins, one[taken]).astype(float)


def _apart() -> Dealt:
    low, high = LIKE_GAP
    fitting = [(a, b) for a, b in pairs() if low <= abs(a.mean() - b.mean()) <= high]
    return lambda chance: apart(*fitting[chance.integers(len(fitting))], chance)


def _synthetic(share: float) -> Dealt:
    """A pair that differs on `share` of its rows; of the others four in five are right."""
    n = 1000
    one, other = (np.arange(n) % 5 > 0).astype(float), (np.arange(n) % 5 > 0).astype(float)
    other[: round(share * n)] = 1 - one[: round(share * n)]
    return lambda chance: apart(one, other, chance)


def _pair(chance: Chance) -> Sequence[Right]:
    found = pairs()
    return found[chance.integers(len(found))]


def _four(chance: Chance) -> Sequence[Right]:
    found = _fours()
    return found[chance.integers(len(found))]


@functools.cache
def _fours() -> list[Sequence[Right]]:
    return [four for runs in load_answered().values() for four in combinations(runs.values(), 4)]
