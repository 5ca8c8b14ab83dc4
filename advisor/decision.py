"""Decision: what is recommended and everything it rests on. Pure data and pure functions.

The chart says which methods; here is what a person needs to trust it: the path with its sources, a verdict on every
method with its sums, what would flip it, how sure it is. The steps to take from it are in `ladder`.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from advisor import words
from advisor.advice.forms import variants
from advisor.advice.risks import risks
from advisor.cards import METHODS, Card, Need, load_cards, why_not
from advisor.conditions import Value
from advisor.facts import Assuming, Fact, Facts, assume, load_vocabulary
from advisor.flowchart import Outcome, Question, Taken, load_chart, walk
from advisor.moves import Move, Mover, all_moves, next_question, relevant
from advisor.texts import LANGUAGES, text
from executors.base import SCHEMA_VERSION, Text

__all__ = ["Decision", "Inputs", "Question", "decide", "next_question", "read_decision"]

Verdict = Literal["recommended", "viable", "not_yet", "vetoed"]

SUREST = 0.95  # no advice is certain before it is measured
WEAK_EDGE = 0.92  # factor for each step that rests on a rule of thumb
UNKNOWN = 0.998  # factor for each fact that is merely unknown, whatever follows from it
LEVELS = ((0.7, "high"), (0.45, "fair"), (0.0, "low"))


@dataclass(frozen=True)
class Step:
    """One edge of the chart as it was walked: what was asked or tested, what held, and why that matters."""

    node: str
    text: Text  # the question or test
    answer: Text  # the branch taken, in words
    why: Text
    source: str  # an id of knowledge/sources.yaml
    strength: str  # strong | moderate | weak
    facts: tuple[str, ...]  # the facts this step looked at
    assumed: bool = False  # the branch rests on an assumed fact


@dataclass(frozen=True)
class Ranked:
    """One method's verdict. `sum` is the arithmetic of a veto; `missing` what a `not_yet` waits for."""

    method: str
    verdict: Verdict
    why: Text
    sum: str = ""
    missing: tuple[Text, ...] = ()
    source: str = ""


@dataclass(frozen=True)
class Flip:
    """One changed fact that changes the methods. For numbers `to` is the threshold, found by search."""

    fact: str
    now: Value | None
    to: Value
    methods: tuple[str, ...]
    text: Text
    side: str = ""  # of a number: at_least | at_most `to`; empty for an option, and where knowing `now` is the change


@dataclass(frozen=True)
class Rung:
    """One step of the way to the target: what to do, when to stop there, what it costs, and the command."""

    text: Text
    gate: Text
    cost: Text
    command: str
    method: str = ""  # whose quote is its cost; empty where the cost is a person's time
    runs: str = ""  # the method that the command runs: `method`, or the nearest to it that this version has


@dataclass(frozen=True)
class Confidence:
    """How sure the decision is, from 0 to 1, and the assumed facts that lower it (most telling first)."""

    level: float
    assumed: tuple[str, ...]
    find_out_first: str | None
    text: Text


@dataclass(frozen=True)
class Inputs:
    """What the user pointed at. Paths as given; None where nothing was."""

    data: str | None = None
    test: str | None = None
    docs: str | None = None
    model: str | None = None
    embedder: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """The recommendation. `methods` has one element for a pure method, more for a hybrid."""

    run: str
    methods: tuple[str, ...]
    variant: str  # the form of the first method, e.g. few_shot, lora; empty where there is only one
    summary: Text
    path: tuple[Step, ...]
    ranking: tuple[Ranked, ...]
    vetoes: tuple[Ranked, ...]
    flips: tuple[Flip, ...]
    ladder: tuple[Rung, ...]
    confidence: Confidence
    facts: Mapping[str, Fact]
    warnings: tuple[Text, ...] = ()
    risks: tuple[Text, ...] = ()
    quote: Mapping[str, Any] = field(default_factory=dict)
    inputs: Inputs = field(default_factory=Inputs)
    sources: tuple[str, ...] = ()
    created: str = ""  # ISO 8601, UTC
    variants: Mapping[str, str] = field(default_factory=dict)  # of every recommended method that has forms
    schema_version: int = SCHEMA_VERSION


