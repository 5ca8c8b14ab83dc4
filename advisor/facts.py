"""Facts: what is known of a task, each with where it came from. The vocabulary is `knowledge/facts.yaml`.

Covered here: the vocabulary, checked on load; reading and writing answers; the stated assumption for what nobody
knows. Not covered: asking (`interview`), measuring (`profile`), and what follows from the facts (`flowchart`).
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from advisor.conditions import Condition, Value, figure, parse, translated
from advisor.texts import read_knowledge
from executors.base import Problem, Text, UserError, did_you_mean, write_atomic

Origin = Literal["asked", "measured", "assumed"]
FactType = Literal["choice", "boolean", "integer", "number"]


@dataclass(frozen=True)
class Fact:
    """A value and the reason to believe it. `evidence` says what was measured, or why this was assumed."""

    id: str
    value: Value
    origin: Origin
    evidence: Text = field(default_factory=dict)


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
    faults += [f"{name}.default: {problem}" for a in spec.default if (problem := wrong_value(spec, a.value))]
    return spec


def _assumption(name: str, raw: Mapping[str, Any], drafts: Mapping[str, _Draft], faults: list[str]) -> Assumption:
    where = f"{name}.default"
    when = parse(raw["when"], drafts, where, faults) if "when" in raw else None
    return Assumption(when, raw.get("value"), translated(raw.get("reason"), f"{where}.reason", faults))  # type: ignore[arg-type]  # wrong_value checks it


# -- values ------------------------------------------------------------------------------------------


def wrong_value(spec: FactSpec, value: object) -> str:
    """What is wrong with a value, or an empty string."""
    if spec.type == "choice":
        known = ", ".join(spec.options)
        return (
            ""
            if value in spec.options
            else f"'{value}' is not an option{did_you_mean(str(value), spec.options)}: {known}"
        )
    if spec.type == "boolean":
        return "" if isinstance(value, bool) else f"expected true or false, got {value!r}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"expected {'a whole number' if spec.type == 'integer' else 'a number'}, got {value!r}"
    if not math.isfinite(value):
        return f"must be finite, got {value!r}"
    if spec.type == "integer" and not float(value).is_integer():
        return f"expected a whole number, got {value!r}"
    if value < spec.minimum:
        return f"cannot be below {figure(spec.minimum)}, got {figure(value)}"
    return f"cannot be above {figure(spec.maximum)}, got {figure(value)}" if value > spec.maximum else ""


SCALES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12, "千": 10**3, "万": 10**4, "亿": 10**8}
NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*(%|万亿|[kmbgt千万亿]?)", re.IGNORECASE)
TRUE = frozenset({"yes", "y", "true", "是", "对", "有"})
FALSE = frozenset({"no", "n", "false", "否", "不", "没有"})


def parse_value(spec: FactSpec, raw: object) -> Value:
    """A value as a person or a file gives it: ``"10k"``, ``"3万"``, ``"yes"``, ``"85%"``, an option or its text.

    Raises `UserError` saying the field, the rule and the value received.
    """
    value = _from_text(spec, raw.strip()) if isinstance(raw, str) else raw
    if isinstance(value, bool) and spec.type == "choice":  # YAML reads a bare `no` as false
        value = ("no" if value is False else "yes") if "no" in spec.options else value
    if isinstance(value, float) and spec.type == "integer" and value.is_integer():
        value = int(value)
    problem = wrong_value(spec, value)
    if problem:
        raise UserError(f"{spec.id}: {problem}", _hint(spec))
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


def _hint(spec: FactSpec) -> str:
    if spec.type == "choice":
        return f"{spec.id} is one of {', '.join(spec.options)}; leave it out where it is unknown"
    if spec.type == "boolean":
        return f"{spec.id} is true or false; leave it out where it is unknown"
    unit = f" ({spec.unit['en']})" if spec.unit else ""
    least = figure(spec.minimum)
    most = "" if math.isinf(spec.maximum) or spec.type == "integer" else f" and at most {figure(spec.maximum)}"
    return f"{spec.id} is a number{unit} of at least {least}{most}; leave it out where it is unknown"


# -- answers -----------------------------------------------------------------------------------------

NOT_FACTS = frozenset({"version", "schema_version"})


def read_answers(source: Path | str | Mapping[str, Any]) -> Facts:
    """The facts of an answers file, or of a mapping, all `asked`. A null or missing value is unknown.

    Raises `UserError` with every fault at once: unknown ids, wrong options, types, ranges, contradictions.
    """
    raw = source if isinstance(source, Mapping) else _read_mapping(Path(source))
    specs = load_vocabulary()
    problems: list[Problem] = []
    facts: dict[str, Fact] = {}
    for name, value in raw.items():
        if name in NOT_FACTS or value is None:
            continue
        if name not in specs:
            hint = f"known facts: {', '.join(specs)}"
            problems.append(Problem(f"{name}: unknown fact{did_you_mean(str(name), specs)}", hint))
            continue
        try:
            facts[name] = Fact(name, parse_value(specs[name], value), "asked")
        except UserError as error:
            problems.append(Problem(error.message, error.hint))
    found = Facts(facts)
    problems += contradictions(found)
    if problems:
        raise UserError.of(problems)
    return found


def contradictions(facts: Facts) -> list[Problem]:
    """Answers that cannot all be true."""
    value = facts.value
    problems = []
    if value("classes") == 1 and value("task") in (None, "classification"):
        problems.append(Problem("classes: with one class there is nothing to choose, got 1", "count the labels again"))
    if value("baseline_score") is not None and value("evaluation_examples") == 0:
        problems.append(
            Problem(
                "baseline_score: a score was given, but evaluation_examples is 0, so nothing can have been scored",
                "leave baseline_score out, or say on how many examples it was measured",
            )
        )
    if value("gpu_memory_gb") == 0 and (value("gpu_count") or 0) not in (0, None):
        problems.append(
            Problem(
                f"gpu_count: {value('gpu_count')} accelerators, but gpu_memory_gb is 0, which means there is none",
                "set gpu_count to 0, or gpu_memory_gb to the memory of the largest",
            )
        )
    return problems


class _UniqueKeys(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # chosen at run time
    """A loader that does not let the second of two equal keys win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"'{twice}' is there twice", node.start_mark)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


