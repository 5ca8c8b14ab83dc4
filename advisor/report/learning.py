"""The report's section on what more labelled rows would bring: curves through the pilots of a race, and figures."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from advisor import formats, words
from advisor.prove import learning
from advisor.prove.learning import MORE, told
from advisor.prove.records import Race
from advisor.report.blocks import Block, Cell, Lines, Prose, Table
from advisor.report.lines import BOTTOM, LABEL_HEIGHT, LEFT, RIGHT, TOP, Box, Scale, draw, text_width
from advisor.report.lines import Curve as Line
from advisor.report.prove import ends, metric_name, told_score, told_signed
from advisor.texts import say

if TYPE_CHECKING:
    from advisor.prove.learning import Curve

    Curves = Mapping[str, Curve]

DRAWN = 4  # curves at most: of those that score highest
PLACES = 25  # of a curve that are computed
APART = 46  # between two ticks
MARK_GAP = 6
BRACKETS = re.compile(r"\s*[(（][^)）]*[)）]")


def section(race: Race | None, lang: str) -> list[Block]:
    """Whether more labels would help, in words, drawn, and as figures; nothing where no candidate learns from rows."""
    curves = curves_of(race) if race else {}
    if race is None or not curves:
        return []
    if _at_floor(race):
        return [Prose(f"{line}{say('prove.stop', lang)}") for line in sentences(race, lang)]
    blocks: list[Block] = [Prose(f"{line}{say('prove.stop', lang)}") for line in sentences(race, lang)]
    drawn = {name: curve for name, curve in curves.items() if len(curve.points) > 1}
    blocks += [_drawing(dict(list(drawn.items())[:DRAWN]), race, lang)] if drawn else []
    return [*blocks, _table(curves, race, lang)]


def sentences(race: Race, lang: str) -> list[str]:
    """Whether more labels would help: of those that were run on all there are, for what more would add to these."""
    curves = curves_of(race)
    if curves and _at_floor(race):
        return [say("prove.learnt_nothing", lang)]
    whole = {name: curve for name, curve in curves.items() if curve.rows >= race.train}
    return told(whole or curves, lang) if curves else []


def _at_floor(race: Race) -> bool:
    """Whether nothing is above the floor: curves then only tell how such curves usually run."""
    return race.choice is not None and race.choice.rule == "floor"


def curves_of(race: Race) -> Curves:
    """The curve of every candidate that learns from labelled rows and was scored, the best as a full run first."""
    from advisor.report.page import higher_is_better

    sign = 1 if higher_is_better(race.metric) else -1

    def worth(name: str) -> float:
        full = race.standing(name).at_full
        return sign * full.value if full else -math.inf

    found = learning.curves(race)
    return {name: found[name] for name in sorted(found, key=worth, reverse=True)}


# -- the table -------------------------------------------------------------------------------------------


def _table(curves: Curves, race: Race, lang: str) -> Table:
    goal = race.train + MORE
    at = say("prove.curves_at", lang, rows=formats.number(goal))
    head = (say("prove.candidate", lang), say("prove.curves_measured", lang), at, say("prove.curves_gain", lang))
    rows = tuple(_row(name, curve, goal, race, lang) for name, curve in curves.items())
    return Table(say("prove.curves_table", lang), head, rows)


def _row(name: str, curve: Curve, goal: int, race: Race, lang: str) -> tuple[Cell, ...]:
    last = curve.points[-1]
    rows = formats.number(last.rows)
    expected, gained = curve.at(goal), curve.gain(goal - last.rows)
    return (
        Cell(words.method_name(name, lang)),
        Cell(formats.score(last.score.value), note=say("prove.curves_on", lang, rows=rows), tone="strong"),
        Cell(formats.score(expected.value), note=ends(expected)),
        Cell(told_signed(gained), note=say("prove.curves_from", lang, rows=rows) if last.rows < race.train else ""),
    )


# -- the drawing -----------------------------------------------------------------------------------------


class Window(Scale):
    """Rows from `first` to `last` across, by their logarithm; scores from `low` to `high` upwards."""

    def __init__(self, first: float, last: float, low: float, high: float) -> None:
        super().__init__(last)
        self.first, self.low, self.high = first, low, high

    def x(self, count: float) -> float:
        share = math.log(count / self.first) / math.log(self.most / self.first)
        return round(LEFT + (RIGHT - LEFT) * share, 1)

    def y(self, share: float) -> float:
        inside = min(max(share, self.low), self.high)
        return round(BOTTOM - (BOTTOM - TOP) * (inside - self.low) / (self.high - self.low), 1)


def _drawing(curves: Curves, race: Race, lang: str) -> Lines:
    goal = max(2 * race.train, race.train + MORE)
    lines = {name: _line(curve, goal) for name, curve in curves.items()}
    first = min(line[0][0] for line in lines.values())
    levels = _levels([end for line in lines.values() for _, _, low, high in line for end in (low, high)])
    scale = Window(first, goal, levels[0], levels[-1])
    at = scale.x(race.train)
    label = say("prove.curves_mark", lang, rows=formats.number(race.train))
    turned = at + MARK_GAP + text_width(label) > RIGHT
    wide = text_width(label) + 2 * MARK_GAP
    taken = [Box(at - (wide if turned else 0), TOP, wide)]
    taken += [Box(at - MARK_GAP, top, 2 * MARK_GAP) for top in range(TOP, BOTTOM, LABEL_HEIGHT)]  # no name across it
    tones = {name: f"c{n}" for n, name in enumerate(curves)}
    short = _short_names(list(lines), lang)
    named = [Line(short[name], tones[name], line) for name, line in lines.items()]
    return Lines(
        title=say("prove.curves_drawing", lang),
        alt=" ".join(_alt(name, curve, goal, lang) for name, curve in curves.items()),
        caption=say("prove.curves_caption", lang),
        across=say("prove.curves_across", lang),
        upwards=metric_name(race, lang),
        series=draw(named, scale, taken),
        x_ticks=tuple((scale.x(rows), formats.number(rows)) for rows in _rows(curves, race.train, goal, scale)),
        y_ticks=tuple((scale.y(level), formats.number(level)) for level in levels),
        mark=at,
        mark_label=label,
        mark_turned=turned,
        dots=tuple(
            (scale.x(point.rows), scale.y(point.score.value), tones[name])
            for name, curve in curves.items()
            for point in curve.points
        ),
    )


def _short_names(names: Sequence[str], lang: str) -> Mapping[str, str]:
    """Names without what they have in brackets, where they still are different ones."""
    whole = {name: words.method_name(name, lang) for name in names}
    short = {name: BRACKETS.sub("", told) for name, told in whole.items()}
    return short if len(set(short.values())) == len(short) else whole


def _line(curve: Curve, goal: int) -> list[tuple[float, float, float, float]]:
    """(rows, score, low, high) from the smallest pilot to `goal`, through every pilot."""
    start = curve.points[0].rows
    steps = (start * (goal / start) ** (n / (PLACES - 1)) for n in range(PLACES))
    rows = sorted({round(step) for step in steps} | {point.rows for point in curve.points})
    found = ((count, curve.at(count)) for count in rows)
    return [(float(count), score.value, score.low, score.high) for count, score in found]


def _levels(values: Sequence[float]) -> list[float]:
    """Round scores from below the lowest to above the highest, three to seven of them."""
    low, high = min(values), max(values)
    span = (high - low) or abs(high) or 1.0
    size = 10 ** math.floor(math.log10(span / 4))
    width = next(size * times for times in (1, 2, 2.5, 5, 10) if span / (size * times) <= 5)
    first, last = math.floor(low / width + 1e-9), math.ceil(high / width - 1e-9)
    return [round(width * n, 10) for n in range(first, max(last, first + 1) + 1)]


def _rows(curves: Curves, train: int, goal: int, scale: Window) -> list[int]:
    """Ticks where pilots are, those that would stand in each other's way left out."""
    kept: list[int] = []
    for rows in (train, goal, *sorted(point.rows for curve in curves.values() for point in curve.points)):
        if all(abs(scale.x(rows) - scale.x(other)) >= APART for other in kept):
            kept.append(rows)
    return sorted(kept)


def _alt(name: str, curve: Curve, goal: int, lang: str) -> str:
    """A curve in a sentence: where it begins and where it ends."""
    start = curve.points[0]
    return say(
        "prove.curves_alt",
        lang,
        method=words.method_name(name, lang),
        first=told_score(start.score),
        start=formats.number(start.rows),
        last=told_score(curve.at(goal)),
        end=formats.number(goal),
    )
