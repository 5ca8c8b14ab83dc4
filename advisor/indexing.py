"""The index that a call means, what it is made with, and how long that takes.

Covered: a folder of documents, a finished run, an index by itself; what an index records stays until something else is
given. The work itself is `executors.retriever.index`.
"""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from advisor import formats, runs
from advisor.texts import LANGUAGES, text
from executors.base import Plan, Problem, Reporter, Text, UserError

if TYPE_CHECKING:
    from executors.models import Embedder
    from executors.retriever.index import Change, Manifest, Splitter, Stale

SAMPLE = 100  # documents that tell the language, and how many tokens a byte has
WORTH_SAYING = 60.0  # seconds from which an estimate is told before the work
LEAST_CHUNK = 16  # tokens


@dataclass(frozen=True)
class Target:
    """What is indexed. `docs`: the folder of documents, empty where it is the index that knows; `run`: whose it is;
    `again`: the command that means it."""

    index: Path
    docs: str = ""
    run: str = ""
    again: str = "advisor index DOCS"


@dataclass(frozen=True)
class Given:
    """What a call says over what an index records, or over the defaults."""

    embedder: str | None = None
    chunk_tokens: int | None = None
    overlap: int | None = None
    re_embed: bool = False
    empty: bool = False
    compact: bool | None = None


class Keeper:
    """Keeps one index like its documents. The encoder is loaded when it is first needed, and kept."""

    def __init__(self, target: Target, given: Given) -> None:
        """Raises `UserError`: settings that cannot be, no documents, an index that cannot be read."""
        self.target, self._given = target, given
        self.before = manifest_of(target.index)
        self.docs = Path(target.docs or (self.before.docs if self.before else ""))
        if not target.docs and not (self.before and self.before.docs):
            raise _no_docs(target)
        self.splitter = splitter_of(given, self.before)
        self.language = self.before.language if self.before else language_of(self.docs)
        self.embedder_name = embedder_of(given, self.before, self.language, self.docs)
        self._embedder: Embedder | None = None

    def stale(self) -> Stale:
        """What a sync would take in. Raises `UserError`, see `executors.retriever.index.stale`."""
        from executors.retriever.index import Stale, stale

        if self.before is None:
            return Stale(added=tuple(path.as_posix() for path in self._files()))
        return stale(self.target.index, self.docs)

    @property
    def anew(self) -> bool:
        """Whether nothing that is in the index can stay, as this call wants it made otherwise."""
        before, given = self.before, self._given
        if before is None or given.re_embed or before.splitter != self.splitter:
            return True
        if given.compact is not None and given.compact != before.compact:
            return True
        return self._other_encoder() is not None

    def _other_encoder(self) -> Problem | None:
        return weights_problem(self.before, self.embedder_name, self.target.again) if self.before else None

    @property
    def moved(self) -> bool:
        """Whether the index was made from another folder than this."""
        return self.before is not None and self.before.docs != str(self.docs.resolve())

    def sync(self, report: Reporter) -> Change:
        """Bring the index up to date. Raises `UserError`, see `executors.retriever.index.sync`.

        Another encoder is refused before it is loaded, where its weights are here to be compared.
        """
        from executors.retriever.index import sync

        if not self._given.re_embed and (other := self._other_encoder()):
            raise _named(other, self.target.index)
        if self._embedder is None and self.embedder_name:
            self._embedder = load(self.embedder_name, report)
        given = self._given
        change = sync(
            self.target.index,
            self.docs,
            self.splitter,
            self._embedder,
            self.language,
            report,
            re_embed=given.re_embed,
            empty=given.empty,
            compact=given.compact,
        )
        self.before = manifest_of(self.target.index)
        return change

    def estimate(self, stale: Stale) -> Text | None:
        """About how long embedding takes on this machine, where that is worth saying; from a sample of the files."""
        from advisor.estimate import index_seconds

        if not self.embedder_name:
            return None
        root = self.docs.parent if self.docs.is_file() else self.docs
        files = [root / name for name in (*stale.added, *stale.updated)] if not self.anew else self._files()
        tokens = _tokens(files, self.docs)
        (low, high), machine = index_seconds(tokens)
        if high < WORTH_SAYING:
            return None
        time = {lang: formats.seconds(low, high, lang) for lang in LANGUAGES}
        return text("index.estimate", files=f"{len(files):,}", tokens=f"{tokens:,}", time=time, machine=machine)

    def _files(self) -> list[Path]:
        from executors.retriever.documents import find_files

        return find_files(self.docs)[1]


