"""What an index costs as it grows: one update among 10,000 files, a question at 11,429 documents, a million vectors.

The million vectors are made, as no embedder makes so many on a small machine in bearable time: unit vectors around
`CENTRES` centres of different weight, each at a distance from its centre that leaves it nearest to some of its own.
Questions are drawn in the same way and are not in the index; what is right is found by comparing all vectors. The
memory of an index is the size of its FAISS file, which is what it takes when loaded; that of building, the peak of the
process that does nothing else. Not covered: recall with real embeddings at that size.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from executors.base import Passage
from tests.benchmarks.harness import Figure
from tests.benchmarks.retrieval.corpora import EMBEDDER, load_corpus

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

COMMAND = "make bench-retrieval"
FILES = 10_000
UPDATES = 5
MILLION = 1_000_000
DIMENSION = 384
CENTRES = 10_000
NOISE = 0.7  # length of what is added to a centre of length 1
BATCH = 20_000
ASKED = 200


# -- one update ------------------------------------------------------------------------------------------


def update() -> list[Figure]:
    """One of 10,000 files changed: the time to bring the index up to date over that of making it, in one run."""
    from executors.models import load_embedder
    from executors.retriever.index import Splitter, audit, sync

    embedder = load_embedder(EMBEDDER)
    with tempfile.TemporaryDirectory() as made:
        docs, folder = Path(made) / "docs", Path(made) / "docs.index"
        for n in range(FILES):
            path = docs / f"{n % 100}" / f"{n}.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"Item {n} costs {n % 97} pounds.", encoding="utf-8")
        time.sleep(2.5)  # files younger than that are compared by content: not what is measured here

        def synced() -> float:
            begun = time.perf_counter()
            sync(folder, docs, Splitter(), embedder, "en")
            return time.perf_counter() - begun

        full, times = synced(), []
        for n in random.Random(0).sample(range(FILES), UPDATES):
            (docs / f"{n % 100}" / f"{n}.md").write_text(f"Item {n} is sold out.", encoding="utf-8")
            times.append(synced())
        assert audit(folder), audit(folder).problems
    return [
        Figure("index.full_build_seconds", full, n=FILES, command=COMMAND),
        Figure("index.update_seconds", median(times), n=UPDATES, command=COMMAND),
        Figure("index.update_share", median(times) / full, 0.01, "<=", UPDATES, command=COMMAND),
    ]


# -- one question ----------------------------------------------------------------------------------------


class Drawn:
    """Stands for an embedder: vectors made at random, since how long a search takes does not depend on them."""

    name, sha256, pooling, dimension, window = "drawn", "0" * 64, "", DIMENSION, 256

    def embed(self, texts: Sequence[str], *_: Any, **__: Any) -> Floats:
        made = np.random.default_rng(len(texts)).normal(size=(len(texts), DIMENSION)).astype(np.float32)
        return made / np.linalg.norm(made, axis=1, keepdims=True)


def query() -> list[Figure]:
    """Hybrid search over Vaswani's documents, one question after the other, embedding left out."""
    from executors.retriever.index import build_index, open_index
    from executors.retriever.search import Searcher

    corpus, embedder = load_corpus("vaswani"), Drawn()
    passages = corpus.passages()
    with tempfile.TemporaryDirectory() as made:
        build_index(passages, embedder.embed([p.text for p in passages]), embedder, Path(made) / "ix")  # type: ignore[arg-type]
        with open_index(Path(made) / "ix", embedder) as index:  # type: ignore[arg-type]
            searcher = Searcher(index, embedder)  # type: ignore[arg-type]
            times = _times(lambda question: searcher.search([question], 10), corpus.questions)
            alone = embedder.embed(corpus.questions[:1])
            dense = _times(lambda _: index.dense(alone, 50), corpus.questions)
            lexical = _times(lambda question: index.lexical(question, 50), corpus.questions)
    count = len(corpus.questions)
    return [
        Figure("query.hybrid_p50_ms", _p50(times), 15, "<=", count, command=COMMAND),
        Figure("query.hybrid_p95_ms", float(np.quantile(times, 0.95)) * 1000, n=count, command=COMMAND),
        Figure("query.dense_p50_ms", _p50(dense), n=count, command=COMMAND),
        Figure("query.lexical_p50_ms", _p50(lexical), n=count, command=COMMAND),
    ]


def _times(ask: Callable[[str], object], questions: Sequence[str]) -> list[float]:
    """Seconds of each question, asked the second time: a running program has read its index."""
    times = []
    for question in [*questions, *questions]:
        begun = time.perf_counter()
        ask(question)
        times.append(time.perf_counter() - begun)
    return times[len(questions) :]


