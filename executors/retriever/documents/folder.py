"""The documents of a folder, one at a time, so that a folder of any size costs little memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from executors.base import Problem, Text, UserError
from executors.retriever.documents.model import Document
from executors.retriever.documents.reading import ENDINGS, read_document

KINDS = ", ".join(ENDINGS)
NAMED = 5  # kinds of other files, or problems, that a message lists


def iter_documents(folder: Path) -> Iterator[Document | Problem]:
    """Every document below `folder` (or the one file it names) by path, or why a file or a folder cannot be read.

    Raises `UserError` where the folder is missing or holds no documents.
    """
    root, found = _look(folder)
    for path in found:
        yield path if isinstance(path, Problem) else read_document(path, root)


def read_documents(folder: Path, skipped: list[Problem] | None = None) -> list[Document]:
    """Every document below `folder` (or the one file it names), by path. What cannot be read goes into `skipped`.

    Raises `UserError`: missing, without documents, without any text.
    """
    documents, problems = [], []
    for read in iter_documents(folder):
        if isinstance(read, Document):
            documents.append(read)
        else:
            problems.append(read)
    if not documents:
        raise no_text(folder, problems)
    if skipped is not None:
        skipped += problems
    return documents


def no_text(folder: Path, problems: Sequence[Problem]) -> UserError:
    """The error of a folder in which no document could be read."""
    details, details_zh = ("".join(f"\n  {p.told(lang).message}" for p in problems[:NAMED]) for lang in ("en", "zh"))
    zh = Problem(f"{folder}：没有一个文档含有文字{details_zh}", f"请放入有文字的文件：{KINDS}")
    return UserError(f"{folder}: no document with text in it{details}", f"put files with text there: {KINDS}", zh)


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


def folder_problems(docs: str | None) -> list[Problem]:
    """What is wrong with a plan's folder of documents, seen without reading them; nothing where none is named."""
    try:
        if docs:
            _look(Path(docs))
    except UserError as error:
        return [error.problem]
    return []


def find_files(folder: Path, closed: list[Problem] | None = None) -> tuple[Path, list[Path]]:
    """The folder documents are named from, and its documents' files, by path. Folders that cannot be opened go into
    `closed`. Raises `UserError` where there are no documents.
    """
    root, found = _look(folder)
    files = []
    for path in found:
        if isinstance(path, Path):
            files.append(path)
        elif closed is not None:
            closed.append(path)
    return root, files


def _look(folder: Path) -> tuple[Path, Iterator[Path | Problem]]:
    """The folder documents are named from, and what is found there. Raises `UserError` where nothing is."""
    if folder.is_file():
        if folder.suffix.lower() in ENDINGS:
            return folder.parent, iter([folder])
        zh = Problem(f"{folder}：不支持这种文档", f"支持的类型：{KINDS}")
        raise UserError(f"{folder}: documents of this kind are not read", f"kinds: {KINDS}", zh)
    if not folder.is_dir():
        zh = Problem(f"{folder}：没有这个文档文件夹", f"请检查路径，或换一个含有这些文件的文件夹：{KINDS}")
        hint = f"check the path, or name another folder with such files: {KINDS}"
        raise UserError(f"{folder}: no such folder of documents", hint, zh)
    if not any(isinstance(path, Path) for path in _documents_in(folder)):
        raise _none_in(folder)
    return folder, _documents_in(folder)


def _none_in(folder: Path) -> UserError:
    found = list(walk_files(folder))
    problems = [one for one in found if isinstance(one, Problem)]
    if problems:
        return UserError.of(problems)
    others = ", ".join(sorted({path.suffix or path.name for path in found if isinstance(path, Path)})[:NAMED])
    return UserError(
        f"{folder}: no documents ({f'only {others}' if others else 'it is empty'})",
        f"kinds that are read: {KINDS}",
        Problem(f"{folder}：没有文档（{f'只有 {others}' if others else '文件夹是空的'}）", f"支持的类型：{KINDS}"),
    )


def _documents_in(folder: Path) -> Iterator[Path | Problem]:
    for found in walk_files(folder):
        if isinstance(found, Problem) or found.suffix.lower() in ENDINGS:
            yield found


def walk_files(folder: Path) -> Iterator[Path | Problem]:
    """Every file below `folder` by path, hidden ones aside. Links to folders are not followed: they can go round."""
    try:
        with os.scandir(folder) as opened:
            entries = sorted(opened, key=lambda entry: entry.name)
    except OSError as error:
        yield _closed(folder, error)
        return
    for entry in entries:
        if entry.name.startswith((".", "~$")):  # ~$: what Word writes while a document is open
            continue
        try:
            is_folder, is_file = entry.is_dir(follow_symlinks=False), entry.is_file()
        except OSError as error:  # e.g. a link to itself
            yield _closed(Path(entry.path), error)
            continue
        if is_folder:
            yield from walk_files(Path(entry.path))
        elif is_file:
            yield Path(entry.path)


def _closed(path: Path, error: OSError) -> Problem:
    shown = os.fsencode(path).decode("utf-8", "replace")
    why = error.strerror or error
    return Problem(
        f"{shown}: cannot be opened: {why}", "check its permissions", Problem(f"{shown}：无法打开：{why}", "请检查权限")
    )