def document_tokens(docs: Path) -> int:
    """About how many tokens all documents of a folder have, from a sample. Raises `UserError` where it has none."""
    from executors.retriever.documents import find_files

    return _tokens(find_files(docs)[1], docs)


def _tokens(files: list[Path], docs: Path) -> int:
    """About how many tokens these files have: as many a byte as the first of them."""
    from advisor.profile.language import count_tokens
    from executors.retriever.documents import Document, read_document

    root = docs.parent if docs.is_file() else docs
    sample = [(path, read_document(path, root)) for path in files[:SAMPLE]]
    read = [(path, document) for path, document in sample if isinstance(document, Document)]
    seen = _bytes(path for path, _ in read)
    tokens = sum(count_tokens(document.text) for _, document in read)
    return round(tokens * _bytes(files) / seen) if seen else 0


def _bytes(files: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in files if path.is_file())


# -- which index ---------------------------------------------------------------------------------------


def find_target(name: str, out: str | None = None) -> Target:
    """What `name` means: documents, an index, or a run by folder, id, prefix or ``last``.

    Raises `UserError`: nothing of these, a run without an index, another program's store, `out` where it is fixed.
    """
    path = Path(name)
    again = " ".join(["advisor index", shlex.quote(name), *(["--out", shlex.quote(out)] if out else [])])
    if path.exists() and not (path / "artifact").is_dir():
        return replace(_of_path(path, name, out), again=again)
    if not path.exists() and (os.sep in name or path.suffix):  # a path, so no id of a run
        zh = Problem(f"没有文件夹 {name}", "请检查路径；也可给出运行的编号：advisor runs")
        raise UserError(f"there is no folder {name}", "check the path, or give a run: advisor runs", zh)
    return replace(_of_run(runs.find_run(name), out), again=again)


def _of_path(path: Path, name: str, out: str | None) -> Target:
    from executors.retriever.foreign import refuse_pickled_store

    for folder in (path, Path(out or path)):
        refuse_pickled_store(folder)
    if not is_index(path):
        return Target(Path(out) if out else beside(path), name)
    if out:
        raise _fixed_place(f"{path} is an index, which stays where it lies", f"{path} 本身就是索引，位置不变")
    return Target(path)


def _of_run(folder: Path, out: str | None) -> Target:
    if out:
        raise _fixed_place("the index of a run lies in the run's folder", "运行的索引在其文件夹中，不能另放")
    index = folder / "artifact" / "index"
    if not is_index(index):
        zh = Problem(f"{folder.name}：该运行没有文档索引")
        raise UserError(f"{folder.name}: this run has no index", f"advisor run {folder.name} --method rag", zh)
    return Target(index, run=folder.name)


def _fixed_place(why: str, zh: str) -> UserError:
    hint = "leave --out out, or index the folder of documents"
    return UserError(f"--out: {why}", hint, Problem(f"--out：{zh}", "请去掉 --out，或对文档文件夹建立索引"))


def _named(problem: Problem, index: Path) -> UserError:
    """The problem of an index, saying which."""
    zh = problem.told("zh")
    return UserError(f"{index}: {problem.message}", problem.hint, Problem(f"{index}：{zh.message}", zh.hint))


def _no_docs(target: Target) -> UserError:
    told = f"{target.index}: made from passages, not from a folder of documents, so nothing can be read anew"
    zh = Problem(
        f"{target.index}：由段落直接建立，没有对应的文档文件夹，无法更新",
        "请对文档文件夹建立索引：advisor index 文件夹",
    )
    return UserError(told, "index the folder of documents: advisor index DOCS", zh)


def is_index(path: Path) -> bool:
    return (path / "index.sqlite").is_file()


def beside(docs: Path) -> Path:
    """Where the index of a folder of documents lies: ``handbook.index`` beside ``handbook``."""
    named = Path(os.path.normpath(docs))
    whole = named if named.name not in ("", "..") else named.resolve()
    return whole.with_name(f"{whole.name}.index")


