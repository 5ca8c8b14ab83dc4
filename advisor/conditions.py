"""Conditions on facts, as `knowledge/` writes them: structured, so that thresholds can be read off and drawn.

A condition is true, false, or open (None): open means that a fact it needs is not known. The kinds:

    {fact: F, is: v} {fact: F, in: [v, ...]}      equality
    {fact: F, at_least: n} {... at_most: n}       numbers, and choices whose options are ordered
    {fact: F, per: G, at_least: n}                F divided by G
    {fact: F, at_least_fact: G, times: k}         F >= k * G (k is 1 where absent); also at_most_fact
    {known: F}                                    somebody said or measured it
    {all: [...]} {any: [...]} {not: ...}          logic; `any` is true as soon as one is, open or not the others

There is no expression language: what is not in this list cannot be said.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from executors.base import Text, did_you_mean

Value = str | int | float | bool
Truth = bool | None


class View(Protocol):
    """What a condition sees of the facts."""

    def value(self, fact_id: str) -> Value | None:
        """The value, known or assumed; None where it is open or has no meaning."""

    def known(self, fact_id: str) -> bool:
        """Whether somebody said or measured it."""

    def open(self, fact_id: str) -> bool:
        """Whether its value may still be found out; a fact without a value is otherwise without a meaning."""


class Spec(Protocol):
    """What the parser must know of a fact."""

    @property
    def type(self) -> str:
        """choice, boolean, integer or number."""

    @property
    def options(self) -> tuple[str, ...]:
        """Of a choice, in order where it is ordered."""

    @property
    def ordered(self) -> bool:
        """Whether the options of a choice can be compared."""


class Condition(ABC):
    """A condition that can be tested, asked what it rests on, and asked what it still needs."""

    @abstractmethod
    def holds(self, view: View) -> Truth:
        """True, false, or None where a fact is missing."""

    @abstractmethod
    def support(self, view: View) -> tuple[str, ...]:
        """The facts that settle it as it stands, fewest and best known first."""

    @abstractmethod
    def missing(self, view: View) -> str | None:
        """The first fact that keeps it open."""

    @abstractmethod
    def leaves(self) -> Iterator[Leaf]:
        """Every comparison in it."""


class Leaf(Condition):
    """A condition on named facts."""

    names: tuple[str, ...]

    def support(self, view: View) -> tuple[str, ...]:
        return self.names

    def missing(self, view: View) -> str | None:
        return next((name for name in self.names if view.open(name)), None)

    def leaves(self) -> Iterator[Leaf]:
        yield self

    @abstractmethod
    def failure(self, view: View) -> str:
        """Why it does not hold, as a sum: ``labelled_examples = 20 < 500``."""


def _valueless(view: View, *names: str) -> Truth:
    """Open where a value may still be found out; false where the fact means nothing here."""
    return None if any(view.open(name) for name in names) else False


OPPOSITES = {"at_least": "<", "at_most": ">", "is": "≠", "in": "∉"}


@dataclass(frozen=True)
class Compare(Leaf):
    """A fact against a constant. `ranks` orders the options of a choice."""

    fact: str
    operator: str
    bound: Any
    ranks: Mapping[Any, int] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", (self.fact,))

    def holds(self, view: View) -> Truth:
        value = view.value(self.fact)
        if value is None:
            return _valueless(view, self.fact)
        if self.operator == "is":
            return value is self.bound if isinstance(self.bound, bool) else value == self.bound
        if self.operator == "in":
            return value in self.bound
        left: Any = value if self.ranks is None else self.ranks[value]
        right: Any = self.bound if self.ranks is None else self.ranks[self.bound]
        return bool(left >= right if self.operator == "at_least" else left <= right)

    def failure(self, view: View) -> str:
        value = view.value(self.fact)
        return f"{self.fact} = {figure(value)} {OPPOSITES[self.operator]} {figure(self.bound)}"


@dataclass(frozen=True)
class Ratio(Leaf):
    """One fact divided by another, against a constant."""

    fact: str
    per: str
    operator: str
    bound: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", (self.fact, self.per))

    def holds(self, view: View) -> Truth:
        value, per = view.value(self.fact), view.value(self.per)
        if value is None or per is None:
            return _valueless(view, *self.names)
        left, right = float(value), self.bound * float(per)
        return left >= right if self.operator == "at_least" else left <= right

    def failure(self, view: View) -> str:
        value, per = view.value(self.fact), view.value(self.per)
        quotient = f"{self.fact} / {self.per} = {figure(value)} / {figure(per)}"
        return f"{quotient} {OPPOSITES[self.operator]} {figure(self.bound)}"


@dataclass(frozen=True)
class Against(Leaf):
    """A fact against a multiple of another."""

    fact: str
    operator: str
    other: str
    times: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", (self.fact, self.other))

    def holds(self, view: View) -> Truth:
        value, other = view.value(self.fact), view.value(self.other)
        if value is None or other is None:
            return _valueless(view, *self.names)
        left, right = float(value), self.times * float(other)
        return left >= right if self.operator == "at_least" else left <= right

    def failure(self, view: View) -> str:
        value, other = view.value(self.fact), view.value(self.other)
        scale = "" if self.times == 1 else f"{figure(self.times)} × "
        return f"{self.fact} = {figure(value)} {OPPOSITES[self.operator]} {scale}{self.other} = {scale}{figure(other)}"


@dataclass(frozen=True)
class Known(Leaf):
    """Whether a fact was said or measured. Never open."""

    fact: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", (self.fact,))

    def holds(self, view: View) -> Truth:
        return view.known(self.fact)

    def support(self, view: View) -> tuple[str, ...]:
        return (self.fact,) if view.known(self.fact) else ()  # that a fact is unknown is not itself assumed

    def missing(self, view: View) -> str | None:
        return None

    def failure(self, view: View) -> str:
        return f"{self.fact} = ?"


@dataclass(frozen=True)
class All(Condition):
    parts: tuple[Condition, ...]

    def holds(self, view: View) -> Truth:
        result: Truth = True
        for part in self.parts:
            truth = part.holds(view)
            if truth is False:
                return False
            if truth is None:
                result = None
        return result

    def support(self, view: View) -> tuple[str, ...]:
        return _support(self.parts, view, decisive=False)

    def missing(self, view: View) -> str | None:
        return _missing(self.parts, view, decisive=False)

    def leaves(self) -> Iterator[Leaf]:
        for part in self.parts:
            yield from part.leaves()


@dataclass(frozen=True)
class Any_(Condition):
    parts: tuple[Condition, ...]

    def holds(self, view: View) -> Truth:
        result: Truth = False
        for part in self.parts:
            truth = part.holds(view)
            if truth:
                return True
            if truth is None:
                result = None
        return result

    def support(self, view: View) -> tuple[str, ...]:
        return _support(self.parts, view, decisive=True)

    def missing(self, view: View) -> str | None:
        return _missing(self.parts, view, decisive=True)

    def leaves(self) -> Iterator[Leaf]:
        for part in self.parts:
            yield from part.leaves()


@dataclass(frozen=True)
class Not(Condition):
    part: Condition

    def holds(self, view: View) -> Truth:
        truth = self.part.holds(view)
        return None if truth is None else not truth

    def support(self, view: View) -> tuple[str, ...]:
        return self.part.support(view)

    def missing(self, view: View) -> str | None:
        return self.part.missing(view)

    def leaves(self) -> Iterator[Leaf]:
        yield from self.part.leaves()


def _support(parts: Sequence[Condition], view: View, *, decisive: bool) -> tuple[str, ...]:
    """One part that settles the whole, the one with fewest unknown facts; where none does, all parts together."""
    settling = [part.support(view) for part in parts if part.holds(view) is decisive]
    if settling:
        return min(settling, key=lambda names: (sum(not view.known(n) for n in names), len(names)))
    return tuple(dict.fromkeys(name for part in parts for name in part.support(view)))


def _missing(parts: Sequence[Condition], view: View, *, decisive: bool) -> str | None:
    if any(part.holds(view) is decisive for part in parts):
        return None
    return next((name for part in parts if part.holds(view) is None and (name := part.missing(view))), None)


def figure(value: object) -> str:
    """A value as it stands in a sum: ``20``, ``8,000,000,000``, ``yes``, ``{a, b}``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"
    if isinstance(value, (tuple, frozenset, list)):
        return "{" + ", ".join(map(str, value)) + "}"
    return str(value)


