"""A chart as Mermaid: what GitHub, GitLab and most wikis draw. Labels are quoted, and nothing in them is markup."""

from __future__ import annotations

from collections.abc import Iterator

from advisor.drawing.scene import Box, Link, Scene

SHAPES = {"ask": ('["', '"]'), "test": ('{{"', '"}}'), "end": ('(["', '"])')}
KINDS = {"ask": "question", "test": "test", "end": "result"}  # `end` is a word of the language
CLASSES = {  # readable on a light and on a dark page, as the page's own colours are not known
    "question": "fill:#ffffff,stroke:#858b93,color:#22262b",
    "test": "fill:#ffffff,stroke:#858b93,color:#22262b",
    "result": "fill:#e0efee,stroke:#858b93,color:#22262b",
    "walked": "stroke:#0f6a68,stroke-width:3px",
    "outcome": "fill:#0f6a68,stroke:#0f6a68,color:#ffffff",
}
SPECIAL = {character: f"#{ord(character)};" for character in '#&<>"`*_\\;'}  # in number codes of Mermaid's own


def draw_mermaid(scene: Scene) -> str:
    """The whole chart; the walked path in heavier lines."""
    return _flowchart(list(scene.boxes.values()), list(scene.links))


def draw_mermaid_trail(scene: Scene) -> str:
    """The walked path alone; empty where nothing was walked."""
    trail = list(scene.trail())
    return _flowchart([box for box, _ in trail], [link for _, link in trail if link]) if trail else ""


def _flowchart(boxes: list[Box], links: list[Link]) -> str:
    lines = ["flowchart TD", *map(_box, boxes), *map(_link, links)]
    lines += [f"  classDef {name} {style}" for name, style in CLASSES.items()]
    lines += _members(boxes)
    walked = ",".join(str(n) for n, link in enumerate(links) if link.walked)
    lines += [f"  linkStyle {walked} stroke:#0f6a68,stroke-width:3px"] if walked else []
    return "\n".join(lines) + "\n"


def _box(box: Box) -> str:
    before, after = SHAPES[box.kind]
    text = _quoted(box.text) + (f"<br>{_quoted(box.outcome)}" if box.outcome else "")
    return f"  {_id(box.id)}{before}{text}{after}"


def _link(link: Link) -> str:
    parts = [_quoted(part) for part in (link.answer, link.added) if part]
    line = "-.->" if link.assumed else "-->"
    label = f'|"{"<br>".join(parts)}"|' if parts else ""
    return f"  {_id(link.start)} {line}{label} {_id(link.end)}"


def _members(boxes: list[Box]) -> Iterator[str]:
    """Which boxes are of which class: by kind, then those walked, then the outcome."""
    groups = {name: [box for box in boxes if box.kind == kind] for kind, name in KINDS.items()}
    groups |= {"walked": [box for box in boxes if box.walked], "outcome": [box for box in boxes if box.outcome]}
    for name, group in groups.items():
        yield from [f"  class {','.join(_id(box.id) for box in group)} {name}"] if group else []


def _id(name: str) -> str:
    """A node's id: a prefix keeps it from being a word of the language, as `end` or `style` are."""
    return "n_" + "".join(c if c.isascii() and c.isalnum() else "_" for c in name)


def _quoted(text: str) -> str:
    """Text on one line, with every character that Mermaid or HTML could take for markup as a number code."""
    return "".join(SPECIAL.get(character, character) for character in " ".join(text.split()))