def _p50(times: Sequence[float]) -> float:
    return median(times) * 1000


# -- a million vectors -----------------------------------------------------------------------------------


def million() -> list[Figure]:
    """Building and asking an index of a million made passages: lists in 8 bits, and the product code."""
    with tempfile.TemporaryDirectory() as made:
        parts = [_apart(Path(made), part) for part in ("build", "ask", "compact", "ask")]
    (build, lists, compact, codes) = parts
    flat = MILLION * DIMENSION * 4

    def figure(name: str, value: float, bar: float | None = None, op: str = "", n: int = ASKED) -> Figure:
        return Figure(f"million.{name}", value, bar, op, n, command=COMMAND)

    return [
        figure("build_peak_gb", build["peak_gb"], 8, "<=", 1),
        figure("build_minutes", build["seconds"] / 60, n=1),
        figure("query_p50_ms", lists["p50_ms"], 10, "<="),
        figure("recall_at_10", lists["recall"], 0.95, ">="),
        figure("recall_at_10_in_manifest", build["recall"]),
        figure("share_of_flat_memory", build["bytes"] / flat, n=1),
        figure("pq_share_of_flat_memory", compact["bytes"] / flat, 0.15, "<=", 1),
        figure("pq_recall_at_10", codes["recall"]),
        figure("pq_query_p50_ms", codes["p50_ms"]),
        figure("pq_build_peak_gb", compact["peak_gb"], 8, "<=", 1),
    ]


def _apart(folder: Path, part: str) -> dict[str, float]:
    """One part in a process of its own, whose peak of memory is then that part's."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "tests.benchmarks.retrieval.scale", str(folder), part]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"million, {part}: {time.perf_counter() - begun:.0f} s, {found}", file=sys.stderr)
    return found


def _part(folder: Path, part: str) -> dict[str, float]:
    from executors.retriever.index import build_index, writing
    from executors.run import peak_memory_mb

    begun = time.perf_counter()
    if part == "ask":
        return _asked(folder / "ix")
    if part == "build":
        manifest = build_index(_passages(), _vectors(1, MILLION), Drawn(), folder / "ix")  # type: ignore[arg-type]
    else:
        manifest = writing.rebuild_vectors(folder / "ix", compact=True)
    assert manifest.vectors is not None
    return {
        "seconds": time.perf_counter() - begun,
        "peak_gb": (peak_memory_mb() or 0) / 1000,
        "recall": manifest.vectors.recall_at_10,
        "bytes": (folder / "ix" / manifest.vectors.file).stat().st_size,
        "probes": manifest.vectors.probes,
    }


def _passages() -> Iterator[Passage]:
    return (Passage(f"Item {n} of shelf {n % 997} costs {n % 89} pounds.", f"{n // 100}.md") for n in range(MILLION))


def _vectors(seed: int, count: int) -> Iterator[Floats]:
    centres = _unit(np.random.default_rng(0).normal(size=(CENTRES, DIMENSION)))
    weights = np.random.default_rng(0).pareto(1.5, CENTRES) + 1
    rng = np.random.default_rng(seed)
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        own = centres[rng.choice(CENTRES, size, p=weights / weights.sum())]
        yield _unit(own + NOISE * _unit(rng.normal(size=(size, DIMENSION))))


def _unit(vectors: NDArray[Any]) -> Floats:
    unit: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _asked(folder: Path) -> dict[str, float]:
    """Recall@10 against all vectors compared, and the p50 of one question at a time."""
    from executors.retriever.index import open_index

    asked = next(_vectors(2, ASKED))
    right = _nearest(asked)
    with open_index(folder, Drawn()) as index:  # type: ignore[arg-type]
        found, times = [], []
        for question in [*asked, *asked]:
            begun = time.perf_counter()
            found.append(index.dense(question[None], 10)[0])
            times.append(time.perf_counter() - begun)
    hits = [len({i for i, _ in row} & truth) / 10 for row, truth in zip(found[ASKED:], right, strict=True)]
    cold = [len({i for i, _ in row} & truth) / 10 for row, truth in zip(found[:ASKED], right, strict=True)]
    assert hits == cold
    return {"recall": float(np.mean(hits)), "p50_ms": _p50(times[ASKED:]), "first_p50_ms": _p50(times[:ASKED])}


def _nearest(asked: Floats) -> list[set[int]]:
    """Ids, which count from 1, of the 10 nearest by comparing all."""
    scores = np.concatenate([asked @ part.T for part in _vectors(1, MILLION)], axis=1)
    return [set((np.argpartition(-row, 10)[:10] + 1).tolist()) for row in scores]


if __name__ == "__main__":
    print(json.dumps(_part(Path(sys.argv[1]), sys.argv[2])))
