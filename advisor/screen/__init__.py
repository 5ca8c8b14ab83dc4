"""What a terminal shows of a decision and of a result. Without a terminal the same, without colour."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from advisor import formats, words
from advisor.decision import Decision, Ranked, Step
from advisor.report import curves
from advisor.report.page import compare, further, reason
from advisor.texts import say
from executors.base import Result, Score, to_dict

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text as Line

STYLES = {"recommended": "bold green", "viable": "cyan", "not_yet": "yellow", "vetoed": "red"}
VERDICT_STYLES = {"above": "green", "near": "yellow", "below": "red"}
FLIPS_SHOWN = 4
BAR = 24  # columns
WIDE = 90  # columns a terminal must have for the bars to be drawn


def show_decision(decision: Decision, lang: str, console: Console) -> None:
    """The recommendation, the path to it, the runners-up and why not, what would flip it, and what it costs."""
    _head(decision, lang, console)
    _show(console, say("screen.path", lang), (_step(step, lang) for step in decision.path))
    _others(decision, lang, console)
    _flips(decision, lang, console)
    bullets(console, say("report.curves", lang), curves.in_brief(decision, lang))
    _cost(decision, lang, console)
    bullets(console, say("report.warnings", lang), [text[lang] for text in decision.warnings])


def show_result(result: Result, floor: Result | None, lang: str, console: Console) -> None:
    """The scores beside the floor's, with their intervals as bars, and what they show."""
    from rich.padding import Padding
    from rich.text import Text

    beside = floor if floor and result.executor != "baseline" else None
    count = next((score.n for score in result.scores.values()), 0)
    console.print(Text(f"\n{say('screen.measured', lang, count=count)}", style="bold"))
    bars = console.width >= WIDE
    console.print(Padding(_scores(result, beside, lang, bars), (0, 0, 0, 2), expand=False))
    verdict = compare(result, beside)
    if verdict:
        told = say(f"report.{verdict}_floor", lang, method=words.method_name(result.executor, lang))
        console.print(Text(told, style=VERDICT_STYLES[verdict], overflow="fold"))
    if result.device:
        console.print(Text(f"{result.device}: {result.device_reason.get(lang, '')}", style="dim", overflow="fold"))
    for note in result.notes:
        console.print(Text(f"• {note[lang]}", style="dim", overflow="fold"))


# -- a decision ----------------------------------------------------------------------------------------


def _head(decision: Decision, lang: str, console: Console) -> None:
    from rich.panel import Panel
    from rich.text import Text

    body = Text(overflow="fold")
    body.append(words.methods_name(decision.methods, lang), style="bold green")
    body.append(f"\n{reason(decision, lang)}\n")
    level = formats.percent(decision.confidence.level, lang)
    body.append(say("screen.confidence", lang, level=level), style="bold")
    body.append(f"  {decision.confidence.text[lang]}", style="dim")
    if decision.confidence.find_out_first:
        fact = words.fact_name(decision.confidence.find_out_first, lang)
        body.append(f"\n{say('screen.find_out', lang, fact=fact)}", style="yellow")
    title = Text(say("screen.recommendation", lang), style="bold")
    console.print()
    console.print(Panel(body, title=title, title_align="left", border_style="green", padding=(1, 2)))


def _step(step: Step, lang: str) -> Line:
    from rich.text import Text

    line = Text(overflow="fold")
    line.append(step.text[lang], style="bold")
    line.append(f"  → {step.answer[lang]}", style="yellow" if step.assumed else "cyan")
    if step.assumed:
        line.append(f" ({say('screen.assumed', lang)})", style="yellow")
    line.append(f"\n{step.why[lang]}", style="dim")
    return line


def _others(decision: Decision, lang: str, console: Console) -> None:
    others = [ranked for ranked in decision.ranking if ranked.verdict != "recommended"]
    if not others:
        return
    table = grid()
    for ranked in others:
        verdict = words.label("verdict", ranked.verdict, lang)
        table.add_row(styled(verdict, STYLES[ranked.verdict]), _reason(ranked, lang))
    block(console, say("screen.others", lang), table)


