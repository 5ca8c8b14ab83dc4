"""Side by side on one corpus with the same weights: ours, txtai, and LangChain-core's store in memory.

Each runs in a process of its own: the encoder is loaded and has embedded once before the clock starts; then all
documents are embedded and indexed, and every question is asked one by one, three times, its embedding included. Memory
is the peak of the process; what it was before indexing began is told beside it. Ours and txtai search dense and lexical
results joined, as they come (txtai: `hybrid=True`, content stored), and dense alone; LangChain's store has dense only.
The bar of ours is the best of the others.
txtai asks for nothing we lack but msgpack, and lives beside the environment: see the Makefile.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from executors.run import peak_memory_mb
from tests.benchmarks.harness import OUT, ROOT, Figure
from tests.benchmarks.retrieval.corpora import DEPTH, EMBEDDER, Corpus, load_corpus, mean_interval, ndcg

PEERS = OUT / "peers-retrieval"
TXTAI = "txtai 9.14.0"
COMMAND = "python -m tests.benchmarks.bench_retrieval --only peers"
ROUNDS = 3
SECONDS = 3600  # of one side

Ask = Callable[[str], list[str]]
"""A question to the names of the documents found, best first."""


def peers(count: int | None = None) -> list[Figure]:
    """Ours beside both; `count` documents for a trial, all without (nDCG of fewer says nothing)."""
    measured = {side: _run(side, count) for side in SIDES}
    versions = {"ours": "", "txtai": TXTAI, "langchain": f"langchain-core {_version('langchain-core')}"}
    others = [one for side, found in measured.items() if side != "ours" for one in found["ways"].values()]
    best = max(mean_interval(one["ndcg"])[0] for one in others)
    figures = []
    for side, found in measured.items():
        about: Any = {"peer_version": versions[side], "command": COMMAND}
        for way, one in found["ways"].items():
            name, n = f"peers: {side}, {way}", len(one["ndcg"])
            value, interval = mean_interval(one["ndcg"])
            bar = best if (side, way) == ("ours", "hybrid") else None
            figures += [
                Figure(f"{name}: nDCG@10", value, bar, ">=" if bar else "", n, interval, **about),
                Figure(f"{name}: ms a question, p50", one["p50"], n=n * ROUNDS, **about),
            ]
        figures += [
            Figure(f"peers: {side}: seconds to embed and index", found["build"], n=found["documents"], **about),
            Figure(f"peers: {side}: peak memory, MB", found["peak"], n=found["documents"], **about),
            Figure(f"peers: {side}: of it before indexing, MB", found["before"], n=found["documents"], **about),
        ]
    return figures


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def _run(side: str, count: int | None) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-m", __name__, side, str(count or 0)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT, timeout=SECONDS)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


# -- in a process of its own -----------------------------------------------------------------------------


def _ours(corpus: Corpus, folder: Path) -> tuple[float, float, dict[str, Ask]]:
    from executors.models import load_embedder
    from executors.retriever.index import build_index, embedded_text, open_index
    from executors.retriever.search import Searcher, SearchSettings

    embedder = load_embedder(EMBEDDER)
    embedder.embed(corpus.texts[:1])
    before, begin = peak_memory_mb() or 0.0, time.perf_counter()
    passages = corpus.passages()
    build_index(passages, embedder.embed([embedded_text(p) for p in passages]), embedder, folder)
    index = open_index(folder, embedder)
    seconds = time.perf_counter() - begin

    def asker(settings: SearchSettings) -> Ask:
        searcher = Searcher(index, embedder, settings)
        return lambda question: [passage.source for passage in searcher.search([question], DEPTH)[0]]

    return before, seconds, {"hybrid": asker(SearchSettings()), "dense": asker(SearchSettings(how="dense"))}


def _txtai(corpus: Corpus, folder: Path) -> tuple[float, float, dict[str, Ask]]:
    sys.path.append(str(PEERS))
    from txtai import Embeddings

    from executors.models import resolve

    store = Embeddings(path=str(resolve(EMBEDDER)), hybrid=True, content=True)
    store.batchtransform(list(corpus.texts[:1]))
    before, begin = peak_memory_mb() or 0.0, time.perf_counter()
    store.index(zip(corpus.names, corpus.texts, strict=True))
    store.save(str(folder))  # ours is on the disk, too
    seconds = time.perf_counter() - begin

    def asker(**weights: float) -> Ask:
        return lambda question: [found["id"] for found in store.search(question, DEPTH, **weights)]

    return before, seconds, {"hybrid": asker(), "dense": asker(weights=1.0)}


def _langchain(corpus: Corpus, folder: Path) -> tuple[float, float, dict[str, Ask]]:
    from langchain_core.embeddings import Embeddings
    from langchain_core.vectorstores import InMemoryVectorStore
    from sentence_transformers import SentenceTransformer

    from executors.models import resolve

    class Encoder(Embeddings):
        """What langchain-huggingface's class does: sentence-transformers with its defaults."""

        def __init__(self) -> None:
            self.model = SentenceTransformer(str(resolve(EMBEDDER)), device="cpu")

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            vectors: list[list[float]] = self.model.encode(texts).tolist()
            return vectors

        def embed_query(self, text: str) -> list[float]:
            return self.embed_documents([text])[0]

    store = InMemoryVectorStore(Encoder())
    store.embedding.embed_documents(list(corpus.texts[:1]))
    before, begin = peak_memory_mb() or 0.0, time.perf_counter()
    store.add_texts(corpus.texts, [{"name": name} for name in corpus.names])
    seconds = time.perf_counter() - begin

    def ask(question: str) -> list[str]:
        return [found.metadata["name"] for found in store.similarity_search(question, DEPTH)]

    return before, seconds, {"dense": ask}


SIDES = {"ours": _ours, "txtai": _txtai, "langchain": _langchain}


def _measure(side: str, count: int) -> dict[str, Any]:
    whole = load_corpus("vaswani")
    size = count or len(whole.texts)
    corpus = Corpus(whole.title, whole.names[:size], whole.texts[:size], whole.questions, whole.relevant)
    with tempfile.TemporaryDirectory() as name:
        before, build, askers = SIDES[side](corpus, Path(name) / "index")
        ways = {way: _asked(ask, corpus) for way, ask in askers.items()}
        peak = peak_memory_mb()
    return {"documents": size, "before": before, "peak": peak, "build": build, "ways": ways}


def _asked(ask: Ask, corpus: Corpus) -> dict[str, Any]:
    ask(corpus.questions[0])  # nobody pays for a first question
    times: list[float] = []
    found: Sequence[list[str]] = []
    for _ in range(ROUNDS):
        found = []
        for question in corpus.questions:
            begin = time.perf_counter()
            found.append(ask(question))
            times.append(time.perf_counter() - begin)
    scores = [ndcg(names, right) for names, right in zip(found, corpus.relevant, strict=True)]
    return {"ndcg": scores, "p50": median(times) * 1000}


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], int(sys.argv[2]))))
