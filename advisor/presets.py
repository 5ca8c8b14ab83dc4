"""Presets: typical situations to start from, `knowledge/presets/<name>.yaml`. Checked on load, all faults at once.

A preset is believed less than an answer: its values are assumed, say so, and lower the confidence; any answer stands
over them. Only the facts that its title names (`named`) count as said, by choosing it: who picks text-to-SQL has said
that SQL is written. What it recommends is never written down: `advise` decides from its values.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from advisor.answers import contradictions
from advisor.conditions import Value, translated
from advisor.decision import Decision, decide
from advisor.facts import Fact, Facts, load_vocabulary, presumed, wrong_value
from advisor.texts import KNOWLEDGE, read_knowledge, text
from executors.base import Problem, Text, UserError, did_you_mean

KEYS = frozenset({"title", "line", "situation", "answers", "goes_wrong", "not_for", "sources"})


@dataclass(frozen=True)
class Answer:
    """One value of a preset, and why it is typical. `named`: the preset's title says it."""

    fact: str
    value: Value
    why: Text
    named: bool


@dataclass(frozen=True)
class Remark:
    """Something to know; `source` is an id of `knowledge/sources.yaml`, empty where it is our own experience."""

    text: Text
    source: str


@dataclass(frozen=True)
class Preset:
    """A situation: what it is, its answers, what usually goes wrong, and when another fits better."""

    name: str
    title: Text
    line: Text
    situation: Text
    answers: tuple[Answer, ...]
    goes_wrong: tuple[Remark, ...]
    not_for: tuple[Remark, ...]
    sources: tuple[str, ...]

    def facts(self) -> Facts:
        """The preset's values as facts, each saying where it is from."""
        return Facts({answer.fact: self._fact(answer) for answer in self.answers})

    def _fact(self, answer: Answer) -> Fact:
        if answer.named:
            return Fact(answer.fact, answer.value, "asked", text("presets.chosen", preset=self.name), self.name)
        return presumed(answer.fact, answer.value, self.name)


def find_preset(name: str) -> Preset:
    """The preset of that name. Raises `UserError` for an unknown one, with the nearest."""
    known = load_presets()
    if name in known:
        return known[name]
    zh = Problem(f"没有预设“{name}”{did_you_mean(name, known, 'zh')}", "列出所有预设：advisor presets")
    raise UserError(f"no preset '{name}'{did_you_mean(name, known)}", "see them all with: advisor presets", zh)


def advise(preset: Preset) -> Decision:
    """The decision that follows from a preset as it stands."""
    return decide(preset.facts())


# -- loading -------------------------------------------------------------------------------------------


@functools.cache
def load_presets() -> Mapping[str, Preset]:
    """Every preset by name. Raises `ValueError` listing all faults of all of them."""
    names = sorted(path.stem for path in (KNOWLEDGE / "presets").glob("*.yaml"))
    return parse_presets({name: read_knowledge(f"presets/{name}.yaml") for name in names})


def parse_presets(raw: Mapping[str, Mapping[str, Any]]) -> dict[str, Preset]:
    """The presets that `raw` describes. Raises `ValueError` listing every fault."""
    faults: list[str] = []
    presets = {name: _preset(name, body, faults) for name, body in raw.items()}
    if faults:
        raise ValueError("presets:\n" + "\n".join(f"  {fault}" for fault in faults))
    return presets


def _preset(name: str, raw: Mapping[str, Any], faults: list[str]) -> Preset:
    faults += [f"{name}: unknown key '{key}'{did_you_mean(key, KEYS)}" for key in sorted(set(raw) - KEYS)]
    preset = Preset(
        name=name,
        title=translated(raw.get("title"), f"{name}.title", faults),
        line=translated(raw.get("line"), f"{name}.line", faults),
        situation=translated(raw.get("situation"), f"{name}.situation", faults),
        answers=tuple(_answers(name, raw.get("answers") or {}, faults)),
        goes_wrong=_remarks(name, "goes_wrong", raw, faults),
        not_for=_remarks(name, "not_for", raw, faults),
        sources=tuple(raw.get("sources") or ()),
    )
    lists = {"answers": preset.answers, "goes_wrong": preset.goes_wrong, "not_for": preset.not_for}
    faults += [f"{name}.{key}: empty" for key, values in {**lists, "sources": preset.sources}.items() if not values]
    faults += [f"{name}.sources: unknown source '{source}'" for source in preset.sources if not _known(source)]
    faults += [f"{name}: {problem.message}" for problem in contradictions(preset.facts())]
    return preset


def _answers(name: str, raw: Mapping[str, Any], faults: list[str]) -> Iterator[Answer]:
    """The answers that can be used; what is wrong with the others is added to `faults`."""
    specs = load_vocabulary()
    for fact, body in raw.items():
        where = f"{name}.answers.{fact}"
        if fact not in specs:
            faults.append(f"{where}: unknown fact{did_you_mean(fact, specs)}")
            continue
        if not isinstance(body, Mapping) or "value" not in body or set(body) - {"value", "why", "named"}:
            faults.append(f"{where}: expected value and why (and named), got {body!r}")
            continue
        why = translated(body.get("why"), f"{where}.why", faults)
        if wrong := wrong_value(specs[fact], body["value"]):
            faults.append(f"{where}: {wrong['en']}")
            continue
        yield Answer(fact, body["value"], why, body.get("named") is True)


def _remarks(name: str, key: str, raw: Mapping[str, Any], faults: list[str]) -> tuple[Remark, ...]:
    found = []
    for number, body in enumerate(raw.get(key) or (), 1):
        where = f"{name}.{key}[{number}]"
        words = {lang: said for lang, said in body.items() if lang != "source"}
        source = str(body.get("source", ""))
        if source and not _known(source):
            faults.append(f"{where}: unknown source '{source}'")
        found.append(Remark(translated(words, where, faults), source))
    return tuple(found)


def _known(source: str) -> bool:
    return source in read_knowledge("sources.yaml")["sources"]
