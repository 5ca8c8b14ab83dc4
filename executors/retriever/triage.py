"""Why wrong answers are wrong, and the command that addresses each: what a run leaves as `triage.json`.

An answer passes four gates, and the first it fails names the cause. `not_indexed`: no indexed passage holds what was
asked for. `not_retrieved`: one does, but it was not among the passages of the answer. `unsupported`: it was, but the
answer's words stand in none of these passages. `ignored`: it was, and the answer was read from another place, or none
was given. Covered: tasks whose answers stand in documents or are right or wrong as a whole; where a row names no
source, the passages that hold a target. Not covered: free texts (summaries, translations): none is plainly wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from executors.base import Passage, Prediction, Row, Text, to_dict
from executors.metrics import EXACT_TASKS, score, tokens
from executors.retriever.evaluation import holds_target, is_from, named_sources
from executors.retriever.index import Index
from executors.retriever.params import SPANS, Setup
from executors.retriever.search import Searcher

KINDS = ("not_indexed", "not_retrieved", "ignored", "unsupported")
JUDGED = SPANS | EXACT_TASKS
RIGHT = 0.5  # token F1 from which an answer in other words counts as right
SUPPORTED = 0.5  # share of an answer's words that must stand in its passages
DEEP = 50  # places looked through for a passage that was not among the answer's
MORE = 20  # passages that it can make sense to retrieve
SECONDS = 120  # of the search that is suggested
LARGER = "qwen2.5-1.5b-instruct"


@dataclass(frozen=True)
class Failure:
    """One wrong answer. `place` is where the search has the passage that was needed, from 1; None: not in the first 50.

    `source` names that passage, or the document the row asks for. `command` addresses the cause; `why` says how.
    """

    id: str
    question: str
    targets: tuple[str, ...]
    answer: str
    kind: str
    why: Text
    command: str
    source: str = ""
    place: int | None = None


def examine(
    rows: Sequence[Row], predictions: Sequence[Prediction], index: Index, searcher: Searcher, setup: Setup, run: str
) -> Mapping[str, Any]:
    """The wrong answers of a run by cause, with counts; empty for tasks without right and wrong. `run`: its name."""
    if setup.task not in JUDGED:
        return {}
    triage = Triage(index, searcher, setup, run)
    pairs = zip(rows, predictions, strict=True)
    failures = [triage.failure(row, answer) for row, answer in pairs if is_wrong(setup.task, row, answer)]
    counts = Counter(failure.kind for failure in failures)
    return {
        "schema_version": 1,
        "rows": len(rows),
        "wrong": len(failures),
        "counts": {kind: counts[kind] for kind in KINDS},
        "failures": to_dict(failures),
    }


def is_wrong(task: str, row: Row, prediction: Prediction) -> bool:
    """Whether an answer is none of the targets, holds none and is not near one either."""
    if prediction.abstained:
        return True
    scores = score(task, [row], [replace(prediction, passages=())])[1]
    if task in EXACT_TASKS:
        return scores["exact_match"].value < 1
    return scores["contains"].value < 1 and scores["f1"].value < RIGHT


class Triage:
    """Finds the causes of wrong answers of one run."""

    def __init__(self, index: Index, searcher: Searcher, setup: Setup, run: str) -> None:
        self.index, self.searcher, self.setup, self.run = index, searcher, setup, run
        self._files: dict[str, list[str]] = {}  # paths by the name of the file, with and without its ending
        for source in index.sources():
            for name in _names(source.path):
                self._files.setdefault(name, []).append(source.path)

    def failure(self, row: Row, prediction: Prediction) -> Failure:
        """The cause of one wrong answer: the first gate that it fails."""
        needed = self._needed(row)
        wanted = needed[0].place if needed else row.source
        failure = Failure(row.id, row.input.text, row.targets, prediction.text, "", {}, "", wanted)
        if not needed:
            return _told(failure, "not_indexed", NOT_INDEXED, f"advisor index {self.run}", wanted=wanted or row.target)
        keys = {_key(passage) for passage in needed}
        place = _place(prediction.passages, keys)
        if place is None:
            deep = self.searcher.search([row.input.text], DEEP, self.setup.sources)[0]
            return self._not_retrieved(replace(failure, place=_place(deep, keys)))
        failure = replace(failure, place=place)
        support = _support(prediction)
        if not prediction.abstained and support < SUPPORTED:
            return _told(failure, "unsupported", UNSUPPORTED, self._closer(), share=f"{100 * support:.0f}")
        return self._ignored(failure, prediction, place)

    def _needed(self, row: Row) -> list[Passage]:
        """The indexed passages that the answer could have been read from.

        Of the documents the row names those that hold a target; all of these documents' passages where none does, as
        the row may put it in other words.
        """
        names = named_sources(row.source)
        if names:
            paths = sorted({path for name in names for path in self._paths(name)})
            own = self.index.passages([int(n) for n in self.index.ids_of(paths)]) if paths else []
            return [passage for passage in own if holds_target(passage, row.targets)] or own
        near = [number for target in row.targets for number, _ in self.index.lexical(target, DEEP)]
        return [p for p in self.index.passages(list(dict.fromkeys(near))) if holds_target(p, row.targets)]

    def _paths(self, name: str) -> list[str]:
        alike = {path for key in _names(name) for path in self._files.get(key, ())}
        return [path for path in alike if is_from(Passage("", path), name)]

    # -- the command that addresses it -----------------------------------------------------------------

    def _set(self, setting: str) -> str:
        return f"advisor run {self.run} --set {setting}"

    def _not_retrieved(self, failure: Failure) -> Failure:
        place, k = failure.place, self.setup.k
        if place is not None and k < place <= MORE:
            return _told(failure, "not_retrieved", TOO_FEW, self._set(f"k={place}"), place=place, k=k)
        words = TOO_DEEP if place else NOT_FOUND
        return _told(failure, "not_retrieved", words, self._set(f"search_seconds={SECONDS}"), place=place, deep=DEEP)

    def _ignored(self, failure: Failure, prediction: Prediction, place: int) -> Failure:
        read = self.setup.passages_read
        if prediction.abstained:
            return _told(failure, "ignored", ABSTAINED, self._set("answered=0.99"), place=place)
        if self.setup.reader == "generate" and place > read:
            return _told(failure, "ignored", NOT_READ, self._set(f"passages_read={place}"), place=place, read=read)
        return _told(failure, "ignored", MISREAD, self._closer(), place=place)

    def _closer(self) -> str:
        """A reader that keeps closer to the passages: one that copies its words, else a larger model."""
        if self.setup.reader == "generate" and self.setup.task in SPANS:
            return self._set("reader=extract")
        return f"advisor run {self.run} --model {LARGER}"


def _names(path: str) -> set[str]:
    """The name of a file, as it is and without its ending."""
    name = path.replace("\\", "/").strip("/ ").casefold().rsplit("/", 1)[-1]
    return {name, name.rsplit(".", 1)[0]}


def _key(passage: Passage) -> tuple[str, str]:
    return passage.source, passage.text


def _place(passages: Sequence[Passage], keys: Collection[tuple[str, str]]) -> int | None:
    return next((n for n, passage in enumerate(passages, 1) if _key(passage) in keys), None)


def _support(prediction: Prediction) -> float:
    """The share of the answer's words in its passages: as measured, else counted."""
    if prediction.support is not None:
        return prediction.support
    words = tokens(prediction.text)
    there = {word for passage in prediction.passages for word in tokens(f"{passage.heading} {passage.text}")}
    return sum(word in there for word in words) / len(words) if words else 0.0


