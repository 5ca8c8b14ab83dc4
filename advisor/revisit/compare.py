"""What differs between two decisions. Pure: two records in, the difference out; nothing is decided or read here.

Covered: facts, methods and their forms, confidence, where the paths part, verdicts with their sums, costs, steps and
warnings. Not covered: why the facts came to differ, which is the matter of `what-if` and `recheck`.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from advisor.decision import Confidence, Decision, Flip, Ranked, Rung, Step
from advisor.facts import Fact
from advisor.hardware import Figure, is_stale
from executors.base import Text, to_dict

FIGURES = ("memory_gb", "train_hours", "train_usd", "per_1000_usd")  # of a quote, that are shown side by side


@dataclass(frozen=True)
class FactChange:
    """One fact before and after; None where it was not there at all, or has no meaning any more."""

    fact: str
    before: Fact | None
    after: Fact | None


@dataclass(frozen=True)
class Parting:
    """The last step both paths have in common, with the branch that each took there."""

    before: Step
    after: Step
    shared: int  # steps that both paths take alike before it


@dataclass(frozen=True)
class VerdictChange:
    """One method whose verdict, or the sum it rests on, is another."""

    method: str
    before: Ranked
    after: Ranked


@dataclass(frozen=True)
class CostChange:
    """One method's quote before and after, as plain data; None where it was not quoted."""

    method: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


@dataclass(frozen=True)
class Difference:
    """Everything in which `after` is not as `before`. What is equal is empty or None."""

    methods: tuple[tuple[str, ...], tuple[str, ...]]
    forms: tuple[Mapping[str, str], Mapping[str, str]]
    confidence: tuple[Confidence, Confidence]
    facts: tuple[FactChange, ...]
    parting: Parting | None
    verdicts: tuple[VerdictChange, ...]
    costs: tuple[CostChange, ...]
    ladder: tuple[tuple[Rung, ...], tuple[Rung, ...]]  # both empty where the steps are the same
    warned: tuple[Text, ...]  # warnings that are new
    settled: tuple[Text, ...]  # warnings that are gone

    @property
    def stands(self) -> bool:
        """Whether the same methods are recommended."""
        return _same_methods(*self.methods)

    @property
    def nothing(self) -> bool:
        """Whether the two say the same throughout, facts aside."""
        before, after = self.confidence
        others = (self.parting, self.verdicts, self.costs, self.ladder[1], self.warned, self.settled)
        return self.stands and self.forms[0] == self.forms[1] and before.level == after.level and not any(others)


def differ(before: Decision, after: Decision) -> Difference:
    """The difference of two decisions on the same run: their ladders name the same commands."""
    return Difference(
        methods=(before.methods, after.methods),
        forms=(dict(before.variants), dict(after.variants)),
        confidence=(before.confidence, after.confidence),
        facts=tuple(fact_changes(before.facts, after.facts)),
        parting=part(before.path, after.path),
        verdicts=tuple(_verdicts(before.ranking, after.ranking)),
        costs=tuple(_costs(before.quote, after.quote)),
        ladder=((), ()) if _steps(before.ladder) == _steps(after.ladder) else (before.ladder, after.ladder),
        warned=tuple(warning for warning in after.warnings if warning not in before.warnings),
        settled=tuple(warning for warning in before.warnings if warning not in after.warnings),
    )


def _same_methods(one: Iterable[str], other: Iterable[str]) -> bool:
    """Order and `prompt` beside another method do not matter."""
    kept = [{*methods} if {*methods} == {"prompt"} else {*methods} - {"prompt"} for methods in (one, other)]
    return kept[0] == kept[1]


def fact_changes(before: Mapping[str, Fact], after: Mapping[str, Fact]) -> Iterable[FactChange]:
    """Each fact whose value, or whether it is known, is another; known facts first."""
    names = dict.fromkeys((*before, *after))
    changes = [FactChange(name, before.get(name), after.get(name)) for name in names if _changed(name, before, after)]
    return sorted(changes, key=lambda change: not any(map(_known, (change.before, change.after))))


def _changed(name: str, before: Mapping[str, Fact], after: Mapping[str, Fact]) -> bool:
    one, other = before.get(name), after.get(name)
    if one is None or other is None:
        return one is not other
    return one.value != other.value or _known(one) != _known(other)


def _known(fact: Fact | None) -> bool:
    return fact is not None and fact.origin != "assumed"


def part(before: tuple[Step, ...], after: tuple[Step, ...]) -> Parting | None:
    """The first step at which two paths take different branches; None where they are the same all the way.

    A step that only asks for a fact has one branch: another answer to it is no parting.
    """
    for shared, (one, other) in enumerate(zip(before, after, strict=False)):
        if (one.node, one.why, one.source) != (other.node, other.why, other.source):
            return Parting(one, other, shared)
    return None


def _verdicts(before: tuple[Ranked, ...], after: tuple[Ranked, ...]) -> Iterable[VerdictChange]:
    earlier = {ranked.method: ranked for ranked in before}
    for ranked in after:
        was = earlier.get(ranked.method)
        if was and (was.verdict, was.sum) != (ranked.verdict, ranked.sum):
            yield VerdictChange(ranked.method, was, ranked)


def _costs(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterable[CostChange]:
    for method in dict.fromkeys((*after, *before)):
        one, other = (to_dict(quote[method]) if method in quote else None for quote in (before, after))
        if _figures(one) != _figures(other):
            yield CostChange(method, one, other)


def _figures(quote: Mapping[str, Any] | None) -> list[list[float]]:
    return [list(quote[name]) for name in FIGURES] if quote else []


def _steps(ladder: tuple[Rung, ...]) -> list[tuple[str, str]]:
    """What is done, without how it is told and what it costs: other figures make no other ladder."""
    return [step(rung) for rung in ladder]


def step(rung: Rung) -> tuple[str, str]:
    """What makes a step the same in two ladders."""
    return rung.command, rung.method


def nearest(decision: Decision, fact: str) -> tuple[Flip, ...]:
    """The changes of one fact that would change the methods, nearest first, as the decision lists them."""
    return tuple(flip for flip in decision.flips if flip.fact == fact)


# -- prices ----------------------------------------------------------------------------------------------


def prices(quotes: Mapping[str, Any]) -> dict[str, str]:
    """The day of every price that quotes rest on, by the price's name; the oldest where there are several."""
    found: dict[str, str] = {}
    for quote in quotes.values():
        for price in to_dict(quote).get("prices", ()):
            found[price["name"]] = min(price["as_of"], found.get(price["name"], price["as_of"]))
    return found


def aged(quotes: Mapping[str, Any], today: datetime.date) -> dict[str, int]:
    """The prices that are too old to be relied on, by name, with their age in days."""
    return {
        name: (today - datetime.date.fromisoformat(day)).days
        for name, day in prices(quotes).items()
        if is_stale(Figure(name, day, ()), today)
    }
