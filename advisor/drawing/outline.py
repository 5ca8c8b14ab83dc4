"""A chart as an outline for a terminal: every node once, numbered, with its branches; other ways to it name it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advisor.drawing.lettering import PIECE
from advisor.drawing.scene import Box, Link, Scene
from advisor.texts import say

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text
    from rich.tree import Tree

MARKS = {"ask": "?", "test": "◇", "end": "●"}
WALKED = "▶"


def draw_outline(scene: Scene) -> Tree:
    """A tree that rich folds at the terminal's width. What follows a node with one way on stands at the same depth."""
    from rich.tree import Tree

    homes = {name: link for link, name in _visits(scene)}
    numbers = {name: n for n, name in enumerate(homes, 1)}
    tree = Tree(Folded(_chain(scene, scene.root, numbers)), guide_style="dim")
    _grow(tree, scene, scene.root, homes, numbers)
    return tree


def _visits(scene: Scene) -> Iterator[tuple[Link | None, str]]:
    """Each node in the order of reading, with the way to it under which it is shown: the walked one, or the first."""
    seen: set[str] = set()

    def visit(link: Link | None, name: str) -> Iterator[tuple[Link | None, str]]:
        aside = link is not None and scene.boxes[name].walked and not link.walked
        if name in seen or aside:
            return
        seen.add(name)
        yield link, name
        for onward in scene.leaving(name):
            yield from visit(onward, onward.end)

    return visit(None, scene.root)


def _grow(tree: Tree, scene: Scene, name: str, homes: Mapping[str, Link | None], numbers: Mapping[str, int]) -> None:
    """Adds the branches of the last node of the chain that begins at `name`."""
    while len(links := scene.leaving(name)) == 1:
        name = links[0].end
    for link in links:
        line = _branch(link, scene.lang).append("\n")
        if homes[link.end] is link:
            branch = tree.add(Folded(line.append_text(_chain(scene, link.end, numbers))))
            _grow(branch, scene, link.end, homes, numbers)
        else:
            elsewhere = f"→ {numbers[link.end]} {scene.boxes[link.end].text}"
            tree.add(Folded(line.append(elsewhere, style="dim not bold")))


def _chain(scene: Scene, name: str, numbers: Mapping[str, int]) -> Text:
    """A node, and those that follow it without a branch, each with the answer that led on."""
    line = _node(scene.boxes[name], numbers)
    links = scene.leaving(name)
    if len(links) == 1:
        line.append("\n").append_text(_branch(links[0], scene.lang, down=True))
        line.append("\n").append_text(_chain(scene, links[0].end, numbers))
    return line


def _node(box: Box, numbers: Mapping[str, int]) -> Text:
    from rich.text import Text

    line = Text(f"{WALKED} " if box.walked else "", style="bold green" if box.walked else "")
    line.append(f"{numbers[box.id]} {MARKS[box.kind]} {box.text}", style="bold")
    return line.append(f" {box.outcome}", style="bold green") if box.outcome else line


def _branch(link: Link, lang: str, *, down: bool = False) -> Text:
    """An answer, what it adds, how sure that rule is and who says so."""
    from rich.text import Text

    line = Text("↓ " if down else "", style="bold green" if link.walked else "")
    line.append(f"{WALKED} " if link.walked and not down else "")
    line.append(link.answer, style="" if link.walked else "cyan")
    line.append(f" {link.added}", style="magenta") if link.added else None
    line.append(f" {say('chart.assumed', lang)}", style="yellow") if link.assumed else None
    gap = " " if line.plain and not line.plain.endswith(" ") else ""
    return line.append(f"{gap}[{link.source}, {link.strength}]", style="dim not bold")


@dataclass(frozen=True)
class Folded:
    """Text folded at the width it is given; Chinese between characters, where rich alone would wait for a space."""

    text: Text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        for line in self.text.split("\n"):
            for part in line.divide(_folds(line.plain, options.max_width)):
                part.rstrip()
                yield part


def _folds(line: str, columns: int) -> Iterator[int]:
    """Where a line is broken so that each part fits; a single piece that is wider is left to rich."""
    from rich.cells import cell_len

    used = 0
    for piece in PIECE.finditer(line):
        if used and used + cell_len(piece[0].rstrip()) > columns:
            yield piece.start()
            used = 0
        used += cell_len(piece[0])
