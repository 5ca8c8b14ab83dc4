"""A folder of documents and its index kept alike: what is new is added, what changed is replaced, what is gone goes.

Files are told apart by size and time, then by the hash of their content. Only texts that are nowhere in the index yet
are embedded; vectors made before an interruption are kept in a file of their own until the index has them. All else
is one transaction. A file that cannot be read is left out and listed; where it was read before and is only out of
reach (it changes while it is read, or may not be opened), its former content goes on answering, and that is said.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from executors.base import Event, Passage, Problem, Reporter, UserError, silent
from executors.models.embed import Embedder
from executors.models.folder import sha256
from executors.retriever.documents import Document, find_files, read_document
from executors.retriever.index import faults
from executors.retriever.index.reading import read_manifest
from executors.retriever.index.records import Change, Manifest, Source, Splitter, Stale, embedded_text
from executors.retriever.index.store import Store, open_to_read, open_to_write, text_hash
from executors.retriever.index.writing import WAIT_SECONDS, finish, locked, tidy, transaction
from executors.retriever.lexical import count_words
from executors.retriever.splitting import split_documents

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

PENDING = "pending.sqlite"
BATCH_TEXTS = 1024  # embedded at once: long enough to sort by length, and what a kill loses at most
SETTLED_NS = 2_000_000_000  # a file changed less long ago may change again without another time: its hash is compared


def sync(
    folder: Path,
    docs: Path,
    splitter: Splitter,
    embedder: Embedder | None,
    language: str,
    report: Reporter = silent,
    *,
    re_embed: bool = False,
    empty: bool = False,
    compact: bool | None = None,
    by_hash: bool = False,
    wait: float = WAIT_SECONDS,
) -> Change:
    """Bring the index in `folder` up to date with the documents in `docs`; make it where there is none.

    `re_embed` takes another embedder than the one that made the index; `empty` lets it lose all its documents;
    `compact` (None: as it is) wants little memory; `by_hash` looks into files of unchanged size and time as well.
    Raises `UserError`: no such folder, nothing to read in it, another embedder, another writer for longer than `wait`
    seconds, a full disk. The index then is as it was.
    """
    with locked(folder, wait, report), faults.disk_errors(folder, str(docs)), open_to_write(folder) as store:
        before = store.manifest()
        if before is not None and not re_embed:
            faults.check_embedder(before, embedder, folder)
        target = Manifest(
            before.generation if before else 0,
            language,
            faults.identity(embedder),
            splitter,
            str(docs.resolve()),
            (before.compact if before else False) if compact is None else compact,
            vectors=before.vectors if before else None,
        )
        if before is not None and (before.embedder, before.compact) != (target.embedder, target.compact):
            target = replace(target, vectors=None)  # so that the FAISS file is made anew
        root, files, closed = _files(docs, before is not None)
        plan = _compared(root, files, closed, store.sources(), by_hash)
        if before is None or (before.embedder, before.splitter) != (target.embedder, target.splitter):
            plan = replace(plan, changed=tuple(plan.seen), touched=(), anew=True)
        if plan.loses_all and not empty and before is not None and (not files or before.docs != target.docs):
            raise faults.would_empty(folder, docs, len(plan.known))
        with _Work(store, target, embedder, folder, report) as work:
            return _write(work, plan, root, before, empty)


def stale(folder: Path, docs: Path | None = None, *, by_hash: bool = False) -> Stale:
    """How the documents differ from the index made of them; by size and time, then by content. Reads only.

    Raises `UserError`: no index, no such folder of documents, an index that was made from none.
    """
    manifest = read_manifest(folder)
    if docs is None and not manifest.docs:
        raise UserError(
            f"{folder}: not made from a folder of documents",
            "name the folder",
            Problem(f"{folder}：不是由文档文件夹建立的", "请指定文件夹"),
        )
    root, files, closed = _files(docs or Path(manifest.docs), True)
    store = open_to_read(folder)
    try:
        sources, skipped = store.sources(), store.skipped()
    finally:
        store.close()
    plan = _compared(root, files, closed, sources, by_hash)
    added = (path for path in plan.changed if path not in plan.known and skipped.get(path) != plan.seen[path])
    return Stale(tuple(added), tuple(path for path in plan.changed if path in plan.known), plan.deleted)


# -- what differs --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """`known`: paths in the index; `seen`: (size, time) by path in the folder; `touched`: of known content at another
    time; `closed`: folders that cannot be opened; `anew`: nothing that is in the index can stay."""

    known: frozenset[str]
    seen: dict[str, tuple[int, int]]
    changed: tuple[str, ...]
    touched: tuple[str, ...]
    deleted: tuple[str, ...]
    closed: tuple[Problem, ...] = ()
    anew: bool = False

    @property
    def loses_all(self) -> bool:
        return bool(self.known) and len(self.deleted) == len(self.known)


def _files(docs: Path, known: bool) -> tuple[Path, list[Path], list[Problem]]:
    """The folder paths are named from, the documents in it, and folders that cannot be opened; no documents at all
    only where there is an index to compare."""
    closed: list[Problem] = []
    try:
        return *find_files(docs, closed), closed
    except UserError:
        if known and docs.is_dir() and os.access(docs, os.R_OK | os.X_OK):
            return docs, [], closed
        raise


def _compared(
    root: Path, files: Sequence[Path], closed: Sequence[Problem], sources: Sequence[Source], by_hash: bool
) -> _Plan:
    known = {source.path: source for source in sources}
    seen: dict[str, tuple[int, int]] = {}
    changed: list[str] = []
    touched: list[str] = []
    base = len(os.path.join(root, "")) if root.parts else 0
    for path in files:
        name = os.fspath(path)[base:].replace(os.sep, "/")  # many times as quick as `relative_to`
        try:
            found = os.stat(path)
        except FileNotFoundError:  # deleted since the folder was listed
            continue
        seen[name] = (found.st_size, found.st_mtime_ns)
        old = known.get(name)
        if old is None:
            changed.append(name)
        elif by_hash or seen[name] != (old.size, old.mtime_ns):
            (touched if _has_content(path, old) else changed).append(name)
    unseen = sorted(known.keys() - seen.keys())
    deleted = tuple(name for name in unseen if not closed or _is_gone(root / name))
    return _Plan(frozenset(known), seen, tuple(changed), tuple(touched), deleted, tuple(closed))


def _is_gone(path: Path) -> bool:
    """Whether there is no such file, as far as can be told: what lies in a folder that cannot be opened is not gone."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False


