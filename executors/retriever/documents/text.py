"""Markdown and plain text; and what the other kinds share: headings, and lines that are one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from executors.data.encoding import BOMS, OTHERS, detect_encoding
from executors.retriever.documents.model import Content, Unreadable

HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*\s*$")
UNDERLINE = re.compile(r"^(={3,}|-{3,})\s*$")
FENCE = re.compile(r"^\s*(```|~~~)")
STRUCTURE = re.compile(r"^\s*([-*+•·>|#]|\d{1,3}[.)、]|[（(]?[一二三四五六七八九十\d]{1,3}[）)、]|```|~~~|:\s)")
ENDS = re.compile(r"[.!?:;。！？：；…|][\"'”’」』）)\]]*$")
WIDE = re.compile(r"[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uff60]")
CUT_WORD = re.compile(r"[^\W\d_]-\s*$")
FULL = 0.75  # of a paragraph's widest line: a shorter one ends where it does on purpose
NARROW = 36  # columns: no text is wrapped to less


class Heading(NamedTuple):
    """Its first line, from 0, and the one after it; its level, from 1."""

    begin: int
    end: int
    level: int
    name: str


def read_text(path: Path) -> Content:
    """Markdown as it stands; plain text is taken for it."""
    text = decode(path, path.read_bytes())
    return Content(text, title_of(text))


def title_of(text: str) -> str:
    """The first heading of level 1; "" where there is none."""
    return next((name for level, name in headings(text) if level == 1), "")


def decode(path: Path, raw: bytes) -> str:
    """The text in `raw`, read from `path`. Raises `Unreadable` for what is no text, `UserError` for broken text."""
    mark = next((name for mark, name in BOMS if raw.startswith(mark)), "")
    if not mark:
        _refuse_binary(raw)
    try:
        text = raw.decode(mark or "utf-8")
    except UnicodeDecodeError:
        text = raw.decode(detect_encoding(path))
    return text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")


def _refuse_binary(raw: bytes) -> None:
    for beginning, en, zh in OTHERS:
        if raw.startswith(beginning):
            raise Unreadable(
                f"this is {en.message}, not text", "give it the ending of its kind, or take it out of the folder",
                f"这是 {zh.message}，不是文本", "请改用与其类型相符的后缀，或移出该文件夹",
            )  # fmt: skip
    if b"\0" in raw:
        raise Unreadable(
            "binary, not text (it holds zero bytes)", "take it out of the folder; text in UTF-16: save it as UTF-8",
            "二进制文件，不是文本（含有零字节）", "请移出该文件夹；若是 UTF-16 文本，请另存为 UTF-8",
        )  # fmt: skip


# -- headings ------------------------------------------------------------------------------------------


def headings(text: str) -> Iterator[tuple[int, str]]:
    """The Markdown headings of a text with their levels, those inside code fences left out."""
    for heading in heading_lines(text.splitlines()):
        yield heading.level, heading.name


def heading_lines(lines: Sequence[str]) -> Iterator[Heading]:
    """Each Markdown heading, marked by # or underlined."""
    fenced = False
    for number, line in enumerate(lines):
        if FENCE.match(line):
            fenced = not fenced
        if fenced:
            continue
        found = HEADING.match(line)
        if found:
            yield Heading(number, number + 1, len(found[1]), found[2])
        elif _is_underlined(lines, number):
            yield Heading(number, number + 2, 1 if lines[number + 1][0] == "=" else 2, line.strip())


def _is_underlined(lines: Sequence[str], number: int) -> bool:
    """One line, alone, above a rule: more lines above are a paragraph that a rule ends."""
    line = lines[number]
    if number + 1 >= len(lines) or not line.strip() or STRUCTURE.match(line) or UNDERLINE.match(line):
        return False
    alone = number == 0 or not lines[number - 1].strip()
    return alone and bool(UNDERLINE.match(lines[number + 1]))


# -- lines ---------------------------------------------------------------------------------------------


def unwrapped(lines: Sequence[str], hyphenated: bool = False) -> list[str]:
    """Lines with those joined that were broken to fit a page's width, so that a sentence stands on one line.

    A line goes on in the next where it fills its paragraph's width and does not end a sentence; lists, tables, quotes
    and code keep their lines. Words of `hyphenated` lines are joined as well, and lose the hyphen.
    """
    out: list[str] = []
    widths = _paragraph_widths(lines)
    fenced = False
    last = ""  # the line before as it stood
    for number, line in enumerate(lines):
        fenced ^= bool(FENCE.match(line))
        cut = hyphenated and bool(CUT_WORD.search(last)) and line[:1].islower()
        full = len_shown(last) >= max(NARROW, FULL * widths[number])
        if cut and not fenced:
            out[-1] = out[-1].rstrip()[:-1] + line
        elif full and not fenced and line.strip() and _goes_on(out[-1], line):
            out[-1] = _joined(out[-1].rstrip(), line.strip())
        else:
            out.append(line)
        last = line
    return out


def len_shown(line: str) -> int:
    """Columns of a line; Chinese characters take two."""
    return len(line) + len(WIDE.findall(line))


def _paragraph_widths(lines: Sequence[str]) -> list[int]:
    """For each line, the widest one of its paragraph."""
    widths, begin = [0] * len(lines), 0
    for number in range(len(lines) + 1):
        if number == len(lines) or not lines[number].strip():
            widest = max(map(len_shown, lines[begin:number]), default=0)
            widths[begin:number] = [widest] * (number - begin)
            begin = number + 1
    return widths


def _goes_on(before: str, line: str) -> bool:
    if ENDS.search(before.rstrip()) or before.endswith("  ") or HEADING.match(before) or before.lstrip()[:1] in "|`~":
        return False
    return not STRUCTURE.match(line)


def _joined(before: str, line: str) -> str:
    close = (WIDE.match(before[-1:]) and WIDE.match(line)) or CUT_WORD.search(before)
    return before + line if close else f"{before} {line}"