def _reason(ranked: Ranked, lang: str) -> Line:
    line = styled(words.method_name(ranked.method, lang), "bold")
    line.append(f"\n{ranked.why[lang]}", style="not bold")
    if ranked.sum:
        line.append(f"\n{ranked.sum}", style="not bold dim")
    if lacks := further(ranked, lang):
        line.append(f"\n{lacks}", style="not bold dim")
    return line


def _flips(decision: Decision, lang: str, console: Console) -> None:
    if not decision.flips:
        bullets(console, say("screen.flips", lang), [say("report.flips_none", lang)])
        return
    told = [flip.text[lang] for flip in decision.flips[:FLIPS_SHOWN]]
    hidden = len(decision.flips) - len(told)
    bullets(console, say("screen.flips", lang), told + ([say("screen.more", lang, count=hidden)] if hidden else []))


def _cost(decision: Decision, lang: str, console: Console) -> None:
    from rich.padding import Padding

    if not decision.quote:
        return
    names = ("memory", "hours", "usd", "per_1000", "break_even")
    table = grid(("", *(say(f"report.quote_{name}", lang) for name in names)))
    for method, quote in decision.quote.items():
        figures = words.quote_figures(quote, lang)
        name = styled(words.method_name(method, lang), "bold green" if method in decision.methods else "")
        table.add_row(name, *(styled(figures[key]) for key in names))
    block(console, say("screen.cost", lang), table)
    machine = to_dict(decision.quote.get(decision.methods[0], {})).get("hardware", {}).get(lang)
    if machine:
        console.print(Padding(styled(machine, "dim"), (0, 0, 0, 2), expand=False))


# -- a result ------------------------------------------------------------------------------------------


def _scores(result: Result, floor: Result | None, lang: str, bars: bool) -> Table:
    table = grid()
    for metric, score in result.scores.items():
        main = metric == result.metric
        rows = [(words.method_name(result.executor, lang), score, "green" if main else "")]
        if floor and metric in floor.scores:
            rows.append((say("word.floor", lang), floor.scores[metric], "dim"))
        top = max([1.0, *(row[1].high for row in rows)])
        for n, (name, value, style) in enumerate(rows):
            label = words.label("metric", metric, lang) if n == 0 else ""
            ends = f"[{formats.score(value.low)}, {formats.score(value.high)}]"
            figure = styled(formats.score(value.value), f"bold {style}" if main else style)
            drawn = [_bar(value, top, style)] if bars else []
            table.add_row(styled(label, "bold" if main else ""), styled(name), figure, *drawn, styled(ends, "dim"))
    return table


def _bar(score: Score, top: float, style: str) -> Line:
    """Filled to the score, shaded where its interval lies."""
    from rich.text import Text

    at, low, high = (round(BAR * max(0.0, end) / top) for end in (score.value, score.low, score.high))
    cells = []
    for n in range(BAR):
        inside = low <= n < max(high, low + 1)
        cells.append("▓" if inside and n < at else "█" if n < at else "░" if inside else " ")
    return Text("".join(cells), style=style or "cyan", no_wrap=True)


# -- shared --------------------------------------------------------------------------------------------


def styled(text: str, style: str = "") -> Line:
    from rich.text import Text

    return Text(text, style=style, overflow="fold")


def grid(head: tuple[str, ...] = ()) -> Table:
    """A table without rules; Chinese folds instead of being cut with an ellipsis."""
    from rich.table import Table

    table = Table(box=None, show_header=bool(head), padding=(0, 2, 0, 0), header_style="dim")
    for title in head:
        table.add_column(title, overflow="fold")
    return table


def _show(console: Console, title: str, lines: Iterable[Line]) -> None:
    """Numbered lines under a title."""
    table = grid()
    for n, line in enumerate(lines, 1):
        table.add_row(styled(str(n), "dim"), line)
    if table.row_count:
        block(console, title, table)


def bullets(console: Console, title: str, items: Iterable[str]) -> None:
    table = grid()
    for item in items:
        table.add_row(styled("•", "dim"), styled(item))
    if table.row_count:
        block(console, title, table)


def block(console: Console, title: str, body: RenderableType) -> None:
    from rich.padding import Padding

    console.print()
    console.print(styled(title, "bold"))
    console.print(Padding(body, (0, 0, 0, 2), expand=False))
