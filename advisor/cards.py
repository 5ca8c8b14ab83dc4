"""Method cards: `knowledge/methods/<name>.yaml`. What a method is, and the only place where its feasibility stands.

A card's `needs` are conditions on facts, each with a reason and a source. One that does not hold makes a verdict:
`vetoed` where nothing the user does to the data helps, `not_yet` where something is missing that can be had.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from advisor.conditions import All, Any_, Condition, Leaf, Truth, View, figure, parse, translated
from advisor.facts import load_vocabulary
from advisor.texts import KNOWLEDGE, read_knowledge
from executors.base import Text

METHODS = (
    "prompt",
    "long_context",
    "rag",
    "probe",
    "small_encoder",
    "peft",
    "full",
    "cpt",
    "preference",
    "pretrain",
)
"""The methods of the schema, lightest first. A decision is a list of these."""

STRENGTHS = ("strong", "moderate", "weak")

# Memory, in GB, that a budget can rent: one server GPU by the hour or for days, a node of a cluster, whatever it takes.
RENTED_GB = {"none": 0.0, "small": 80.0, "medium": 80.0, "large": 640.0, "vendor": float("inf")}


@dataclass(frozen=True)
class Need:
    """One thing a method cannot do without."""

    id: str
    verdict: Literal["vetoed", "not_yet"]
    that: Condition
    why: Text
    source: str


@dataclass(frozen=True)
class Variant:
    """A form of a method; chosen by parameters, not by the chart."""

    name: str
    title: Text
    what: Text
    when: Text  # it is the right form
    limit: Text  # what it cannot do, or where it breaks
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Card:
    """One method: what it is, when to take it, what it needs, costs and risks, and how its failure looks."""

    name: str
    title: Text
    what: Text
    when: Text
    trains: bool
    changes_weights: bool
    needs: tuple[Need, ...]
    cost_training: Text
    cost_serving: Text
    limits: tuple[Text, ...]
    failure_signs: tuple[Text, ...]
    variants: Mapping[str, Variant]
    sources: tuple[str, ...]
    risks: tuple[Text, ...]
    nearest: str  # what to run instead while this method has no executor
    nearest_how: Text  # and how near that comes
    explains: str  # the method this card belongs to, for a card that is not a method itself

    def feasible(self) -> Condition:
        """Every need at once."""
        return All(tuple(need.that for need in self.needs))


@dataclass(frozen=True)
class Memory(Leaf):
    """Whether training fits: parameters x bytes + spare against the memory at hand, or that the budget rents.

    An unnamed model never fails: a smaller one can be chosen. On premises nothing can be rented. Without an
    accelerator, `cpu_parameters` is the largest model whose training a CPU finishes in hours.
    """

    bytes_per_parameter: float
    spare_gb: float
    cpu_parameters: float = 0
    shared: bool = False  # several accelerators hold one training together
    names: tuple[str, ...] = ("model_parameters", "gpu_memory_gb", "gpu_count", "training_budget", "privacy")

    def wanted_gb(self, view: View) -> float:
        return float(view.value("model_parameters") or 0) * self.bytes_per_parameter / 1e9 + self.spare_gb

    def had_gb(self, view: View) -> float:
        own = float(view.value("gpu_memory_gb") or 0) * (float(view.value("gpu_count") or 1) if self.shared else 1)
        return max(own, self._rented_gb(view))

    def _rented_gb(self, view: View) -> float:
        if view.value("privacy") == "on_premises":
            return 0
        return RENTED_GB[str(view.value("training_budget") or "none")]

    def holds(self, view: View) -> Truth:
        if not view.known("model_parameters") or self.wanted_gb(view) <= self.had_gb(view):
            return True
        if float(view.value("model_parameters") or 0) <= self.cpu_parameters:
            return True
        return None if view.open("gpu_memory_gb") else False

    def missing(self, view: View) -> str | None:
        return "gpu_memory_gb" if view.open("gpu_memory_gb") else None

    def support(self, view: View) -> tuple[str, ...]:
        if not view.known("model_parameters"):
            return ("model_parameters",)
        return tuple(name for name in self.names if view.known(name)) or self.names

    def failure(self, view: View) -> str:
        parameters = figure(float(view.value("model_parameters") or 0) / 1e9)
        return (
            f"{parameters} B parameters × {figure(self.bytes_per_parameter)} B + {figure(self.spare_gb)} GB"
            f" = {figure(round(self.wanted_gb(view), 1))} GB > {figure(self.had_gb(view))} GB"
        )


def why_not(condition: Condition, view: View) -> str:
    """The sums of the comparisons that fail, joined: what a veto shows. Of alternatives, the first that has values."""
    if condition.holds(view) is not False:
        return ""
    if isinstance(condition, Leaf):
        valued = all(view.value(name) is not None for name in condition.names)
        return condition.failure(view) if valued or isinstance(condition, Memory) else ""
    if isinstance(condition, Any_):
        return next((total for part in condition.parts if (total := why_not(part, view))), "")
    if isinstance(condition, All):
        return "; ".join(dict.fromkeys(total for part in condition.parts if (total := why_not(part, view))))
    return "; ".join(leaf.failure(view) for leaf in condition.leaves() if leaf.holds(view) is False)


# -- loading -----------------------------------------------------------------------------------------


@functools.cache
def load_cards() -> Mapping[str, Card]:
    """Every card by name. Raises `ValueError` listing all faults of all cards."""
    faults: list[str] = []
    names = sorted(path.stem for path in (KNOWLEDGE / "methods").glob("*.yaml"))
    cards = {name: parse_card(read_knowledge(f"methods/{name}.yaml"), name, faults) for name in names}
    faults += [f"methods: no card for '{name}'" for name in (*METHODS, "baseline") if name not in cards]
    if faults:
        raise ValueError("methods:\n" + "\n".join(f"  {fault}" for fault in faults))
    return cards


def parse_card(raw: Mapping[str, Any], name: str, faults: list[str]) -> Card:
    """The card that `raw` describes. Every fault is added to `faults`."""
    if raw.get("name") != name:
        faults.append(f"{name}: the card's name is {raw.get('name')!r}")
    cost = raw.get("cost") or {}
    return Card(
        name=name,
        title=translated(raw.get("title"), f"{name}.title", faults),
        what=translated(raw.get("what"), f"{name}.what", faults),
        when=translated(raw.get("when"), f"{name}.when", faults),
        trains=bool(raw.get("trains")),
        changes_weights=bool(raw.get("changes_weights")),
        needs=tuple(_need(need, name, faults) for need in raw.get("needs") or ()),
        cost_training=translated(cost.get("training"), f"{name}.cost.training", faults),
        cost_serving=translated(cost.get("serving"), f"{name}.cost.serving", faults),
        limits=tuple(_texts(raw, name, "limits", faults)),
        failure_signs=tuple(_texts(raw, name, "failure_signs", faults)),
        variants={key: _variant(key, v, name, faults) for key, v in (raw.get("variants") or {}).items()},
        sources=_sources(raw, name, faults),
        risks=tuple(_texts(raw, name, "risks", faults)),
        nearest=str(raw.get("nearest", "")),
        nearest_how=translated(raw["nearest_how"], f"{name}.nearest_how", faults) if raw.get("nearest") else {},
        explains=str(raw.get("explains", "")),
    )


def _texts(raw: Mapping[str, Any], name: str, key: str, faults: list[str]) -> Iterator[Text]:
    for number, words in enumerate(raw.get(key) or (), 1):
        yield translated(words, f"{name}.{key}[{number}]", faults)


def _sources(raw: Mapping[str, Any], where: str, faults: list[str]) -> tuple[str, ...]:
    named = tuple(raw.get("sources") or ())
    faults += [f"{where}: unknown source '{s}'" for s in named if s not in read_knowledge("sources.yaml")["sources"]]
    return named


def _variant(key: str, raw: Mapping[str, Any], name: str, faults: list[str]) -> Variant:
    where = f"{name}.variants.{key}"
    parts = ("title", "what", "when", "limit")
    title, what, when, limit = (translated(raw.get(part), f"{where}.{part}", faults) for part in parts)
    return Variant(key, title, what, when, limit, _sources(raw, where, faults))


def _need(raw: Mapping[str, Any], name: str, faults: list[str]) -> Need:
    where = f"{name}.needs.{raw.get('id')}"
    verdict = raw.get("verdict")
    if verdict not in ("vetoed", "not_yet"):
        faults.append(f"{where}: unknown verdict {verdict!r}")
    source = str(raw.get("source"))
    if source not in read_knowledge("sources.yaml")["sources"]:
        faults.append(f"{where}: unknown source '{source}'")
    that = parse(raw.get("that"), load_vocabulary(), where, faults, _memory)
    return Need(str(raw.get("id")), verdict, that, translated(raw.get("why"), where, faults), source)  # type: ignore[arg-type]  # checked above


def _memory(kind: str, body: Any, where: str, faults: list[str]) -> Condition | None:
    if kind != "memory":
        return None
    known = {"bytes_per_parameter", "spare_gb", "cpu_parameters", "shared"}
    if not isinstance(body, Mapping) or set(body) - known or not {"bytes_per_parameter", "spare_gb"} <= set(body):
        faults.append(f"{where}: memory needs bytes_per_parameter and spare_gb, and knows {', '.join(sorted(known))}")
        return None
    return Memory(**body)
