"""A line chart as geometry: curves over a logarithmic axis of counts, and labels where nothing is drawn.

Pure arithmetic in the drawing's own units; colours and strokes are the style sheet's.
"""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from advisor.report.blocks import Series

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 52, 746, 34, 352  # the plot's edges
LETTER, WIDE_LETTER, LABEL_HEIGHT = 8.8, 15.0, 18
GAP = 7  # between a label and its own line
CLEARANCE = 10  # between a label and any other line
STEP = 6  # of the places tried for a label


@dataclass(frozen=True)
class Curve:
    """What is drawn: (count, mean, low, high), shares of one, fewest first."""

    name: str
    tone: str
    points: Sequence[tuple[float, float, float, float]]


@dataclass(frozen=True)
class Box:
    """Where a label stands."""

    left: float
    top: float
    width: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + LABEL_HEIGHT

    def meets(self, other: Box) -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


class Scale:
    """Counts from 1 to `most` across, shares of one upwards."""

    def __init__(self, most: float) -> None:
        self.most = most

    def x(self, count: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * math.log(count) / math.log(self.most), 1)

    def y(self, share: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * share, 1)

    def decades(self) -> list[int]:
        return [10**power for power in range(math.floor(math.log10(self.most)) + 1)]


def draw(curves: Sequence[Curve], scale: Scale, taken: Sequence[Box] = ()) -> tuple[Series, ...]:
    """The curves as paths, each with its label placed clear of the others and of the boxes already `taken`."""
    traces = [[(scale.x(count), scale.y(mean)) for count, mean, _, _ in curve.points] for curve in curves]
    boxes = list(taken)
    drawn = []
    for n, curve in enumerate(curves):
        box = place(curve.name, traces[n], [trace for m, trace in enumerate(traces) if m != n], boxes)
        boxes.append(box)
        above = [(scale.x(count), scale.y(high)) for count, _, _, high in curve.points]
        below = [(scale.x(count), scale.y(low)) for count, _, low, _ in curve.points]
        band = f"{_path(above + below[::-1])}Z"
        at = (round(box.left, 1), round(box.bottom - 4, 1))
        drawn.append(Series(curve.name, curve.tone, _path(traces[n]), band, at))
    return tuple(drawn)


def place(
    text: str, own: Sequence[tuple[float, float]], others: Sequence[Sequence[tuple[float, float]]], taken: Sequence[Box]
) -> Box:
    """A label beside its own line, where that is flattest, clear of all else; above its start if no place is."""
    wide = text_width(text)
    found: list[tuple[float, Box]] = []
    left = own[0][0]
    while left + wide <= own[-1][0]:
        span = _extent(own, left, left + wide)
        for top in (span[0] - GAP - LABEL_HEIGHT, span[1] + GAP) if span else ():
            box = Box(left, top, wide)
            clear = not any(box.meets(other) for other in taken) and not any(_crosses(box, trace) for trace in others)
            if span and clear and top >= TOP and box.bottom <= BOTTOM:
                found.append((span[1] - span[0], box))
        left += STEP
    if not found:
        return Box(min(own[0][0], RIGHT - wide), max(TOP, own[0][1] - GAP - LABEL_HEIGHT), wide)
    return min(found, key=lambda pair: pair[0])[1]


def text_width(text: str) -> float:
    """A label's width at the chart's size of type, at a guess: full-width characters count double."""
    return sum(WIDE_LETTER if unicodedata.east_asian_width(letter) in "WF" else LETTER for letter in text)


def _crosses(box: Box, trace: Sequence[tuple[float, float]]) -> bool:
    span = _extent(trace, box.left - CLEARANCE, box.right + CLEARANCE)
    return span is not None and span[0] < box.bottom + CLEARANCE and span[1] > box.top - CLEARANCE


def _extent(trace: Sequence[tuple[float, float]], left: float, right: float) -> tuple[float, float] | None:
    """The highest and the lowest point of a line between two abscissas; None where it is not drawn there."""
    inside = [y for x, y in trace if left <= x <= right]
    for (x, y), (next_x, next_y) in itertools.pairwise(trace):
        for edge in (left, right):
            if x < edge < next_x:
                inside.append(y + (next_y - y) * (edge - x) / (next_x - x))
    return (min(inside), max(inside)) if inside else None


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x} {y}" for x, y in points)
