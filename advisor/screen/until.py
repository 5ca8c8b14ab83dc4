"""A climb of the ladder in the terminal: a line a rung while it runs, then all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor import formats, words
from advisor.prove.until import FOLDER, Climb, RungRun
from advisor.runs import root
from advisor.screen import block, bullets, grid, styled
from advisor.texts import say

if TYPE_CHECKING:
    from rich.console import Console


def tell_rung(climb: Climb, lang: str, console: Console) -> None:
    """The rung that has just ended, in one line."""
    rung = climb.rungs[-1]
    reached = f" ({say('until.reached', lang)})" if rung.reached else ""
    line = say(
        "until.line",
        lang,
        number=len(climb.rungs),
        name=words.method_name(rung.name, lang),
        score=_score(rung, lang),
        reached=reached,
        took=formats.seconds(rung.seconds, None, lang),
        read=_read(rung, lang),
    )
    console.print(line, style="bold", markup=False)


def show_climb(climb: Climb, lang: str, console: Console) -> None:
    """Every rung in a table, what was measured, what was not run, and why it ended."""
    table = grid(("", *(say(f"until.{name}", lang) for name in ("rung", "score", "took", "read", "why"))))
    for number, rung in enumerate(climb.rungs, 1):
        score = styled(_score(rung, lang), "bold green" if rung.reached else "red" if rung.error else "")
        took = styled(formats.seconds(rung.seconds, None, lang), "dim")
        name = styled(words.method_name(rung.name, lang), "bold")
        read, why = styled(_read(rung, lang)), styled(rung.why[lang], "dim")
        table.add_row(styled(str(number), "dim"), name, score, took, read, why)
    metric = words.label("metric", climb.metric, lang)
    block(console, say("until.title", lang, metric=metric, target=formats.score(climb.target)), table)
    facts = [
        say("revision.found", lang, fact=words.fact_name(fact.id, lang), why=fact.evidence[lang],
            measured=words.value_text(fact.id, fact.value, lang))
        for fact in climb.facts
    ]  # fmt: skip
    bullets(console, say("until.measured", lang), facts)
    skipped = [
        say("until.skipped_one", lang, name=words.method_name(name, lang), why=why[lang])
        for name, why in climb.skipped.items()
    ]
    bullets(console, say("until.skipped", lang), skipped)
    style = "bold green" if climb.status == "reached" else "bold yellow"
    console.print(f"\n{climb.told.get(lang, '')}", style=style, markup=False)
    console.print(say("until.place", lang, place=root() / climb.run / FOLDER), style="dim", markup=False)


def _score(rung: RungRun, lang: str) -> str:
    if rung.score is None:
        return say("until.failed", lang, error=rung.error)
    value, low, high = map(formats.score, (rung.score.value, rung.score.low, rung.score.high))
    return f"{value} ({low}–{high})"


def _read(rung: RungRun, lang: str) -> str:
    if rung.reached:
        return "–"  # what is good enough needs no lever
    return words.value_text("failure", rung.read, lang) if rung.read else say("until.unread", lang)
