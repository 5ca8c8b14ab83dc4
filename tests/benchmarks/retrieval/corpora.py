"""Public retrieval sets as the benchmarks use them: documents, questions, and which documents answer which question.

A document is a whole paragraph (XQuAD, CMRC2018), a whole abstract (Vaswani), or a whole answer (Alpaca, GSM8K): none
is split, so that figures can be compared with published ones. Embeddings are kept in `tests/benchmarks/out/embeddings/`
by the texts and the weights that made them; delete that folder to make them anew.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import log2
from statistics import mean
from typing import TYPE_CHECKING, Any

from executors.base import Passage
from tests.benchmarks.harness import OUT
from tests.benchmarks.prompting.data import public_data

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEPT = OUT / "embeddings"
EMBEDDER = "all-minilm-l6-v2"
DEPTH = 10  # of nDCG


@dataclass(frozen=True)
class Corpus:
    """`names[i]` and `texts[i]` are document i; `relevant[i]` the names of those that answer `questions[i]`."""

    title: str
    names: tuple[str, ...]
    texts: tuple[str, ...]
    questions: tuple[str, ...]
    relevant: tuple[frozenset[str], ...]

    def passages(self) -> list[Passage]:
        return [Passage(text, name) for name, text in zip(self.names, self.texts, strict=True)]


@cache
def load_corpus(title: str) -> Corpus:
    """vaswani, xquad-en, xquad-zh, cmrc2018, alpaca or gsm8k. Raises `SystemExit` where the data is not here."""
    if title == "vaswani":
        return _vaswani()
    if title in ("alpaca", "gsm8k"):
        return _pairs(title)
    path = {"cmrc2018": "cmrc2018/dev.json"}.get(title, f"xquad/{title.replace('-', '.')}.json")
    return _squad(title, path)


def _squad(title: str, path: str) -> Corpus:
    """Every paragraph a document; equal paragraphs are one."""
    articles = json.loads((public_data() / path).read_text(encoding="utf-8"))["data"]
    places: dict[str, str] = {}
    asked = []
    for paragraph in (paragraph for article in articles for paragraph in article["paragraphs"]):
        name = places.setdefault(paragraph["context"], f"{len(places)}.txt")
        asked += [(question["question"], frozenset([name])) for question in paragraph["qas"]]
    return Corpus(title, tuple(places.values()), tuple(places), *map(tuple, zip(*asked, strict=True)))  # type: ignore[arg-type]


def _pairs(title: str) -> Corpus:
    """Questions whose one document is the answer that somebody wrote to them."""
    if title == "alpaca":
        rows = json.loads((public_data() / "alpaca" / "alpaca_en.json").read_text(encoding="utf-8"))
        found = [(" ".join(filter(None, (row["instruction"], row["input"]))), row["output"]) for row in rows]
    else:
        lines = (public_data() / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
        found = [(row["question"], row["answer"]) for row in map(json.loads, lines)]
    places: dict[str, str] = {}
    for _, text in found:
        places.setdefault(text, f"{len(places)}.txt")
    relevant = tuple(frozenset([places[text]]) for _, text in found)
    return Corpus(title, tuple(places.values()), tuple(places), tuple(question for question, _ in found), relevant)


def _vaswani() -> Corpus:
    folder = public_data() / "vaswani"
    documents = _trec(folder / "doc-text.trec", r"<DOCNO>(\d+)</DOCNO>(.*?)</DOC>")
    questions = _trec(folder / "query-text.trec", r"<num>(\d+)</num>\s*<title>(.*?)</title>")
    relevant = defaultdict(set)
    for line in (folder / "qrels").read_text(encoding="utf-8").splitlines():
        question, _, document, grade = line.split()
        if int(grade) > 0:
            relevant[question].add(document)
    judged = tuple(frozenset(relevant[number]) for number in questions)
    texts = tuple(text.lower() for text in questions.values())  # printed in capitals
    return Corpus("vaswani", tuple(documents), tuple(documents.values()), texts, judged)


def _trec(path: Any, pattern: str) -> dict[str, str]:
    text = path.read_text(encoding="utf-8")
    return {number: " ".join(body.split()) for number, body in re.findall(pattern, text, re.DOTALL)}


def ndcg(found: Sequence[str], relevant: frozenset[str], depth: int = DEPTH) -> float:
    """nDCG of a ranking with judgements of 0 or 1, as Järvelin & Kekäläinen 2002 define it, by log2(1 + rank)."""
    gain = sum(1 / log2(1 + rank) for rank, name in enumerate(found[:depth], 1) if name in relevant)
    return gain / sum(1 / log2(1 + rank) for rank in range(1, min(depth, len(relevant)) + 1))


def mean_interval(values: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """The mean, and its 95 % interval by the normal approximation."""
    middle = mean(values)
    spread = (sum((value - middle) ** 2 for value in values) / max(1, len(values) - 1)) ** 0.5
    air = 1.96 * spread / len(values) ** 0.5
    return middle, (middle - air, middle + air)


class KeptEmbedder:
    """An embedder whose vectors are read from disk where these very texts were embedded by these weights before.

    Indexes are made and opened with `inner`; this one only answers `embed`.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def embed(self, texts: Sequence[str], *rest: Any, role: str = "document") -> NDArray[np.float32]:
        import numpy as np

        digest = hashlib.sha256("\0".join([self.inner.sha256, role, *texts]).encode()).hexdigest()[:24]
        path = KEPT / f"{digest}.npy"
        if not path.is_file():
            KEPT.mkdir(parents=True, exist_ok=True)
            np.save(path, self.inner.embed(list(texts), role=role))
        kept: NDArray[np.float32] = np.load(path, allow_pickle=False)
        return kept


@cache
def encoder() -> Any:
    """MiniLM, keeping its vectors on disk."""
    from executors.models import load_embedder

    return KeptEmbedder(load_embedder(EMBEDDER))


def score(found: Sequence[Sequence[Passage]], corpus: Corpus) -> list[float]:
    """nDCG@10 of each question, the passages' sources being the documents' names."""
    return [ndcg([p.source for p in one], right) for one, right in zip(found, corpus.relevant, strict=True)]


def summary(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in values.items())
