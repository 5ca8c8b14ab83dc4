"""Documents to passages: at headings, then by the embedder's tokens, at sentences where one must be cut.

A passage carries its heading path, so that "How long?" under "Warranty > Batteries" can be found. The cells of a
table are named by their column, so that a row can be read without its head.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from executors.base import Passage
from executors.retriever.documents import Document, heading_lines

SEPARATORS = ["\n\n", "\n", "。", "！", "？", "；", ". ", "! ", "? ", "; ", "，", ", ", " ", ""]
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？；])\s*|\n+")
RULE = re.compile(r"^\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?\s*$")
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
CELL = " | "

Count = Callable[[str], int]


def split_documents(documents: Sequence[Document], count: Count, limit: int, overlap: int) -> list[Passage]:
    """Passages of at most `limit` tokens with their heading, `overlap` tokens repeated where a section is cut."""
    passages = []
    for document in documents:
        for heading, text in sections(document):
            room = max(limit - count(heading), limit // 2)
            passages += [Passage(piece, document.path, heading) for piece in _pieces(text, count, room, overlap)]
    return passages


def sections(document: Document) -> list[tuple[str, str]]:
    """(heading path, text) of each section that has text; the path begins with the document's title."""
    lines = document.text.splitlines()
    marks = list(heading_lines(lines))
    found, path, start = [], [document.title], 0
    for number, level, name in [*marks, (len(lines), 1, "")]:
        body = readable("\n".join(lines[start:number]))
        if body:
            found.append((" > ".join(dict.fromkeys(p for p in path if p)), body))
        path = [*(path + [""] * 6)[: max(level - 1, 1)], plain(name)] if level > 1 else [plain(name) or document.title]
        start = number + 1
    return found


def readable(text: str) -> str:
    """Markdown as a reader sees it: links by their text, table rows with the name of each column."""
    out: list[str] = []
    head: list[str] | None = None
    lines = text.splitlines()
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else ""
        if "|" in line and "|" in following and RULE.match(following.strip()):
            head = _cells(line)
        elif head is not None and RULE.match(line.strip()):
            continue
        elif head is not None and "|" in line:
            out.append(_named(head, _cells(line)))
        else:
            head = None
            out.append(plain(line))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).strip()


def plain(line: str) -> str:
    """A line without the marks of links and emphasis."""
    return re.sub(r"\*\*(.+?)\*\*|__(.+?)__", lambda m: m[1] or m[2], LINK.sub(r"\1", line))


def _cells(line: str) -> list[str]:
    return [plain(cell.strip()) for cell in line.strip().strip("|").split("|")]


def _named(head: list[str], cells: list[str]) -> str:
    pairs = [(head[n] if n < len(head) else "", cell) for n, cell in enumerate(cells) if cell]
    return CELL.join(f"{name}: {cell}" if name else cell for name, cell in pairs)


def _pieces(text: str, count: Count, limit: int, overlap: int) -> list[str]:
    if count(text) <= limit:
        return [text]
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    splitter = RecursiveCharacterTextSplitter(
        separators=SEPARATORS,
        keep_separator="end",  # the default moves a full stop to the next passage
        chunk_size=limit,
        chunk_overlap=min(overlap, limit // 2),
        length_function=count,
    )
    return [piece.strip() for piece in splitter.split_text(text) if piece.strip()]


def sentences(text: str) -> list[str]:
    """The sentences, lines and table rows of a text."""
    return [s for part in SENTENCE_END.split(text) if (s := part.strip())]