def decide(facts: Facts, run: str = "", inputs: Inputs | None = None, created: str | None = None) -> Decision:
    """The recommendation that follows from `facts`. What is unknown is assumed and said.

    `quote` is left empty: what it costs is worked out beside it. `created` is now where it is not given.
    """
    from advisor.advice import ladder, warnings  # they build the records defined here

    inputs = inputs or Inputs()
    believed = facts.believed()
    filled = assume(facts)
    presumed = facts.presumed()
    view = Assuming(believed, presumed=presumed)
    outcome = walk(load_chart(), view)
    assert isinstance(outcome, Outcome)  # an assuming view leaves nothing open
    ranking = _ranking(outcome, view)
    moves = all_moves(believed, presumed)
    forms = variants(outcome.methods, view)
    path = tuple(_step(taken, filled) for taken in outcome.path)
    return Decision(
        run=run,
        methods=outcome.methods,
        variant=forms.get(outcome.methods[0], ""),
        summary=_summary(outcome),
        path=path,
        ranking=_nearest_first(ranking, moves),
        vetoes=tuple(ranked for ranked in ranking if ranked.verdict == "vetoed"),
        flips=tuple(_flip(move, filled) for move in moves),
        ladder=ladder.ladder(outcome.methods, view, filled, run, inputs, moves),
        confidence=_confidence(path, filled, Mover(believed, presumed)),
        facts=dict(filled),
        warnings=warnings.warnings(outcome.methods, filled),
        risks=risks(outcome.methods),
        inputs=inputs,
        sources=_sources(path, ranking, outcome.methods, forms),
        created=created or datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        variants=forms,
    )


# -- the path ----------------------------------------------------------------------------------------


def _step(taken: Taken, filled: Mapping[str, Fact]) -> Step:
    node, edge = taken.node, taken.edge
    answer = edge.answer if node.kind == "test" else in_words(node.fact, filled[node.fact].value)
    seen = tuple(name for name in taken.facts if name in filled)
    return Step(
        node=node.id,
        text=node.text,
        answer=answer,
        why=edge.why,
        source=edge.source,
        strength=edge.strength,
        facts=seen,
        assumed=any(filled[name].origin == "assumed" for name in seen),
    )


def in_words(fact: str, value: Value | None) -> Text:
    """A fact's value in every language."""
    return {lang: words.value_text(fact, value, lang) for lang in LANGUAGES}


def methods_in_words(methods: Iterable[str]) -> Text:
    """The methods of a recommendation in every language."""
    named = tuple(methods)
    return {lang: words.methods_name(named, lang) for lang in LANGUAGES}


def _summary(outcome: Outcome) -> Text:
    """The methods, and why each: the reasons of the edges that added them, or of the last edge."""
    adding = [taken.edge.why for taken in outcome.path if taken.edge.add] or [outcome.path[-1].edge.why]
    reasons = {lang: ("" if lang == "zh" else " ").join(why[lang] for why in adding) for lang in LANGUAGES}
    return text("decision.summary", methods=methods_in_words(outcome.methods), why=reasons)


def _sources(
    path: Sequence[Step], ranking: Sequence[Ranked], methods: Sequence[str], forms: Mapping[str, str]
) -> tuple[str, ...]:
    """Every source the decision rests on: of the path, the verdicts, and the recommended cards in their forms."""
    named = [step.source for step in path] + [ranked.source for ranked in ranking if ranked.source]
    named += [source for method in methods for source in load_cards()[method].sources]
    named += [source for method, form in forms.items() for source in load_cards()[method].variants[form].sources]
    return tuple(dict.fromkeys(named))


# -- verdicts ----------------------------------------------------------------------------------------


def _ranking(outcome: Outcome, view: Assuming) -> tuple[Ranked, ...]:
    """A verdict for every method of the schema: the recommended, the viable, those not yet, and the vetoed."""
    verdicts = [_verdict(load_cards()[method], outcome, view) for method in METHODS]
    order: tuple[Verdict, ...] = ("recommended", "viable", "not_yet", "vetoed")
    return tuple(sorted(verdicts, key=lambda ranked: order.index(ranked.verdict)))


def _verdict(card: Card, outcome: Outcome, view: Assuming) -> Ranked:
    if card.name in outcome.methods:
        edge = next((t.edge for t in outcome.path if card.name in t.edge.add), outcome.path[-1].edge)
        return Ranked(card.name, "recommended", edge.why, source=edge.source)
    failing = [need for need in card.needs if need.that.holds(view) is False]
    hard = [need for need in failing if need.verdict == "vetoed" and _all_known(need, view)]
    if hard:
        return Ranked(card.name, "vetoed", hard[0].why, sum=why_not(hard[0].that, view), source=hard[0].source)
    if failing:
        missing = tuple(need.why for need in failing)
        total, source = why_not(failing[0].that, view), failing[0].source
        return Ranked(card.name, "not_yet", missing[0], sum=total, missing=missing, source=source)
    source = card.sources[0] if card.sources else ""
    return Ranked(card.name, "viable", text("decision.viable", when=card.when), source=source)


