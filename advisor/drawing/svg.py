"""The whole chart as SVG: layered, the walked path over the rest. Nothing is fetched, nothing is scripted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from advisor.drawing.layers import Item, Layout, Wire, arrange
from advisor.drawing.lettering import width
from advisor.drawing.scene import Link, Scene
from advisor.drawing.shapes import (
    SMALL,
    Label,
    answer_label,
    arrow,
    box_label,
    curve,
    draw_answer,
    draw_box,
    draw_line,
    frame,
    heading,
    number,
    point,
)
from advisor.texts import say

BOX_ROOM, ANSWER_ROOM = 212.0, 128.0  # widest box and answer, px
MARGIN = 20.0
HEAD, TITLE = 56.0, 22.0  # height of a file's heading, and the size of its title with room for bold

STYLE = (Path(__file__).parent / "flow.css").read_text(encoding="utf-8").strip()
COLOURS = (Path(__file__).parent / "colours.css").read_text(encoding="utf-8").strip()


def draw_chart(scene: Scene) -> str:
    """The chart as an element for a page that has `STYLE` and the page's colours."""
    body, size = _chart(scene)
    return frame(scene, body, size, _kind(scene))


def draw_chart_file(scene: Scene) -> str:
    """The chart as a file of its own, in light and dark."""
    body, (wide, high) = _chart(scene)
    room = max(width(scene.title, TITLE), width(say("chart.shapes", scene.lang), SMALL)) + 2 * MARGIN
    body = [heading(scene), f'<g transform="translate(0 {number(HEAD)})">', *body, "</g>"]
    return frame(scene, body, (max(wide, room), high + HEAD), _kind(scene), standalone=f"{COLOURS}\n{STYLE}")


def _chart(scene: Scene) -> tuple[list[str], tuple[float, float]]:
    boxes = {name: box_label(box, BOX_ROOM) for name, box in scene.boxes.items()}
    answers = [answer_label(link, ANSWER_ROOM) for link in scene.links]
    wires = [
        Wire(link.start, link.end, (label.width, label.height))
        for link, label in zip(scene.links, answers, strict=True)
    ]
    layout = arrange({name: (label.width, label.height) for name, label in boxes.items()}, wires)
    for item in {id(i): i for route in layout.routes for i in route}.values():
        item.x, item.y = item.x + MARGIN, item.y + MARGIN
    size = (layout.width + 2 * MARGIN, layout.height + 2 * MARGIN)
    return [*_links(scene.links, answers, layout), *_boxes(scene, boxes, layout)], size


def _links(links: Sequence[Link], answers: Sequence[Label], layout: Layout) -> list[str]:
    """Lines first, the walked ones over the others; then the answers, which cover the lines."""
    drawn = [(link, label, route) for link, label, route in zip(links, answers, layout.routes, strict=True)]
    drawn.sort(key=lambda entry: entry[0].walked)
    lines = [draw_line(_path(route, layout), link) for link, _, route in drawn]
    return lines + [draw_answer(link, label, route[1].x, route[1].y) for link, label, route in drawn]


def _boxes(scene: Scene, labels: dict[str, Label], layout: Layout) -> list[str]:
    return [
        draw_box(scene.boxes[name], label, layout.nodes[name].x, layout.nodes[name].y) for name, label in labels.items()
    ]


def _path(route: Sequence[Item], layout: Layout) -> str:
    """Upright through each row, curved between rows, to the arrowhead at the last item."""
    start, end = route[0], route[-1]
    x, y = start.x, start.y + start.size[1] / 2
    parts = [f"M{point(x, y)}"]
    for item, above in zip(route[1:], route, strict=False):
        out = layout.rows[above.row][1] + MARGIN
        into = layout.rows[item.row][0] + MARGIN
        parts += [f"V{number(out)}", curve(x, out, item.x, into)]
        x = item.x
    tip = end.y - end.size[1] / 2
    return "".join([*parts, f"V{number(tip)}", arrow(x, tip)])


def _kind(scene: Scene) -> str:
    """Without a path nothing is muted."""
    return "whole" if scene.boxes[scene.root].walked else "whole bare"