def manifest_of(index: Path) -> Manifest | None:
    """What the index says of itself; None where there is none yet, or its first making was broken off."""
    from executors.retriever.index import faults
    from executors.retriever.index.store import open_to_read

    if not is_index(index):
        return None
    store = open_to_read(index)
    try:
        with faults.disk_errors(index):
            return store.manifest()
    finally:
        store.close()


def counts_of(index: Path) -> dict[str, int]:
    """How many passages each part of the index has, without reading them: what every write was audited by."""
    from executors.retriever.index.store import open_to_read
    from executors.retriever.index.writing import vectors_count

    store = open_to_read(index)
    try:
        manifest, counts = store.manifest(), dict(store.counts())
        if manifest and manifest.embedder:
            counts["vectors"] = vectors_count(store, manifest.vectors)
        return counts
    finally:
        store.close()


# -- what it is made with --------------------------------------------------------------------------------


def splitter_of(given: Given, recorded: Manifest | None) -> Splitter:
    """How documents are cut. Raises `UserError` with every fault."""
    from executors.retriever.index import Splitter

    base = recorded.splitter if recorded else Splitter()
    tokens = base.chunk_tokens if given.chunk_tokens is None else given.chunk_tokens
    overlap = base.overlap if given.overlap is None else given.overlap
    problems = []
    if tokens < LEAST_CHUNK:
        zh = Problem(f"--chunk-tokens：不小于 {LEAST_CHUNK}，收到 {tokens}")
        problems.append(Problem(f"--chunk-tokens: at least {LEAST_CHUNK}, got {tokens}", zh=zh))
    if not 0 <= overlap < tokens:
        zh = Problem(f"--overlap：不小于 0 且小于 --chunk-tokens（{tokens}），收到 {overlap}")
        told = f"--overlap: at least 0 and less than --chunk-tokens ({tokens}), got {overlap}"
        problems.append(Problem(told, zh=zh))
    if problems:
        raise UserError.of(problems)
    return Splitter(tokens, overlap)


def language_of(docs: Path) -> str:
    """The language of the first documents that can be read. Raises `UserError` where the folder holds none."""
    from executors.retriever.documents import Document, iter_documents
    from executors.retriever.languages import documents_language

    read = (found for found in iter_documents(docs) if isinstance(found, Document))
    return documents_language(list(itertools.islice(read, SAMPLE)))


def embedder_of(given: Given, recorded: Manifest | None, language: str, docs: Path) -> str:
    """The name of the encoder; empty where search is by words alone, for want of one that knows the language."""
    from advisor.encoders import default_encoder
    from executors.retriever.languages import speaks

    if given.embedder:
        return given.embedder
    if recorded:
        return recorded.embedder.name if recorded.embedder else ""
    return default_encoder(docs) if speaks(Plan.embedder, language) else ""


def load(name: str, report: Reporter) -> Embedder:
    from executors.models import load_embedder

    return load_embedder(name, report)


def weights_problem(manifest: Manifest, name: str, again: str) -> Problem | None:
    """Whether the encoder `name` of this machine is not the one that made the vectors; by its weights, unloaded.

    None also where its weights are not here: who loads it then finds out. `again`: the command that means the index.
    """
    from executors.models.fetch import locate
    from executors.models.folder import weights_sha256

    made_by = manifest.embedder
    if made_by is None:
        return _without(name, again) if name else None
    try:
        folder = locate(name)
        found = weights_sha256(folder) if folder else made_by.sha256
    except UserError as error:  # a folder that is gone, or is no model any more
        return error.problem
    if found == made_by.sha256:
        return None
    made, here = f"{made_by.sha256[:12]}…", f"{found[:12]}…"
    command = f"{again} --embedder {shlex.quote(name)} --re-embed"
    told = f"its vectors were made by {made_by.name} (weights {made}), not by {name} as it is here (weights {here})"
    zh = Problem(
        f"其向量由 {made_by.name}（权重 {made}）生成，与本机的 {name}（权重 {here}）不同",
        f"请改用原来的编码器，或重新生成向量：{command}",
    )
    return Problem(told, f"use {made_by.name} as it was, or embed anew: {command}", zh)


def _without(name: str, again: str) -> Problem:
    command = f"{again} --embedder {shlex.quote(name)} --re-embed"
    zh = Problem(f"该索引没有向量，{name} 无法使用", f"生成向量：{command}")
    return Problem(f"the index was made without an encoder, so {name} cannot be used", f"to embed it: {command}", zh)
