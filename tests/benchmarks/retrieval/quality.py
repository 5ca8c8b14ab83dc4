"""How well passages are found: nDCG@10 on XQuAD, CMRC2018 and Vaswani, by an index on disk and `Searcher` on top.

Documents are whole paragraphs and whole abstracts (`paragraphs`, `abstracts`), and paragraphs cut as the product cuts
documents by default (`passages`; a document stands where the best of its passages stands). Chinese is searched by its
words alone: no Chinese encoder is at hand here. What joins dense and lexical results was chosen on XQuAD-en, never on
Vaswani's questions; `fusion` shows the choice, with Alpaca and GSM8K beside it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from executors.base import Passage
from executors.retriever.documents import Document
from executors.retriever.index import Splitter, build_index, embedded_text, open_index
from executors.retriever.lexical import count_words
from executors.retriever.search import Searcher, SearchSettings
from executors.retriever.splitting import split_documents
from tests.benchmarks.harness import Figure
from tests.benchmarks.retrieval.corpora import DEPTH, Corpus, encoder, load_corpus, mean_interval, score

COMMAND = "python -m tests.benchmarks.bench_retrieval --only "
ALONE = {"dense alone": SearchSettings(how="dense"), "lexical alone": SearchSettings(how="lexical")}
HYBRID = {"hybrid": SearchSettings()}
BY_RANKS = {"hybrid, joined by ranks": SearchSettings(fusion="ranks")}
LEXICAL = {"lexical": SearchSettings(how="lexical")}
CHOSEN_ON = ("xquad-en", "alpaca", "gsm8k")
DEEP = 50  # passages of which the first ten documents are taken, where documents are cut


def paragraphs() -> list[Figure]:
    """Questions over whole paragraphs."""
    english = _measured("xquad-en", {**HYBRID, **ALONE, **BY_RANKS}, {"hybrid": 0.97}, "paragraphs")
    chinese = _measured("xquad-zh", LEXICAL, {"lexical": 0.97}, "paragraphs", dense=False)
    return [*english, *chinese, *_measured("cmrc2018", LEXICAL, {"lexical": 0.98}, "paragraphs", dense=False)]


def abstracts() -> list[Figure]:
    """Vaswani: 93 questions over 11,429 abstracts, with complete judgements."""
    bars = {"hybrid": 0.49, "dense alone": 0.43, "lexical alone": 0.43}
    return _measured("vaswani", {**HYBRID, **ALONE, **BY_RANKS}, bars, "abstracts")


def passages() -> list[Figure]:
    """The same paragraphs cut as the product cuts documents by default."""
    english = _measured("xquad-en", HYBRID, {}, "passages", split=True)
    chinese = _measured("xquad-zh", LEXICAL, {}, "passages", dense=False, split=True)
    return [*english, *chinese, *_measured("cmrc2018", LEXICAL, {}, "passages", dense=False, split=True)]


def fusion() -> list[Figure]:
    """What the way of joining was chosen on."""
    return [figure for title in CHOSEN_ON for figure in _measured(title, {**HYBRID, **ALONE, **BY_RANKS}, {}, "fusion")]


def _measured(
    title: str,
    ways: dict[str, SearchSettings],
    bars: dict[str, float],
    part: str,
    dense: bool = True,
    split: bool = False,
) -> list[Figure]:
    """One figure a way to search."""
    corpus = load_corpus(title)
    embedder = encoder() if dense else None
    cut = f", cut at {Splitter().chunk_tokens} tokens" if split else ""
    figures = []
    with opened(_cut(corpus, embedder) if split else corpus.passages(), embedder) as index:
        for way, settings in ways.items():
            found = Searcher(index, embedder, settings).search(corpus.questions, DEEP if split else DEPTH)
            value, interval = mean_interval(score([first_of_each(one) for one in found], corpus))
            bar = bars.get(way)
            name = f"{title}: nDCG@10, {way}{cut}"
            figures.append(Figure(name, value, bar, ">=" if bar else "", len(found), interval, command=COMMAND + part))
    return figures


@contextmanager
def opened(given: Sequence[Passage], embedder: Any) -> Iterator[Any]:
    """An index of these passages in a folder of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "index"
        vectors = embedder.embed([embedded_text(passage) for passage in given]) if embedder else None
        build_index(given, vectors, embedder, folder)
        with open_index(folder, embedder) as index:
            yield index


def _cut(corpus: Corpus, embedder: Any) -> list[Passage]:
    documents = [Document(name, text, "") for name, text in zip(corpus.names, corpus.texts, strict=True)]
    count = embedder.count if embedder else count_words
    return split_documents(documents, count, Splitter().chunk_tokens, Splitter().overlap)


def first_of_each(found: Sequence[Passage]) -> list[Passage]:
    """Every document once, where the best of its passages stands."""
    best: dict[str, Passage] = {}
    for passage in found:
        best.setdefault(passage.source, passage)
    return list(best.values())
