"""Facts: what is known of a task, each with where it came from. The vocabulary is `knowledge/facts.yaml`.

Covered here: the vocabulary, checked on load; values as people write them; the stated assumption for what nobody
knows. Not covered: answers as files (`answers`), asking (`interview`), measuring (`profile`), and what follows from
the facts (`flowchart`).
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from advisor.conditions import Condition, Value, figure, parse, translated
from advisor.texts import LANGUAGES, read_knowledge, text
from executors.base import Problem, Text, UserError, did_you_mean

Origin = Literal["asked", "measured", "assumed"]
FactType = Literal["choice", "boolean", "integer", "number"]


@dataclass(frozen=True)
class Fact:
    """A value and the reason to believe it. `evidence` says what was measured, or why this was assumed.

    `preset` names the preset that it is from, which assumes it or was chosen for it; empty where none is.
    """

    id: str
    value: Value
    origin: Origin
    evidence: Text = field(default_factory=dict)
    preset: str = ""


class Facts(Mapping[str, Fact]):
    """What is known. A fact that is not here is unknown: never zero, never false."""

    def __init__(self, facts: Mapping[str, Fact] | None = None) -> None:
        self._facts = dict(facts or {})

    def __getitem__(self, fact_id: str) -> Fact:
        return self._facts[fact_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)

    def __repr__(self) -> str:
        return f"Facts({', '.join(f'{f.id}={f.value!r} ({f.origin})' for f in self._facts.values())})"

    def value(self, fact_id: str) -> Value | None:
        """The value, or None where it is unknown."""
        fact = self._facts.get(fact_id)
        return None if fact is None else fact.value

    def with_(self, *facts: Fact) -> Facts:
        """These facts with some added or replaced."""
        return Facts({**self._facts, **{f.id: f for f in facts}})

    def without(self, *fact_ids: str) -> Facts:
        """These facts with some made unknown again."""
        return Facts({name: fact for name, fact in self._facts.items() if name not in fact_ids})

    def believed(self) -> dict[str, Value]:
        """The values that were asked or measured. What is merely assumed is left out."""
        return {name: fact.value for name, fact in self._facts.items() if fact.origin != "assumed"}

    def presumed(self) -> dict[str, Fact]:
        """What a preset assumes: it stands before the vocabulary's defaults, and gives way to any answer."""
        return {name: fact for name, fact in self._facts.items() if fact.origin == "assumed" and fact.preset}


def presumed(name: str, value: Value, preset: str) -> Fact:
    """A fact that a preset assumes."""
    return Fact(name, value, "assumed", text("presets.from", preset=preset), preset)


# -- the vocabulary ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Assumption:
    """A value to assume where `when` holds (always, where it is None), and the reason."""

    when: Condition | None
    value: Value
    reason: Text


@dataclass(frozen=True)
class FactSpec:
    """One fact of the vocabulary: what may be answered, how it is asked, and what is assumed meanwhile."""

    id: str
    type: FactType
    options: tuple[str, ...]
    ordered: bool
    question: Text
    why: Text
    option_texts: Mapping[str, Text]
    help: Text
    unit: Text
    minimum: float
    maximum: float
    interview: bool  # False: never asked, only measured or given in an answers file
    ask_when: Condition | None  # asked only where this can hold
    measured_by: Text  # empty where it cannot be measured
    applies: Condition | None
    doubt: float  # from 0 to 1: how likely the assumption is to be wrong, at a guess
    default: tuple[Assumption, ...]


@functools.cache
def load_vocabulary() -> Mapping[str, FactSpec]:
    """Every fact by id, in the file's order. Raises `ValueError` listing all faults of `facts.yaml`."""
    return parse_vocabulary(read_knowledge("facts.yaml"))


@dataclass(frozen=True)
class _Draft:
    type: str
    options: tuple[str, ...]
    ordered: bool


def parse_vocabulary(raw: Mapping[str, Any]) -> dict[str, FactSpec]:
    """The vocabulary that `raw` describes. Raises `ValueError` listing every fault."""
    faults: list[str] = []
    entries: Mapping[str, Any] = raw["facts"]
    drafts = {
        name: _Draft(str(e.get("type")), tuple(map(str, e.get("options") or ())), bool(e.get("ordered")))
        for name, e in entries.items()
    }
    specs = {name: _spec(name, entry, drafts, faults) for name, entry in entries.items()}
    if faults:
        raise ValueError("facts.yaml:\n" + "\n".join(f"  {fault}" for fault in faults))
    return specs