def _told(failure: Failure, kind: str, words: Text, command: str, **values: object) -> Failure:
    why = {lang: told.format(**values) for lang, told in words.items()}
    return replace(failure, kind=kind, why=why, command=command)


NOT_INDEXED: Text = {
    "en": "no indexed passage holds it ({wanted}): put the document into the folder, then update the index",
    "zh": "索引中没有相应内容（{wanted}）：请把文档放入文件夹，再更新索引",
}
TOO_FEW: Text = {
    "en": "its passage is in place {place} of the search, and {k} are retrieved: retrieve more",
    "zh": "所需段落排在第 {place} 位，而只取前 {k} 个：请多取一些",
}
TOO_DEEP: Text = {
    "en": "its passage is only in place {place} of the search: compare other ways to cut and search the documents",
    "zh": "所需段落仅排在第 {place} 位：请比较其他切分与检索方式",
}
NOT_FOUND: Text = {
    "en": "its passage is not among the first {deep} of the search: compare other ways to cut and search the documents",
    "zh": "所需段落不在检索结果的前 {deep} 位：请比较其他切分与检索方式",
}
ABSTAINED: Text = {
    "en": "its passage was found (place {place}), and no answer was given: the bar for answering is too high here",
    "zh": "已找到所需段落（第 {place} 位），却没有作答：作答门槛在此过高",
}
NOT_READ: Text = {
    "en": "its passage was found in place {place}, and the model is shown the first {read}: show it more",
    "zh": "所需段落排在第 {place} 位，而模型只读前 {read} 个：请让它多读一些",
}
MISREAD: Text = {
    "en": "its passage was found (place {place}), and other words were taken for the answer: read more closely",
    "zh": "已找到所需段落（第 {place} 位），却把别的内容当成了答案：请换更仔细的阅读方式",
}
UNSUPPORTED: Text = {
    "en": "its passage was found, and only {share} % of the answer's words stand in what was retrieved: "
    "the model answered from memory",
    "zh": "已找到所需段落，但答案只有 {share}% 的用词见于检索到的段落：模型是凭记忆回答的",
}
