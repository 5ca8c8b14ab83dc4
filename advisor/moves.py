"""What would change the outcome: each fact moved through its values, thresholds of numbers found by search.

Also the choice of questions, which is the same matter: a fact is worth asking only while some answer to it could
still change the methods.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from advisor.conditions import Against, Compare, Condition, Ratio, Value
from advisor.facts import Assuming, Fact, Facts, FactSpec, load_vocabulary
from advisor.flowchart import Question, load_chart, methods_for, walk

Methods = tuple[str, ...]

LARGEST = 10**13  # numbers are tried up to here: ten trillion tokens
BISECTIONS = 60  # enough to bring a float's interval below any printed digit


@dataclass(frozen=True)
class Move:
    """A fact at another value, and the methods that follow. `steps` is how far it was moved, for sorting.

    Of a number `value` is the threshold: with `direction` 1 the methods change from it upward, with -1 from it
    downward. `direction` 0 is no move at all: the methods change as soon as what is assumed is known to be so.
    """

    fact: str
    now: Value | None
    value: Value
    methods: Methods
    direction: int
    steps: float


class Mover:
    """The outcome of some facts, and of the same facts with one or two changed. `presumed` is what a preset assumes."""

    def __init__(self, believed: Mapping[str, Value], presumed: Mapping[str, Fact] | None = None) -> None:
        self.believed, self._presumed = dict(believed), presumed
        self.base = self.methods({})
        self._view = Assuming(self.believed, presumed=presumed)

    def methods(self, changes: Mapping[str, Value]) -> Methods:
        return methods_for(load_chart(), Assuming({**self.believed, **changes}, presumed=self._presumed))

    def value(self, fact: str) -> Value | None:
        """What holds now, known or assumed; None where the fact means nothing here."""
        return self._view.value(fact)

    def moves(self, spec: FactSpec) -> list[Move]:
        """Every other option, or the nearest threshold on each side, that changes the methods.

        What is only assumed is also tried as known: some rules ask whether a fact is known.
        """
        now = self.value(spec.id)
        if spec.type in ("integer", "number"):
            return list(self._thresholds(spec, None if now is None else float(now)))
        options: Sequence[Value] = spec.options or (True, False)
        found = []
        for option in options:
            if (option != now or spec.id not in self.believed) and self.moved(spec, option):
                way = options.index(option) - options.index(now) if now is not None else 1
                steps = abs(way) if spec.ordered else float(way != 0)
                found.append(Move(spec.id, now, option, self.methods({spec.id: option}), _sign(way), steps))
        return found

    def moved(self, spec: FactSpec, value: Value) -> bool:
        """Whether the methods are other than now, were the fact known to have this value."""
        return self.methods({spec.id: _typed(spec, value)}) != self.base

    def change(self, spec: FactSpec) -> float:
        """How much another answer to this fact would change the methods: 0 nothing, 1 all of them, on average."""
        now = self.value(spec.id)
        others = [v for v in sample(spec) if v != now]
        distances = [_distance(self.base, self.methods({spec.id: v})) for v in others]
        return sum(distances) / len(distances) if distances else 0.0

    def _thresholds(self, spec: FactSpec, now: float | None) -> Iterator[Move]:
        values = grid(spec)
        if now is None:  # it has no meaning here, or gets one by being known
            yield from self._first(spec, None, spec.minimum - 1, values, 1)
        elif spec.id not in self.believed and self.moved(spec, now):
            yield self._around(spec, now, values)
        else:
            yield from self._first(spec, now, now, values[bisect.bisect_right(values, now) :], 1)
            yield from self._first(spec, now, now, values[: bisect.bisect_left(values, now)][::-1], -1)

    def _first(
        self, spec: FactSpec, now: float | None, start: float, way: Sequence[float], direction: int
    ) -> Iterator[Move]:
        """The move to the first value on the way at which the methods are no longer the base."""
        before = start
        for value in way:
            if self.moved(spec, value):
                yield self._move(spec, now, self._edge(spec, before, value), direction)
                return
            before = value

    def _around(self, spec: FactSpec, now: float, values: Sequence[float]) -> Move:
        """What is assumed would change the methods if it were known: the end of the values of which that is true."""
        up, down = values[bisect.bisect_right(values, now) :], values[: bisect.bisect_left(values, now)][::-1]
        ends = [self._last(spec, now, way) for way in (up, down)]
        if ends[0] is not None and ends[1] is None:
            return self._move(spec, now, ends[0], -1)
        if ends[1] is not None and ends[0] is None:
            return self._move(spec, now, ends[1], 1)
        return self._move(spec, now, now, 0)

    def _last(self, spec: FactSpec, start: float, way: Sequence[float]) -> float | None:
        """The last value on the way before the methods are the base again; None where they never are."""
        before = start
        for value in way:
            if not self.moved(spec, value):
                return self._edge(spec, value, before)
            before = value
        return None

    def _edge(self, spec: FactSpec, same: float, other: float) -> float:
        """The value nearest to `same` at which the methods are not the base, as they are at `other`; by bisection."""
        if same < spec.minimum:  # there is nothing before the first value
            return other
        for _ in range(BISECTIONS):
            if spec.type == "integer" and abs(other - same) <= 1:
                break
            middle = (same + other) / 2 if spec.type == "number" else float((int(same) + int(other)) // 2)
            if self.moved(spec, middle):
                other = middle
            else:
                same = middle
        return self._rounded(spec, other)

    def _move(self, spec: FactSpec, now: float | None, to: float, direction: int) -> Move:
        value, start = _typed(spec, to), now or 0
        steps = abs(math.log10((float(value) + 1) / (start + 1))) if spec.maximum != 1 else 4 * abs(to - start)
        return Move(
            spec.id,
            None if now is None else _typed(spec, now),
            value,
            self.methods({spec.id: value}),
            direction,
            steps if direction else 0.0,
        )

    def _rounded(self, spec: FactSpec, value: float) -> float:
        """A float threshold to the fewest digits on the changed side: of a score to .001, else to a hundredth of it."""
        if spec.type == "integer":
            return value
        slack = 1.0001e-3 if spec.maximum == 1 else 1.0001e-2 * value + 1e-6
        near = (round(value + n * 10**-digits, digits) for digits in range(1, 7) for n in (0, -1, 1))
        fitting = (c for c in near if abs(c - value) < slack and spec.minimum <= c <= spec.maximum)
        return next((c for c in fitting if self.moved(spec, c)), value)


FAMILIES = {"long_context": "rag", "small_encoder": "probe", "full": "peft", "preference": "peft", "pretrain": "cpt"}


def _distance(one: Methods, other: Methods) -> float:
    """How far two recommendations are apart, from 0 to 1; methods of one family are half as far as others."""
    kin = [tuple(FAMILIES.get(method, method) for method in methods) for methods in (one, other)]
    return (_apart(one, other) + _apart(*kin)) / 2


def _apart(one: Methods, other: Methods) -> float:
    """The share of the methods of either that are not in both (Jaccard)."""
    return 1 - len({*one} & {*other}) / len({*one} | {*other})


def all_moves(believed: Mapping[str, Value], presumed: Mapping[str, Fact] | None = None) -> list[Move]:
    """Every move that changes the methods, nearest first."""
    mover = Mover(believed, presumed)
    moves = [move for name in relevant() for move in mover.moves(load_vocabulary()[name])]
    return sorted(moves, key=lambda move: move.steps)


# -- which values to try -----------------------------------------------------------------------------


def _typed(spec: FactSpec, value: Value) -> Value:
    if spec.type not in ("integer", "number"):
        return value
    return int(value) if spec.type == "integer" else float(value)


def _sign(way: int) -> int:
    return (way > 0) - (way < 0)


@functools.cache
def relevant() -> tuple[str, ...]:
    """The facts that the chart, the cards' needs, or an assumption look at, in the vocabulary's order."""
    named = {leaf_name for condition in _conditions() for leaf in condition.leaves() for leaf_name in leaf.names}
    named |= {node.fact for node in load_chart().nodes.values() if node.fact}
    return tuple(name for name in load_vocabulary() if name in named)


def _conditions() -> Iterator[Condition]:
    yield from load_chart().conditions()
    for spec in load_vocabulary().values():
        yield from (rule.when for rule in spec.default if rule.when is not None)


@functools.cache
def bounds() -> Mapping[str, tuple[float, ...]]:
    """The numbers a fact is compared with, by fact, sorted."""
    found: dict[str, set[float]] = {}
    for condition in _conditions():
        for leaf in condition.leaves():
            if isinstance(leaf, Compare) and leaf.ranks is None and not isinstance(leaf.bound, (bool, str, tuple)):
                found.setdefault(leaf.fact, set()).add(float(leaf.bound))
    return {name: tuple(sorted(values)) for name, values in found.items()}


@functools.cache
def compared() -> frozenset[str]:
    """The facts that are compared with another fact, so that no constant tells where their thresholds lie."""
    pairs = (leaf for c in _conditions() for leaf in c.leaves() if isinstance(leaf, (Ratio, Against)))
    return frozenset(name for leaf in pairs for name in leaf.names)


@functools.cache
def _grid(fact: str) -> tuple[float, ...]:
    spec = load_vocabulary()[fact]
    if spec.maximum == 1:
        values = {n / 20 for n in range(21)}
    else:
        values = {n * 10.0**power for power in range(-1, 14) for n in (1, 3)}
    step = 1 if spec.type == "integer" else 1e-6
    near = {edge for bound in bounds().get(fact, ()) for edge in (bound - step, bound, bound + step)}
    top = min(spec.maximum, LARGEST)
    whole = (float(int(v)) if spec.type == "integer" else v for v in values | near | {spec.minimum})
    return tuple(sorted({v for v in whole if spec.minimum <= v <= top}))


def grid(spec: FactSpec) -> tuple[float, ...]:
    """The numbers at which a fact is tried before bisection: two a decade, and around every known bound."""
    return _grid(spec.id)


def sample(spec: FactSpec) -> tuple[Value, ...]:
    """A few values that stand for all: every option, or numbers from each region between bounds."""
    if spec.type not in ("integer", "number"):
        return spec.options or (True, False)
    values = {spec.minimum, *bounds().get(spec.id, ())}
    if spec.id in compared() or len(values) == 1:
        spread = (n / 10 for n in range(11)) if spec.maximum == 1 else (1, 30, 1e3, 3e4, 1e6, 1e9, 1e12)
        values |= {v for v in spread if spec.minimum <= v <= spec.maximum}
    return tuple(_typed(spec, v) for v in sorted(values))


# -- questions ---------------------------------------------------------------------------------------


class Partly:
    """A view of what is known, with assumptions for the facts that will not be asked; the rest is open."""

    def __init__(
        self, believed: Mapping[str, Value], settled: set[str], presumed: Mapping[str, Fact] | None = None
    ) -> None:
        self.believed, self.settled = believed, settled
        self._assuming = Assuming(believed, presumed=presumed)

    def value(self, fact_id: str) -> Value | None:
        return None if self.open(fact_id) else self._assuming.value(fact_id)

    def known(self, fact_id: str) -> bool:
        return fact_id in self.believed

    def open(self, fact_id: str) -> bool:
        if fact_id in self.believed or fact_id in self.settled:
            return False
        applies = load_vocabulary()[fact_id].applies
        return applies is None or applies.holds(self) is not False


def next_question(facts: Facts, skipped: Iterable[str] = ()) -> Question | None:
    """What to ask next: the opening facts, then what the walk needs and whose answer can still change the methods.

    `skipped` facts, and facts that are there as assumed (a preset's), are not asked. None where nothing is left to ask.
    """
    chart, specs = load_chart(), load_vocabulary()
    believed, mover = facts.believed(), Mover(facts.believed(), facts.presumed())
    settled = {*skipped, *(f.id for f in facts.values() if f.origin == "assumed")}
    opening = [node.fact for node in chart.nodes.values() if node.kind == "ask"]
    for fact in opening:
        if fact not in believed and fact not in settled:
            return Question(fact, specs[fact].why)
    settled |= {spec.id for spec in specs.values() if not spec.interview}
    while isinstance(step := walk(chart, view := Partly(believed, settled, facts.presumed())), Question):
        asked_here = specs[step.fact].ask_when
        if (asked_here is None or asked_here.holds(view) is not False) and matters(step.fact, mover, settled):
            return step
        settled.add(step.fact)
    return None


def matters(fact: str, mover: Mover, settled: set[str]) -> bool:
    """Whether two answers to `fact` can lead to different methods, other facts assumed or one of them answered."""
    specs = load_vocabulary()
    values = sample(specs[fact])
    if len({mover.methods({fact: value}) for value in values}) > 1:
        return True
    for other in relevant():
        if other == fact or other in mover.believed or other in settled:
            continue
        for answer in sample(specs[other]):
            if len({mover.methods({fact: value, other: answer}) for value in values}) > 1:
                return True
    return False
