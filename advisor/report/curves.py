"""The report's section on published learning curves: for classification only, known or assumed."""

from __future__ import annotations

from collections.abc import Iterable

from advisor import formats, words
from advisor.curves import METHODS, TUNING, Comparison, Crossing, Reading, compare, line
from advisor.decision import Decision
from advisor.report.blocks import Block, Bullets, Cell, Lines, Prose, Table
from advisor.report.lines import RIGHT, TOP, Box, Curve, Scale, draw, text_width
from advisor.texts import say

CAVEATS = ("encoder", "retrieved", "models", "tuned", "test", "accuracy")
RESTS_ON = ("task", "labelled_examples", "classes")
AXIS_END = 10_000  # the axis reaches at least so far
MARK_GAP = 6


def section(decision: Decision, lang: str) -> list[Block]:
    """What in-context learning and fine-tuning reached in publications, at this decision's labels and classes."""
    compared = comparisons(decision)
    if not compared:
        return []
    nearest = compared[0]
    blocks: list[Block] = [Prose(say("curves.lead", lang), "lead"), *_doubts(decision, nearest, lang)]
    blocks.append(_drawing(nearest, lang))
    for comparison in compared:
        blocks += [Prose(_dataset(comparison, lang), "label"), _table(comparison, lang)]
    caveats = tuple(say(f"curves.caveat_{name}", lang) for name in CAVEATS)
    return [*blocks, Prose(say("curves.caveats", lang), "label"), Bullets(caveats)]


def comparisons(decision: Decision) -> tuple[Comparison, ...]:
    """The nearest data sets, read at the decision's number of labels; none for another task than classification."""
    facts = decision.facts
    if not set(RESTS_ON) <= set(facts) or facts["task"].value != "classification":
        return ()
    return compare(int(facts["labelled_examples"].value), int(facts["classes"].value))


def in_brief(decision: Decision, lang: str) -> list[str]:
    """The same in two lines, for a terminal."""
    compared = comparisons(decision)
    if not compared:
        return []
    nearest = compared[0]
    counted = formats.compact(nearest.labels, lang)
    read = _listed((_brief(method, nearest, lang) for method in METHODS if method in nearest.readings), lang)
    key = "curves.brief" if read else "curves.brief_unmeasured"
    told = [say(key, lang, dataset=_dataset(nearest, lang), labels=counted, readings=read)]
    crossings = (_crossed(nearest.crossings[method], lang) for method in METHODS if method != TUNING)
    return [*told, say("curves.brief_crossings", lang, crossings=_listed(crossings, lang))]


def _brief(method: str, comparison: Comparison, lang: str) -> str:
    mean = formats.percent(comparison.readings[method].mean, lang)
    return say("curves.brief_reading", lang, method=_name(method, lang), mean=mean)


def _crossed(crossing: Crossing, lang: str) -> str:
    key = "curves.brief_never" if crossing.at is None else "curves.brief_from"
    counted = formats.number(crossing.until) if crossing.at is None else _about(crossing.at)
    return say(key, lang, method=_name(crossing.method, lang), examples=counted)


def _listed(parts: Iterable[str], lang: str) -> str:
    return say("curves.and", lang).join(parts)


def _doubts(decision: Decision, nearest: Comparison, lang: str) -> list[Block]:
    """What makes the figures less than the user's own case."""
    told = []
    facts = (name for name in RESTS_ON if decision.facts[name].origin == "assumed")
    names = say("word.comma", lang).join(words.fact_name(name, lang) for name in facts)
    if names:
        told.append(say("curves.assumed", lang, facts=names))
    if nearest.far:
        classes = words.value_text("classes", decision.facts["classes"].value, lang)
        told.append(say("curves.far", lang, near=nearest.study.classes, classes=classes))
    return [Prose(text, "warn") for text in told]


def _dataset(comparison: Comparison, lang: str) -> str:
    return say(f"curves.{comparison.study.dataset}", lang, classes=comparison.study.classes)


def _name(method: str, lang: str) -> str:
    return say(f"curves.{method}", lang)


def _about(examples: float) -> str:
    """Two digits for what was interpolated."""
    return formats.span(examples, examples)


# -- the table -----------------------------------------------------------------------------------------