def _has_content(path: Path, source: Source) -> bool:
    try:
        return path.stat().st_size == source.size and sha256(path) == source.sha256
    except OSError:
        return False  # reading it will tell why


def _unreadable(path: Path, error: OSError) -> Problem:
    why = error.strerror or error
    return Problem(f"{path}: cannot be read: {why}", zh=Problem(f"{path}：无法读取：{why}"))


# -- writing it ----------------------------------------------------------------------------------------


def _write(work: _Work, plan: _Plan, root: Path, before: Manifest | None, empty: bool) -> Change:
    """One transaction over all that differs."""
    store = work.store
    with transaction(store):
        first = store.next_id()
        read = _read_all(work, plan, root)
        work.flush()
        dropped = [name for name in read.skipped if name in plan.known and name not in read.kept]
        deleted = tuple(sorted([*plan.deleted, *dropped]))
        updated = tuple(name for name in read.done if name in plan.known)
        former = store.passage_ids([*deleted, *updated])
        store.drop_passages(former[former < first].tolist())
        store.drop_sources(deleted)
        for name in plan.touched:
            store.touch(name, *_settled(plan.seen[name]))
        store.set_skipped(read.skipped)
        _refuse_nothing(store, work, plan, read.skipped, empty)
        manifest = before
        if manifest is None or read.done or deleted or _settings(manifest) != _settings(work.manifest):
            manifest = finish(store, work.manifest, work.new, work.report)
    tidy(store, manifest)
    work.forget()
    return Change(
        tuple(name for name in read.done if name not in plan.known),
        updated,
        deleted,
        tuple(sorted(plan.known - {*read.done, *deleted, *read.kept})),
        work.embedded,
        manifest.passages,
        (*plan.closed, *(why for _, _, why in read.skipped.values())),
        tuple(read.kept),
    )