EXAMPLE = """an answers file looks like this:
training_budget: small
labelled_examples: 800
knowledge_change: weekly"""


def _read_mapping(path: Path) -> Mapping[str, Any]:
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"no file {path}", "check the path; " + EXAMPLE) from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, not an answers file", EXAMPLE) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start})", "save it as UTF-8") from None
    try:
        raw = yaml.load(content, Loader=_UniqueKeys)  # a subclass of the safe loader
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}", EXAMPLE) from None
    if raw is None:
        raise UserError(f"{path} is empty", EXAMPLE + "\n{} stands for “nothing is known”")
    if not isinstance(raw, Mapping):
        raise UserError(f"{path} holds a {type(raw).__name__}, not a mapping of facts to values", EXAMPLE)
    return raw


def write_answers(path: Path, facts: Facts) -> None:
    """Write what was asked and measured so that `read_answers` reads it back; assumptions are left out."""
    lines = ["# Answers for the Adaptation Advisor. A fact that is left out is unknown.", "schema_version: 1"]
    for name, value in facts.believed().items():
        note = "" if facts[name].origin == "asked" else "  # measured"
        lines.append(f"{name}: {_yaml(value)}{note}")
    write_atomic(path, "\n".join(lines) + "\n")


def _yaml(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return '"no"' if value == "no" else str(value)  # a bare `no` is false in YAML


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

    def __init__(self, values: Mapping[str, Value], specs: Mapping[str, FactSpec] | None = None) -> None:
        self.values = values
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
        earlier = _Earlier(self, spec.id)
        return next((rule for rule in spec.default if rule.when is None or rule.when.holds(earlier)), None)


class _Earlier:
    """What an assumption sees: all that is known, and the assumptions of facts that stand before it.

    That order is what keeps two assumptions from resting on each other.
    """

    def __init__(self, view: Assuming, fact_id: str) -> None:
        self.view, self.rank = view, _ranks()[fact_id]

    def value(self, fact_id: str) -> Value | None:
        value = self.view.values.get(fact_id)
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
    view = Assuming(facts.believed())
    filled: dict[str, Fact] = {}
    for name in load_vocabulary():
        if name in view.values:
            filled[name] = facts[name]
        elif rule := view.assumption(name):
            filled[name] = Fact(name, rule.value, "assumed", rule.reason)
    return Facts(filled)
