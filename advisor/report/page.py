"""The report as a page of plain blocks, in one language. Pure: records in, values out; templates only lay them out."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import executors
from advisor import formats, words
from advisor.cards import Variant, load_cards
from advisor.decision import Decision, Flip, Ranked
from advisor.prove.until import Climb
from advisor.report import (
    advised,
    bars,
    chain,
    climbed,
    curves,
    failing,
    judged,
    learning,
    prove,
    quadrants,
    revised,
    search,
    training,
    triage,
)
from advisor.report.blocks import (
    Block,
    Bullets,
    Cell,
    Chart,
    Command,
    Page,
    Prose,
    Section,
    Table,
    Tile,
)
from advisor.report.path import path
from advisor.sources import link, source
from advisor.texts import say
from executors import EXECUTORS
from executors.base import Result, Score, Text, to_dict

if TYPE_CHECKING:
    from executors.judging import JudgeRecord


def make_page(
    decision: Decision,
    result: Result | None,
    floor: Result | None,
    lang: str,
    searched: Mapping[str, Any] | None = None,
    triaged: Mapping[str, Any] | None = None,
    stages: Mapping[str, Any] | None = None,
    trained: training.Training | None = None,
    proved: prove.Proved | None = None,
    climb: Climb | None = None,
    judgement: JudgeRecord | None = None,
) -> Page:
    """Everything the report says, in reading order; sections with nothing in them are left out."""
    builders = (
        ("climbed", lambda: climbed.section(climb, lang)),
        ("raced", lambda: prove.section(proved, decision.run, lang)),
        ("revised", lambda: revised.section(proved.revision if proved else None, lang)),
        ("learnt", lambda: learning.section(proved.race if proved else None, lang)),
        ("failing", lambda: failing.section(proved.failures if proved else None, lang)),
        ("measured", lambda: _measured(result, floor, lang)),
        ("judged", lambda: judged.section(judgement, decision.run, lang)),
        ("chain", lambda: chain.section(stages, lang)),
        ("triage", lambda: triage.section(triaged, lang)),
        ("training", lambda: training.section(trained, lang)),
        (search.SECTIONS.get(search.subject(searched), "search"), lambda: search.section(searched, lang)),
        ("warnings", lambda: _bullets(decision.warnings, lang)),
        ("path", lambda: path(decision, lang)),
        ("recommended", lambda: _methods(decision, lang)),
        ("ranking", lambda: [_ranking(decision, lang)]),
        ("flips", lambda: _flips(decision, lang)),
        ("confidence", lambda: _confidence(decision, lang)),
        ("curves", lambda: curves.section(decision, lang)),
        ("quote", lambda: _quote(decision, lang)),
        ("ladder", lambda: _ladder(decision, lang)),
        ("next", lambda: _next(decision, result, advised.advised(decision, proved, climb), lang)),
        ("risks", lambda: _bullets(decision.risks, lang)),
        ("facts", lambda: [_facts(decision, lang)]),
        ("details", lambda: _details(result, lang)),
        ("sources", lambda: _sources(decision, lang)),
    )
    built = ((name, build()) for name, build in builders)
    title, lead = advised.head(decision, proved, climb, lang)
    taken = advised.advised(decision, proved, climb)
    frame = {name: say(f"report.{name}", lang) for name in ("product", "contents", "skip", "footer", "path_assumed")}
    return Page(
        lang=lang,
        title=title,
        kicker=say("report.kicker", lang, run=decision.run, date=decision.created[:16].replace("T", " ")),
        lead=lead,
        tiles=(*prove.tiles(proved, lang), *_tiles(decision, result, floor, taken, lang)),
        sections=tuple(Section(name, say(f"report.{name}", lang), tuple(blocks)) for name, blocks in built if blocks),
        names=frame,
    )


def reason(decision: Decision, lang: str) -> str:
    """The summary without the methods it opens with: they stand above it."""
    told = decision.summary[lang]
    return told.removeprefix(words.methods_name(decision.methods, lang)).lstrip(" .:。：") or told


# -- the head ------------------------------------------------------------------------------------------


def _tiles(decision: Decision, result: Result | None, floor: Result | None, taken: str, lang: str) -> tuple[Tile, ...]:
    """Of what is recommended, or where rows speak for another candidate (`taken`) of that one."""
    level = decision.confidence.level
    tiles = [] if taken else [Tile(say("report.tile_confidence", lang), formats.percent(level, lang), share=level)]
    if result and result.metric in result.scores:
        tiles.insert(0, _score_tile(result, floor, lang))
    quote = decision.quote.get(taken or next(iter(decision.methods), ""))
    if quote:
        figures = words.quote_figures(quote, lang)
        labels = {"hours": "tile_time", "usd": "tile_money", "memory": "tile_memory", "per_1000": "tile_answers"}
        tiles += [Tile(say(f"report.{label}", lang), figures[name]) for name, label in labels.items()]
    return tuple(tiles)


def _score_tile(result: Result, floor: Result | None, lang: str) -> Tile:
    score = result.scores[result.metric]
    beside = floor.scores.get(result.metric) if floor else None
    note = say("report.tile_score_note", lang, floor=formats.score(beside.value)) if beside else ""
    label = say("report.tile_score", lang, metric=words.label("metric", result.metric, lang))
    return Tile(label, formats.score(score.value), note)


# -- what was measured ---------------------------------------------------------------------------------


def _measured(result: Result | None, floor: Result | None, lang: str) -> list[Block]:
    if result is None:
        return []
    if result.status != "done":
        status = words.label("status", result.status, lang)
        told = say("report.unfinished", lang, status=status, error=result.error)
        return [Prose(told.rstrip(), "bad"), Prose(say("report.resume", lang))]
    beside = floor if floor and floor.status == "done" and result.executor != "baseline" else None
    count = result.scores[result.metric].n if result.metric in result.scores else result.rows.get("test", 0)
    blocks: list[Block] = [Prose(say("report.measured_lead", lang, count=count), "lead")]
    if result.rows.get("drafted"):
        blocks.append(Prose(say("report.drafted", lang, drafted=result.rows["drafted"], count=count), "warn"))
    if result.metric in result.scores:
        blocks.append(_chart(result, beside, lang))
    verdict = compare(result, beside)
    if verdict:
        tone = {"above": "good", "below": "bad", "near": "warn"}[verdict]
        method = words.method_name(result.executor, lang)
        blocks.append(Prose(say(f"report.{verdict}_floor", lang, method=method), tone))
    return [*blocks, _scores(result, beside, lang), *training.class_tables(result.classes, lang)]


def compare(result: Result, floor: Result | None) -> str:
    """``above``, ``below`` or ``near``: how the deciding metric's interval lies to the floor's; empty without both."""
    if floor is None or result.metric not in result.scores or result.metric not in floor.scores:
        return ""
    own, other = result.scores[result.metric], floor.scores[result.metric]
    if not higher_is_better(result.metric):
        own, other = other, own
    if own.low > other.high:
        return "above"
    return "below" if own.high < other.low else "near"


def higher_is_better(metric: str) -> bool:
    from executors.metrics import HIGHER_IS_BETTER  # imports numpy: only a page with scores needs it

    return HIGHER_IS_BETTER.get(metric, True)


def _chart(result: Result, floor: Result | None, lang: str) -> Chart:
    entries = [(words.method_name(result.executor, lang), result.scores[result.metric], "own")]
    if floor and result.metric in floor.scores:
        entries.append((say("word.floor", lang), floor.scores[result.metric], "floor"))
    caption = say("report.chart_caption", lang, metric=words.label("metric", result.metric, lang))
    return bars.chart(caption, entries, lang)


def _scores(result: Result, floor: Result | None, lang: str) -> Table:
    head = [say("report.metric", lang), words.method_name(result.executor, lang), say("report.interval", lang)]
    if floor:
        head += [say("word.floor", lang), say("report.interval", lang)]
    rows = []
    for name, score in result.scores.items():
        remarks = [say("report.decides", lang)] if name == result.metric else []
        remarks += [] if higher_is_better(name) else [say("report.lower_better", lang)]
        named = Cell(words.label("metric", name, lang), note=say("word.comma", lang).join(remarks))
        row = [named, *_score_cells(score)]
        rows.append((*row, *_score_cells(floor.scores.get(name))) if floor else tuple(row))
    return Table(say("report.measured", lang), tuple(head), tuple(rows))


def _score_cells(score: Score | None) -> tuple[Cell, Cell]:
    if score is None:
        return Cell("–"), Cell("–")
    ends = f"{formats.score(score.low)} – {formats.score(score.high)}"
    return Cell(formats.score(score.value), tone="strong"), Cell(ends)


# -- why -----------------------------------------------------------------------------------------------


def _methods(decision: Decision, lang: str) -> list[Block]:
    """What the recommended methods are, and how one sees that they fail, from their cards."""
    blocks: list[Block] = []
    for method in decision.methods:
        card = load_cards().get(method)
        if card:
            blocks.append(Prose(f"{card.title[lang]}{say('word.colon', lang)}{card.what[lang]}"))
            form = decision.variants.get(method, "")
            if form in card.variants:
                blocks.append(Prose(_variant(card.variants[form], lang)))
            blocks += _named_bullets("failure_signs", card.failure_signs, lang)
            blocks += _named_bullets("limits", card.limits, lang)
    return blocks + quadrants.blocks(decision, lang)


def _variant(variant: Variant, lang: str) -> str:
    parts = {name: getattr(variant, name)[lang] for name in ("title", "what", "when", "limit")}
    return say("report.variant", lang, **parts)


def _ranking(decision: Decision, lang: str) -> Table:
    head = tuple(say(f"report.{name}", lang) for name in ("method", "verdict", "why"))
    rows = tuple(
        (_method(r.method, lang), _verdict(r, lang), Cell(r.why[lang], note=_remarks(r, lang)))
        for r in decision.ranking
    )
    return Table(say("report.ranking", lang), head, rows)


def _method(method: str, lang: str) -> Cell:
    return Cell(words.method_name(method, lang), tone="strong")


def _verdict(ranked: Ranked, lang: str) -> Cell:
    return Cell(words.label("verdict", ranked.verdict, lang), tone=f"badge {ranked.verdict}")


def _remarks(ranked: Ranked, lang: str) -> str:
    return " · ".join(filter(None, (ranked.sum, further(ranked, lang))))


def further(ranked: Ranked, lang: str) -> str:
    """What a method lacks beyond its first reason; empty where that is all."""
    lacks = [text[lang] for text in ranked.missing if text != ranked.why]
    return say("report.missing", lang, missing=say("word.comma", lang).join(lacks)) if lacks else ""


def _flips(decision: Decision, lang: str) -> list[Block]:
    if not decision.flips:
        return [Prose(say("report.flips_none", lang))]
    head = tuple(say(f"report.{name}", lang) for name in ("fact", "now", "then", "methods_then"))
    alike: dict[tuple[str, tuple[str, ...]], list[Flip]] = {}  # one row for the values of a fact that lead to the same
    for flip in decision.flips:
        alike.setdefault((flip.fact, flip.methods), []).append(flip)
    rows = tuple(
        (
            Cell(words.fact_name(fact, lang), tone="strong"),
            Cell(words.value_text(fact, flips[0].now, lang)),
            Cell("; ".join(_threshold(flip, lang) for flip in flips)),
            Cell(words.methods_name(methods, lang)),
        )
        for (fact, methods), flips in alike.items()
    )
    return [Prose(say("report.flips_lead", lang), "lead"), Table(say("report.flips", lang), head, rows)]


def _threshold(flip: Flip, lang: str) -> str:
    """What a fact would have to be: an option, or a number and all beyond it."""
    value = words.value_text(flip.fact, flip.to, lang)
    sign = {"at_least": "≥ ", "at_most": "≤ "}.get(flip.side, "")
    return f"{sign}{value}"


def _confidence(decision: Decision, lang: str) -> list[Block]:
    confidence = decision.confidence
    blocks: list[Block] = [Prose(confidence.text[lang])]
    if confidence.find_out_first:
        fact = words.fact_name(confidence.find_out_first, lang)
        blocks.append(Prose(say("report.find_out", lang, fact=fact), "warn"))
    return blocks


# -- what it costs, and the way there ------------------------------------------------------------------


def _quote(decision: Decision, lang: str) -> list[Block]:
    if not decision.quote:
        return []
    names = ("memory", "hours", "usd", "per_1000", "break_even")
    head = (say("report.method", lang), *(say(f"report.quote_{name}", lang) for name in names))
    figures = {method: words.quote_figures(quote, lang) for method, quote in decision.quote.items()}
    rows = tuple((_method(method, lang), *(Cell(read[name]) for name in names)) for method, read in figures.items())
    quotes: list[dict[str, Any]] = [{"method": m, **to_dict(q)} for m, q in decision.quote.items()]
    machines = dict.fromkeys(q["hardware"][lang] for q in quotes if q.get("hardware"))
    blocks: list[Block] = [Prose(say("report.quote_lead", lang), "lead")]
    if machines:
        blocks.append(Prose(say("report.machines", lang, machines=say("word.comma", lang).join(machines))))
    blocks.append(Table(say("report.quote", lang), head, rows))
    blocks += _named_bullets("break_even", [q["break_even"]["text"] for q in quotes if q.get("break_even")], lang)
    formulas = tuple((_method(q["method"], lang), Cell(q["formula"], code=True)) for q in quotes if q["formula"])
    if formulas:
        named = (say("report.method", lang), say("report.formula", lang))
        blocks.append(Table(say("report.formula", lang), named, formulas))
    assumed = [text for q in quotes for text in q["assumptions"]]
    prices = dict.fromkeys((figure["name"], figure["as_of"]) for q in quotes for figure in q.get("prices", ()))
    dated = [say("report.price", lang, name=name, date=date) for name, date in prices]
    blocks += _named_bullets("assumptions", assumed, lang)
    return [*blocks, Prose(say("report.prices", lang), "label"), Bullets(tuple(dated))] if dated else blocks


def _ladder(decision: Decision, lang: str) -> list[Block]:
    head = tuple(say(f"report.ladder_{name}", lang) for name in ("step", "gate", "cost", "command"))
    rows = tuple(
        (Cell(f"{n}. {rung.text[lang]}"), Cell(rung.gate[lang]), Cell(rung.cost[lang]), Cell(rung.command, code=True))
        for n, rung in enumerate(decision.ladder, 1)
    )
    return [Table(say("report.ladder", lang), head, rows)] if rows else []


def _next(decision: Decision, result: Result | None, taken: str, lang: str) -> list[Block]:
    from advisor.prove.candidates import FLOOR
    from advisor.prove.candidates import run_command as command_of

    blocks: list[Block] = []
    if decision.confidence.find_out_first:
        fact = words.fact_name(decision.confidence.find_out_first, lang)
        blocks.append(Prose(say("report.next_fact", lang, fact=fact)))
    if result and result.status == "done":
        blocks += [Prose(say("report.next_use", lang)), Command(f'advisor predict {decision.run} "…"')]
        blocks += [Command(f"advisor chat {decision.run}")]
        if "rag" in result.executor.split("+"):
            blocks += [Prose(say("report.next_fresh", lang)), Command(f"advisor index {decision.run}")]
        blocks += [Prose(say("report.next_ran", lang)), Command(run_command(decision))]
    elif taken and taken != FLOOR:
        blocks += [Prose(say("report.next_run", lang)), Command(command_of(decision.run, taken))]
    else:
        blocks += _how_to_run(decision, lang)
    return [*blocks, Prose(say("report.next_ladder", lang))] if decision.ladder else blocks


def _how_to_run(decision: Decision, lang: str) -> list[Block]:
    runnable = [method for method in decision.methods if method in EXECUTORS]
    if not runnable:
        return [Prose(say("report.not_runnable", lang, methods=words.methods_name(decision.methods, lang)), "warn")]
    told = say("report.next_run", lang)
    if len(runnable) < len(decision.methods):
        told = say("report.part_runnable", lang, methods=words.methods_name(runnable, lang))
    return [Prose(told), Command(run_command(decision))]


def run_command(decision: Decision) -> str:
    """The command that runs this decision, with a placeholder for each input that is still to be given."""
    given = decision.inputs
    parts = ["advisor", "run", decision.run or "last"]
    parts += [] if given.data else ["--data", "ROWS.csv"]
    documented = any(m in EXECUTORS and executors.method(m).needs_docs for m in decision.methods)
    parts += [] if given.docs or not documented else ["--docs", "FOLDER"]
    return shlex.join(parts)


# -- the record ----------------------------------------------------------------------------------------


def _facts(decision: Decision, lang: str) -> Table:
    head = tuple(say(f"report.{name}", lang) for name in ("fact", "value", "origin", "evidence"))
    rows = tuple(
        (
            Cell(words.fact_name(fact.id, lang), note=fact.id),
            Cell(words.value_text(fact.id, fact.value, lang), tone="strong"),
            Cell(words.label("origin", fact.origin, lang), tone=f"badge {fact.origin}"),
            Cell(fact.evidence.get(lang, "")),
        )
        for fact in sorted(decision.facts.values(), key=lambda f: ("asked", "measured", "assumed").index(f.origin))
    )
    return Table(say("report.facts", lang), head, rows)


def _details(result: Result | None, lang: str) -> list[Block]:
    if result is None:
        return []
    rows = [
        ("device", result.device, result.device_reason.get(lang, "")),
        *_timings(result, lang),
        *_rows_used(result, lang),
        ("params", _pairs(result.params), ""),
        ("seed", str(result.seed), ""),
        ("versions", _pairs(result.versions), ""),
        ("started", result.started, ""),
    ]
    cells = tuple((Cell(say(f"report.{name}", lang)), Cell(value, note=note)) for name, value, note in rows if value)
    table = Table(say("report.details", lang), (say("report.item", lang), say("report.value", lang)), cells)
    return [table, *_bullets(result.notes, lang)]


def _timings(result: Result, lang: str) -> list[tuple[str, str, str]]:
    tested = max(1, result.rows.get("test", 1))
    rows = []
    for name, spent in result.seconds.items():
        each = say("report.seconds_row", lang, value=formats.seconds(spent / tested, None, lang))
        rows.append((f"seconds_{name}", formats.seconds(spent, None, lang), each if name == "predict" else ""))
    if result.peak_memory_mb:
        peak = say("unit.megabytes", lang, value=formats.number(round(result.peak_memory_mb)))
        rows.append(("peak_memory", peak, ""))
    return rows


def _rows_used(result: Result, lang: str) -> list[tuple[str, str, str]]:
    used = say("report.rows_used", lang, train=result.rows.get("train", 0), test=result.rows.get("test", 0))
    removed = [(reason, n) for reason, n in result.rows.items() if reason not in ("train", "test", "drafted") and n]
    left_out = say("word.comma", lang).join(f"{words.label('removed', reason, lang)} {n}" for reason, n in removed)
    return [("rows", used, ""), ("rows_removed", left_out, "")]


def _pairs(values: Mapping[str, Any]) -> str:
    return " · ".join(f"{name} {value}" for name, value in values.items() if value not in ("", None))


def _sources(decision: Decision, lang: str) -> list[Block]:
    named = [*decision.sources, *(s.source for s in decision.path), *(r.source for r in decision.ranking)]
    named += [name for quote in decision.quote.values() for name in to_dict(quote)["sources"]]
    rows = []
    for name in dict.fromkeys(filter(None, named)):
        card = source(name)
        if name.startswith("https://"):
            rows.append((Cell(name, href=name), Cell("")))
        elif card:
            supports = Cell(_localised(card.get("supports", ""), lang), note=_strength(card, lang))
            rows.append((_source_cell(name, card), supports))
    head = (say("report.sources", lang), say("report.source_supports", lang, claim="").strip(" :："))
    return [Table(say("report.sources", lang), head, tuple(rows))] if rows else []


def _source_cell(name: str, card: Mapping[str, Any]) -> Cell:
    authors = card.get("authors", "")
    who = ", ".join(authors) if isinstance(authors, list) else str(authors)
    note = " · ".join(filter(None, (who, str(card.get("year", "")))))
    return Cell(str(card.get("title", name)), note=note, href=link(name))


def _strength(card: Mapping[str, Any], lang: str) -> str:
    return words.label("strength", str(card["strength"]), lang) if card.get("strength") else ""


def _localised(value: Any, lang: str) -> str:
    return str(value.get(lang, "")) if isinstance(value, Mapping) else str(value)


def _named_bullets(name: str, texts: Sequence[Text], lang: str) -> list[Block]:
    bullets = _bullets(texts, lang)
    return [Prose(say(f"report.{name}", lang), "label"), *bullets] if bullets else []


def _bullets(texts: Sequence[Text], lang: str) -> list[Block]:
    items = tuple(dict.fromkeys(text[lang] for text in texts))
    return [Bullets(items)] if items else []
