"""What embedding costs on a CPU: indexing beside sentence-transformers' own `encode`, and faster ways that were tried.

`embedding` indexes Vaswani abstracts as files of a folder, splitting, hashing and writing included, and has
sentence-transformers encode the very same texts with its defaults, by turns, in the same process. `faster` measures
other ways, among them the encoder in 8 bits, and at what loss of nDCG@10.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from executors.models import load_embedder
from executors.models.int8 import is_installed
from tests.benchmarks.harness import OUT, Figure
from tests.benchmarks.retrieval.corpora import encoder, load_corpus, mean_interval, ndcg

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from executors.models import Embedder

COMMAND = "make bench-retrieval"
ROUTINE = 2000  # documents of a routine run
ROUNDS = 4  # in which both sides take turns
SPEED_TEXTS = 1024  # that each way of `faster` embeds
INT8 = "in 8 bits"

Encode = Callable[[Sequence[str]], "NDArray[np.float32]"]


# -- indexing beside sentence-transformers ------------------------------------------------------------------


def embedding(count: int = ROUTINE) -> list[Figure]:
    """The time of indexing `count` documents, drawn by a seed, over that of `encode` for the same embeddings."""
    import sentence_transformers

    embedder = encoder().inner
    ours = theirs = embedded = 0.0
    texts_seen = 0
    embedder._model.encode(load_corpus("vaswani").texts[:64])  # warm
    for names in _rounds(count):
        folder = _folder_of(names)
        seconds, texts = _indexed(folder, embedder)
        ours += seconds
        theirs += _seconds(partial(embedder._model.encode, texts))
        embedded += _seconds(partial(embedder.embed, texts))
        texts_seen += len(texts)
        shutil.rmtree(folder.parent)
    version = f"sentence-transformers {sentence_transformers.__version__}"
    common = {"n": count, "peer_version": version, "command": COMMAND}
    return [
        Figure("indexing over encode alone", ours / theirs, 1.10, "<=", **common),
        Figure("embedding alone over encode", embedded / theirs, **common),
        Figure("passages embedded a second", texts_seen / embedded, **common),
        Figure("indexing without embedding, ms a document", 1000 * (ours - embedded) / count, **common),
    ]


def embedding_full() -> list[Figure]:
    """The same with all 11,429 documents."""
    return embedding(len(load_corpus("vaswani").names))


def _rounds(count: int) -> Iterator[list[int]]:
    """The documents' numbers, drawn by a seed, in as many parts as there are rounds."""
    drawn = random.Random(0).sample(range(len(load_corpus("vaswani").names)), count)
    for part in range(ROUNDS):
        yield drawn[part::ROUNDS]


def _folder_of(numbers: Sequence[int]) -> Path:
    corpus = load_corpus("vaswani")
    folder = OUT / "embedding" / "docs"
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.mkdir(parents=True)
    for number in numbers:
        (folder / f"{corpus.names[number]}.txt").write_text(corpus.texts[number], encoding="utf-8")
    return folder


def _indexed(folder: Path, embedder: Embedder) -> tuple[float, list[str]]:
    """Seconds of indexing a folder, and the texts that were embedded for it."""
    from executors.retriever.documents import read_documents
    from executors.retriever.index import Splitter, embedded_text, sync
    from executors.retriever.splitting import split_documents

    splitter = Splitter()
    begin = time.perf_counter()
    sync(folder.parent / "index", folder, splitter, embedder, "en")
    seconds = time.perf_counter() - begin
    passages = split_documents(read_documents(folder), embedder.count, splitter.chunk_tokens, splitter.overlap)
    return seconds, [embedded_text(passage) for passage in passages]


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


# -- faster ways --------------------------------------------------------------------------------------------


def faster(count: int = SPEED_TEXTS) -> list[Figure]:
    """Speed of each way over that of our `Embedder`; and nDCG@10 on Vaswani of that whose vectors are others."""
    embedder = encoder().inner
    texts = random.Random(0).sample(load_corpus("vaswani").texts, count)
    ways = _ways(embedder)
    times = dict.fromkeys(ways, 0.0)
    for encode in ways.values():
        encode(texts[:64])  # warm
    for turn in range(ROUNDS):
        for name, encode in ways.items():
            times[name] += _seconds(partial(encode, texts[turn::ROUNDS]))
    figures = [
        Figure(f"{name} over ours, speed", times["ours"] / seconds, n=count, command=COMMAND)
        for name, seconds in times.items()
        if name != "ours"
    ]
    if INT8 in ways:
        figures += [_quality("ours", encoder().embed), _quality(INT8, ways[INT8])]
    return figures


def _quality(name: str, encode: Encode) -> Figure:
    corpus = load_corpus("vaswani")
    documents, questions = encode(corpus.texts), encode(corpus.questions)
    best = np.argsort(-(questions @ documents.T), axis=1)[:, :10]
    values = [ndcg([corpus.names[n] for n in found], right) for found, right in zip(best, corpus.relevant, strict=True)]
    middle, interval = mean_interval(values)
    return Figure(f"{name}, nDCG@10 on vaswani", middle, n=len(values), interval=interval, command=COMMAND)


def _ways(embedder: Embedder) -> dict[str, Encode]:
    """Every way that this machine can go."""
    ways: dict[str, Encode] = {
        "ours": embedder.embed,
        "encode with its defaults": lambda texts: embedder._model.encode(list(texts)),
        "encode, 16 texts a batch": lambda texts: embedder._model.encode(list(texts), batch_size=16),
    }
    if is_installed():
        ways[INT8] = load_embedder("all-minilm-l6-v2-int8").embed
    return ways
