"""How a training went, in the terminal: its curves in a line each, the verdict, before and after, what was forgotten,
and how far off the estimate was. The drawing and more samples are in the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from advisor.estimated import Error
from advisor.report.training import (
    CURVES,
    Training,
    compared,
    compared_title,
    cut,
    error_texts,
    figure,
    forgetting_text,
    next_command,
    of_encoder,
    remedies,
    verdict_text,
)
from advisor.screen import block, bullets, grid, styled
from advisor.texts import say

if TYPE_CHECKING:
    from rich.console import Console

    from executors.tuning.verdict import Point

BARS = "▁▂▃▄▅▆▇█"
WIDE = 40  # columns of a curve
SAMPLES = 3  # answers shown side by side
LONG = 60  # characters of an answer
STYLES = ("dim", "", "", "bold")  # of a sample's cells


def show_training(training: Training | None, lang: str, console: Console) -> None:
    """Nothing where nothing was trained."""
    if training is None:
        return
    _curves(training, lang, console)
    _aftermath(training, lang, console)
    if training.forgetting:
        told = forgetting_text(training.forgetting, lang)
        console.print(styled(f"\n{told}", "yellow" if training.forgetting["forgot"] else ""))
        if training.forgetting["forgot"]:
            bullets(console, say("training.remedies", lang), filter(None, remedies(training)))


def show_error(error: Error | None, lang: str, console: Console) -> None:
    """The estimate beside what came of it."""
    for told in error_texts(error, lang):
        console.print(styled(told, "dim"))


def _curves(training: Training, lang: str, console: Console) -> None:
    from executors.tuning.verdict import curve

    verdict = training.verdict
    if verdict is None:
        return
    table = grid()
    for name in CURVES:
        points = curve(training.log, name)
        if len(points) > 1:
            first, last = figure(points[0][1]), figure(points[-1][1])
            drawn = styled(sparkline(points), "cyan" if name == "dev_loss" else "dim")
            table.add_row(styled(say(f"training.{name}", lang)), styled(first), drawn, styled(last))
    block(console, say("training.drawing", lang), table)
    console.print(styled(verdict_text(verdict, lang), "green" if verdict.fit == "fine" else "yellow"))
    if verdict.kind == "rising" and training.keeps_best and verdict.lowest:
        console.print(styled(say("training.kept_best", lang, at=verdict.lowest[0])))
    elif command := next_command(training):
        console.print(styled(f"{say(f'training.next_{verdict.kind}', lang)} {command}"))


def sparkline(points: Sequence[Point]) -> str:
    """A curve in at most `WIDE` bars, the lowest loss lowest; each bar the mean of its part of the steps."""
    size = max(1, -(-len(points) // WIDE))
    parts = [[loss for _, loss in points[at : at + size]] for at in range(0, len(points), size)]
    means = [sum(part) / len(part) for part in parts]
    low, high = min(means), max(means)
    steps = len(BARS) - 1
    return "".join(BARS[round(steps * (mean - low) / (high - low))] if high > low else BARS[0] for mean in means)


def _aftermath(training: Training, lang: str, console: Console) -> None:
    record = training.aftermath
    if record is None:
        return
    table = grid(("", say("training.before", lang), say("training.after", lang)))
    for what, before, after in compared(record, lang):
        table.add_row(styled(what), styled(before), styled(after, "bold"))
    block(console, compared_title(record, lang), table)
    if of_encoder(record):
        console.print(styled(say("training.before_head", lang), "dim"))
    if record["trained_on"]:
        console.print(styled(say("training.trained_on", lang), "yellow"))
    head = tuple(say(f"training.{name}", lang) for name in ("input", "wanted", "before", "after"))
    samples = grid(head)
    for one in record["samples"][:SAMPLES]:
        cells = (one["input"], one["target"], one["base"] or "–", one["tuned"] or "–")
        samples.add_row(*(styled(cut(text, LONG), style) for text, style in zip(cells, STYLES, strict=True)))
    block(console, say("training.samples", lang), samples)
