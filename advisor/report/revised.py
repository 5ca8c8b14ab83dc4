"""The report's section on what a race makes of the decision: before and after, measured facts, contradicted rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from advisor import formats, words
from advisor.decision import Confidence, Decision
from advisor.facts import Fact
from advisor.prove.revision import Contradiction, Revision
from advisor.report.blocks import Block, Cell, Prose, Table
from advisor.report.prove import told_p, told_signed
from advisor.sources import link, source
from advisor.texts import say


@dataclass(frozen=True)
class Sentences:
    """What a revision tells, apart: whether the recommendation moves, and what was measured."""

    verdict: tuple[str, ...]
    found: tuple[str, ...]


def sentences(revision: Revision, lang: str) -> Sentences:
    """`told` is what was found, what was overruled, the verdict, and the contradictions, in that order."""
    said = {fact.id for fact in revision.before.facts.values() if fact.origin == "asked"}
    found = sum(fact.id not in said for fact in revision.facts)
    told = [one[lang] for one in revision.told]
    start, end = found + len(revision.overruled), len(told) - len(revision.contradictions)
    return Sentences(tuple(told[start:end]), tuple(told[:found]))


def section(revision: Revision | None, lang: str) -> list[Block]:
    """Whether the recommendation stands, the two side by side, and what speaks against it."""
    if revision is None:
        return []
    verdict = sentences(revision, lang).verdict
    alone = len(verdict) == 1  # else the race speaks for another method, or for none
    tone = "good" if revision.difference.stands and alone and not revision.contradictions else "warn"
    blocks: list[Block] = [Prose(told, tone if n == 0 else "") for n, told in enumerate(verdict)]
    blocks.append(_beside(revision, lang))
    if revision.facts:
        title = say("prove.measured_facts", lang)
        blocks += [Prose(title, "label"), _facts(revision, title, lang)]
    blocks += [Prose(one[lang], "warn") for one in revision.overruled]
    if revision.contradictions:
        title = say("prove.contradicted", lang)
        lead = Prose(say("prove.contradicted_lead", lang))
        blocks += [Prose(title, "label"), lead, _contradictions(revision.contradictions, title, lang)]
    return blocks


def _beside(revision: Revision, lang: str) -> Table:
    """The two decisions; of verdicts and steps only what moved."""
    before, after, difference = revision.before, revision.after, revision.difference
    rows = [
        _both("recommended", _methods(before, lang), _methods(after, lang), lang),
        _both("sure", *_sure(difference.confidence, lang), lang),
    ]
    if difference.parting:
        one, other = difference.parting.before, difference.parting.after
        rows.append((Cell(one.text[lang]), Cell(one.answer[lang]), Cell(other.answer[lang], note=other.why[lang])))
    for verdict in difference.verdicts:
        told = (words.label("verdict", ranked.verdict, lang) for ranked in (verdict.before, verdict.after))
        rows.append((Cell(words.method_name(verdict.method, lang)), *(Cell(text) for text in told)))
    head = (say("report.item", lang), say("prove.before", lang), say("prove.after", lang))
    return Table(say("prove.beside", lang), head, tuple(rows))


def _both(name: str, before: str, after: str, lang: str) -> tuple[Cell, ...]:
    return Cell(say(f"prove.beside_{name}", lang)), Cell(before), Cell(after, tone="strong")


def _sure(both: tuple[Confidence, Confidence], lang: str) -> tuple[str, str]:
    return formats.percent(both[0].level, lang), formats.percent(both[1].level, lang)


def _methods(decision: Decision, lang: str) -> str:
    return words.methods_name(decision.methods, lang)


def _facts(revision: Revision, title: str, lang: str) -> Table:
    head = tuple(say(key, lang) for key in ("report.fact", "prove.before", "prove.measured", "report.evidence"))
    return Table(title, head, tuple(_fact(one, revision.before, lang) for one in revision.facts))


def _fact(fact: Fact, before: Decision, lang: str) -> tuple[Cell, ...]:
    earlier = before.facts.get(fact.id)
    was = words.value_text(fact.id, earlier.value, lang) if earlier else "–"
    origin = words.label("origin", earlier.origin, lang) if earlier else ""
    return (
        Cell(words.fact_name(fact.id, lang)),
        Cell(was, note=origin),
        Cell(words.value_text(fact.id, fact.value, lang), tone="strong"),
        Cell(fact.evidence.get(lang, "")),
    )


def _contradictions(found: Sequence[Contradiction], title: str, lang: str) -> Table:
    head = tuple(say(f"prove.{name}", lang) for name in ("rule", "rule_source", "rule_measured", "adjusted"))
    return Table(title, head, tuple(_contradiction(one, lang) for one in found))


def _contradiction(one: Contradiction, lang: str) -> tuple[Cell, ...]:
    card = source(one.source)
    named = str(card.get("title", one.source)) if card else one.source
    names = (words.method_name(name, lang) for name in (one.one, one.other))
    return (
        Cell(one.rule[lang]),
        Cell(named or "–", note=words.label("strength", one.strength, lang), href=link(one.source) if card else ""),
        Cell(say("prove.over", lang, one=next(names), other=next(names)), note=told_signed(one.difference)),
        Cell(told_p(one.p, lang)),
    )
