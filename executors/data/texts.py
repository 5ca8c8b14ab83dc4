"""Texts without targets, to go on reading from: files that are one text, and tables with a text a row.

Covered: .txt and .md (the file is one text), and every table `reading` reads, by its column of texts. Not covered:
documents of other kinds and folders, which `executors.retriever.documents` reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from executors.base import Problem, UserError
from executors.data.columns import recognise_columns
from executors.data.encoding import detect_encoding
from executors.data.reading import check_content, read_table, readable

PLAIN = (".txt", ".md")

Named = tuple[str, str]
"""(where the text stands, the text)"""


def read_texts(path: Path, columns: Mapping[str, str] | None = None) -> list[Named]:
    """Every text in `path` that is not empty, in order. Raises `UserError`, also where there is none."""
    texts = _plain(path) if path.suffix.lower() in PLAIN else _of_table(path, columns or {})
    if not texts:
        zh = Problem(f"{path}：没有任何文本", "请换一个文件，或用 --columns text=列名 指定列")
        raise UserError(f"{path}: no text in it", "name another file, or the column: --columns text=NAME", zh)
    return texts


def _plain(path: Path) -> list[Named]:
    check_content(path)
    with readable(path):
        text = path.read_text(detect_encoding(path)).strip()
    return [(path.name, text)] if text else []


def _of_table(path: Path, columns: Mapping[str, str]) -> list[Named]:
    table = read_table(path)
    if len(table.columns) == 1 and "text" not in columns:
        columns = {**columns, "text": table.columns[0]}
    name = recognise_columns(table, columns, needs=("text",))[0]["text"]
    rows = zip(table.lines, table.rows, strict=True)
    return [(f"{path.name}:{line}", cells[name].strip()) for line, cells in rows if cells[name].strip()]