# -- reading them ------------------------------------------------------------------------------------

Named = Callable[[str, Any, str, list[str]], "Condition | None"]
"""Reads a kind of condition that is not of this module; None where it does not know it."""

COMPARISONS = ("is", "in", "at_least", "at_most", "at_least_fact", "at_most_fact")


def parse(
    raw: object, specs: Mapping[str, Spec], where: str, faults: list[str], extra: Named | None = None
) -> Condition:
    """The condition that `raw` describes. Every fault is added to `faults`; a faulty part then never holds."""
    never = Any_(())
    if not isinstance(raw, Mapping) or not raw:
        faults.append(f"{where}: a condition must be a mapping, got {raw!r}")
        return never
    if len(raw) == 1:
        ((kind, body),) = raw.items()
        if kind in ("all", "any"):
            if not isinstance(body, list) or not body:
                faults.append(f"{where}: '{kind}' needs a list of conditions")
                return never
            parts = tuple(parse(part, specs, where, faults, extra) for part in body)
            return All(parts) if kind == "all" else Any_(parts)
        if kind == "not":
            return Not(parse(body, specs, where, faults, extra))
        if kind == "known":
            return Known(body) if _fact(body, specs, where, faults) else never
        found = extra(str(kind), body, where, faults) if extra else None
        if found:
            return found
    if "fact" in raw:
        return _comparison(raw, specs, where, faults) or never
    faults.append(f"{where}: unknown condition {dict(raw)!r}")
    return never


