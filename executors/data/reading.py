"""Tables from files: CSV, TSV, JSONL, JSON and .xlsx, in the encodings people have, every cell as text.

Covered: separators comma, semicolon, tab and bar; quoted cells of several lines; rows of the wrong width, counted;
the record shapes of `shapes`. Not covered: several sheets (the first with rows is read), compressed files, and
tables that are larger than memory (see `streaming`, which reads them with what stands here).
Raises `UserError` for whatever a user can mend, with the line where there is one.
"""

from __future__ import annotations

import contextlib
import csv
import difflib
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from executors.base import Event, Problem, Reporter, Text, UserError, silent
from executors.data import shapes
from executors.data.encoding import detect_encoding

FORMATS = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json",
    ".xlsx": "xlsx",
}  # fmt: skip
SEPARATORS = (",", ";", "\t", "|")
LINES = 20_000  # read between two reports
LARGEST_CELL = 1 << 26  # characters; csv refuses cells above 131,072 unless told
RAGGED = 0.2  # share of rows of the wrong width above which the file is not what it seems
KNOWN = "rows are read from .csv, .tsv, .jsonl, .json and .xlsx"
KNOWN_ZH = "数据文件可以是 .csv、.tsv、.jsonl、.json 和 .xlsx"
JSON_ROW = '{"text": "where is my parcel?", "label": "order_status"}'


@dataclass(frozen=True)
class Table:
    """A file's rows, every cell as text; `lines` says where each stands in the file, from 1."""

    path: Path
    columns: tuple[str, ...]
    rows: list[dict[str, str]]
    encoding: str
    format: str  # csv, tsv, jsonl, json, squad, xlsx
    lines: list[int]
    ragged: tuple[int, ...] = ()  # lines left out, as they have more cells than the header
    notes: tuple[Text, ...] = ()


def read_table(path: Path) -> Table:
    """The table in `path`, its format told by its ending. Raises `UserError`."""
    kind = check_file(path)
    with readable(path):
        if kind == "xlsx":
            table = _read_xlsx(path)
        else:
            encoding = detect_encoding(path)
            read = _read_delimited if kind in ("csv", "tsv") else _read_json
            table = read(path, encoding, kind)
    return finished(table)


def finished(table: Table) -> Table:
    """A table with the note on its encoding. Raises `UserError` where it has no rows."""
    if not table.rows:
        zh = Problem(f"{table.path}：列名下面没有数据", "请补上数据行，或换一个文件")
        raise UserError(f"{table.path}: no rows below the column names", "add the rows, or name another file", zh)
    return replace(table, notes=(*_encoding_note(table), *table.notes))


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what the system says of a file that cannot be read into a `UserError`."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        zh = Problem(f"{path}：无法读取：{why}", "请检查文件权限")
        raise UserError(f"{path}: cannot be read: {why}", "check the file's permissions", zh) from error


def check_file(path: Path) -> str:
    """The format of a file that is there, has content, and has an ending we know."""
    if path.is_dir():
        inside = ", ".join(sorted(p.name for p in path.iterdir() if p.suffix.lower() in FORMATS)[:5])
        raise UserError(
            f"{path}: a folder, not a file",
            f"name one of the files in it: {inside}" if inside else f"it holds no table; {KNOWN}",
            Problem(
                f"{path}：这是文件夹，不是文件",
                f"请选其中的一个文件：{inside}" if inside else f"其中没有数据文件；{KNOWN_ZH}",
            ),
        )
    kind = FORMATS.get(path.suffix.lower())
    if kind is None and path.is_file():
        zh = Problem(f"{path}：不支持以“{path.suffix}”结尾的文件", KNOWN_ZH)
        raise UserError(f"{path}: cannot read files ending in '{path.suffix}'", KNOWN, zh)
    check_content(path)
    return str(kind)


def check_content(path: Path) -> None:
    """Refuse a file that is not there, or that holds nothing."""
    if not path.is_file():
        raise _missing(path)
    if path.stat().st_size == 0:
        raise _empty(path)


