"""What can be wrong with an index, in words a user can act on, in both languages."""

from __future__ import annotations

import contextlib
import errno
import shlex
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from executors.base import Problem, UserError
from executors.models.embed import Embedder
from executors.retriever.index.records import MadeBy, Manifest

FULL = (errno.ENOSPC, errno.EDQUOT)
LOCKED_OUT = (errno.EACCES, errno.EPERM, errno.EROFS)


def again(folder: Path, docs: str, *more: str, lang: str = "en") -> str:
    """The command that makes this index anew; for passages that came from no folder, the run is to be done again."""
    if not docs:
        return "重新运行该方案" if lang == "zh" else "run the plan again"
    return " ".join(["advisor index", shlex.quote(docs), "--out", shlex.quote(str(folder)), *more])


def no_index(folder: Path) -> UserError:
    return UserError(
        f"{folder}: no index here",
        f"advisor index DOCS --out {shlex.quote(str(folder))}",
        Problem(f"{folder}：这里没有索引"),
    )


def damaged(folder: Path, why: str, docs: str = "") -> UserError:
    """`folder` cannot be trusted, and what is left of it does not suffice to mend it."""
    hint = f"delete {folder}, then: {again(folder, docs or 'DOCS')}"
    zh = Problem(f"{folder}：索引已损坏（{why}）", f"删除 {folder}，然后运行：{again(folder, docs or 'DOCS')}")
    return UserError(f"{folder}: damaged ({why})", hint, zh)


def other_schema(folder: Path, found: object) -> UserError:
    return UserError(
        f"{folder}: written by another version of advisor (schema {found})",
        f"delete {folder}, then: {again(folder, 'DOCS')}",
        Problem(f"{folder}：由其他版本的 advisor 写入（结构版本 {found}）", f"删除 {folder} 后重新建立索引"),
    )


def check_embedder(manifest: Manifest, embedder: Embedder | None, folder: Path) -> None:
    """Raises `UserError` where another embedder made the vectors, equal dimension or not, or none did."""
    made_by, given = manifest.embedder, identity(embedder)
    if made_by == given:
        return
    if given is None:
        assert made_by is not None
        raise UserError(
            f"{folder}: made with an embedder, {made_by.name}, and none was given",
            f"use {made_by.name}, or leave the vectors out: {again(folder, manifest.docs, '--re-embed')}",
            Problem(f"{folder}：索引由嵌入模型 {made_by.name} 建立，而此处没有给出嵌入模型", f"请使用 {made_by.name}"),
        )
    how = ("--embedder", shlex.quote(given.name), "--re-embed")
    command, command_zh = (again(folder, manifest.docs, *how, lang=lang) for lang in ("en", "zh"))
    if made_by is None:
        raise UserError(
            f"{folder}: made without an embedder, so {given.name} cannot search it",
            f"to embed its passages: {command}",
            Problem(f"{folder}：索引没有向量，{given.name} 无法检索", f"计算向量：{command_zh}"),
        )
    made, not_made = _told_apart(made_by, given)
    raise UserError(
        f"{folder}: its vectors were made by {made}, not by {not_made}",
        f"use {made_by.name} as it was, or embed again: {command}",
        Problem(
            f"{folder}：其向量由 {made} 生成，而不是 {not_made}",
            f"请使用原来的 {made_by.name}，或重新嵌入：{command_zh}",
        ),
    )


def identity(embedder: Embedder | None) -> MadeBy | None:
    """Who `embedder` is, for the manifest."""
    if embedder is None:
        return None
    return MadeBy(embedder.name, embedder.sha256, embedder.dimension, embedder.pooling)


def _told_apart(*makers: MadeBy) -> list[str]:
    pooled = makers[0].sha256 == makers[1].sha256
    return [f"{m.name} ({'pooling ' + m.pooling if pooled else f'weights {m.sha256[:12]}…'})" for m in makers]


def busy(folder: Path, seconds: float) -> UserError:
    return UserError(
        f"{folder}: another process is writing this index (waited {seconds:g} s)",
        "wait until it is done; until then the index as it was answers",
        Problem(f"{folder}：另一个进程正在写入该索引（已等待 {seconds:g} 秒）", "请等它完成；在此之前原有索引照常可用"),
    )


def would_empty(folder: Path, docs: Path, files: int) -> UserError:
    """`files` documents are known, and `docs` has none of them."""
    command = again(folder, str(docs), "--empty")
    return UserError(
        f"{docs}: has none of the {files} documents of {folder}; nothing was deleted",
        f"check the folder (moved? not mounted?); to delete them all from the index: {command}",
        Problem(
            f"{docs}：索引 {folder} 中的 {files} 个文档在这里一个也没有；未删除任何内容",
            f"请检查文件夹（是否已移动或未挂载）；若确要从索引中全部删除：{command}",
        ),
    )


def changing(path: Path) -> Problem:
    return Problem(
        f"{path}: changed while it was read",
        "index again when it is finished",
        Problem(f"{path}：读取时文件仍在变化", "请在写完后重新建立索引"),
    )


@contextlib.contextmanager
def disk_errors(folder: Path, docs: str = "") -> Iterator[None]:
    """Turns what a disk, or a damaged database, raises into a `UserError`; the index stays as it was."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise _full(folder) from error
        if error.errno in LOCKED_OUT:
            raise _read_only(folder) from error
        raise
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code of an extended one
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(folder)):
            raise _full(folder) from error
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise _read_only(folder) from error
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise damaged(folder, str(error), docs) from error
        raise


def _is_full(folder: Path) -> bool:
    import shutil

    return shutil.disk_usage(folder).free < 1 << 20


def _full(folder: Path) -> UserError:
    return UserError(
        f"{folder}: the disk is full; the index is as it was before",
        "free some space, then index again",
        Problem(f"{folder}：磁盘已满；索引保持原样", "请释放空间后重新建立索引"),
    )


def _read_only(folder: Path) -> UserError:
    return UserError(
        f"{folder}: cannot be written",
        "check who may write there, or name another folder with --out",
        Problem(f"{folder}：无法写入", "请检查写入权限，或用 --out 指定另一个文件夹"),
    )