def _fact(name: object, specs: Mapping[str, Spec], where: str, faults: list[str]) -> bool:
    if name in specs:
        return True
    faults.append(f"{where}: unknown fact '{name}'{did_you_mean(str(name), specs)}")
    return False


def _comparison(raw: Mapping[str, Any], specs: Mapping[str, Spec], where: str, faults: list[str]) -> Condition | None:
    used = [key for key in raw if key in COMPARISONS]
    strange = set(raw) - {"fact", "per", "times", *COMPARISONS}
    if len(used) != 1 or strange:
        faults.append(f"{where}: expected one of {', '.join(COMPARISONS)} in {dict(raw)!r}")
        return None
    (operator,) = used
    names = [raw["fact"], *([raw["per"]] if "per" in raw else []), *([raw[operator]] if "_fact" in operator else [])]
    known = [_fact(name, specs, where, faults) for name in names]
    if not all(known):
        return None
    if "_fact" in operator:
        return Against(names[0], operator.removesuffix("_fact"), names[1], float(raw.get("times", 1)))
    if "per" in raw:
        return Ratio(names[0], names[1], operator, float(raw[operator]))
    return _compare(names[0], operator, raw[operator], specs[names[0]], where, faults)


def _compare(fact: str, operator: str, bound: Any, spec: Spec, where: str, faults: list[str]) -> Condition | None:
    wanted = bound if operator == "in" else [bound]
    if spec.type == "choice":
        unknown = [option for option in wanted if option not in spec.options]
        faults += [f"{where}: {fact} has no option '{o}'{did_you_mean(str(o), spec.options)}" for o in unknown]
        if operator in ("at_least", "at_most") and not spec.ordered:
            faults.append(f"{where}: the options of {fact} have no order, '{operator}' means nothing")
            return None
        ranks = {option: rank for rank, option in enumerate(spec.options)}
        value = tuple(bound) if operator == "in" else bound
        return None if unknown else Compare(fact, operator, value, ranks)
    right_type = bool if spec.type == "boolean" else (int, float)
    if any(not isinstance(v, right_type) or (spec.type != "boolean" and isinstance(v, bool)) for v in wanted):
        faults.append(f"{where}: {fact} is {spec.type}, got {bound!r}")
        return None
    return Compare(fact, operator, tuple(bound) if operator == "in" else bound)


def translated(raw: object, where: str, faults: list[str], *, required: bool = True) -> Text:
    """A text in every language, or a fault for each that is missing."""
    if raw is None and not required:
        return {}
    texts = raw if isinstance(raw, Mapping) else {}
    faults += [f"{where}: no text in '{lang}'" for lang in ("en", "zh") if not str(texts.get(lang) or "").strip()]
    return {str(lang): str(words) for lang, words in texts.items()}