def _empty(path: Path) -> UserError:
    return UserError(
        f"{path}: the file is empty",
        f"write rows into it: a line with the column names first; {KNOWN}",
        Problem(f"{path}：文件是空的", f"请写入数据，第一行是列名；{KNOWN_ZH}"),
    )


def _missing(path: Path) -> UserError:
    if not path.parent.is_dir():
        return UserError(
            f"no such file: {path} (nor the folder {path.parent})",
            "check the path",
            Problem(f"找不到文件：{path}（文件夹 {path.parent} 也不存在）", "请检查路径"),
        )
    siblings = [p.name for p in path.parent.iterdir() if p.is_file()]
    near = difflib.get_close_matches(path.name, siblings, n=1)
    here = ", ".join(sorted(name for name in siblings if Path(name).suffix.lower() in FORMATS)[:8])
    meant = f" (did you mean '{path.parent / near[0]}'?)" if near else ""
    meant_zh = f"（是不是“{path.parent / near[0]}”？）" if near else ""
    return UserError(
        f"no such file: {path}{meant}",
        f"tables in {path.parent}: {here}" if here else f"check the path; {KNOWN}",
        Problem(
            f"找不到文件：{path}{meant_zh}",
            f"{path.parent} 中的数据文件：{here}" if here else f"请检查路径；{KNOWN_ZH}",
        ),
    )


def _encoding_note(table: Table) -> tuple[Text, ...]:
    """Said where the encoding was a conclusion, not a mark in the file."""
    if table.encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32", ""):
        return ()
    name = table.encoding.upper()
    return (
        {
            "en": f"{table.path.name} was read as {name}; if its text looks wrong, save it as UTF-8",
            "zh": f"{table.path.name} 按 {name} 编码读取；若文字有误，请另存为 UTF-8",
        },
    )


# -- CSV and TSV ---------------------------------------------------------------------------------------


def _read_delimited(path: Path, encoding: str, kind: str) -> Table:
    return _build(path, encoding, kind, records_of(path, encoding, *find_dialect(path, encoding, kind)))


def find_dialect(path: Path, encoding: str, kind: str) -> tuple[str, int]:
    """(separator, quoting of `csv`) under which all of the file can be read. Raises `UserError` where none is."""
    csv.field_size_limit(LARGEST_CELL)
    separator = _separator(path, encoding, kind)
    try:
        for _ in records_of(path, encoding, separator):
            pass
    except csv.Error as error:
        if not _fits_with_literal_quotes(path, encoding, separator):
            line, why = error.args
            raise UserError(
                f"{path}: line {line}: a quote mark is out of place ({why})",
                'close every quote mark, and write a quote mark within a cell twice: "say ""yes"""',
                Problem(
                    f"{path}：第 {line} 行：引号位置不对（{why}）",
                    '引号要成对；单元格内的引号要写两遍："say ""yes"""',
                ),
            ) from error
        return separator, csv.QUOTE_NONE
    return separator, csv.QUOTE_MINIMAL


def records_of(
    path: Path,
    encoding: str,
    separator: str,
    quoting: int = csv.QUOTE_MINIMAL,
    strict: bool = True,
    report: Reporter = silent,
) -> Iterator[tuple[int, list[str]]]:
    """Every record that is not blank, with the line it begins on. Raises `csv.Error` with that line and the fault."""
    rules: dict[str, Any] = {"delimiter": separator, "strict": strict, "quoting": quoting, "skipinitialspace": True}
    with path.open(encoding=encoding, newline="") as file:
        reader = csv.reader(_watched(file, path, report), **rules)
        begin = 1
        try:
            for record in reader:
                if any(value.strip() for value in record):
                    yield begin, record
                begin = reader.line_num + 1
        except csv.Error as error:
            raise csv.Error(begin, error) from error


def _watched(file: TextIO, path: Path, report: Reporter) -> Iterator[str]:
    """The lines of an open file, streamed; of a long one it is reported now and then how many bytes are read."""
    size, count = path.stat().st_size, 0
    for count, line in enumerate(file, 1):
        if count % LINES == 0:
            report(Event("scan", min(file.buffer.tell(), size), size, f"{count:,}"))
        yield line
    if count >= LINES:
        report(Event("scan", size, size, f"{count:,}"))


