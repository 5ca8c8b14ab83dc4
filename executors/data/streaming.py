"""Tables row by row, for files that are larger than memory: the same formats, encodings and faults as `reading`.

Covered: CSV, TSV and JSON lines are read lazily, as often as they are asked for. Not covered: .json documents and .xlsx
have no end of a row that could be found without reading all of them; they are read whole, and `lazy` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from executors.base import Reporter, silent
from executors.data import reading
from executors.data.encoding import detect_encoding
from executors.data.reading import Table

HEAD = 5000  # rows that columns and the task are told from

NumberedRow = tuple[int, dict[str, str]]
"""The line a row stands on, from 1, and its cells by column."""


@dataclass(frozen=True)
class Stream:
    """A table that is read as it is asked for: `rows()` begins anew with every call.

    `head` holds its first rows, so that columns can be recognised. `ragged` are the lines with too many cells, as far
    as the file was read last.
    """

    head: Table
    rows: Callable[[], Iterator[NumberedRow]]
    lazy: bool
    ragged: list[int] = field(default_factory=list)


def open_stream(path: Path, report: Reporter = silent, head: int = HEAD) -> Stream:
    """The table in `path`, `head` rows of it read. Raises `UserError`, as `read_table` does; later rows may as well."""
    kind = reading.check_file(path)
    if kind in ("csv", "tsv"):
        return _delimited(path, kind, report, head)
    if kind != "xlsx":
        with reading.readable(path):
            encoding = detect_encoding(path)
            if reading.is_by_line(path, encoding, kind):
                return _by_line(path, encoding, report, head)
    whole = reading.read_table(path)
    first = replace(whole, rows=whole.rows[:head], lines=whole.lines[:head])
    numbered = list(zip(whole.lines, whole.rows, strict=True))
    return Stream(first, lambda: iter(numbered), lazy=False, ragged=list(whole.ragged))


def _delimited(path: Path, kind: str, report: Reporter, head: int) -> Stream:
    with reading.readable(path):
        encoding = detect_encoding(path)
        dialect = reading.find_dialect(path, encoding, kind)
    columns = reading.header_of(path, reading.records_of(path, encoding, *dialect))
    ragged: list[int] = []

    def rows(report: Reporter = report) -> Iterator[NumberedRow]:
        ragged.clear()
        good = 0
        records = reading.records_of(path, encoding, *dialect, report=report)
        next(records)  # the header
        for good, row in enumerate(reading.cells_of(columns, records, ragged), 1):  # noqa: B007 (counted for below)
            yield row
        reading.refuse_ragged(path, len(columns), good, ragged)

    first = list(islice(rows(silent), head))
    table = Table(path, columns, [row for _, row in first], encoding, kind, [line for line, _ in first])
    return Stream(reading.finished(table), rows, lazy=True, ragged=ragged)


def _by_line(path: Path, encoding: str, report: Reporter, head: int) -> Stream:
    """Columns are those of the first rows: a name that appears only later is left out."""
    table = reading.table_of(path, encoding, "jsonl", islice(reading.read_lines(path, encoding), head))

    def rows() -> Iterator[NumberedRow]:
        for line, record in reading.read_lines(path, encoding, report):
            yield line, {name: record.get(name, "") for name in table.columns}

    return Stream(reading.finished(table), rows, lazy=True)
