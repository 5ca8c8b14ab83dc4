"""The report's section on a judge: its score, and how far people agree with it. The sentences are the screen's too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor import formats, words
from advisor.report.blocks import Block, Bullets, Prose
from advisor.texts import say

if TYPE_CHECKING:
    from executors.base import Score
    from executors.judging import Agreement, JudgeRecord


def section(record: JudgeRecord | None, run: str, lang: str) -> list[Block]:
    if record is None:
        return []
    told = [Prose(say("judge.title", lang, model=record.params.model), "label")]
    told += [Prose(line, tone) for line, tone in lines(record, run, lang)]
    notes = tuple(note[lang] for note in record.notes)
    return [*told, Bullets(notes)] if notes else [*told]


def lines(record: JudgeRecord, run: str, lang: str) -> list[tuple[str, str]]:
    """Each sentence with its tone; the figures of a judge first, then what speaks for or against it."""
    if record.score is None:
        return [(say("judge.no_score", lang, rows=record.rows), "bad")]
    metric = words.label("metric", record.metric, lang)
    counts = {"judged": record.judged, "rows": record.rows, "grade": f"{1 + 4 * record.score.value:.1f}"}
    found = [(say(f"judge.{record.params.form}", lang, **counts, **_figures(record.score)), "lead")]
    if record.unreadable:
        found.append((say("judge.unreadable", lang, count=record.unreadable), "warn"))
    if record.turned:
        found.append((say("judge.turned", lang, count=record.turned, judged=record.judged), ""))
    if record.agreement is None:
        found.append((say("judge.unlabelled", lang, run=run), "warn"))
    else:
        found.append(_agreed(record.agreement, lang))
    found += [(say("judge.itself", lang), "warn")] if record.itself else []
    return [*found, (say("judge.decides_not", lang, metric=metric), "")]


def _agreed(agreement: Agreement, lang: str) -> tuple[str, str]:
    from executors.judging import BOUND

    if agreement.kappa is None:
        return say("judge.untold", lang, n=agreement.n), "warn"
    told = say("judge.kappa", lang, n=agreement.n, **_figures(agreement.kappa))
    if agreement.spearman:
        told = say("judge.spearman", lang, kappa=told, **_figures(agreement.spearman))
    strength = agreement.strength
    tone = {"enough": "good", "below": "bad"}.get(strength, "warn")
    return say(f"judge.{strength}", lang, agreed=told, bound=f"{BOUND:g}"), tone


def _figures(score: Score) -> dict[str, str]:
    return {name: formats.score(getattr(score, name)) for name in ("value", "low", "high")}