def _separator(path: Path, encoding: str, kind: str) -> str:
    """The separator under which the first rows agree best with the header in the number of their cells."""
    best, best_fit = "\t" if kind == "tsv" else ",", 0.0
    for separator in (best, *(s for s in SEPARATORS if s != best)):
        widths = [len(record) for _, record in islice(records_of(path, encoding, separator, strict=False), 200)]
        if widths and widths[0] > 1:
            fit = sum(width == widths[0] for width in widths) / len(widths)
            if fit > best_fit:
                best, best_fit = separator, fit
    return best


def _fits_with_literal_quotes(path: Path, encoding: str, separator: str) -> bool:
    """Whether all rows are as wide as the header where quote marks are part of the text, as TSV files have them."""
    widths = {len(record) for _, record in records_of(path, encoding, separator, csv.QUOTE_NONE)}
    return len(widths) == 1 and widths != {1}


def _build(path: Path, encoding: str, kind: str, records: Iterator[tuple[int, list[str]]]) -> Table:
    """A table from records, the first being the column names. Short rows are filled up, long ones left out."""
    columns = header_of(path, records)
    ragged: list[int] = []
    numbered = list(cells_of(columns, records, ragged))
    refuse_ragged(path, len(columns), len(numbered), ragged)
    rows, lines = [row for _, row in numbered], [line for line, _ in numbered]
    return Table(path, columns, rows, encoding, kind, lines, tuple(ragged), _ragged_note(path, ragged))


def header_of(path: Path, records: Iterator[tuple[int, list[str]]]) -> tuple[str, ...]:
    """The column names: the first of `records`, which is taken. Raises `UserError` where there is none."""
    _, header = next(records, (0, []))
    while header and not header[-1].strip():  # what spreadsheets leave at the right
        header = header[:-1]
    if not header:
        raise _empty(path)
    return _unique(header)


