"""Documents to passages: at headings, pages and rows, then by the embedder's tokens, at sentences if one must be cut.

A passage carries its heading path, so that "How long?" under "Warranty > Batteries" can be found, and its page or row.
The cells of a table are named by their column, so that a row can be read without its head. How a document is split
depends on nothing but that document.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from executors.base import Passage
from executors.retriever.documents.model import Document, Part
from executors.retriever.documents.tables import CELL, named_cells
from executors.retriever.documents.text import FENCE, Heading, heading_lines, unwrapped

SHORTENED = "".join(rf"(?<!\b{word}\.)" for word in (r"e\.g", r"i\.e", "Dr", "Mr", "Ms", "Mrs", "Prof", "vs", "Fig"))
STOP = rf"(?:(?<=[.!?]){SHORTENED}|(?<=[.!?][\"'”’)\]]))\s+"  # a full stop, and the marks that close with it
STOP_ZH = r"(?:(?<=[。！？；…])|(?<=[。！？；…][”’」』）]))(?![”’」』）。！？；…])"
SEPARATORS = [  # tried in order: paragraphs, lines and rows, cells, sentences, clauses, words, characters
    r"\n{2,}",
    r"\n",
    r" \| ",
    f"{STOP}|{STOP_ZH}",
    r"(?<=[;:])\s+|(?<=[，、：])",
    r"(?<=,)\s+",
    r"\s+",
    "",
]
SENTENCE_END = re.compile(rf"{STOP}|{STOP_ZH}\s*|\n+")
RULE = re.compile(r"^\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?\s*$")
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
BORDER = re.compile(r"(?<!\\)\|")

Count = Callable[[str], int]


@dataclass(frozen=True)
class Section:
    """The text under one heading, of one page or row where the document has them. `heading` is the path to it."""

    heading: str
    text: str
    page: int | None = None
    row: int | None = None


def split_documents(documents: Sequence[Document], count: Count, limit: int, overlap: int) -> list[Passage]:
    """Passages of at most `limit` tokens with their heading, `overlap` tokens repeated where a section is cut."""
    passages = []
    for document in documents:
        heading, size = "", 0
        for section in sections(document):
            if section.heading != heading:
                heading, size = section.heading, count(section.heading)
            room = max(limit - size, limit // 2)
            passages += [
                Passage(piece, document.path, heading, page=section.page, row=section.row)
                for piece in _pieces(section.text, count, room, overlap)
            ]
    return passages


def sections(document: Document) -> list[Section]:
    """Each section that has text, in order; its path begins with the document's title and goes on over pages."""
    found, path = [], [document.title]
    for part in document.parts or (Part(document.text),):
        for heading, text in _sections_of(part, path, document.title):
            found.append(Section(heading, text, part.page, part.row))
    return found


def _sections_of(part: Part, path: list[str], title: str) -> Iterator[tuple[str, str]]:
    """(heading path, text) of what has text in one part; `path` is the one it begins under, and is kept up to date."""
    if part.row is not None:  # a cell's text is no Markdown
        yield _shown(path), part.text.strip()
        return
    lines, start = part.text.splitlines(), 0
    for begin, end, level, name in [*heading_lines(lines), Heading(len(lines), len(lines), 0, "")]:
        body = readable("\n".join(lines[start:begin]))
        if body:
            yield _shown(path), body
        if level == 1:
            path[:] = [plain(name) or title]
        elif level > 1:
            path[:] = [*(path + [""] * 6)[: level - 1], plain(name)]
        start = end


def _shown(path: Sequence[str]) -> str:
    return " > ".join(dict.fromkeys(name for name in path if name))


def readable(text: str) -> str:
    """Markdown as a reader sees it: links by their text, table rows with the name of each column, sentences in one
    line."""
    out: list[str] = []
    head: list[str] | None = None
    fenced = False
    lines = unwrapped(text.splitlines())
    for number, line in enumerate(lines):
        fenced ^= bool(FENCE.match(line))
        following = lines[number + 1] if number + 1 < len(lines) else ""
        if fenced:
            out.append(line)
        elif "|" in line and "|" in following and RULE.match(following.strip()):
            head = _cells(line)
        elif head is not None and RULE.match(line.strip()):
            continue
        elif head is not None and "|" in line:
            out.append(named_cells(head, _cells(line)))
        else:
            head = None
            out.append(plain(line))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).strip()


def plain(line: str) -> str:
    """A line without the marks of links and emphasis."""
    return re.sub(r"\*\*(.+?)\*\*|__(.+?)__", lambda m: m[1] or m[2], LINK.sub(r"\1", line))


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|")
    inner = inner[:-1] if inner.endswith("|") and not inner.endswith("\\|") else inner
    return [plain(cell.strip().replace("\\|", "|")) for cell in BORDER.split(inner)]


def _pieces(text: str, count: Count, limit: int, overlap: int) -> list[str]:
    if len(text) <= limit // 4 or count(text) <= limit:  # no tokenizer makes more of a character than its four bytes
        return [text]
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    splitter = RecursiveCharacterTextSplitter(
        separators=SEPARATORS,
        is_separator_regex=True,
        keep_separator="end",  # the default moves a full stop to the next passage
        chunk_size=limit,
        chunk_overlap=min(overlap, limit // 2),
        length_function=count,
    )
    pieces = (piece.strip().removesuffix(CELL.rstrip()).strip() for piece in splitter.split_text(text))
    return [piece for piece in pieces if piece]


def sentences(text: str) -> list[str]:
    """The sentences, lines and table rows of a text."""
    return [s for part in SENTENCE_END.split(text) if (s := part.strip())]
