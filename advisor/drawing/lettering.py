"""How wide text is, and how it is broken into lines, without the font at hand: estimates for common sans-serif faces.

The estimates lean to the wide side, so that text stays inside its box. Chinese breaks between any two characters, but
no line begins with a closing mark or ends with an opening one. Not covered: right-to-left scripts, hyphenation.
"""

from __future__ import annotations

import re
import unicodedata

NARROW = frozenset("iljtfrI.,:;'’|!()[]{}-/ ")
BROAD = frozenset("mwMWQO@%—…")
CLOSING = "，。、；：！？）》」』”’%…,.;:!?)]}"
OPENING = "（《「『“‘([{"
ROOM = 1.04  # headroom for faces wider than the estimate

# A piece that is never broken: a word, or one wide character, with the marks that belong to it and a plus before it.
PIECE = re.compile(
    rf"\s+|(?:\+ )?[{re.escape(OPENING)}]*(?:[^\s\u2e80-\uffef]+|[\u2e80-\uffef])[{re.escape(CLOSING)}]*|\S"
)


def width(text: str, size: float) -> float:
    """The estimated width of one line at a font size, in the size's unit."""
    return ROOM * size * sum(_advance(character) for character in text)


def _advance(character: str) -> float:
    """The width of a character, in ems."""
    if unicodedata.east_asian_width(character) in "WF":
        return 1.0
    if character in NARROW:
        return 0.33
    if character in BROAD:
        return 0.88
    return 0.67 if character.isupper() else 0.56


def wrap(text: str, size: float, room: float) -> tuple[str, ...]:
    """Lines no wider than `room` where a piece allows it, as few as will do and about equally long."""
    pieces = PIECE.findall(" ".join(text.split()))
    lines = _fill(pieces, size, room)
    low, high = width(text, size) / max(len(lines), 1), room
    for _ in range(8):  # the narrowest room that takes no more lines
        middle = (low + high) / 2
        tried = _fill(pieces, size, middle)
        if len(tried) > len(lines) or any(width(line, size) > room for line in tried):
            low = middle
        else:
            lines, high = tried, middle
    return tuple(lines)


def _fill(pieces: list[str], size: float, room: float) -> list[str]:
    lines = [""]
    for piece in pieces:
        if lines[-1] and width((lines[-1] + piece).rstrip(), size) > room:
            lines[-1] = lines[-1].rstrip()
            lines.append("")
        lines[-1] += piece if lines[-1] else piece.lstrip()
    return [line.rstrip() for line in lines if line.strip()]
