"""The floor of every comparison: what is had without a model, from the training rows alone.

Classification: the commonest class. Regression: the mean. Text: the answer of the training row whose text is most
alike (TF-IDF of character pairs to fours, so Chinese needs no word splitting), the commonest answer where none is.
A method that does not clear this floor has learnt nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from executors.base import (
    Event,
    Executor,
    Input,
    Job,
    Plan,
    Prediction,
    Predictor,
    Problem,
    Reporter,
    UserError,
    parse_params,
    silent,
    write_json,
)

KINDS = {"classification": "majority", "regression": "mean"}  # of other tasks: nearest
CHUNK = 256  # inputs compared at once: with every training row, so memory is bounded by it
LONGEST = 2000  # characters of a text that are compared: enough for a floor


@dataclass(frozen=True)
class BaselineParams:
    """`auto`: majority for classes, mean for numbers, nearest for texts."""

    kind: Literal["auto", "majority", "mean", "nearest"] = "auto"


class BaselinePredictor(Predictor):
    """Answers every input with the same `answer`, or, given `texts`, with that of the training text most alike."""

    def __init__(
        self,
        answer: str,
        shares: dict[str, float] | None = None,
        texts: Sequence[str] = (),
        answers: Sequence[str] = (),
        with_context: bool = False,
    ) -> None:
        """`shares` are the classes' shares of the training rows; `answers` are those of `texts`, one each."""
        self.answer = answer
        self.shares = shares or {}
        self.texts, self.answers, self.with_context = tuple(texts), tuple(answers), with_context
        self._index: tuple[Any, Any] | None = None  # vectoriser and matrix [texts, features], made on first use

    def predict(self, inputs: Sequence[Input], report: Reporter = silent) -> list[Prediction]:
        if not self.texts:
            constant = Prediction(self.answer, self.shares.get(self.answer), self.shares)
            return [constant] * len(inputs)
        found: list[Prediction] = []
        for start in range(0, len(inputs), CHUNK):
            found += self._nearest(inputs[start : start + CHUNK])
            report(Event("predict", len(found), len(inputs)))
        return found

    def _nearest(self, inputs: Sequence[Input]) -> list[Prediction]:
        vectoriser, matrix = self._index or self._fit()
        alike = (vectoriser.transform([_text(i, self.with_context) for i in inputs]) @ matrix.T).toarray()
        best = alike.argmax(axis=1)
        return [Prediction(self.answers[b] if row[b] > 0 else self.answer) for row, b in zip(alike, best, strict=True)]

    def _fit(self) -> tuple[Any, Any]:
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectoriser = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
        self._index = vectoriser, vectoriser.fit_transform(self.texts)
        return self._index

    def save(self, folder: Path) -> None:
        kept = ("answer", "shares", "texts", "answers", "with_context")
        write_json(folder / "baseline.json", {"schema_version": 1, **{name: getattr(self, name) for name in kept}})

    @classmethod
    def load(cls, folder: Path, report: Reporter = silent) -> Self:
        kept = json.loads((folder / "baseline.json").read_text(encoding="utf-8"))
        del kept["schema_version"]
        return cls(**kept)


class BaselineExecutor(Executor):
    """Counts, averages or remembers the training rows."""

    Params = BaselineParams
    Predictor = BaselinePredictor
    tasks: ClassVar[frozenset[str]] = frozenset(
        {
            "classification", "regression", "extraction", "question_answering", "summarisation", "translation",
            "generation", "dialogue", "structured_output", "reasoning",
        }
    )  # fmt: skip
    on_device: ClassVar[bool] = False

    def check(self, plan: Plan) -> list[Problem]:
        params, _ = parse_params(BaselineParams, plan.params)
        if params is not None and params.kind == "mean" and plan.task != "regression":
            return [Problem(f"params.kind: a mean needs numbers, and the task is {plan.task}", "use kind: auto")]
        return []

    def build(self, job: Job) -> BaselinePredictor:
        params, problems = parse_params(BaselineParams, job.plan.params)
        if params is None:
            raise UserError.of(problems)
        job.report(Event("fit"))
        kind = KINDS.get(job.plan.task, "nearest") if params.kind == "auto" else params.kind
        if kind == "mean":
            return BaselinePredictor(f"{sum(float(row.target) for row in job.rows) / len(job.rows):.6g}")
        counts = Counter(row.target for row in job.rows)
        answer = min(counts, key=lambda target: (-counts[target], target))  # ties: the same on every machine
        if kind == "majority":
            shares = {label: round(counts[label] / len(job.rows), 6) for label in job.labels}
            return BaselinePredictor(answer, shares)
        with_context = len({row.input.text for row in job.rows}) < len(job.rows) / 2  # one instruction, many passages
        texts = [_text(row.input, with_context) for row in job.rows]
        return BaselinePredictor(answer, None, texts, [row.target for row in job.rows], with_context)


def _text(given: Input, with_context: bool) -> str:
    text = f"{given.text} {given.context}" if with_context else given.text
    return text[:LONGEST]