def _spec(name: str, raw: Mapping[str, Any], drafts: Mapping[str, _Draft], faults: list[str]) -> FactSpec:
    kind = raw.get("type")
    if kind not in ("choice", "boolean", "integer", "number"):
        faults.append(f"{name}: unknown type {kind!r}")
    options = raw.get("options") or {}
    spec = FactSpec(
        id=name,
        type=kind,  # type: ignore[arg-type]  # checked above
        options=drafts[name].options,
        ordered=drafts[name].ordered,
        question=translated(raw.get("question"), f"{name}.question", faults),
        why=translated(raw.get("why"), f"{name}.why", faults),
        option_texts={str(o): translated(t, f"{name}.options.{o}", faults) for o, t in options.items()},
        help=translated(raw.get("help"), f"{name}.help", faults, required=False),
        unit=translated(raw.get("unit"), f"{name}.unit", faults, required=False),
        minimum=raw.get("min", 0),
        maximum=raw.get("max", math.inf),
        interview=raw.get("interview", True) is not False,
        ask_when=parse(raw["interview"], drafts, f"{name}.interview", faults)
        if isinstance(raw.get("interview"), Mapping)
        else None,
        measured_by=translated(raw.get("measured_by"), f"{name}.measured_by", faults, required=False),
        applies=parse(raw["applies"], drafts, f"{name}.applies", faults) if "applies" in raw else None,
        doubt=float(raw.get("doubt", -1)),
        default=tuple(_assumption(name, rule, drafts, faults) for rule in raw.get("default") or ()),
    )
    if not 0 <= spec.doubt <= 1:
        faults.append(f"{name}.doubt: expected a number from 0 to 1, got {raw.get('doubt')!r}")
    if not spec.default or spec.default[-1].when is not None:
        faults.append(f"{name}.default: the last assumption must have no 'when'")
    faults += [f"{name}.default: {wrong['en']}" for a in spec.default if (wrong := wrong_value(spec, a.value))]
    return spec


def _assumption(name: str, raw: Mapping[str, Any], drafts: Mapping[str, _Draft], faults: list[str]) -> Assumption:
    where = f"{name}.default"
    when = parse(raw["when"], drafts, where, faults) if "when" in raw else None
    return Assumption(when, raw.get("value"), translated(raw.get("reason"), f"{where}.reason", faults))  # type: ignore[arg-type]  # wrong_value checks it


# -- values ------------------------------------------------------------------------------------------


def wrong_value(spec: FactSpec, value: object) -> Text:
    """What is wrong with a value; empty where nothing is."""
    if spec.type == "choice":
        return {} if value in spec.options else _no_option(spec, str(value))
    if spec.type == "boolean":
        return {} if isinstance(value, bool) else _expected("true or false", "true 或 false", value)
    whole = spec.type == "integer"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _expected("a whole number", "整数", value) if whole else _expected("a number", "数字", value)
    if not math.isfinite(value):
        return {"en": f"must be finite, got {value!r}", "zh": f"必须是有限的数，收到 {value!r}"}
    if whole and not float(value).is_integer():
        return _expected("a whole number", "整数", value)
    least, most, got = figure(spec.minimum), figure(spec.maximum), figure(value)
    if value < spec.minimum:
        return {"en": f"cannot be below {least}, got {got}", "zh": f"不能小于 {least}，收到 {got}"}
    too_large = {"en": f"cannot be above {most}, got {got}", "zh": f"不能大于 {most}，收到 {got}"}
    return too_large if value > spec.maximum else {}


def _expected(what: str, what_zh: str, value: object) -> Text:
    got_zh = f"“{value}”" if isinstance(value, str) else f" {value!r}"
    return {"en": f"expected {what}, got {value!r}", "zh": f"应为{what_zh}，收到{got_zh}"}


def _no_option(spec: FactSpec, value: str) -> Text:
    known = ", ".join(spec.options)
    return {
        "en": f"'{value}' is not an option{did_you_mean(value, spec.options)}: {known}",
        "zh": f"没有“{value}”这个选项{did_you_mean(value, spec.options, 'zh')}：{known}",
    }


SCALES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12, "千": 10**3, "万": 10**4, "亿": 10**8}
NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*(%|万亿|[kmbgt千万亿]?)", re.IGNORECASE)
TRUE = frozenset({"yes", "y", "true", "是", "对", "有"})
FALSE = frozenset({"no", "n", "false", "否", "不", "没有"})


def parse_value(spec: FactSpec, raw: object, name: Text | None = None) -> Value:
    """A value as a person or a file gives it: ``"10k"``, ``"3万"``, ``"yes"``, ``"85%"``, an option or its text.

    Raises `UserError` saying the field (by `name`, else by its id), the rule and the value received.
    """
    value = _from_text(spec, raw.strip()) if isinstance(raw, str) else raw
    if isinstance(value, bool) and spec.type == "choice":  # YAML reads a bare `no` as false
        value = ("no" if value is False else "yes") if "no" in spec.options else value
    if isinstance(value, float) and spec.type == "integer" and value.is_integer():
        value = int(value)
    wrong = wrong_value(spec, value)
    if wrong:
        hint, name = _hint(spec), name or dict.fromkeys(LANGUAGES, spec.id)
        zh = Problem(f"{name['zh']}：{wrong['zh']}", f"{name['zh']}：{hint['zh']}；不知道就留空")
        raise UserError(
            f"{name['en']}: {wrong['en']}", f"{name['en']}: {hint['en']}; leave it empty where it is unknown", zh
        )
    return value  # type: ignore[return-value]  # wrong_value checked it