def _settings(manifest: Manifest) -> tuple[object, ...]:
    """What a sync was told, and what a search or the next sync must know."""
    return (manifest.embedder, manifest.splitter, manifest.language, manifest.docs, manifest.compact)


@dataclass
class _Reading:
    """Paths that were written; those left out, with size, time and reason; those of them that stay as they were."""

    done: list[str] = field(default_factory=list)
    skipped: dict[str, tuple[int, int, Problem]] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)


def _read_all(work: _Work, plan: _Plan, root: Path) -> _Reading:
    """Read each file that differs, and write it."""
    result = _Reading()
    for number, name in enumerate(plan.changed):
        work.report(Event("read", number, len(plan.changed), name))
        read = _read(root / name, root)
        if isinstance(read, _File):
            work.add(read)
            result.done.append(name)
            continue
        result.skipped[name] = (*plan.seen[name], read.problem)
        if name in plan.known and read.passing and not plan.anew:
            result.kept.append(name)
    work.report(Event("read", len(plan.changed), len(plan.changed)))
    return result


def _refuse_nothing(
    store: Store, work: _Work, plan: _Plan, skipped: dict[str, tuple[int, int, Problem]], empty: bool
) -> None:
    """An index without a single passage answers nothing, and is seldom what was meant."""
    if empty or store.one("SELECT count(*) FROM passage"):
        return
    docs = Path(work.manifest.docs)
    if plan.known:
        raise faults.would_empty(store.folder, docs, len(plan.known))
    problems = [why for _, _, why in skipped.values()][:5]
    told, told_zh = ("".join(f"\n  {p.told(lang).message}" for p in problems) for lang in ("en", "zh"))
    raise UserError(
        f"{docs}: no document with text in it{told}",
        "put documents with text there",
        Problem(f"{docs}：没有一个文档含有文字{told_zh}", "请放入含有文字的文档"),
    )


@dataclass(frozen=True)
class _File:
    """A document with what its file was like when it was read."""

    document: Document
    sha256: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class _Unread:
    """`passing`: it may well be readable later, so what is known of it is kept."""

    problem: Problem
    passing: bool


def _read(path: Path, root: Path) -> _File | _Unread:
    """The document, of which size, time and hash are those of the very content that was read."""
    for _ in range(2):
        try:
            before, digest = path.stat(), sha256(path)
            document = read_document(path, root)
            after = path.stat()
        except OSError as error:
            return _Unread(_unreadable(path, error), True)
        if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
            if isinstance(document, Problem):
                return _Unread(document, False)
            return _File(document, digest, *_settled((after.st_size, after.st_mtime_ns)))
    return _Unread(faults.changing(path), True)


def _settled(seen: tuple[int, int]) -> tuple[int, int]:
    """(size, time); 0 for a time so near that the next change may leave it the same."""
    size, mtime_ns = seen
    return size, mtime_ns if time.time_ns() - mtime_ns > SETTLED_NS else 0


# -- passages and their vectors ------------------------------------------------------------------------


