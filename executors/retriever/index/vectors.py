"""The FAISS side of an index: which kind of index for how many vectors, building it, loading it, searching it.

All vectors have length 1, so the inner product is the cosine. The kind follows the size: exact search while it is
quick, then lists of neighbours (IVF) of vectors in 8 bits, or where little memory is wanted in a product code (PQ);
the best candidates of both are compared again by their exact vectors, which are in SQLite. HNSW is left out: it cannot
remove, and in a trial with 200,000 vectors it took 10 times as long to build and 4 times the memory of 8-bit lists.
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from executors.base import Text
from executors.models.device import prepare_torch, usable_cores
from executors.retriever.index.records import VectorsFile
from executors.retriever.index.store import Store

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Ids = NDArray[np.int64]

FLAT_MOST = 50_000  # vectors up to which all are compared: some 10 ms at dimension 384
COMPACT_FROM = 4_000_000  # from here on the product code: 8 bits a dimension would take over 1.5 GB
REBUILD_SHARE = 0.1  # of the vectors added or removed since the file was written, from which it is written anew
TRAINED_ON = 32  # vectors a list in training
ROUNDS = 10  # of k-means
ASKED = 200  # stored vectors that recall is measured with
RECALL = 0.97  # aimed at by the number of lists looked into
EXACT_MOST = 5_000  # allowed passages up to which they are compared one by one
GAIN = 0.002  # of recall, below which more lists are not worth their time
SEED = 0


@dataclass(frozen=True)
class Kind:
    """A kind of FAISS index, as its factory names it, and why."""

    name: str
    reason: Text


def choose_kind(count: int, dimension: int, compact: bool) -> Kind:
    """By the number of vectors; `compact` asks for little memory."""
    if count <= FLAT_MOST:
        return Kind(
            "Flat",
            {
                "en": f"{count:,} vectors: all are compared, which is exact and quick up to {FLAT_MOST:,}",
                "zh": f"{count:,} 个向量：逐一比较，结果精确，且在 {FLAT_MOST:,} 个以内足够快",
            },
        )
    lists = 2 ** round(math.log2(2 * math.sqrt(count)))
    if compact or count > COMPACT_FROM:
        parts = dimension // 2 if dimension % 2 == 0 else dimension  # half a byte each
        return Kind(
            f"IVF{lists},PQ{parts}x4fs",
            {
                "en": f"{count:,} vectors in little memory: {parts // 2} bytes each instead of {4 * dimension:,}; the "
                "best candidates are compared again by their exact vectors",
                "zh": f"{count:,} 个向量，节省内存：每个 {parts // 2} 字节而不是 {4 * dimension:,}；"
                "最佳候选再用精确向量比较",
            },
        )
    return Kind(
        f"IVF{lists},SQ8",
        {
            "en": f"{count:,} vectors: more than {FLAT_MOST:,} take too long to compare one by one; unlike HNSW this "
            "kind can remove, and takes a quarter of the memory",
            "zh": f"{count:,} 个向量：超过 {FLAT_MOST:,} 个时逐一比较太慢；"
            "与 HNSW 不同，这种索引可以删除，内存只需四分之一",
        },
    )


def load_faiss() -> Any:
    """faiss, after torch: both bring an OpenMP runtime, and on macOS the second to start threads may crash."""
    prepare_torch()
    import faiss

    faiss.omp_set_num_threads(1 if sys.platform == "darwin" else usable_cores())
    return faiss


# -- searching -----------------------------------------------------------------------------------------


class Vectors:
    """Vectors by passage id that can be searched. `store` has the exact ones, where `index` has approximations."""

    def __init__(self, index: Any, record: VectorsFile, dimension: int, store: Store) -> None:
        self.index, self.record = index, record
        self._dimension, self._store, self._faiss = dimension, store, load_faiss()
        self._exact = record.kind == "Flat"

    def __len__(self) -> int:
        return int(self.index.ntotal)

    def search(self, asked: Floats, k: int, allowed: Ids | None = None) -> list[list[tuple[int, float]]]:
        """For each of ``asked[n, dimension]`` up to `k` (passage id, cosine), best first."""
        asked = np.ascontiguousarray(asked, dtype=np.float32)
        if not len(self) or (allowed is not None and not len(allowed)):
            return [[] for _ in asked]
        if allowed is not None and not self._exact and len(allowed) <= EXACT_MOST:
            return self._compared(asked, [allowed] * len(asked), k)
        if self._exact:
            return self._found(asked, k, allowed)
        wanted = _candidates(self.record.kind, k)
        rough = self._found(asked, wanted, allowed)
        return self._compared(asked, [np.array([i for i, _ in row], dtype=np.int64) for row in rough], k)

    def _found(self, asked: Floats, k: int, allowed: Ids | None) -> list[list[tuple[int, float]]]:
        scores, ids = self.index.search(asked, min(k, len(self)), params=self._how(allowed))
        return [
            [(int(i), float(s)) for s, i in zip(*row, strict=True) if i >= 0] for row in zip(scores, ids, strict=True)
        ]

    def _how(self, allowed: Ids | None) -> Any:
        selector = None if allowed is None else self._faiss.IDSelectorBatch(np.ascontiguousarray(allowed, np.int64))
        if self._exact:
            return None if selector is None else self._faiss.SearchParameters(sel=selector)
        return self._faiss.SearchParametersIVF(sel=selector, nprobe=self.record.probes)

    def _compared(self, asked: Floats, candidates: Sequence[Ids], k: int) -> list[list[tuple[int, float]]]:
        """The `k` best candidates of each question by their exact vectors."""
        found = []
        for question, ids in zip(asked, candidates, strict=True):
            scores = self._store.vectors(ids, self._dimension) @ question
            best = np.argsort(-scores, kind="stable")[:k]
            found.append([(int(ids[i]), float(scores[i])) for i in best])
        return found


def _candidates(kind: str, k: int) -> int:
    return max(20 * k, 200) if ",PQ" in kind else max(4 * k, 50)


def as_ids(allowed: Collection[int] | Ids | None) -> Ids | None:
    """Passage ids as faiss takes them."""
    if allowed is None or isinstance(allowed, np.ndarray):
        return allowed
    return np.fromiter(allowed, dtype=np.int64, count=len(allowed))


# -- building ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Built:
    """A FAISS index made from all vectors of a store, with what is to be known of it."""

    index: Any
    kind: Kind
    recall_at_10: float
    covers: int
    probes: int = 0


def build_vectors(store: Store, count: int, dimension: int, compact: bool) -> Built:
    """All vectors of the store, which are `count`, as FAISS searches them. Memory: the index and one batch."""
    kind = choose_kind(count, dimension, compact)
    faiss = load_faiss()
    if kind.name == "Flat":
        index = faiss.IndexIDMap(faiss.IndexFlatIP(dimension))
    else:
        index = faiss.index_factory(dimension, kind.name, faiss.METRIC_INNER_PRODUCT)
        _train(index, store, count, dimension)
    covers = 0
    for ids, vectors in store.all_vectors(0, dimension):
        index.add_with_ids(np.ascontiguousarray(vectors, dtype=np.float32), ids)
        covers = int(ids[-1])
    if kind.name == "Flat":
        return Built(index, kind, 1.0, covers)
    probes, recall = _tuned(index, kind, store, dimension)
    return Built(index, kind, recall, covers, probes)


def _train(index: Any, store: Store, count: int, dimension: int) -> None:
    index.cp.niter, index.cp.seed, index.cp.spherical = ROUNDS, SEED, True
    for clustering in (index.cp, index.pq.cp) if hasattr(index, "pq") else (index.cp,):
        clustering.min_points_per_centroid = 1  # fewer are no reason for faiss to write to the terminal
    index.cp.max_points_per_centroid = TRAINED_ON
    index.train(_sample(store, min(count, TRAINED_ON * index.nlist), dimension))


def _sample(store: Store, wanted: int, dimension: int) -> Floats:
    """Vectors drawn at random, always the same of the same store."""
    ids = store.ids()
    chosen = np.sort(np.random.default_rng(SEED).choice(ids, min(wanted, len(ids)), replace=False))
    return np.ascontiguousarray(store.vectors(chosen, dimension))


def _tuned(index: Any, kind: Kind, store: Store, dimension: int) -> tuple[int, float]:
    """(lists to look into, recall@10 against exact search), by half more each time until the recall is high enough."""
    ids = store.ids()
    own = np.sort(np.random.default_rng(SEED + 1).choice(ids, min(ASKED, len(ids)), replace=False))
    asked = np.ascontiguousarray(store.vectors(own, dimension))
    truth = _nearest(asked, own, store, dimension)
    probes, recall = 6, 0.0
    while recall < RECALL and probes < index.nlist:
        probes += probes // 2
        record = VectorsFile("", "", kind.name, kind.reason, 0.0, 0, 0, probes)
        found = Vectors(index, record, dimension, store).search(asked, 11)
        hits = [
            len({i for i, _ in row if i != mine} & near) / max(len(near), 1)
            for row, mine, near in zip(found, own, truth, strict=True)
        ]
        before, recall = recall, float(np.mean(hits))
        if before > 0.9 and recall - before < GAIN:
            break  # what is missing was lost by the code, and more lists do not bring it back
    return min(probes, index.nlist), round(recall, 4)


def _nearest(asked: Floats, own: Ids, store: Store, dimension: int) -> list[set[int]]:
    """The 10 nearest of each by exact search, without itself."""
    kept_ids = np.empty((len(asked), 0), dtype=np.int64)
    kept = np.empty((len(asked), 0), dtype=np.float32)
    for ids, vectors in store.all_vectors(0, dimension):
        scores = asked @ vectors.T
        scores[ids[None, :] == own[:, None]] = -2
        kept = np.concatenate([kept, scores], axis=1)
        kept_ids = np.concatenate([kept_ids, np.broadcast_to(ids, scores.shape)], axis=1)
        best = np.argpartition(-kept, min(10, kept.shape[1] - 1), axis=1)[:, :10]
        kept, kept_ids = np.take_along_axis(kept, best, 1), np.take_along_axis(kept_ids, best, 1)
    return [set(map(int, row)) for row in kept_ids]


# -- the file ------------------------------------------------------------------------------------------


def write_vectors(built: Built, folder: Path, generation: int) -> VectorsFile:
    """The file of this generation, whole and on the disk; nothing refers to it yet."""
    raw = load_faiss().serialize_index(built.index)
    name = f"vectors-{generation}.faiss"
    unfinished = folder / f"{name}.tmp"
    with unfinished.open("wb") as out:
        for start in range(0, len(raw), 1 << 24):
            out.write(raw[start : start + (1 << 24)])
        out.flush()
        os.fsync(out.fileno())
    unfinished.replace(folder / name)
    sync_folder(folder)
    return VectorsFile(
        name,
        hashlib.sha256(raw).hexdigest(),
        built.kind.name,
        built.kind.reason,
        built.recall_at_10,
        built.covers,
        int(built.index.ntotal),
        built.probes,
    )


def sync_folder(folder: Path) -> None:
    """Names in a folder reach the disk only with the folder itself; Windows has no such call and needs none."""
    if sys.platform != "win32":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_vectors(folder: Path, record: VectorsFile) -> Any | None:
    """The FAISS index of the file, or None where it is missing or is not the one that was written."""
    path = folder / record.file
    if not path.is_file() or not path.stat().st_size:
        return None
    raw = np.memmap(path, dtype=np.uint8, mode="r")
    if hashlib.sha256(raw.data).hexdigest() != record.sha256:  # before FAISS parses a byte of it
        return None
    return load_faiss().deserialize_index(raw)


def up_to_date(index: Any, record: VectorsFile, store: Store, dimension: int) -> Any:
    """The index of the file with what was removed and added since: every kind that is chosen here can do both."""
    gone = store.gone()
    if len(gone):
        index.remove_ids(gone)
    for ids, vectors in store.all_vectors(record.covers, dimension):
        index.add_with_ids(np.ascontiguousarray(vectors, dtype=np.float32), ids)
    return index


def remove_others(folder: Path, keep: str) -> None:
    """Delete files of other generations, and what a kill left unfinished."""
    for path in _files(folder):
        if path.name != keep:
            path.unlink(missing_ok=True)


def _files(folder: Path) -> Iterator[Path]:
    yield from folder.glob("vectors-*.faiss")
    yield from folder.glob("vectors-*.faiss.tmp")
