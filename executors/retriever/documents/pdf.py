"""PDF with text in it: one part a page, headings from its bookmarks, lines and running heads put right.

Not covered: scans (they are listed: OCR makes text of them), tables (their cells follow one another), columns that the
file does not keep in reading order.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from executors.retriever.documents.model import Content, Part, Unreadable
from executors.retriever.documents.text import unwrapped

if TYPE_CHECKING:
    from pypdf import PdfReader

PAGE_NUMBER = re.compile(r"^\W*(?:page|p\.|第)?\s*\d{1,4}\s*(?:页|(?:of|/|\|)\s*\d{1,4})?\W*$", re.IGNORECASE)
MADE_UP = re.compile(r"\.\w{2,5}$|^(untitled|无标题|microsoft word\b.*)", re.IGNORECASE)  # titles no one wrote
RUNNING = 0.5  # share of pages that begin or end with the same line: it is no part of the text
FEW = 3  # pages on which nothing can be told to repeat

Bookmark = tuple[int, str]
"""Level, from 2, and name."""


def read_pdf(path: Path) -> Content:
    """The pages that have text. Raises `Unreadable` where none has, or a password is needed."""
    from pypdf.errors import DependencyError, FileNotDecryptedError, PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what it remarks is told as a problem, or does not matter
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read(path)
    except (FileNotDecryptedError, DependencyError) as error:
        raise Unreadable(
            "it is protected by a password", "save it without one", "文件受密码保护", "请另存为不加密的文件"
        ) from error
    except PyPdfError as error:
        raise ValueError(error) from error


def _read(path: Path) -> Content:
    from pypdf import PdfReader

    reader = PdfReader(path)
    pages = _without_running_lines([page.extract_text().splitlines() for page in reader.pages])
    if not any(pages):
        raise Unreadable(
            "a PDF without text: scanned pages", "run OCR first, e.g. ocrmypdf IN.pdf OUT.pdf",
            "PDF 中没有文字：是扫描页", "请先做 OCR，例如 ocrmypdf IN.pdf OUT.pdf",
        )  # fmt: skip
    marks = _bookmarks(reader)
    parts = [Part(_page_markdown(lines, marks.get(number, ())), page=number) for number, lines in enumerate(pages, 1)]
    return Content(title=_title(reader), parts=tuple(parts))


def _title(reader: PdfReader) -> str:
    title = str((reader.metadata.title if reader.metadata else "") or "").strip()
    return "" if MADE_UP.search(title) else title


def _bookmarks(reader: PdfReader) -> Mapping[int, list[Bookmark]]:
    """The bookmarks of each page, in order."""
    found: dict[int, list[Bookmark]] = defaultdict(list)
    for level, entry in _entries(reader.outline, 2):
        number = reader.get_destination_page_number(entry)
        name = " ".join(str(entry.title).split())
        if number is not None and number >= 0 and name:
            found[number + 1].append((level, name))
    return found


def _entries(outline: Sequence[Any], level: int) -> Iterator[tuple[int, Any]]:
    for entry in outline:
        if isinstance(entry, list):
            yield from _entries(entry, min(level + 1, 6))
        else:
            yield level, entry


def _page_markdown(lines: Sequence[str], marks: Sequence[Bookmark]) -> str:
    """A page's text with the lines that its bookmarks name as headings, or those at its top where no line is one."""
    out = list(lines)
    at = 0
    for level, name in marks:
        place = next((n for n in range(at, len(out)) if _squeezed(out[n]) == _squeezed(name)), None)
        heading = ["", f"{'#' * level} {name}", ""]
        if place is None:
            out[at:at] = heading
            at += len(heading)
        else:
            out[place : place + 1] = heading
            at = place + len(heading)
    return "\n".join(unwrapped(out, hyphenated=True)).strip()


def _squeezed(line: str) -> str:
    return re.sub(r"[\W_]+", "", line).casefold()


def _without_running_lines(pages: Sequence[list[str]]) -> list[list[str]]:
    """Pages without their numbers, and without the heads and feet that most of them share."""
    trimmed = [_trimmed(page) for page in pages]
    told = [page for page in trimmed if len(page) > 1]
    tops, feet = Counter(_kind(page[0]) for page in told), Counter(_kind(page[-1]) for page in told)
    out = []
    for page in trimmed:
        if len(told) >= FEW and len(page) > 1:
            page = page[1:] if tops[_kind(page[0])] > RUNNING * len(told) else page
            page = page[:-1] if page and feet[_kind(page[-1])] > RUNNING * len(told) else page
        out.append(_trimmed(page))
    return out


def _kind(line: str) -> str:
    """A line without its numbers: "Page 3" and "Page 4" are the same foot."""
    return re.sub(r"\d+", "0", line).strip()


def _trimmed(page: Sequence[str]) -> list[str]:
    """Lines without blank ones and page numbers at both ends."""
    lines = list(page)
    while lines and (not lines[0].strip() or PAGE_NUMBER.match(lines[0])):
        lines.pop(0)
    while lines and (not lines[-1].strip() or PAGE_NUMBER.match(lines[-1])):
        lines.pop()
    return lines