class _Work:
    """Passages on their way into the store: they wait until a batch is full, which then is embedded and written."""

    def __init__(
        self, store: Store, manifest: Manifest, embedder: Embedder | None, folder: Path, report: Reporter
    ) -> None:
        self.store, self.manifest, self.report = store, manifest, report
        self.embedded = self.new = 0
        self._embedder, self._splitter = embedder, manifest.splitter
        self._waiting: list[tuple[int, int, list[Passage]]] = []
        self._texts = 0
        self._kept = _Kept(folder, manifest) if embedder else None

    def __enter__(self) -> _Work:
        return self

    def __exit__(self, *_: object) -> None:
        if self._kept:
            self._kept.close()

    def forget(self) -> None:
        """The index has all vectors now."""
        if self._kept:
            self._kept.delete()

    def add(self, file: _File) -> None:
        """Write the source and its passages; a long document goes in parts."""
        passages = self._split(file.document)
        path, title = file.document.path, file.document.title
        source = self.store.put_source(Source(path, file.sha256, file.size, file.mtime_ns, title, len(passages)))
        for start in range(0, len(passages), BATCH_TEXTS):
            part = passages[start : start + BATCH_TEXTS]
            self._waiting.append((source, start, part))
            self._texts += len(part)
            if self._texts >= BATCH_TEXTS:
                self.flush(full=True)

    def _split(self, document: Document) -> list[Passage]:
        count = self._embedder.count if self._embedder else count_words
        limit = self._splitter.chunk_tokens
        limit = min(limit, self._embedder.window - 2) if self._embedder else limit
        return split_documents([document], count, limit, self._splitter.overlap)

    def flush(self, full: bool = False) -> None:
        """Write what waits; vectors of a `full` batch are kept for the case of an interruption."""
        vectors = self._vectors([p for _, _, part in self._waiting for p in part], full)
        for source, start, part in self._waiting:
            own = [None if vectors is None else vectors[text_hash(embedded_text(p))] for p in part]
            self.store.add_passages(source, start, part, own)
            self.new += len(part)
        self._waiting, self._texts = [], 0

    def _vectors(self, passages: Sequence[Passage], full: bool) -> dict[bytes, Floats] | None:
        """By the hash of the text; only what neither the index nor an interrupted sync has is embedded."""
        if self._embedder is None or self._kept is None:
            return None
        texts = {text_hash(text): text for text in map(embedded_text, passages)}
        reusable = not self._kept.other_embedder(self.store)
        found = self.store.vectors_by_text(texts) if reusable else {}
        found |= self._kept.get(texts.keys() - found.keys())
        missing = [key for key in texts if key not in found]
        if missing:
            made = self._embedder.embed([texts[key] for key in missing], self._shifted)
            fresh = dict(zip(missing, made, strict=True))
            found |= fresh
            self.embedded += len(missing)
            if full:
                self._kept.put(fresh)
        return found

    def _shifted(self, event: Event) -> None:
        """A batch's own count, as a count over all: their total is not known before all files are read."""
        self.report(replace(event, done=self.embedded + event.done, total=None))


class _Kept:
    """Vectors of a sync that was broken off, in a file beside the index; made when there is something to keep."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        assert manifest.embedder is not None
        self._path, self._made_by = folder / PENDING, manifest.embedder
        self._database: sqlite3.Connection | None = None
        self._other: bool | None = None
        if self._path.is_file():
            self._open()

    def other_embedder(self, store: Store) -> bool:
        """Whether the vectors in the index are another embedder's."""
        if self._other is None:
            before = store.manifest()
            self._other = before is not None and before.embedder != self._made_by
        return self._other

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            try:
                self._database = self._connected()
            except sqlite3.DatabaseError:  # broken off while it was made: there is nothing in it worth mending
                self._path.unlink()
                self._database = self._connected()
        return self._database

    def _connected(self) -> sqlite3.Connection:
        made_by = f"{self._made_by.sha256} {self._made_by.pooling} {self._made_by.name}"
        database = sqlite3.connect(self._path)
        with database:
            database.execute("CREATE TABLE IF NOT EXISTS maker (name TEXT PRIMARY KEY)")
            database.execute("CREATE TABLE IF NOT EXISTS kept (sha256 BLOB PRIMARY KEY, vector BLOB NOT NULL)")
            if database.execute("SELECT name FROM maker").fetchall() != [(made_by,)]:
                database.execute("DELETE FROM kept")
                database.execute("DELETE FROM maker")
                database.execute("INSERT INTO maker VALUES (?)", (made_by,))
        return database

    def get(self, keys: set[bytes]) -> dict[bytes, Floats]:
        if self._database is None:
            return {}
        rows = ((k, self._database.execute("SELECT vector FROM kept WHERE sha256 = ?", (k,)).fetchone()) for k in keys)
        return {key: np.frombuffer(row[0], dtype="<f4") for key, row in rows if row}

    def put(self, vectors: dict[bytes, Floats]) -> None:
        with self._open() as database:
            rows = ((key, vector.astype("<f4").tobytes()) for key, vector in vectors.items())
            database.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?)", rows)

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def delete(self) -> None:
        self.close()
        with contextlib.suppress(OSError):
            for path in _of_database(self._path):
                path.unlink(missing_ok=True)


def _of_database(path: Path) -> Iterator[Path]:
    yield from (path, path.with_name(f"{path.name}-journal"))
