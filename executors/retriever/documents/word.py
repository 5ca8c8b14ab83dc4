"""Word documents (.docx): converted to HTML by mammoth, then as HTML is. Headings by their styles, in any language.

Not covered: .doc, headings that are only large letters, pages (Word makes them when it prints).
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from executors.retriever.documents.html import parsed, to_markdown
from executors.retriever.documents.model import Content, Unreadable

UNPACKED = 256 << 20  # bytes of text parts; more is no document but an attack, or a mistake
STYLES = "p[style-name='Title'] => h1.title:fresh\np[style-name='Subtitle'] => p:fresh"
OLD = b"\xd0\xcf\x11\xe0"  # how .doc and encrypted files begin


def read_word(path: Path) -> Content:
    """The document's text. Raises `Unreadable` where it is no .docx."""
    import mammoth

    _check(path)
    try:
        with path.open("rb") as file:
            found = mammoth.convert_to_html(
                file, style_map=STYLES, include_embedded_style_map=False, convert_image=_no_picture
            )
    except ExpatError as error:
        raise ValueError(error) from error
    soup = parsed(found.value)
    title = soup.find("h1")
    _lower_headings(soup)
    return Content(to_markdown(soup), " ".join(title.get_text().split()) if title else "")


def _check(path: Path) -> None:
    with path.open("rb") as file:
        beginning = file.read(4)
    if beginning == OLD:
        raise Unreadable(
            "an old .doc, or a document with a password", "save it as .docx without a password",
            "旧版 .doc 或加密的文档", "请另存为不加密的 .docx",
        )  # fmt: skip
    if not zipfile.is_zipfile(path):
        raise Unreadable(
            "not a Word document", "save it as .docx in the program it comes from",
            "不是 Word 文档", "请用原来的程序另存为 .docx",
        )  # fmt: skip
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist() if entry.filename.endswith((".xml", ".rels")))
    if unpacked > UNPACKED:
        raise Unreadable(
            f"its text unpacks to {unpacked >> 20} MB", "split it into smaller files",
            f"解压后的文字达 {unpacked >> 20} MB", "请拆分为较小的文件",
        )  # fmt: skip


def _no_picture(picture: Any) -> list[Any]:
    return []


def _lower_headings(soup: Any) -> None:
    """Under a title of its own, the document's headings begin at level 2."""
    if soup.find("h1", class_="title"):
        for tag in soup.find_all(re.compile("^h[1-5]$")):
            if "title" not in tag.get("class", []):
                tag.name = f"h{int(tag.name[1]) + 1}"
