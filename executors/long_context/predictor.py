"""Answers with all documents in the prompt, each with the sections it comes from."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from executors.base import (
    Input,
    Prediction,
    Predictor,
    Reporter,
    Row,
    Text,
    UserError,
    silent,
    to_dict,
    write_json,
)
from executors.fitting import fitting_notes, shorten
from executors.long_context.knowledge import Knowledge, changes
from executors.long_context.sources import Sections, read_marks
from executors.messages import answer_tokens, chat
from executors.models import Completion, LanguageModel, load_language_model
from executors.retriever.documents import Document, Part

SPEC = "long_context.json"
FRAME_AIR = 16  # tokens more than its parts that a prompt may have

WAYS = {  # how an answer's sources were found
    "marks": ("by the number the answer gave", "按回答给出的编号"),
    "overlap": ("by the words that answer, question and section share", "按回答、问题与章节共有的词"),
    "question": (
        "by the question's words alone, no section having the answer's",
        "仅按问题的用词（没有章节含有回答中的词）",
    ),
}


@dataclass(frozen=True)
class Setup:
    """A finished prompt but for its input: all that is needed to ask again. `instruction` is the system's whole text;
    `notes` were true when it was built."""

    task: str
    model: str
    instruction: str
    cite: bool
    demonstrations: tuple[Row, ...]
    notes: tuple[Text, ...] = ()


class LongContextPredictor(Predictor):
    """Asks with every document before the question. The documents are the same in each prompt, so a model that keeps
    a prompt's beginning reads them once."""

    def __init__(self, setup: Setup, knowledge: Knowledge, model: LanguageModel, since: Sequence[Text] = ()) -> None:
        """`since`: notes on what has changed after it was built."""
        self.setup, self.knowledge, self.model, self._since = setup, knowledge, model, tuple(since)
        self.shortened = self.without_passage = 0
        self.attributed: Counter[str] = Counter()  # answers by how their sources were found

    @property
    def notes(self) -> tuple[Text, ...]:  # type: ignore[override]
        """How it asks, how sources were found so far, and what it had to leave out."""
        told = (*self._since, *self.setup.notes, *_attribution_note(self.attributed))
        return (*told, *fitting_notes(self.shortened, 0), *_passages_note(self.without_passage))

    def predict(self, inputs: Sequence[Input], report: Reporter = silent) -> list[Prediction]:
        """Raises `UserError` where the documents leave no room for even an empty input.

        A passage that a row brings is not shown: what an answer rests on are the documents, as with retrieval.
        """
        if not inputs:
            return []
        self.without_passage += sum(bool(given.context) for given in inputs)
        chats = [self.messages(self._fitting(given.text)) for given in inputs]
        answers = self.model.generate(chats, answer_tokens(self.setup.task), report)
        return [self._finished(given.text, answer) for given, answer in zip(inputs, answers, strict=True)]

    def messages(self, text: str) -> list[dict[str, str]]:
        """The prompt for one input: instruction, all documents, demonstrations, then the input."""
        shown = [self._shown(row) for row in self.setup.demonstrations]
        documents = self.knowledge.in_prompt()
        return chat(self.setup.task, (), Input(text), shown, instruction=self.setup.instruction, documents=documents)

    def _shown(self, row: Row) -> Row:
        """A demonstration as it is answered: without a passage of its own, with the mark that was asked for."""
        numbers = {d.path: n for n, d in enumerate(self.knowledge.documents, 1)}
        mark = f" [{numbers[row.source]}]" if self.setup.cite and row.source in numbers else ""
        return Row(row.id, Input(row.input.text), (f"{row.target}{mark}",))

    # -- room ------------------------------------------------------------------------------------------

    @functools.cached_property
    def frame(self) -> int:
        """Tokens of the prompt with an empty input."""
        return self.model.count_chat(self.messages(""))

    def _fitting(self, text: str) -> str:
        """The input, cut at its end where the documents leave too little room for it; that is counted and told."""
        room = self.model.window - answer_tokens(self.setup.task)
        if self.frame + self.model.count(text) + FRAME_AIR <= room:
            return text
        fitting = shorten(Input(text), room, lambda given: self.model.count_chat(self.messages(given.text)))
        if fitting is None:
            raise UserError(
                f"the documents and the instruction, {self.frame:,} tokens, leave no room for an input in the window "
                f"of {self.model.name} ({self.model.window:,} tokens)",
                "run the plan again with fewer documents, or find the passages: --method rag",
            )
        self.shortened += fitting.text != text
        return fitting.text

    # -- answers ---------------------------------------------------------------------------------------

    @functools.cached_property
    def _sections(self) -> Sections:
        return Sections(self.knowledge.documents)

    def _finished(self, question: str, answer: Completion) -> Prediction:
        numbered = len(self.knowledge.documents) if self.setup.cite else 0  # else a number is the answer's own
        text, marks = read_marks(answer.text, numbered)
        found = self._sections.attribute(question, text, marks)
        self.attributed[found.by] += 1
        return Prediction(text, passages=found.passages, usage=answer.usage)

    # -- files -----------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        spec = {"schema_version": 1, "setup": to_dict(self.setup), "knowledge": to_dict(self.knowledge)}
        write_json(folder / SPEC, spec)

    @classmethod
    def load(cls, folder: Path, report: Reporter = silent, model: LanguageModel | None = None) -> Self:
        """Answers from the documents as they were; where their folder is still here, says which have changed."""
        read: dict[str, Any] = json.loads((folder / SPEC).read_text(encoding="utf-8"))
        setup, knowledge = _setup(read["setup"]), _knowledge(read["knowledge"])
        return cls(setup, knowledge, model or load_language_model(setup.model, report), changes(knowledge))


def _setup(read: dict[str, Any]) -> Setup:
    rows = [Row(r["id"], Input(**r["input"]), tuple(r["targets"]), r["source"]) for r in read["demonstrations"]]
    return Setup(**{**read, "demonstrations": tuple(rows), "notes": tuple(read["notes"])})


def _knowledge(read: dict[str, Any]) -> Knowledge:
    documents = (Document(**{**d, "parts": tuple(Part(**part) for part in d["parts"])}) for d in read["documents"])
    return Knowledge(read["folder"], tuple(documents), read["sha256"])


def _attribution_note(counts: Counter[str]) -> list[Text]:
    if not counts:
        return []
    en = "; ".join(f"{counts[way]} {told}" for way, (told, _) in WAYS.items() if counts[way])
    zh = "；".join(f"{counts[way]} 条{told}" for way, (_, told) in WAYS.items() if counts[way])
    return [{"en": f"sources were found for {sum(counts.values())} answers: {en}", "zh": f"出处判定：{zh}"}]


def _passages_note(rows: int) -> list[Text]:
    if not rows:
        return []
    return [
        {
            "en": f"the passages that {rows} rows bring were not shown: answers rest on the documents alone",
            "zh": f"有 {rows} 条输入自带段落，未予展示：回答只依据文档",
        }
    ]
