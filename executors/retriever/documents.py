"""Documents from a folder: Markdown and plain text, in any encoding `executors.data` can tell.

Covered: .md and .txt, sub-folders, a title for each. Files that cannot be read are listed, never fatal, as long as
one can. Not covered yet: HTML, PDF, Word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from executors.base import Problem, Text, UserError

ENDINGS = (".md", ".markdown", ".txt")
HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*\s*$")
FENCE = re.compile(r"^\s*(```|~~~)")


@dataclass(frozen=True)
class Document:
    """One file. `path` is relative to the documents' folder, with forward slashes."""

    path: str
    text: str
    title: str


def read_documents(folder: Path, skipped: list[Problem] | None = None) -> list[Document]:
    """Every document below `folder` (or the one file it names), by path. What cannot be read goes into `skipped`.

    Raises `UserError`: missing, without documents, without any text.
    """
    root, files = find_files(folder)
    documents, problems = [], []
    for path in files:
        read = read_document(path, root)
        if isinstance(read, Document):
            documents.append(read)
        else:
            problems.append(read)
    if not documents:
        details, details_zh = ("".join(f"\n  {p.told(lang).message}" for p in problems[:5]) for lang in ("en", "zh"))
        raise UserError(
            f"{folder}: no document with text in it{details}",
            "put .md or .txt files there",
            Problem(f"{folder}：没有一个文档含有文字{details_zh}", "请放入 .md 或 .txt 文件"),
        )
    if skipped is not None:
        skipped += problems
    return documents


def skipped_notes(skipped: Sequence[Problem]) -> list[Text]:
    """How many files could not be read, and why the first of them could not; nothing where all could."""
    if not skipped:
        return []
    named, named_zh = (
        comma.join([*(problem.told(lang).message for problem in skipped[:3]), *(["…"] if skipped[3:] else [])])
        for lang, comma in (("en", "; "), ("zh", "；"))
    )
    told = f"{len(skipped)} files were left out: {named}"
    return [{"en": told, "zh": f"有 {len(skipped)} 个文件未收录：{named_zh}"}]


def read_document(path: Path, root: Path) -> Document | Problem:
    """One document, named from `root`, or why it cannot be read."""
    try:
        document = _read(path, root)
    except UserError as error:
        return error.problem
    except OSError as error:
        why = error.strerror or error
        return Problem(f"{path}: cannot be read: {why}", zh=Problem(f"{path}：无法读取：{why}"))
    if document.text.strip():
        return document
    return Problem(f"{document.path}: no text in it", zh=Problem(f"{document.path}：没有文字"))


def folder_problems(docs: str | None) -> list[Problem]:
    """What is wrong with a plan's folder of documents, seen without reading them; nothing where none is named."""
    try:
        if docs:
            find_files(Path(docs))
    except UserError as error:
        return [error.problem]
    return []


def find_files(folder: Path) -> tuple[Path, list[Path]]:
    """The folder documents are named from, and its documents' files. Raises `UserError` where there are none."""
    if folder.is_file():
        if folder.suffix.lower() in ENDINGS:
            return folder.parent, [folder]
        zh = Problem(f"{folder}：不支持这种文档", f"支持的类型：{', '.join(ENDINGS)}")
        raise UserError(f"{folder}: documents of this kind are not read", f"kinds: {', '.join(ENDINGS)}", zh)
    if not folder.is_dir():
        zh = Problem(f"{folder}：没有这个文档文件夹", "请检查路径，或换一个含 .md 或 .txt 文件的文件夹")
        raise UserError(
            f"{folder}: no such folder of documents",
            "check the path, or name another folder with .md or .txt files",
            zh,
        )
    entries = sorted(p for p in folder.rglob("*") if p.is_file() and not _is_hidden(p.relative_to(folder)))
    files = [p for p in entries if p.suffix.lower() in ENDINGS]
    if not files:
        others = ", ".join(sorted({p.suffix or p.name for p in entries})[:5])
        raise UserError(
            f"{folder}: no documents ({f'only {others}' if others else 'it is empty'})",
            f"kinds that are read: {', '.join(ENDINGS)}",
            Problem(
                f"{folder}：没有文档（{f'只有 {others}' if others else '文件夹是空的'}）",
                f"支持的类型：{', '.join(ENDINGS)}",
            ),
        )
    return folder, files


def _is_hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _read(path: Path, root: Path) -> Document:
    from executors.data.encoding import detect_encoding

    text = path.read_text(encoding=detect_encoding(path)).removeprefix("\ufeff")
    title = next((name for level, name in headings(text) if level == 1), "")
    named = title or re.sub(r"[-_]+", " ", path.stem).strip()
    return Document(path.relative_to(root).as_posix(), text, named)


def headings(text: str) -> Iterator[tuple[int, str]]:
    """The Markdown headings of a text with their levels, those inside code fences left out."""
    for _, level, name in heading_lines(text.splitlines()):
        yield level, name


def heading_lines(lines: list[str]) -> Iterator[tuple[int, int, str]]:
    """(line number from 0, level, name) of each Markdown heading."""
    fenced = False
    for number, line in enumerate(lines):
        if FENCE.match(line):
            fenced = not fenced
        found = None if fenced else HEADING.match(line)
        if found:
            yield number, len(found[1]), found[2]