def _table(comparison: Comparison, lang: str) -> Table:
    labels = formats.compact(comparison.labels, lang)
    head = (
        say("report.method", lang),
        say("curves.at", lang, labels=labels),
        say("curves.spread", lang),
        say("curves.range", lang),
        say("curves.overtaken", lang),
    )
    rows = tuple(_row(comparison, method, lang) for method in METHODS)
    return Table(say("curves.table", lang, dataset=_dataset(comparison, lang)), head, rows)


def _row(comparison: Comparison, method: str, lang: str) -> tuple[Cell, ...]:
    study = comparison.study
    first, last = (formats.number(end) for end in study.range(method))
    note = say("curves.pool", lang, rows=formats.number(study.train_rows)) if method == "icl_retrieved" else ""
    reading = comparison.readings.get(method)
    mean = formats.percent(reading.mean, lang) if reading else _unmeasured(comparison, method, lang)
    overtaken = Cell("–")
    if method in comparison.crossings:
        overtaken = _overtaken(comparison.crossings[method], study.range(TUNING)[1], lang)
    return (
        Cell(_name(method, lang), note=note),
        Cell(mean, tone="strong" if reading else ""),
        Cell(_spread(reading, lang) if reading else "–"),
        Cell(f"{first} – {last}"),
        overtaken,
    )


def _unmeasured(comparison: Comparison, method: str, lang: str) -> str:
    first, last = comparison.study.range(method)
    key, end = ("curves.below", first) if comparison.labels < first else ("curves.beyond", last)
    return say(key, lang, examples=formats.number(end))


def _spread(reading: Reading, lang: str) -> str:
    low, high = formats.percent(reading.low, lang), formats.percent(reading.high, lang)
    key = "curves.spread_runs" if reading.models == 1 else "curves.spread_models"
    return say(key, lang, low=low, high=high, models=reading.models)


def _overtaken(crossing: Crossing, tuned_until: int, lang: str) -> Cell:
    if crossing.at is not None:
        return Cell(say("curves.from", lang, examples=_about(crossing.at)), tone="strong")
    best = formats.percent(crossing.best, lang)
    if crossing.matched is None:
        note = say("curves.unmatched", lang, best=best, examples=formats.number(tuned_until))
    else:
        note = say("curves.matched", lang, best=best, examples=_about(crossing.matched))
    return Cell(say("curves.never", lang, examples=formats.number(crossing.until)), note=note)


# -- the drawing ---------------------------------------------------------------------------------------


def _drawing(comparison: Comparison, lang: str) -> Lines:
    study = comparison.study
    scale = Scale(max(AXIS_END, *(study.range(method)[1] for method in METHODS)))
    curves = [
        Curve(_name(method, lang), method, [(r.examples, r.mean, r.low, r.high) for r in line(study, method)])
        for method in METHODS
    ]
    labels = comparison.labels
    at = scale.x(min(labels, scale.most)) if labels >= 1 else None
    counted = formats.compact(labels, lang)
    mark = say("curves.mark_beyond" if labels > scale.most else "curves.mark", lang, labels=counted)
    wide = text_width(mark)
    turned = at is not None and at + MARK_GAP + wide > RIGHT  # no room to the right of the mark
    taken = [Box(at - (wide if turned else 0), TOP, wide + 2 * MARK_GAP)] if at is not None else []
    return Lines(
        title=say("curves.drawing", lang, dataset=_dataset(comparison, lang)),
        alt=" ".join([*(_alt(comparison, method, lang) for method in METHODS), mark if at else ""]).strip(),
        caption=say("curves.caption", lang, dataset=_dataset(comparison, lang)),
        across=say("curves.across", lang),
        upwards=say("curves.upwards", lang),
        series=draw(curves, scale, taken),
        x_ticks=tuple((scale.x(count), formats.number(count)) for count in scale.decades()),
        y_ticks=tuple((scale.y(n / 4), formats.percent(n / 4, lang)) for n in range(5)),
        mark=at,
        mark_label=mark,
        mark_turned=turned,
        dots=tuple((scale.x(r.examples), scale.y(r.mean), name) for name, r in comparison.readings.items()),
    )


def _alt(comparison: Comparison, method: str, lang: str) -> str:
    """A curve in a sentence: where it begins and where it ends."""
    ends = line(comparison.study, method)
    said = {
        "method": _name(method, lang),
        "first": formats.number(ends[0].examples),
        "start": formats.percent(ends[0].mean, lang),
        "last": formats.number(ends[-1].examples),
        "end": formats.percent(ends[-1].mean, lang),
    }
    return say("curves.alt", lang, **said)
