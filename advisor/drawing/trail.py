"""The walked path alone as SVG, from top to bottom, the branches not taken as stubs: for a page, wide or narrow."""

from __future__ import annotations

from dataclasses import dataclass

from advisor.drawing.scene import Box, Link, Scene
from advisor.drawing.shapes import (
    Label,
    answer_label,
    arrow,
    box_label,
    draw_answer,
    draw_box,
    draw_line,
    frame,
    number,
    point,
)

STEP, STUB_GAP, EDGE = 18.0, 7.0, 3.0  # px between box and answer, between two stubs, and around the drawing


@dataclass(frozen=True)
class Page:
    """Its name, and where things stand. Stubs stand beside their box, or below it where there is no room beside."""

    name: str
    width: float
    box_room: float
    box_least: float
    spine: float  # x of the line down
    answer_room: float
    stub_left: float
    beside: bool


PAGES = {
    page.name: page
    for page in (
        Page("wide", 760.0, 420.0, 420.0, 213.0, 320.0, 482.0, beside=True),
        Page("narrow", 350.0, 344.0, 344.0, 30.0, 290.0, 62.0, beside=False),
    )
}


def draw_trail(scene: Scene, page: Page) -> str:
    """The path of a walked scene as an element for a page that has the style; empty where nothing was walked."""
    drawn, y = _Drawn([], []), EDGE
    for box, taken in scene.trail():
        label = box_label(box, page.box_room, page.box_least)
        centre, bottom = (page.spine if page.beside else EDGE + label.width / 2), y + label.height
        drawn.marks.append(draw_box(box, label, centre, y + label.height / 2))
        clear = _stubs(scene, box, page, (centre + label.width / 2, y, bottom), drawn)
        y = _onward(taken, page, bottom, clear, drawn) if taken else clear
    size = (page.width, y + EDGE)
    return frame(scene, [*drawn.lines, *drawn.marks], size, f"trail {page.name}") if drawn.marks else ""


@dataclass(frozen=True)
class _Drawn:
    """Lines lie under everything else."""

    lines: list[str]
    marks: list[str]


def _stubs(scene: Scene, box: Box, page: Page, sides: tuple[float, float, float], drawn: _Drawn) -> float:
    """The branches not taken from a box with this right side, top and bottom; the y below all of it."""
    right, top, bottom = sides
    middle = (top + bottom) / 2
    stubs = [link for link in scene.leaving(box.id) if not link.walked]
    labels = [_stub(scene, link, page) for link in stubs]
    tall = sum(label.height + STUB_GAP for label in labels) - STUB_GAP
    y = max(top, middle - tall / 2) if page.beside else bottom + 2 * STUB_GAP
    for link, label in zip(stubs, labels, strict=True):
        centre = y + label.height / 2
        way = _aside(right, middle, page, centre) if page.beside else _down(page, bottom, centre)
        drawn.lines.append(draw_line(way, link))
        drawn.marks.append(draw_answer(link, label, page.stub_left + label.width / 2, centre))
        y += label.height + STUB_GAP
    return max(y, bottom) if stubs else bottom


def _stub(scene: Scene, link: Link, page: Page) -> Label:
    """A branch not taken: its answer, what it would add, and the outcome where it leads straight to one."""
    target = scene.boxes[link.end]
    ending = f" → {target.text.rstrip('.。')}" if target.kind == "end" and not link.adds else ""
    shown = Link(link.start, link.end, link.answer + ending, link.adds, link.why, link.source, link.strength)
    return answer_label(shown, page.width - page.stub_left - EDGE)


def _onward(taken: Link, page: Page, top: float, clear: float, drawn: _Drawn) -> float:
    """The line from a box's bottom at `top` to the next box, which begins below `clear`; where that is.

    Beside the stubs its answer stands half-way down, else below them.
    """
    label = answer_label(taken, page.answer_room)
    room = label.height + 2 * STEP
    end = max(top + room, clear + STEP) if page.beside else clear + room
    middle = (top + end) / 2 if page.beside else end - room / 2
    drawn.lines.append(draw_line(f"M{point(page.spine, top)}V{number(end)}{arrow(page.spine, end)}", taken))
    centre = page.spine if page.beside else max(page.spine, EDGE + 6 + label.width / 2)
    drawn.marks.append(draw_answer(taken, label, centre, middle))
    return end


def _aside(x: float, y: float, page: Page, to_y: float) -> str:
    """From a box's right side to a stub."""
    middle = (x + page.stub_left) / 2
    return f"M{point(x, y)}C{point(middle, y)} {point(middle, to_y)} {point(page.stub_left, to_y)}"


def _down(page: Page, top: float, to_y: float) -> str:
    """From the line below a box round to a stub at the right."""
    bend = min(14.0, to_y - top)
    corner = f"Q{point(page.spine, to_y)} {point(page.spine + bend, to_y)}"
    return f"M{point(page.spine, top)}V{number(to_y - bend)}{corner}H{number(page.stub_left)}"