def cells_of(
    columns: Sequence[str], records: Iterable[tuple[int, list[str]]], ragged: list[int]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Each record's line and cells by column. Short ones are filled up; the lines of long ones go into `ragged`."""
    for line, record in records:
        if any(value.strip() for value in record[len(columns) :]):
            ragged.append(line)
            continue
        cells = record[: len(columns)] + [""] * (len(columns) - len(record))
        yield line, dict(zip(columns, cells, strict=True))


def _unique(header: Iterable[str]) -> tuple[str, ...]:
    """Column names without blanks and repetitions: ``column 3``, ``text (2)``."""
    names: list[str] = []
    for place, raw in enumerate(header, 1):
        name = base = raw.strip().lstrip("\ufeff") or f"column {place}"
        count = 1
        while name in names:
            count += 1
            name = f"{base} ({count})"
        names.append(name)
    return tuple(names)


def refuse_ragged(path: Path, width: int, good: int, ragged: list[int]) -> None:
    if len(ragged) > RAGGED * (good + len(ragged)):
        raise UserError(
            f"{path}: {len(ragged)} of {good + len(ragged)} rows have more cells than the {width} column names "
            f"(first in line {ragged[0]})",
            "put cells that contain the separator in quote marks, and give every column a name",
            Problem(
                f"{path}：{good + len(ragged)} 行中有 {len(ragged)} 行的单元格多于 {width} 个列名"
                f"（首次出现在第 {ragged[0]} 行）",
                "含分隔符的单元格要加引号，每一列都要有列名",
            ),
        )


def _ragged_note(path: Path, ragged: list[int]) -> tuple[Text, ...]:
    if not ragged:
        return ()
    shown = ", ".join(map(str, ragged[:5])) + (", …" if len(ragged) > 5 else "")
    return (
        {
            "en": f"{path.name}: {len(ragged)} rows left out, with more cells than column names (lines {shown})",
            "zh": f"{path.name}：有 {len(ragged)} 行的单元格多于列名，已忽略（行号 {shown}）",
        },
    )


# -- JSON ----------------------------------------------------------------------------------------------


def _read_json(path: Path, encoding: str, kind: str) -> Table:
    """JSON and JSONL, told apart by content: each is often found under the other's ending."""
    if is_by_line(path, encoding, kind):
        return table_of(path, encoding, "jsonl", read_lines(path, encoding))
    document = _parse(path, path.read_text(encoding))
    if shapes.is_squad(document):
        return table_of(path, encoding, "squad", enumerate(shapes.squad_rows(document), 1))
    records = enumerate(_records_of(path, document), 1)
    cells = ((n, _flat(path, record, f"entry {n}", f"第 {n} 项")) for n, record in records)
    return table_of(path, encoding, "json", cells)


def is_by_line(path: Path, encoding: str, kind: str) -> bool:
    """Whether each line is a row of its own, told from the first. Raises `UserError` for a file without any."""
    with path.open(encoding=encoding) as file:
        first = next((line.strip() for line in file if line.strip()), "")
    if not first:
        zh = Problem(f"{path}：文件是空的", f"请写入数据，每行一个 JSON 对象；{KNOWN_ZH}")
        raise UserError(f"{path}: the file is empty", f"write rows into it, one JSON object a line; {KNOWN}", zh)
    return not first.startswith("[") if kind == "jsonl" else _is_object(first)


def _is_object(line: str) -> bool:
    """Whether a line is a whole JSON object that is a row, not a document that holds rows."""
    try:
        value = json.loads(line)
    except json.JSONDecodeError:
        return False
    return isinstance(value, dict) and not _lists_in(value) and not shapes.is_squad(value)


def read_lines(path: Path, encoding: str, report: Reporter = silent) -> Iterator[tuple[int, dict[str, str]]]:
    """One row a line, streamed."""
    with path.open(encoding=encoding) as file:
        for number, line in enumerate(_watched(file, path, report), 1):
            if line.strip():
                value = _parse(path, line, number)
                if not isinstance(value, dict):
                    found = repr(line.strip()[:40])
                    raise UserError(
                        f"{path}: line {number}: expected a JSON object, got {found}",
                        f"one object a line, e.g. {JSON_ROW}",
                        Problem(
                            f"{path}：第 {number} 行：应为 JSON 对象，收到 {found}", f"每行一个对象，例如 {JSON_ROW}"
                        ),
                    )
                yield number, _flat(path, value, f"line {number}", f"第 {number} 行")


def _flat(path: Path, record: Mapping[str, Any], place: str, place_zh: str) -> dict[str, str]:
    """A record as cells. Raises `UserError` with the file, the place in it and the field where it is broken."""
    try:
        return shapes.flatten(record)
    except shapes.BrokenRecord as error:
        told = error.problem
        zh = Problem(f"{path}：{place_zh}：{told.told('zh').message}", told.told("zh").hint)
        raise UserError(f"{path}: {place}: {told.message}", told.hint, zh) from error


def _parse(path: Path, text: str, line: int = 0) -> Any:
    """`text` as JSON; `line` is its line in the file where it is one line of it."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        row, column = line or error.lineno, error.colno
        raise UserError(
            f"{path}: line {row}, column {column}: not valid JSON: {error.msg}",
            "correct this line" if line else "correct the file; a comma or bracket is often missing just before",
            Problem(
                f"{path}：第 {row} 行第 {column} 列：不是有效的 JSON：{error.msg}",
                "请更正这一行" if line else "请更正文件；往往是前面缺了逗号或括号",
            ),
        ) from error


def _lists_in(document: Mapping[str, Any]) -> list[str]:
    """The keys of `document` that hold a list of objects, turns of a conversation and answers aside."""
    return [
        key
        for key, value in document.items()
        if isinstance(value, list) and value and all(isinstance(v, dict) for v in value)
        if key not in (*shapes.CONVERSATIONS, "answers", "prompt", "chosen", "rejected", "tools")
    ]


def _records_of(path: Path, document: Any) -> list[dict[str, Any]]:
    """The objects of a list, or of the one list that a document holds (``{"data": [...]}``)."""
    if isinstance(document, dict):
        keys = _lists_in(document)
        document = document[keys[0]] if len(keys) == 1 else [document]
    found = document if isinstance(document, list) else []
    wrong = [n for n, record in enumerate(found, 1) if not isinstance(record, dict)]
    if wrong or not isinstance(document, list):
        kind = type(document).__name__
        raise UserError(
            f"{path}: expected a list of objects; {f'entry {wrong[0]} is none' if wrong else f'this is a {kind}'}",
            f"e.g. [{JSON_ROW}, …]",
            Problem(
                f"{path}：应为由对象组成的列表；{f'第 {wrong[0]} 项不是对象' if wrong else f'实际是 {kind}'}",
                f"例如 [{JSON_ROW}, …]",
            ),
        )
    return found


def table_of(path: Path, encoding: str, kind: str, records: Iterable[tuple[int, dict[str, str]]]) -> Table:
    """A table whose columns are all names in the records, in order of appearance."""
    rows, lines = [], []
    columns: dict[str, None] = {}
    for line, record in records:
        columns.update(dict.fromkeys(record))
        rows.append(record)
        lines.append(line)
    for row in rows:
        if len(row) < len(columns):
            for name in columns:
                row.setdefault(name, "")
    return Table(path, tuple(columns), rows, encoding, kind, lines)


# -- .xlsx ---------------------------------------------------------------------------------------------


def _read_xlsx(path: Path) -> Table:
    import zipfile
    import zlib

    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            raise UserError(
                f"{path}: not an .xlsx file (an old .xls, encrypted, or something else)",
                "save it as .xlsx",
                Problem(f"{path}：不是 .xlsx 文件（可能是旧版 .xls、加密文件或其他格式）", "请另存为 .xlsx"),
            )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl's remarks on styles and validations it does not keep
            book = load_workbook(path, read_only=True, data_only=True)
            try:
                sheets = [(sheet.title, list(_sheet_records(sheet))) for sheet in book.worksheets]
            finally:
                book.close()
    except (zipfile.BadZipFile, InvalidFileException, KeyError, ValueError, SyntaxError, EOFError, zlib.error) as error:
        raise UserError(
            f"{path}: a damaged .xlsx file: {error}",
            "open it in a spreadsheet program, save it anew",
            Problem(f"{path}：.xlsx 文件已损坏：{error}", "请用表格软件打开后重新保存"),
        ) from error
    filled = [(title, records) for title, records in sheets if records]
    title, records = filled[0] if filled else ("", [])
    table = _build(path, "", "xlsx", iter(records))
    return replace(table, notes=(*table.notes, *_sheets_note(path, title, len(filled))))


def _sheet_records(sheet: Any) -> Iterator[tuple[int, list[str]]]:
    """Every row of a sheet that is not blank, with its number."""
    sheet.reset_dimensions()  # some programs write wrong ones
    for number, values in enumerate(sheet.iter_rows(values_only=True), 1):
        cells = [_sheet_cell(value) for value in values]
        if any(value.strip() for value in cells):
            yield number, cells


def _sheet_cell(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else shapes.cell(value)


def _sheets_note(path: Path, title: str, sheets: int) -> tuple[Text, ...]:
    if sheets < 2:
        return ()
    return (
        {
            "en": f"{path.name}: only the first of its {sheets} sheets with rows, '{title}', was read",
            "zh": f"{path.name}：只读取了 {sheets} 个有数据的工作表中的第一个“{title}”",
        },
    )


# -- paragraphs of SQuAD files ---------------------------------------------------------------------------


def squad_paragraphs(path: Path) -> Iterator[tuple[str, str]]:
    """Every paragraph of a SQuAD-format file as (name, text); the name is what its rows have as their source.

    Written as files under these names, the paragraphs are documents whose retrieval can be scored. Raises `UserError`.
    """
    document = _parse(path, path.read_text(detect_encoding(path)))
    if not shapes.is_squad(document):
        zh = Problem(f"{path}：不是 SQuAD 格式", "应为 data → paragraphs → qas 的结构")
        raise UserError(f"{path}: not in SQuAD's format", "expected data → paragraphs → qas", zh)
    for name, paragraph in shapes.named_paragraphs(document):
        yield name, shapes.cell(paragraph.get("context"))
