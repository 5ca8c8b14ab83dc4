"""The marks both SVG drawings are made of: boxes by kind, answers, lines. Class names are those of flow.css."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from advisor.drawing.lettering import width, wrap
from advisor.drawing.scene import Box, Link, Scene
from advisor.texts import say

TEXT, SMALL = 13.0, 12.0  # font sizes, px; flow.css has the same
LEAD, SMALL_LEAD = 18.0, 16.0  # line heights
PAD_X, PAD_Y = 14.0, 9.0
SLANT = 9.0  # how far a test's sides point outwards
BOLD = 1.14  # how much wider bold letters run


Pair = tuple[float, float]


@dataclass(frozen=True)
class Label:
    """Text broken into lines, with the size of the box that holds it."""

    lines: tuple[str, ...]
    strong: tuple[str, ...]  # lines below, set off: methods added, or the outcome
    width: float
    height: float
    lead: float


def box_label(box: Box, room: float, least: float = 0.0) -> Label:
    """A node's text, no wider than `room`, in a box no narrower than `least`."""
    return _label(box.text, box.outcome, (TEXT, TEXT * BOLD), LEAD, room, (PAD_X + SLANT, PAD_Y), least)


def answer_label(link: Link, room: float) -> Label:
    """An edge's answer and what it adds; of no width where it has neither."""
    if not link.answer and not link.added:
        return Label((), (), 0.0, 0.0, SMALL_LEAD)
    sizes = (SMALL * BOLD if link.walked else SMALL, SMALL * BOLD)
    return _label(link.answer, link.added, sizes, SMALL_LEAD, room, (9.0, 4.0), 0.0)


def _label(text: str, strong: str, sizes: Pair, lead: float, room: float, pad: Pair, least: float) -> Label:
    """Text and what is set off below it, each in its font size, with `pad` at the sides and above and below."""
    lines, below = (wrap(words, size, room - 2 * pad[0]) for words, size in zip((text, strong), sizes, strict=True))
    widths = [width(line, sizes[0]) for line in lines] + [width(line, sizes[1]) for line in below]
    height = lead * len(widths) + 2 * pad[1]
    return Label(lines, below, max(least, round(max(widths) + 2 * pad[0], 1)), height, lead)


def classes(*names: str | bool) -> str:
    return " ".join(name for name in names if isinstance(name, str) and name)


def draw_box(box: Box, label: Label, x: float, y: float) -> str:
    """A node around the centre (x, y): a test is a hexagon, a question a rectangle, an end has round sides."""
    half, tall = label.width / 2, label.height / 2
    if box.kind == "test":
        inner = half - SLANT
        corners = ((-inner, -tall), (inner, -tall), (half, 0.0), (inner, tall), (-inner, tall), (-half, 0.0))
        shape = f'<path d="M{" L".join(f"{point(x + dx, y + dy)}" for dx, dy in corners)} Z"/>'
    else:
        radius = min(tall, 22.0) if box.kind == "end" else 5.0
        shape = _rectangle(x, y, label, radius)
    return f'<g class="{classes("node", box.kind, box.walked and "on")}">{shape}{letters(label, x, y)}</g>'


def draw_answer(link: Link, label: Label, x: float, y: float) -> str:
    """An answer on its edge; the reason and its source appear under the pointer."""
    if not label.width:
        return ""
    told = escape(f"{link.why} ({link.source}, {link.strength})")
    marks = classes("answer", link.walked and "on", link.assumed and "assumed")
    return f'<g class="{marks}"><title>{told}</title>{_rectangle(x, y, label, 7.0)}{letters(label, x, y)}</g>'


def _rectangle(x: float, y: float, label: Label, radius: float) -> str:
    left, top, wide, high = map(number, (x - label.width / 2, y - label.height / 2, label.width, label.height))
    return f'<rect x="{left}" y="{top}" width="{wide}" height="{high}" rx="{number(radius)}"/>'


def letters(label: Label, x: float, y: float) -> str:
    """The lines of a label, centred on (x, y)."""
    count = len(label.lines) + len(label.strong)
    first = y - (count - 1) * label.lead / 2 + 0.35 * (TEXT if label.lead == LEAD else SMALL)
    kinds = [""] * len(label.lines) + [' class="strong"'] * len(label.strong)
    spans = [
        f'<tspan x="{number(x)}" y="{number(first + n * label.lead)}"{kind}>{escape(line)}</tspan>'
        for n, (line, kind) in enumerate(zip((*label.lines, *label.strong), kinds, strict=True))
    ]
    return f"<text>{''.join(spans)}</text>"


def draw_line(path: str, link: Link) -> str:
    return f'<path class="{classes("edge", link.walked and "on", link.assumed and "assumed")}" d="{path}"/>'


def arrow(x: float, y: float) -> str:
    """An open arrowhead that points down at (x, y)."""
    return f"M{point(x - 4, y - 6)} L{point(x, y)} L{point(x + 4, y - 6)}"


def curve(x: float, y: float, to_x: float, to_y: float) -> str:
    """On from (x, y) to a point below, leaving and arriving upright."""
    if x == to_x:
        return f"V{number(to_y)}"
    middle = (y + to_y) / 2
    return f"C{point(x, middle)} {point(to_x, middle)} {point(to_x, to_y)}"


def point(x: float, y: float) -> str:
    return f"{number(x)} {number(y)}"


def number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def heading(scene: Scene) -> str:
    """What a file of its own shows above the drawing: its title, and what the shapes mean."""
    legend = escape(say("chart.shapes", scene.lang))
    title = f'<text class="heading" x="20" y="34">{escape(scene.title)}</text>'
    return f'{title}<text class="key" x="20" y="56">{legend}</text>'


def frame(scene: Scene, body: list[str], size: Pair, kind: str, *, standalone: str = "") -> str:
    """The svg element. Within a page it is named by a label; a file of its own brings `standalone`, its style."""
    wide, high = number(size[0]), number(size[1])
    attributes = f'class="flow {kind}" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" role="img"'
    if not standalone:
        return f'<svg {attributes} aria-label="{escape(scene.alt)}">{"".join(body)}</svg>'
    lang = "zh-Hans" if scene.lang == "zh" else scene.lang
    head = f'<title id="title">{escape(scene.title)}</title><desc id="desc">{escape(scene.alt)}</desc>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {attributes} xml:lang="{lang}" aria-labelledby="title desc">\n'
        f'{head}\n<style>{standalone}</style>\n<rect class="ground" width="100%" height="100%"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )
