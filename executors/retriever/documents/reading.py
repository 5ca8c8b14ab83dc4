"""One document from one file: by its kind, within limits, and the same from beginning to end.

Whatever is wrong with a file is a `Problem` that names it. The parsers of other people's files are other people's too:
what they raise on a damaged one is a fault of the file. A file that changes while it is read is read once more.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from executors.base import Problem, UserError
from executors.retriever.documents.model import Content, Document, Part, Unreadable

LARGEST = 64 << 20  # bytes of a file; parsed it takes up to some ten times as much
ATTEMPTS = 2
READERS: Mapping[str, str] = {  # module:function, imported on use
    ".md": "text:read_text",
    ".markdown": "text:read_text",
    ".txt": "text:read_text",
    ".html": "html:read_html",
    ".htm": "html:read_html",
    ".pdf": "pdf:read_pdf",
    ".docx": "word:read_word",
    ".csv": "tables:read_rows",
    ".jsonl": "tables:read_rows",
}
ENDINGS = tuple(READERS)
FAULTS = (  # of parsers that meet what they do not expect
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)

Reader = Callable[[Path], Content]


def read_document(path: Path, root: Path) -> Document | Problem:
    """One document, named from `root`, or why it cannot be read."""
    name = path.relative_to(root).as_posix()
    if not _is_unicode(name):
        shown = name.encode("utf-8", "replace").decode()
        return _problem(shown, "its name is not UTF-8", "rename the file", "文件名不是 UTF-8", "请重命名该文件")
    try:
        for _ in range(ATTEMPTS):
            before = _state(path)
            read = _read(path, name, before[0])
            if _state(path) == before:
                return read
    except OSError as error:
        why = str(error.strerror or error)
        return _problem(path, f"cannot be read: {why}", "", f"无法读取：{why}", "")
    return _problem(
        path, "it was changed while it was read", "read it again when nothing writes to it",
        "读取期间文件有改动", "请在没有程序写入时重新读取",
    )  # fmt: skip


def _is_unicode(name: str) -> bool:
    return name.encode("utf-8", "replace").decode() == name


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def _read(path: Path, name: str, size: int) -> Document | Problem:
    if size > LARGEST:
        has, most = f"{size / (1 << 20):.0f} MB", f"{LARGEST >> 20} MB"
        return _problem(
            path, f"too large: {has}, more than {most}", "split it into smaller files",
            f"文件过大：{has}，超过 {most}", "请拆分为较小的文件",
        )  # fmt: skip
    try:
        return _document(name, _reader_of(path)(path))
    except UserError as error:
        return error.problem
    except Unreadable as error:
        return _problem(path, error.why, error.hint, error.zh, error.hint_zh)
    except FAULTS as error:
        kind = path.suffix.lower()
        said = f"{type(error).__name__}: {error}".replace("\n", " ")[:120]
        return _problem(
            path, f"a damaged {kind} file ({said})", "open it in the program it comes from, and save it anew",
            f"{kind} 文件已损坏（{said}）", "请用原来的程序打开后重新保存",
        )  # fmt: skip


def _reader_of(path: Path) -> Reader:
    module, _, function = READERS[path.suffix.lower()].partition(":")
    reader: Reader = getattr(import_module(f"executors.retriever.documents.{module}"), function)
    return reader


def _document(name: str, content: Content) -> Document | Problem:
    parts = tuple(Part(_clean(p.text), p.page, p.row) for p in content.parts if p.text.strip())
    text = content.joint.join(part.text for part in parts) if content.parts else _clean(content.text)
    if not text.strip():
        return Problem(f"{name}: no text in it", zh=Problem(f"{name}：没有文字"))
    title = _clean(content.title).strip() or re.sub(r"[-_]+", " ", Path(name).stem).strip()
    return Document(name, text, title, parts)


def _clean(text: str) -> str:
    """Text that every store takes: no zero characters, no halves of surrogate pairs; lines end in a newline."""
    if text.isascii() and "\r" not in text and "\0" not in text:
        return text
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return lines.encode("utf-8", "replace").decode()


def _problem(name: object, why: str, hint: str, zh: str, hint_zh: str) -> Problem:
    return Problem(f"{name}: {why}", hint, Problem(f"{name}：{zh}", hint_zh))
