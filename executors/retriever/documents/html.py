"""HTML as Markdown: headings, lists, tables with named columns. What a reader of the page does not see is left out.

Covered: the charset a page declares, cells that span rows and columns, tables used for layout, permalinks in headings.
Not covered: text that a script writes.
"""

from __future__ import annotations

import codecs
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from executors.data.encoding import BOMS
from executors.retriever.documents.model import Content
from executors.retriever.documents.text import decode

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

DECLARED = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9._:-]+)""", re.IGNORECASE)
PARSER = "lxml"  # knows where cells and list items end that the page leaves open; the standard library's does not
HEAD = 4096  # bytes in which a page declares its charset
WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "iso8859-1": "cp1252", "ascii": "cp1252"}  # as browsers read them
SEVEN_BIT = frozenset({"iso2022_jp", "iso2022_kr", "hz"})  # their bytes are valid UTF-8
UNSEEN = ["script", "style", "noscript", "template", "svg", "iframe", "object", "head", "nav"]
HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
HEADINGS = re.compile(r"^h[1-6]$")
BLOCKS = ["br", "p", "li", "div", "dd", "dt"]
PERMALINKS = frozenset("¶#§🔗")
SPAN = 1000  # the most columns or rows of a cell that are believed


def read_html(path: Path) -> Content:
    """The page's text; its title is the first heading of level 1, else what its window is called."""
    soup = parsed(page_text(path, path.read_bytes()))
    named = soup.find("h1") or soup.find("title")
    title = " ".join(named.get_text().split()) if named else ""
    return Content(to_markdown(soup), title.rstrip("".join(PERMALINKS)).strip())


def parsed(markup: str) -> BeautifulSoup:
    """The tree of a page, also of one that is XML or a mere address, which the parser remarks upon."""
    from bs4 import BeautifulSoup

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return BeautifulSoup(markup, PARSER)


def page_text(path: Path, raw: bytes) -> str:
    """The page decoded: by its mark, as UTF-8 where it is valid, by the charset it declares, else as text is."""
    codec = _declared(raw[:HEAD])
    try:
        raw.decode("utf-8")
        valid = True
    except UnicodeDecodeError:
        valid = False
    marked = any(raw.startswith(mark) for mark, _ in BOMS)
    if codec and not marked and (codec in SEVEN_BIT if valid else codec != "utf-8"):
        try:
            return raw.decode(codec).replace("\r\n", "\n")
        except UnicodeDecodeError:  # declared wrongly
            pass
    return decode(path, raw)


def _declared(head: bytes) -> str:
    """The codec of the charset named in the first bytes; "" where there is none that is known."""
    found = DECLARED.search(head)
    try:
        name = codecs.lookup(found[1].decode()).name if found else ""
    except LookupError:
        return ""
    return "" if name.startswith("utf-16") or name.startswith("utf-32") else WIDER.get(name, name)


def to_markdown(soup: BeautifulSoup) -> str:
    """The visible text of a page. The soup is changed."""
    _drop_unseen(soup)
    _unfold_layout(soup)
    found = re.sub(r"[ \t]+\n", "\n", _converter().convert_soup(_main(soup)))
    return re.sub(r"\n{3,}", "\n\n", found).strip() + "\n"


def _main(soup: BeautifulSoup) -> Any:
    """The part that the page itself calls its main one, unless most of its text stands elsewhere."""
    main = soup.find("main") or soup.find(role="main")
    if main is not None and 2 * len(main.get_text(strip=True)) > len(soup.get_text(strip=True)):
        return main
    return soup


def _drop_unseen(soup: BeautifulSoup) -> None:
    from bs4 import Comment

    for tag in soup.find_all(UNSEEN):
        tag.decompose()
    for tag in soup.find_all(lambda tag: tag.has_attr("hidden") or bool(HIDDEN.search(str(tag.get("style", ""))))):
        tag.decompose()
    for comment in soup.find_all(string=lambda text: isinstance(text, Comment)):
        comment.extract()
    for picture in soup.find_all("img"):
        picture.replace_with(str(picture.get("alt") or ""))
    for heading in soup.find_all(HEADINGS):
        for link in heading.find_all("a"):
            if link.get_text(strip=True) in PERMALINKS:
                link.decompose()


def _unfold_layout(soup: BeautifulSoup) -> None:
    """Tables that only put things side by side become plain blocks."""
    for table in soup.find_all("table"):
        columns = max((len(row.find_all(["td", "th"], recursive=False)) for row in table.find_all("tr")), default=0)
        if columns < 2 or table.find(["table", "pre", HEADINGS]):
            inside = table.find_all(["tr", "td", "th", "thead", "tbody", "tfoot"])
            for tag in (table, *(tag for tag in inside if tag.find_parent("table") is table)):
                tag.name = "div"


def _converter() -> Any:
    from markdownify import ATX, MarkdownConverter

    class Converter(MarkdownConverter):
        def convert_table(self, el: Tag, text: str, parent_tags: set[str]) -> str:
            return f"\n\n{table_markdown(el)}\n\n"

    return Converter(
        heading_style=ATX, bullets="-", escape_asterisks=False, escape_underscores=False, newline_style="spaces"
    )


# -- tables --------------------------------------------------------------------------------------------


def table_markdown(table: Tag) -> str:
    """A table as Markdown with a head; pairs of two columns without one as ``- name: value``."""
    caption = table.find("caption")
    rows = [row for row in table.find_all("tr") if row.find(["td", "th"])]
    depth = _head_depth(rows)
    grid = [row for row in _grid(rows, depth) if any(row)]
    lines = [_cell_text(caption), ""] if caption else []
    if not grid:
        return "\n".join(lines)
    if not depth and len(grid[0]) == 2:
        return "\n".join([*lines, *(f"- {': '.join(filter(None, row))}" for row in grid)])
    head = [" ".join(dict.fromkeys(filter(None, column))) for column in zip(*grid[: depth or 1], strict=True)]
    lines += [_line(head), _line(["---"] * len(head)), *map(_line, grid[depth or 1 :])]
    return "\n".join(lines)


def _head_depth(rows: list[Tag]) -> int:
    """How many rows from the top are the head; 0 where none is marked as one."""
    for depth, row in enumerate(rows):
        if not (row.find_parent("thead") or all(cell.name == "th" for cell in row.find_all(["td", "th"]))):
            return depth
    return min(len(rows), 1)


def _grid(rows: list[Tag], depth: int) -> list[list[str]]:
    """Cells by row and column. What spans rows is in each; what spans columns in the first, in the head in each."""
    cells: dict[tuple[int, int], str] = {}
    for y, row in enumerate(rows):
        x = 0
        for cell in row.find_all(["td", "th"]):
            while (y, x) in cells:
                x += 1
            text, wide, high = _cell_text(cell), _span(cell, "colspan"), _span(cell, "rowspan")
            for down in range(min(high, len(rows) - y)):
                cells.update({(y + down, x + n): text if n == 0 or y < depth else "" for n in range(wide)})
            x += wide
    width = 1 + max((x for _, x in cells), default=0)
    return [[cells.get((y, x), "") for x in range(width)] for y in range(len(rows))]


def _span(cell: Tag, name: str) -> int:
    value = str(cell.get(name, "1"))
    return min(int(value), SPAN) if value.isdecimal() and int(value) else 1


def _cell_text(cell: Any) -> str:
    for block in cell.find_all(BLOCKS):
        block.insert_after(" ")
    return " ".join(cell.get_text().split())


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
