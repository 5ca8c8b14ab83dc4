"""The kinds of block a report is made of. A template lays out each kind; none of them knows what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from advisor.drawing.scene import Scene


@dataclass(frozen=True)
class Cell:
    """One cell of a table. `note` stands smaller below, `tone` colours, `code` is for names and commands."""

    text: str
    note: str = ""
    tone: str = ""
    code: bool = False
    href: str = ""


@dataclass(frozen=True)
class Prose:
    kind: ClassVar[str] = "prose"
    text: str
    tone: str = ""  # lead | good | bad | warn


@dataclass(frozen=True)
class Bullets:
    kind: ClassVar[str] = "bullets"
    items: tuple[str, ...]
    tone: str = ""


@dataclass(frozen=True)
class Command:
    kind: ClassVar[str] = "command"
    text: str


@dataclass(frozen=True)
class Table:
    """The first cell of a row is its header. On a narrow screen the other cells are named by `head`."""

    kind: ClassVar[str] = "table"
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Fold:
    """A table that is opened by its title."""

    kind: ClassVar[str] = "fold"
    title: str
    table: Table


@dataclass(frozen=True)
class Stop:
    """One step of the path."""

    question: str
    answer: str
    why: str
    source: str
    href: str
    strength: str
    assumed: bool


@dataclass(frozen=True)
class Walk:
    """The steps, and the scene to draw. `whole` is the title of the whole chart; empty where only the path is left.

    `shapes` is what the shapes of the drawing mean.
    """

    kind: ClassVar[str] = "walk"
    stops: tuple[Stop, ...]
    end: str
    scene: Scene
    shapes: str
    whole: str


@dataclass(frozen=True)
class Bar:
    """One score of a chart; `zero`, `at`, `low` and `high` are percent of the drawing's width."""

    name: str
    label: str
    alt: str
    zero: float
    at: float
    low: float
    high: float
    tone: str


@dataclass(frozen=True)
class Chart:
    kind: ClassVar[str] = "chart"
    caption: str
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Series:
    """One line of a line chart as SVG paths, and where its name stands."""

    name: str
    tone: str
    path: str
    band: str
    at: tuple[float, float]


@dataclass(frozen=True)
class Lines:
    """A line chart, laid out by `lines.py` in its units. `alt` tells it in words; `mark` is where the reader stands."""

    kind: ClassVar[str] = "lines"
    title: str
    alt: str
    caption: str
    across: str
    upwards: str
    series: tuple[Series, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    mark: float | None
    mark_label: str
    mark_turned: bool  # its label stands to the left
    dots: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True)
class Tile:
    label: str
    value: str
    note: str = ""
    share: float | None = None  # of one: drawn as a meter


Block = Prose | Bullets | Command | Table | Fold | Walk | Chart | Lines


@dataclass(frozen=True)
class Section:
    id: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    lang: str
    title: str
    kicker: str
    lead: str
    tiles: tuple[Tile, ...]
    sections: tuple[Section, ...]
    names: Mapping[str, str]  # the few words of the frame: contents, skip, footer, ...