def _from_text(spec: FactSpec, raw: str) -> object:
    if spec.type == "choice":
        plain = raw.casefold().replace(" ", "_").replace("-", "_")
        by_text = {str(words).casefold(): o for o, t in spec.option_texts.items() for words in t.values()}
        return plain if plain in spec.options else by_text.get(raw.casefold(), raw)
    if spec.type == "boolean":
        return True if raw.casefold() in TRUE else False if raw.casefold() in FALSE else raw
    match = NUMBER.fullmatch(re.sub(r"(?<=\d)[,_，](?=\d)", "", raw).lstrip("$"))
    if not match:
        return raw
    number, scale = float(match[1]), match[2].lower()
    value = number / 100 if scale == "%" else number * (10**12 if scale == "万亿" else SCALES[scale])
    return int(value) if value.is_integer() and spec.type == "integer" else value


def _hint(spec: FactSpec) -> Text:
    """What may be answered."""
    if spec.type == "choice":
        known = ", ".join(spec.options)
        return {"en": f"one of {known}", "zh": f"可选 {known}"}
    if spec.type == "boolean":
        return {"en": "true or false", "zh": "true 或 false"}
    unit, unit_zh = (f" ({spec.unit['en']})", f"（{spec.unit['zh']}）") if spec.unit else ("", "")
    least, most = figure(spec.minimum), figure(spec.maximum)
    open_end = math.isinf(spec.maximum) or spec.type == "integer"
    return {
        "en": f"a number{unit} of at least {least}{'' if open_end else f' and at most {most}'}",
        "zh": f"不小于 {least}{'' if open_end else f'、不大于 {most}'} 的数字{unit_zh}",
    }


# -- assumptions -------------------------------------------------------------------------------------


class Known:
    """A view of what is known: anything else is open."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self.values = values

    def value(self, fact_id: str) -> Value | None:
        return self.values.get(fact_id)

    def known(self, fact_id: str) -> bool:
        return fact_id in self.values

    def open(self, fact_id: str) -> bool:
        return fact_id not in self.values


class Assuming:
    """A view that fills what is unknown with its stated assumption, so nothing is open.

    A fact without a meaning here (classes of a translation) has no value, and every comparison with it is false.
    """

    def __init__(
        self,
        values: Mapping[str, Value],
        specs: Mapping[str, FactSpec] | None = None,
        presumed: Mapping[str, Fact] | None = None,
    ) -> None:
        self.values, self.presumed = values, presumed or {}
        self.specs = load_vocabulary() if specs is None else specs
        self._assumed: dict[str, Assumption | None] = {}

    def value(self, fact_id: str) -> Value | None:
        value = self.values.get(fact_id)
        if value is None:
            rule = self.assumption(fact_id)
            return None if rule is None else rule.value
        applies = self.specs[fact_id].applies
        return value if applies is None or applies.holds(self) else None

    def known(self, fact_id: str) -> bool:
        return fact_id in self.values

    def open(self, fact_id: str) -> bool:
        return False

    def assumption(self, fact_id: str) -> Assumption | None:
        """What is assumed for an unknown fact; None where it has no meaning here."""
        if fact_id not in self._assumed:
            self._assumed[fact_id] = self._assume(self.specs[fact_id])
        return self._assumed[fact_id]

    def _assume(self, spec: FactSpec) -> Assumption | None:
        if spec.applies is not None and not spec.applies.holds(self):
            return None
        if said := self.presumed.get(spec.id):
            return Assumption(None, said.value, said.evidence)
        earlier = _Earlier(self, spec.id)
        return next((rule for rule in spec.default if rule.when is None or rule.when.holds(earlier)), None)


class _Earlier:
    """What an assumption sees: all that is known or presumed, and the assumptions of facts that stand before it.

    That order is what keeps two assumptions from resting on each other.
    """

    def __init__(self, view: Assuming, fact_id: str) -> None:
        self.view, self.rank = view, _ranks()[fact_id]

    def value(self, fact_id: str) -> Value | None:
        value = self.view.values.get(fact_id)
        if value is None and (said := self.view.presumed.get(fact_id)):
            return said.value
        if value is not None or _ranks()[fact_id] >= self.rank:
            return value
        return self.view.value(fact_id)

    def known(self, fact_id: str) -> bool:
        return self.view.known(fact_id)

    def open(self, fact_id: str) -> bool:
        return False


@functools.cache
def _ranks() -> Mapping[str, int]:
    return {name: rank for rank, name in enumerate(load_vocabulary())}


def assume(facts: Facts) -> Facts:
    """Every fact that has a meaning here: what is known as it is, the rest assumed, each with its reason."""
    view = Assuming(facts.believed(), presumed=facts.presumed())
    filled: dict[str, Fact] = {}
    for name in load_vocabulary():
        if name in view.values:
            filled[name] = facts[name]
        elif rule := view.assumption(name):
            filled[name] = view.presumed.get(name) or Fact(name, rule.value, "assumed", rule.reason)
    return Facts(filled)
