"""In which encoding a text file is: told from its bytes, streamed, so that a large file costs no memory.

Covered: UTF-8 with or without BOM, UTF-16 and UTF-32 with BOM, GB18030 (and so GBK, GB2312), Big5, Windows-1252.
Not covered: UTF-16 without BOM, Cyrillic and Shift-JIS are refused with a way to convert them. EUC-KR and EUC-JP
use the very bytes of Chinese and are read as GB18030, which the table's note says.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path

from executors.base import Problem, UserError

BLOCK = 1 << 20  # bytes read at once
SAMPLE = 1 << 18  # bytes a legacy encoding is told from; the whole file must still decode in it
PLAUSIBLE = 0.7  # least share of characters that must look like the language an encoding is used for
DAMAGED = 0.05  # broken for each whole character of a UTF-8 file; where there are more, it is another encoding

BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with the same two bytes
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
LEGACY = ("gb18030", "big5", "cp1252")  # the first wins a tie
LEVEL_1 = {"gb2312": b"\xd7", "big5": b"\xc6"}  # the last first byte of their everyday characters
OTHERS = (  # how a file begins that is not text, what it is, and what to do about it
    (
        b"PK\x03\x04",
        Problem("a zip or Excel file", "if it is an Excel file, give it the ending .xlsx; else unpack it"),
        Problem("zip 或 Excel 文件", "若是 Excel 文件，请改用 .xlsx 后缀；否则请先解压"),
    ),
    (
        b"\xd0\xcf\x11\xe0",
        Problem("an old or encrypted Office file", "save it as .xlsx without a password, or as CSV UTF-8"),
        Problem("旧版或加密的 Office 文件", "请另存为不加密的 .xlsx，或 UTF-8 编码的 CSV"),
    ),
    (
        b"PAR1",
        Problem("a Parquet file", "convert it: pandas.read_parquet(FILE).to_csv('rows.csv', index=False)"),
        Problem("Parquet 文件", "请先转换：pandas.read_parquet(FILE).to_csv('rows.csv', index=False)"),
    ),
    (b"\x1f\x8b", Problem("a gzip file", "unpack it: gunzip FILE"), Problem("gzip 文件", "请先解压：gunzip FILE")),
    (
        b"%PDF",
        Problem("a PDF file", "rows are read from CSV, TSV, JSONL, JSON and .xlsx; documents are given with --docs"),
        Problem("PDF 文件", "数据文件可以是 CSV、TSV、JSONL、JSON 和 .xlsx；文档请用 --docs 给出"),
    ),
)
CONVERT = "save it as UTF-8 in the program it comes from, or: iconv -f ENCODING -t UTF-8 {name} > utf8-{name}"
CONVERT_ZH = "请在原来的程序里另存为 UTF-8，或运行：iconv -f 原编码 -t UTF-8 {name} > utf8-{name}"


@dataclass(frozen=True)
class Fault:
    """The first byte that is not valid: its offset in the file and its line, from 1."""

    offset: int
    line: int
    byte: int

    def __str__(self) -> str:
        return f"line {self.line}: byte 0x{self.byte:02x}"

    @property
    def zh(self) -> str:
        return f"第 {self.line} 行的字节 0x{self.byte:02x}"


def detect_encoding(path: Path) -> str:
    """The name of the codec that reads all of `path`. Raises `UserError` for binary and undecodable files."""
    with path.open("rb") as file:
        head = file.read(SAMPLE)
    for mark, name in BOMS:
        if head.startswith(mark):
            fault = find_fault(path, name)
            if fault:
                raise UserError(
                    f"{path}: not valid {name.upper()}, {fault}",
                    CONVERT.format(name=path.name),
                    Problem(f"{path}：不是有效的 {name.upper()}，{fault.zh}", CONVERT_ZH.format(name=path.name)),
                )
            return name
    _refuse_binary(path, head)
    fault = find_fault(path, "utf-8")
    return _legacy(path, fault) if fault else "utf-8"


def _refuse_binary(path: Path, head: bytes) -> None:
    for beginning, en, zh in OTHERS:
        if head.startswith(beginning):
            raise UserError(
                f"{path}: this is {en.message}, not text",
                en.hint.replace("FILE", path.name),
                Problem(f"{path}：这是 {zh.message}，不是文本", zh.hint.replace("FILE", path.name)),
            )
    if b"\0" in head:
        raise UserError(
            f"{path}: binary, not text (it holds zero bytes)",
            f"rows are read from CSV, TSV, JSONL, JSON and .xlsx; if it is text: {CONVERT.format(name=path.name)}",
            Problem(
                f"{path}：二进制文件，不是文本（含有零字节）",
                f"数据文件可以是 CSV、TSV、JSONL、JSON 和 .xlsx；若确是文本：{CONVERT_ZH.format(name=path.name)}",
            ),
        )


def find_fault(path: Path, encoding: str) -> Fault | None:
    """Where `path` stops being valid in `encoding`, or None."""
    decoder = codecs.getincrementaldecoder(encoding)()
    lines, read = 1, 0
    with path.open("rb") as file:
        while True:
            block = file.read(BLOCK)
            held = len(decoder.getstate()[0])  # bytes of a character cut by the last block's end
            try:
                lines += decoder.decode(block, final=not block).count("\n")
            except UnicodeDecodeError as error:
                at = error.start
                return Fault(read - held + at, lines + error.object[:at].count(b"\n"), error.object[at])
            read += len(block)
            if not block:
                return None


def _legacy(path: Path, fault: Fault) -> str:
    """The legacy encoding in which the text looks most like a language; `fault` is why it is not UTF-8."""
    with path.open("rb") as file:
        file.seek(max(0, fault.offset - 1024))
        sample = _whole_lines(file.read(SAMPLE), from_start=fault.offset <= 1024)
    if _is_damaged_utf8(sample):
        command = f"iconv -c -f UTF-8 -t UTF-8 {path.name} > whole-{path.name}"
        raise UserError(
            f"{path}: UTF-8 with damaged characters, the first in {fault}",
            f"restore the file, or drop what is damaged: {command}",
            Problem(f"{path}：UTF-8 字符有损坏，首处是{fault.zh}", f"请恢复原文件，或去掉损坏的部分：{command}"),
        )
    shares = {name: plausibility(sample, name) for name in LEGACY}
    for name in sorted(LEGACY, key=lambda name: -shares[name]):
        if shares[name] >= PLAUSIBLE and not find_fault(path, name):
            return name
    raise UserError(
        f"{path}: cannot tell its encoding: not UTF-8 ({fault}), and no plausible {', '.join(LEGACY)}",
        CONVERT.format(name=path.name),
        Problem(
            f"{path}：无法判断编码：不是 UTF-8（{fault.zh}），也不像 {'、'.join(LEGACY)}",
            CONVERT_ZH.format(name=path.name),
        ),
    )


def _whole_lines(raw: bytes, from_start: bool) -> bytes:
    """`raw` without the lines cut by where it begins and ends, so that no character is cut in half."""
    begin = 0 if from_start else raw.find(b"\n") + 1
    end = raw.rfind(b"\n") + 1 if len(raw) == SAMPLE else len(raw)
    return raw[begin:end] or raw


def _is_damaged_utf8(raw: bytes) -> bool:
    """Whether nearly all of what is not ASCII is valid UTF-8: a file that was cut or patched, not another encoding."""
    text = raw.decode("utf-8", errors="replace")
    broken = text.count("\ufffd")
    whole = sum(ch > "\x7f" for ch in text) - broken
    return broken <= DAMAGED * whole


def plausibility(raw: bytes, encoding: str) -> float:
    """The share, 0 to 1, of `raw`'s characters beyond ASCII that are common where `encoding` is used."""
    try:
        text = f" {raw.decode(encoding)} "
    except UnicodeDecodeError:
        return 0.0
    places = [n for n, ch in enumerate(text) if ch > "\x7f"]
    if encoding == "cp1252":  # single letters among ASCII; Chinese bytes read this way come in rows
        good = sum(text[n - 1].isascii() or text[n + 1].isascii() for n in places)
    else:
        everyday = {ch: _is_everyday(ch) for ch in set(text)}
        good = sum(everyday[text[n]] for n in places)
    return good / len(places) if places else 0.0


def _is_everyday(ch: str) -> bool:
    """Whether a character is punctuation or level 1 (the commonest 3,755 or 5,401) of a national standard."""
    return any(ch.encode(name, "ignore")[:1].rjust(1, b"\xff") <= last for name, last in LEVEL_1.items())
