"""An open index: what a search reads. Several readers beside one writer, each with one state of the index.

A reader sees the index as it was when it was opened, or last followed: `Index.follow` goes to the newest state, so
that a long-running process does not answer from files that are gone.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from executors.base import Passage, Problem, UserError
from executors.models.embed import Embedder
from executors.retriever.index import faults
from executors.retriever.index.records import MadeBy, Manifest, Source
from executors.retriever.index.store import Store, open_to_read
from executors.retriever.index.vectors import Vectors, as_ids, build_vectors, read_vectors, up_to_date
from executors.retriever.index.writing import repair_vectors
from executors.retriever.lexical import WordSearch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Ids = NDArray[np.int64]

ATTEMPTS = 3  # to find a state whose file no writer deletes meanwhile


class Index:
    """An open index to read; close it, or use it in a `with`."""

    manifest: Manifest
    folder: Path

    def __init__(self, store: Store, manifest: Manifest) -> None:
        """`store` is within a transaction that sees the state of `manifest`; see `open_index`."""
        self.folder, self._store, self._words = store.folder, store, WordSearch(store.database)
        self.manifest, self._vectors = manifest, _open_vectors(store, manifest)

    def __len__(self) -> int:
        return self.manifest.passages

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._store.close()

    @property
    def dense_ready(self) -> bool:
        """Whether there are vectors to search."""
        return self._vectors is not None

    def follow(self) -> bool:
        """Go to the newest state of the index; whether there was a newer one.

        Raises `UserError` where it was made by another embedder meanwhile.
        """
        for attempt in range(ATTEMPTS):
            manifest = _begin(self._store)
            if manifest == self.manifest:
                return False
            if manifest.embedder != self.manifest.embedder:
                raise _changed_embedder(self.folder, self.manifest.embedder, manifest.embedder)
            try:
                self.manifest, self._vectors = manifest, _open_vectors(self._store, manifest)
            except FileNotFoundError:
                if attempt == ATTEMPTS - 1:
                    raise
                continue
            self._words = WordSearch(self._store.database)  # what it counted is of the state before
            return True
        return False

    # -- searching -------------------------------------------------------------------------------------

    def dense(
        self, vectors: Floats, k: int, allowed: Collection[int] | Ids | None = None
    ) -> list[list[tuple[int, float]]]:
        """For each of ``vectors[n, dimension]`` up to `k` (passage id, cosine), best first.

        `allowed`: ids that may be found; None for all. Without vectors in the index nothing is found.
        """
        if self._vectors is None:
            return [[] for _ in vectors]
        return self._vectors.search(vectors, k, as_ids(allowed))

    def lexical(self, question: str, k: int, allowed: Collection[int] | Ids | None = None) -> list[tuple[int, float]]:
        """Up to `k` (passage id, BM25 above 0), best first."""
        return self._words.best(question, k, None if allowed is None else list(map(int, allowed)))

    # -- what was found --------------------------------------------------------------------------------

    def passages(self, ids: Sequence[int]) -> list[Passage]:
        """In the order of `ids`, which come from a search of this state."""
        return self._store.passages(ids)

    def vectors(self, ids: Sequence[int] | Ids) -> Floats:
        """Exact unit vectors ``[len(ids), dimension]``, in the order of `ids`."""
        if self.manifest.embedder is None:
            raise ValueError("this index has no vectors")
        return self._store.vectors(ids, self.manifest.embedder.dimension)

    def sources(self) -> list[Source]:
        """All files of the index, by path."""
        return self._store.sources()

    def ids_of(self, sources: str | Collection[str]) -> Ids:
        """Ids of the passages of these files, for `allowed`. Each is a path or a pattern, e.g. ``manuals/*.pdf``."""
        patterns = [sources] if isinstance(sources, str) else list(sources)
        paths = [source.path for source in self.sources()]
        wanted = {path for path in paths for p in patterns if path == p or fnmatch.fnmatchcase(path, p)}
        return self._store.passage_ids(wanted)


def open_index(folder: Path, embedder: Embedder | None) -> Index:
    """The index in `folder`, for this embedder. A FAISS file that is missing or damaged is made again from SQLite.

    Raises `UserError`: no index here, damaged beyond repair, made by another embedder (of equal dimension, too), with
    the command that embeds again.
    """
    store = open_to_read(folder)
    try:
        with faults.disk_errors(folder):
            return _opened(store, embedder)
    except BaseException:
        store.close()
        raise


def _opened(store: Store, embedder: Embedder | None) -> Index:
    for attempt in range(ATTEMPTS):
        manifest = _begin(store)
        faults.check_embedder(manifest, embedder, store.folder)
        found = store.counts()
        if found["passages"] != manifest.passages or found["lexical"] != manifest.passages:
            why = f"{found['passages']} passages, {found['lexical']} in the lexical index, manifest {manifest.passages}"
            raise faults.damaged(store.folder, why, manifest.docs)
        try:
            return Index(store, manifest)
        except FileNotFoundError:  # a writer deleted the file of this state
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError


def _begin(store: Store) -> Manifest:
    """Look at the newest state from now on."""
    if store.database.in_transaction:
        store.database.execute("COMMIT")
    store.database.execute("BEGIN")
    manifest = store.manifest()
    if manifest is None:
        raise faults.no_index(store.folder)
    return manifest


def _open_vectors(store: Store, manifest: Manifest) -> Vectors | None:
    """The FAISS side of this state. Raises `FileNotFoundError` where a newer state is there already."""
    if manifest.embedder is None or manifest.vectors is None:
        return None
    dimension = manifest.embedder.dimension
    index = read_vectors(store.folder, manifest.vectors)
    if index is None:
        try:
            repair_vectors(store.folder)
        except UserError:  # another writer is at it, or nothing may be written here: from memory, then
            built = build_vectors(store, manifest.passages, dimension, manifest.compact)
            record = replace(manifest.vectors, kind=built.kind.name, probes=built.probes)
            return Vectors(built.index, record, dimension, store)
        raise FileNotFoundError(store.folder / manifest.vectors.file)  # the repaired state is a newer one
    return Vectors(up_to_date(index, manifest.vectors, store, dimension), manifest.vectors, dimension, store)


def read_manifest(folder: Path) -> Manifest:
    """What the index in `folder` says of itself. Raises `UserError` where there is none."""
    store = open_to_read(folder)
    try:
        with faults.disk_errors(folder):
            manifest = store.manifest()
    finally:
        store.close()
    if manifest is None:
        raise faults.no_index(folder)
    return manifest


def _changed_embedder(folder: Path, before: MadeBy | None, now: MadeBy | None) -> UserError:
    names = [m.name if m else "-" for m in (before, now)]
    return UserError(
        f"{folder}: embedded again by another process ({names[0]} -> {names[1]})",
        "start again to open it with its embedder",
        Problem(f"{folder}：已被另一个进程重新嵌入（{names[0]} → {names[1]}）", "请重新启动"),
    )
