"""A decision's inputs measured again: what is known today, and what could not be measured any more.

What was asked is kept, and told where it is now measured otherwise; what was measured is renewed. Prices are not facts:
see `compare`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from advisor import words
from advisor.decision import Decision, Inputs
from advisor.facts import Fact, Facts
from advisor.profile import measure
from advisor.revisit import known_facts, profile_warnings
from advisor.texts import LANGUAGES, text
from executors.base import Reporter, Text, UserError, silent

ROWS = ("data", "test", "columns")  # inputs that are measured together
MACHINE = ("gpu_memory_gb", "gpu_count")


@dataclass(frozen=True)
class Remeasured:
    """What is known today; `lost` says what could not be measured, `differing` what was said and measures otherwise."""

    facts: Facts
    warnings: tuple[Text, ...]
    lost: tuple[Text, ...] = ()
    differing: tuple[Text, ...] = ()
    kept: tuple[str, ...] = ()  # facts that were measured then and not now


def remeasure(decision: Decision, report: Reporter = silent) -> Remeasured:
    """Measure the inputs of a decision again. Inputs that are gone or unusable are told of, not raised for."""
    known = known_facts(decision)
    asked = Facts({name: fact for name, fact in known.items() if fact.origin == "asked"})
    inputs, lost = _present(decision.inputs)
    if inputs == Inputs() and not any(name in known and name not in asked for name in MACHINE):
        return Remeasured(known, profile_warnings(decision), lost, kept=_left(known, Facts()))
    measured, warnings, unusable = _measure(inputs, asked, report)
    renewed = known.with_(*(fact for name, fact in measured.items() if name not in asked))
    differing = tuple(
        _differing(asked[name], fact, decision.run) for name, fact in measured.items() if _differs(name, fact, asked)
    )
    return Remeasured(renewed, warnings, (*lost, *unusable), differing, _left(known, measured))


def _present(inputs: Inputs) -> tuple[Inputs, tuple[Text, ...]]:
    """The inputs that are still there, and what is said of the others."""
    gone = [name for name in ("data", "test", "docs") if (path := getattr(inputs, name)) and not Path(path).exists()]
    told = tuple(text("compare.missing", option=f"--{name}", path=getattr(inputs, name)) for name in gone)
    if {"data", "test"} & {*gone}:
        inputs = dataclasses.replace(inputs, data=None, test=None)
    return (dataclasses.replace(inputs, docs=None) if "docs" in gone else inputs), told


def _measure(inputs: Inputs, asked: Facts, report: Reporter) -> tuple[Facts, tuple[Text, ...], tuple[Text, ...]]:
    """Facts, warnings, and what could not be measured: where one input is unusable, the others are measured alone."""
    try:
        profile = measure(inputs, asked, report)
        return profile.facts, profile.warnings, ()
    except UserError as error:
        parts = _parts(inputs)
        if len(parts) <= 1:
            return Facts(), (), tuple(_unusable(option, error) for option in parts)
    found = [_measure(part, asked, report) for part in parts.values()]
    facts = Facts().with_(*(fact for measured, _, _ in found for fact in measured.values()))
    warnings = tuple(warning for _, warned, _ in found for warning in warned)
    return facts, warnings, tuple(told for _, _, lost in found for told in lost)


def _parts(inputs: Inputs) -> dict[str, Inputs]:
    """Each input alone, by the option that gives it."""
    rows = Inputs(**{name: getattr(inputs, name) for name in ROWS}, embedder=inputs.embedder)
    parts = {"--data": rows, "--docs": Inputs(docs=inputs.docs), "--model": Inputs(model=inputs.model)}
    given = {"--data": inputs.data, "--docs": inputs.docs, "--model": inputs.model}
    return {option: part for option, part in parts.items() if given[option]}


def _unusable(option: str, error: UserError) -> Text:
    return text("compare.unreadable", option=option, why={lang: error.told(lang).message for lang in LANGUAGES})


def _differs(name: str, fact: Fact, asked: Facts) -> bool:
    return name in asked and asked[name].value != fact.value


def _differing(said: Fact, measured: Fact, run: str) -> Text:
    values = {
        name: {lang: words.value_text(said.id, fact.value, lang) for lang in LANGUAGES}
        for name, fact in (("asked", said), ("measured", measured))
    }
    named = {lang: words.fact_name(said.id, lang) for lang in LANGUAGES}
    value = str(measured.value).lower() if isinstance(measured.value, bool) else measured.value
    return text("compare.kept_answer", fact=named, id=said.id, value=value, run=run, **values)


def _left(known: Facts, measured: Facts) -> tuple[str, ...]:
    return tuple(name for name, fact in known.items() if fact.origin == "measured" and name not in measured)