def _all_known(need: Need, view: Assuming) -> bool:
    """Whether a veto rests on nothing assumed: what is unknown never rules a method out."""
    return all(view.known(name) for name in need.that.support(view))


def _nearest_first(ranking: Sequence[Ranked], moves: Sequence[Move]) -> tuple[Ranked, ...]:
    """The ranking with its viable methods in the order in which a changed fact would bring them up."""
    nearest: dict[str, int] = {}
    for rank, move in enumerate(moves):
        for method in move.methods:
            nearest.setdefault(method, rank)
    viable = sorted(
        (ranked for ranked in ranking if ranked.verdict == "viable"),
        key=lambda ranked: (nearest.get(ranked.method, len(moves)), METHODS.index(ranked.method)),
    )
    others = [ranked for ranked in ranking if ranked.verdict != "viable"]
    chosen = [ranked for ranked in others if ranked.verdict == "recommended"]
    return (*chosen, *viable, *(ranked for ranked in others if ranked.verdict != "recommended"))


# -- flips and confidence ----------------------------------------------------------------------------


def _flip(move: Move, filled: Mapping[str, Fact]) -> Flip:
    numeric = load_vocabulary()[move.fact].type in ("integer", "number")
    side = ("at_least" if move.direction > 0 else "at_most") if numeric and move.direction else ""
    key = "known" if not move.direction else {"at_least": "up", "at_most": "down"}.get(side, "option")
    assumed = move.fact in filled and filled[move.fact].origin == "assumed"
    told = text(
        f"decision.flip_{key}",
        fact={lang: words.fact_name(move.fact, lang) for lang in LANGUAGES},
        to=in_words(move.fact, move.value),
        now=text("decision.now_assumed" if assumed else "decision.now", value=in_words(move.fact, move.now)),
        methods=methods_in_words(move.methods),
    )
    return Flip(move.fact, move.now, move.value, move.methods, told, side)


def _confidence(path: Sequence[Step], filled: Mapping[str, Fact], mover: Mover) -> Confidence:
    """The chance that no assumption is wrong in a way that changes the methods, less for steps by rule of thumb.

    For each assumed fact: how doubtful its assumption is, times how much another answer would change.
    """
    specs = load_vocabulary()
    unknown = [name for name in filled if name not in mover.believed]
    stakes = {name: specs[name].doubt * mover.change(specs[name]) for name in relevant() if name in unknown}
    level = SUREST * WEAK_EDGE ** sum(step.strength == "weak" for step in path) * UNKNOWN ** len(unknown)
    for stake in stakes.values():
        level *= 1 - stake
    telling = sorted((name for name in stakes if stakes[name]), key=lambda name: -stakes[name])
    quiet = [name for step in path for name in step.facts if name in stakes and name not in telling]
    assumed = (*telling, *dict.fromkeys(quiet))
    name = next(name for least, name in LEVELS if level >= least)
    told = text(f"decision.sure_{name}", count=len(assumed)) if assumed else text("decision.sure_known")
    return Confidence(round(level, 3), assumed, telling[0] if telling else None, told)


# -- reading it back ---------------------------------------------------------------------------------


def read_decision(path: Path) -> Decision:
    """The decision that `to_dict` wrote. Raises `json.JSONDecodeError`, `KeyError` or `TypeError` for anything else."""
    return decision_of(json.loads(path.read_text(encoding="utf-8")))


def decision_of(raw: Mapping[str, Any]) -> Decision:
    """The decision that `to_dict` made plain. Raises `KeyError` or `TypeError` for anything else."""
    lists: dict[str, Callable[[dict[str, Any]], Any]] = {
        "path": lambda v: Step(**{**v, "facts": tuple(v["facts"])}),
        "ranking": _read_ranked,
        "vetoes": _read_ranked,
        "flips": lambda v: Flip(**{**v, "methods": tuple(v["methods"])}),
        "ladder": lambda v: Rung(**v),
    }
    plain = {name: tuple(raw[name]) for name in ("methods", "warnings", "risks", "sources")}
    confidence = {**raw["confidence"], "assumed": tuple(raw["confidence"]["assumed"])}
    return Decision(
        **{
            **raw,
            **plain,
            **{name: tuple(build(value) for value in raw[name]) for name, build in lists.items()},
            "confidence": Confidence(**confidence),
            "facts": {name: Fact(**fact) for name, fact in raw["facts"].items()},
            "inputs": Inputs(**raw["inputs"]),
        }
    )


def _read_ranked(raw: Mapping[str, Any]) -> Ranked:
    return Ranked(**{**raw, "missing": tuple(raw["missing"])})
