"""Scores as bars to one scale, each with its interval."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from advisor import formats
from advisor.report.blocks import Bar, Chart
from advisor.texts import say
from executors.base import Score

Entry = tuple[str, Score, str]  # name, score, tone


def chart(caption: str, entries: Sequence[Entry], lang: str) -> Chart:
    """A bar an entry, on an axis that holds all of them."""
    least, most = axis([score for _, score, _ in entries])

    def place(value: float) -> float:
        return round(100 * (value - least) / (most - least), 2)

    def bar(name: str, score: Score, tone: str) -> Bar:
        figure, alt = formats.score(score.value), told(name, score, lang)
        return Bar(name, figure, alt, place(0), place(score.value), place(score.low), place(score.high), tone)

    ticks = tuple((25.0 * n, formats.number(least + (most - least) * n / 4)) for n in range(5))
    return Chart(caption, tuple(bar(*entry) for entry in entries), ticks)


def axis(scores: Iterable[Score]) -> tuple[float, float]:
    """0 to 1 for shares; from the lowest (or 0) to the highest end for what has no such bounds."""
    ends = [end for score in scores for end in (score.low, score.high, score.value)]
    return min(0.0, *ends), max(ends) * 1.05 if max(ends) > 1 else 1.0


def told(name: str, score: Score, lang: str) -> str:
    """A bar in words."""
    low, high = formats.score(score.low), formats.score(score.high)
    return say("report.chart", lang, method=name, value=formats.score(score.value), low=low, high=high)
