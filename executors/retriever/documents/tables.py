"""Tables of text (.csv, .jsonl): one part a row, every cell named by its column, as rows of training data are read."""

from __future__ import annotations

from pathlib import Path

from executors.data.reading import read_table
from executors.retriever.documents.model import Content, Part
from executors.retriever.documents.text import decode

CELL = " | "


def read_rows(path: Path) -> Content:
    """The rows of a table. Raises `UserError` where it is none, and where most of its rows do not fit its head."""
    with path.open("rb") as file:
        decode(path, file.read(1 << 12).rpartition(b"\n")[0])
    table = read_table(path)
    parts = (Part(named_cells(list(row), list(row.values())), row=n) for n, row in enumerate(table.rows, 1))
    return Content(parts=tuple(parts), joint="\n")


def named_cells(head: list[str], cells: list[str]) -> str:
    """One row as a line that can be read without the table's head: ``Lamp: green | Meaning: all is well``."""
    pairs = [(head[n] if n < len(head) else "", cell) for n, cell in enumerate(cells) if cell.strip()]
    return CELL.join(f"{name}: {cell}" if name else cell for name, cell in pairs)
