"""Writing an index: one writer at a time, everything in one transaction, the FAISS file before what refers to it.

The order makes a kill at any moment leave the old index or the new one: the file of the new generation is written
under its own name and brought to the disk; the transaction that changes the tables names it in the manifest; only
then is the former file deleted. Counts are audited before the transaction is committed, so that an index that does
not add up is never there.
"""

from __future__ import annotations

import contextlib
import datetime
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from executors.base import Event, Passage, Reporter, silent
from executors.models.embed import Embedder
from executors.retriever.index import faults
from executors.retriever.index.records import MadeBy, Manifest, Source, Splitter, VectorsFile
from executors.retriever.index.store import BATCH, Store, open_to_write
from executors.retriever.index.vectors import (
    REBUILD_SHARE,
    build_vectors,
    read_vectors,
    remove_others,
    write_vectors,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

LOCK = "index.lock"
WAIT_SECONDS = 60.0  # for another writer
OPTIMISED_FROM = 0.2  # share of the passages that is new, from which the lexical index is merged for speed


@contextlib.contextmanager
def locked(folder: Path, wait: float = WAIT_SECONDS, report: Reporter = silent) -> Iterator[None]:
    """Hold the lock of one index. Raises `UserError` where another writer still has it after `wait` seconds."""
    from filelock import FileLock, Timeout

    with faults.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            report(Event("wait"))
            try:
                lock.acquire(timeout=wait)
            except Timeout:
                raise faults.busy(folder, wait) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def transaction(store: Store) -> Iterator[None]:
    """All or nothing of what is done to the store meanwhile."""
    store.database.execute("BEGIN IMMEDIATE")
    try:
        yield
        store.database.execute("COMMIT")
    except BaseException:
        if store.database.in_transaction:
            store.database.execute("ROLLBACK")
        raise
    with contextlib.suppress(sqlite3.OperationalError):  # a full disk: the log holds what was committed
        store.database.execute("PRAGMA wal_checkpoint(PASSIVE)")


def finish(store: Store, manifest: Manifest, new: int, report: Reporter = silent) -> Manifest:
    """The last step of a transaction: the FAISS file where it is due, the manifest, the audit of the counts.

    `new` passages were added in this transaction. Raises `RuntimeError` where the counts do not add up.
    """
    counts = store.counts()
    if new > OPTIMISED_FROM * counts["passages"]:
        store.database.execute("INSERT INTO words (words) VALUES ('optimize')")
    manifest = replace(
        manifest,
        generation=manifest.generation + 1,
        sources=counts["sources"],
        passages=counts["passages"],
        written=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    if manifest.embedder is not None:
        manifest = replace(manifest, vectors=_vectors_file(store, manifest, report))
    else:
        manifest = replace(manifest, vectors=None)
        store.database.execute("DELETE FROM gone")
    store.set_manifest(manifest)
    _refuse_mismatch(store, manifest, counts)
    return manifest


def _vectors_file(store: Store, manifest: Manifest, report: Reporter) -> VectorsFile | None:
    """The file as it is where it can be brought up to date on opening, else a new one."""
    assert manifest.embedder is not None
    if manifest.vectors is not None and not _is_due(store, manifest.vectors):
        return manifest.vectors
    if not manifest.passages:
        store.database.execute("DELETE FROM gone")
        return None
    report(Event("index", 0, manifest.passages))
    built = build_vectors(store, manifest.passages, manifest.embedder.dimension, manifest.compact)
    store.database.execute("DELETE FROM gone")
    written = write_vectors(built, store.folder, manifest.generation)
    report(Event("index", manifest.passages, manifest.passages))
    return written


def _is_due(store: Store, file: VectorsFile) -> bool:
    """Whether so much changed since the file was written that opening the index would take long, or recall suffer."""
    removed = store.one("SELECT count(*) FROM gone WHERE id <= ?", file.covers)
    added = store.one("SELECT count(*) FROM passage WHERE id > ?", file.covers)
    return bool(removed + added > REBUILD_SHARE * file.count) or not (store.folder / file.file).is_file()


def _refuse_mismatch(store: Store, manifest: Manifest, counts: dict[str, int]) -> None:
    """The audit of every write; what is compared by content as well is in `auditing`."""
    found = {**counts, "manifest": manifest.passages}
    if manifest.embedder is not None:
        found["vectors"] = vectors_count(store, manifest.vectors)
    told = {name: n for name, n in found.items() if name != "sources"}
    if len(set(told.values())) > 1:
        raise RuntimeError(f"{store.folder}: counts differ, nothing was written: {told}")


def vectors_count(store: Store, file: VectorsFile | None) -> int:
    """How many passages the FAISS index has once it is brought up to date."""
    if file is None:
        return 0
    removed = store.one("SELECT count(*) FROM gone WHERE id <= ?", file.covers)
    added = store.one("SELECT count(*) FROM passage WHERE id > ? AND vector IS NOT NULL", file.covers)
    return int(file.count - removed + added)


def tidy(store: Store, manifest: Manifest) -> None:
    """After the transaction: files nothing refers to any more."""
    with contextlib.suppress(OSError):  # a reader on Windows may still have one open; the next write deletes it
        remove_others(store.folder, manifest.vectors.file if manifest.vectors else "")


def repair_vectors(folder: Path) -> None:
    """Make the FAISS file anew from the vectors in SQLite, where it is still missing or damaged."""
    with locked(folder, 1.0), faults.disk_errors(folder), open_to_write(folder) as store:
        manifest = store.manifest()
        if manifest is None or manifest.embedder is None:
            return
        if manifest.vectors is not None and read_vectors(folder, manifest.vectors) is not None:
            return  # another process was quicker
        _remake(store, manifest)


def rebuild_vectors(folder: Path, compact: bool, report: Reporter = silent) -> Manifest:
    """Make the FAISS file anew, in little memory or not. Raises `UserError` where there is no index with vectors."""
    with locked(folder, report=report), faults.disk_errors(folder), open_to_write(folder) as store:
        manifest = store.manifest()
        if manifest is None or manifest.embedder is None:
            raise faults.no_index(folder)
        return _remake(store, replace(manifest, compact=compact), report)


def _remake(store: Store, manifest: Manifest, report: Reporter = silent) -> Manifest:
    with transaction(store):
        manifest = finish(store, replace(manifest, vectors=None), 0, report)
    tidy(store, manifest)
    return manifest


# -- passages at hand ----------------------------------------------------------------------------------


def build_index(
    passages: Iterable[Passage],
    vectors: Floats | Iterable[Floats] | None,
    embedder: Embedder | None,
    folder: Path,
    *,
    compact: bool = False,
    language: str = "en",
    report: Reporter = silent,
) -> Manifest:
    """An index of these passages, in place of one that was there.

    `vectors` are unit vectors ``[len(passages), dimension]``, or several such arrays one after the other: neither
    passages nor vectors need to be in memory at once. `compact`: in little memory, see `choose_kind`.
    Raises `UserError` where it cannot be written; the former index then stays.
    """
    made_by = faults.identity(embedder) if vectors is not None else None
    with locked(folder, report=report), faults.disk_errors(folder), open_to_write(folder) as store:
        before = store.manifest()
        generation = before.generation if before else 0
        manifest = Manifest(generation, language, made_by, Splitter(), compact=compact)
        with transaction(store):
            store.empty()
            new = _fill(store, passages, _rows(vectors, made_by))
            manifest = finish(store, manifest, new, report)
        tidy(store, manifest)
    return manifest


def _rows(vectors: Floats | Iterable[Floats] | None, made_by: MadeBy | None) -> Iterator[Floats] | None:
    if vectors is None or made_by is None:
        return None
    parts = [vectors] if isinstance(vectors, np.ndarray) else vectors
    return (row for part in parts for row in part)


def _fill(store: Store, passages: Iterable[Passage], vectors: Iterator[Floats] | None) -> int:
    """Write all passages; returns how many. Raises `ValueError` where there are more or fewer vectors."""
    counts: dict[str, int] = {}
    for path, of_source in groupby(passages, key=lambda p: p.source):
        source = store.put_source(Source(path, "", 0, 0, "", 0))
        while part := list(islice(of_source, BATCH)):
            rows: Sequence[Floats | None] = [None] * len(part) if vectors is None else list(islice(vectors, len(part)))
            store.add_passages(source, counts.get(path, 0), part, rows)
            counts[path] = counts.get(path, 0) + len(part)
    for path, count in counts.items():
        store.put_source(Source(path, "", 0, 0, "", count))
    if vectors is not None and next(vectors, None) is not None:
        raise ValueError("more vectors than passages")
    return sum(counts.values())
