"""How well passages are found and cited, from question and answer pairs with or without the source page.

A passage is relevant where it is from a document that the row names; where the row names none and the task's answers
stand in documents, where it holds one of the row's targets, normalised as the text metrics do (Chinese by characters).
What is to be found of a row is each document it names, else its answer. The first passage that brings one counts, later
ones of the same document add nothing. Covered: hit@k, recall@k, mean reciprocal rank, nDCG@10 (Järvelin & Kekäläinen
2002, gains of 0 and 1), the share of citations that are relevant, mean support, the share of questions abstained from.
Not covered: graded judgements, answers in other words than the document's where no source is named.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from executors.base import Passage, Prediction, Row, Score
from executors.metrics import mean_score, tokens, wilson
from executors.retriever.params import SPANS

SEVERAL = re.compile(r"\s*[;；\n]\s*")  # between the documents a row names


@dataclass(frozen=True)
class Found:
    """What the passages of one answer bring: `places`, from 1 and ascending, of the first passage of each thing that
    was to be found; `total` of these there are."""

    places: tuple[int, ...]
    total: int

    def hit(self, k: int) -> float:
        """1 where anything relevant is among the first `k`, else 0."""
        return float(any(place <= k for place in self.places))

    def recall(self, k: int) -> float:
        """The share of what was to be found that is among the first `k`."""
        return sum(place <= k for place in self.places) / self.total

    @property
    def reciprocal_rank(self) -> float:
        """1 / the first relevant place; 0 without one."""
        return 1 / self.places[0] if self.places else 0.0

    def ndcg(self, k: int) -> float:
        """Discounted gain of the first `k` over that of the best order."""
        gain = sum(discount(place) for place in self.places if place <= k)
        return gain / sum(discount(place) for place in range(1, min(self.total, k) + 1))


def discount(place: float) -> float:
    """What something relevant is worth at a place, from 1."""
    return 1 / math.log2(1 + place)


def evaluate(task: str, rows: Sequence[Row], predictions: Sequence[Prediction]) -> dict[str, Score]:
    """Every figure that these predictions allow, with its interval; none where no answer brings passages."""
    if not any(p.passages or p.abstained for p in predictions):
        return {}
    pairs = list(zip(rows, predictions, strict=True))
    by_text = task in SPANS
    found = [look(row, p.passages) for row, p in pairs if row.source or by_text]
    scores: dict[str, Score] = {}
    if found:
        scores["hit@1"] = wilson(sum(one.hit(1) for one in found), len(found))
        scores["hit@5"] = wilson(sum(one.hit(5) for one in found), len(found))
        for name, value in _MEANS.items():
            scores[name] = mean_score(np.array([value(one) for one in found]))
    cited = [precision(row, p) for row, p in pairs if p.cited and (row.source or by_text)]
    if cited:
        scores["citation_precision"] = mean_score(np.array(cited))
    supported = [p.support for p in predictions if p.support is not None]
    if supported:
        scores["support"] = mean_score(np.array(supported, dtype=np.float64))
    return {**scores, "abstained": wilson(sum(p.abstained for p in predictions), len(predictions))}


_MEANS: dict[str, Callable[[Found], float]] = {
    "recall@5": lambda found: found.recall(5),
    "mrr": lambda found: found.reciprocal_rank,
    "ndcg@10": lambda found: found.ndcg(10),
}


def look(row: Row, passages: Sequence[Passage]) -> Found:
    """What `passages`, best first, bring of what the row needs."""
    wanted: list[Callable[[Passage], bool]] = [
        functools.partial(is_from, source=source) for source in named_sources(row.source)
    ] or [functools.partial(holds_target, targets=row.targets)]
    firsts = [next((n for n, p in enumerate(passages, 1) if brings(p)), 0) for brings in wanted]
    return Found(tuple(sorted(place for place in firsts if place)), len(wanted))


def precision(row: Row, prediction: Prediction) -> float:
    """The share of an answer's citations that are relevant to the row."""
    cited = [prediction.passages[number - 1] for number in prediction.cited]
    return sum(is_relevant(row, passage) for passage in cited) / len(cited)


def is_relevant(row: Row, passage: Passage) -> bool:
    """Whether a passage is from a document the row names; holds its answer where it names none."""
    sources = named_sources(row.source)
    if sources:
        return any(is_from(passage, source) for source in sources)
    return holds_target(passage, row.targets)


def named_sources(source: str) -> list[str]:
    """The documents a row's cell names: one, a JSON list of several, or several parted by semicolons."""
    if source.startswith("["):
        try:
            return [str(name) for name in json.loads(source)]
        except ValueError:
            pass
    return [name for name in SEVERAL.split(source.strip()) if name]


def is_from(passage: Passage, source: str) -> bool:
    """Whether a passage is from the document a row names: its path, the end of its path, with or without ending."""
    path, name = (text.replace("\\", "/").strip("/").casefold() for text in (passage.source, source.strip()))
    stem = re.sub(r"\.[^./]+$", "", path)
    return any(a == b or a.endswith(f"/{b}") or b.endswith(f"/{a}") for a, b in ((path, name), (stem, name)))


def holds_target(passage: Passage, targets: Sequence[str]) -> bool:
    """Whether one of the targets stands in the passage, or in the heading it is under."""
    return holds(passage.text, targets) or holds(passage.heading, targets)


def holds(text: str, targets: Sequence[str]) -> bool:
    """Whether the words of one of the targets stand in the text side by side, without case, articles and marks."""
    there = _spaced(text)
    return any(_spaced(target) in there for target in targets if target.strip())


@functools.lru_cache(8192)
def _spaced(text: str) -> str:
    return f" {' '.join(tokens(text))} "
