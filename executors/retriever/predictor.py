"""A finished RAG: retrieves, reads, cites, and abstains where it would be guessing.

Covered: three ways to answer (two that copy, see `reader`, and the model writing with the passages in its prompt), the
passages that each answer rests on, answers withheld below the threshold of `abstention`, an index that follows its
documents. The text of an answer carries no marks: `Prediction.cited` has them. Not covered: what was said before in a
chat.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from executors.base import (
    Event,
    Input,
    Passage,
    Prediction,
    Predictor,
    Reporter,
    Row,
    Text,
    silent,
    to_dict,
    write_json,
)
from executors.messages import FROM_PASSAGES, answer_tokens, chat, instruction_for
from executors.models import Completion, Embedder, LanguageModel, load_embedder, load_language_model
from executors.retriever.abstention import NOT_FOUND
from executors.retriever.citing import attribute, read_marks, support
from executors.retriever.index import Change, Index, Stale, open_index, read_manifest, stale, sync
from executors.retriever.packing import packed
from executors.retriever.params import SCHEMA, SPEC, Setup, read_setup
from executors.retriever.reader import Reader
from executors.retriever.search import Searcher
from executors.trials import RECORD, SearchRecord

if TYPE_CHECKING:
    from executors.retriever.langchain import IndexRetriever

INDEX = "index"
MARKS: Text = {
    "en": " After each statement, put the number of its passage in brackets, like [1].",
    "zh": "每句话之后用方括号注明所依据段落的编号，例如 [1]。",
}


class RagPredictor(Predictor):
    """Retrieves, then reads. Every prediction carries the passages it was read from, best first."""

    def __init__(
        self,
        setup: Setup,
        folder: Path,
        model: LanguageModel | None,
        embedder: Embedder | None,
        record: SearchRecord | None = None,
    ) -> None:
        """`folder` holds the index; `model` is None where answers are quoted, `embedder` where search is lexical.

        `record`: how its search was chosen. Raises `UserError`, see `open_index` and `Searcher`.
        """
        self.setup, self.folder, self.model, self.embedder, self.record = setup, folder, model, embedder, record
        self.index: Index = open_index(folder, embedder)
        self.searcher = Searcher(self.index, embedder, setup.search, model=model)
        self.reader = Reader(model, embedder)
        self.dropped = self.refused = 0

    @property
    def notes(self) -> tuple[Text, ...]:  # type: ignore[override]
        """How it answers, and what it had to leave out so far."""
        return (*self.setup.notes, *_dropped_note(self.dropped), *_refused_note(self.refused))

    # -- answers ---------------------------------------------------------------------------------------

    def predict(self, inputs: Sequence[Input], report: Reporter = silent) -> list[Prediction]:
        """Raises `UserError` where a question alone exceeds the model's window."""
        if not inputs:
            return []
        found = self.find([given.text for given in inputs], self.setup.k, report)
        return self.answer([given.text for given in inputs], found, report)

    def find(self, questions: Sequence[str], k: int, report: Reporter = silent) -> list[list[Passage]]:
        """The `k` best passages for each question, best first, of the files the setup keeps to."""
        return self.searcher.search(questions, k, self.setup.sources, report)

    def answer(
        self, questions: Sequence[str], found: Sequence[Sequence[Passage]], report: Reporter = silent
    ) -> list[Prediction]:
        """Answers read from what was `found` for each question; withheld where that, or the answer, is too weak."""
        asked = list(zip(questions, found, strict=True))
        strong = [n for n, (question, passages) in enumerate(asked) if not self._abstains(question, passages)]
        read = self._write if self.setup.reader == "generate" else self._copy
        answers = dict(zip(strong, read([asked[n] for n in strong], report), strict=True))
        report(Event("predict", len(asked), len(asked)))
        return [
            self._checked(answers[n]) if n in answers else self._withheld(passages) for n, passages in enumerate(found)
        ]

    def _abstains(self, question: str, passages: Sequence[Passage]) -> bool:
        """Whether nothing was found that an answer could be read from."""
        if not passages:
            return self.setup.reader != "generate" or self.setup.threshold is not None
        threshold = self.setup.threshold
        return threshold is not None and self.nearness(question, passages) < threshold.near

    def nearness(self, question: str, passages: Sequence[Passage]) -> float:
        """How near the best sentence of the passages is to the question, see `Reader.rank`; 0 without passages."""
        ranked = self.reader.rank(question, passages)
        return ranked[0][1] if ranked else 0.0

    def _checked(self, answer: Prediction) -> Prediction:
        """The answer, or word that there is none, where too little of it stands in what it cites."""
        threshold, language = self.setup.threshold, "zh" if self.setup.language == "zh" else "en"
        if answer.text == NOT_FOUND[language]:  # what a reader is tuned to say, see `tuning.grounded`
            return self._withheld(answer.passages)
        if not answer.text or (threshold is not None and (answer.support or 0.0) < threshold.support):
            return self._withheld(answer.passages)
        return answer

    def _withheld(self, passages: Sequence[Passage]) -> Prediction:
        told = NOT_FOUND["zh" if self.setup.language == "zh" else "en"]
        return Prediction(told, passages=tuple(passages), abstained=True)

    def _copy(self, asked: Sequence[tuple[str, Sequence[Passage]]], report: Reporter) -> list[Prediction]:
        """Answers in the words of one passage, which is what they cite."""
        read = self.reader.extract if self.setup.reader == "extract" else self.reader.quote
        answers = []
        for question, passages in asked:
            found = read(question, passages)
            cited = (found.number,) if found.number else ()
            held = support(found.text, passages, cited)
            answers.append(Prediction(found.text, passages=tuple(passages), cited=cited, support=held))
            report(Event("predict", len(answers), len(asked)))
        return answers

    # -- what the model writes -------------------------------------------------------------------------

    def _write(self, asked: Sequence[tuple[str, Sequence[Passage]]], report: Reporter) -> list[Prediction]:
        assert self.model is not None
        shown = [self._shown(question, passages) for question, passages in asked]
        chats = [
            self._chat(question, [found[i] for i in order])
            for (question, found), order in zip(asked, shown, strict=True)
        ]
        answers = self.model.generate(chats, answer_tokens(self.setup.task), report)
        return [self._cited(a, found, order) for a, (_, found), order in zip(answers, asked, shown, strict=True)]

    def _shown(self, question: str, passages: Sequence[Passage]) -> list[int]:
        """Indices of the passages in the prompt, in its order: as many of the best as fit the window."""
        assert self.model is not None
        model, room = self.model, self.model.window - answer_tokens(self.setup.task)
        best = passages[: self.setup.passages_read]
        order = packed(best, lambda read: model.count_chat(self._chat(question, read)) <= room)
        self.dropped += len(order) < len(best)
        return order

    def _chat(self, question: str, passages: Sequence[Passage]) -> list[dict[str, str]]:
        return reading_chat(self.setup, question, passages)

    def _cited(self, answer: Completion, passages: Sequence[Passage], order: Sequence[int]) -> Prediction:
        """The answer with the passages that its marks name, or that its words stand in."""
        marked = read_marks(answer.text, len(order))
        self.refused += marked.refused
        numbers = marked.numbers or attribute(marked.text, [passages[i] for i in order])
        cited = tuple(sorted(order[number - 1] + 1 for number in numbers))
        held = support(marked.text, passages, cited)
        return Prediction(marked.text, passages=tuple(passages), usage=answer.usage, cited=cited, support=held)

    def as_retriever(self, k: int | None = None, sources: Sequence[str] = ()) -> IndexRetriever:
        """The index as a retriever of LangChain: `k` and `sources` as set up, where they are not given."""
        from executors.retriever.langchain import IndexRetriever

        kept = tuple(sources) or self.setup.sources
        return IndexRetriever(searcher=self.searcher, k=k or self.setup.k, sources=kept)

    # -- why answers are wrong, and what changed -------------------------------------------------------

    def examine(self, rows: Sequence[Row], predictions: Sequence[Prediction], run: str) -> Mapping[str, Any]:
        from executors.retriever.triage import examine

        return examine(rows, predictions, self.index, self.searcher, self.setup, run)

    def stale(self) -> Stale:
        """Documents that changed since they were indexed. Raises `UserError` where their folder is gone."""
        return stale(self.folder)

    def refresh(self, report: Reporter = silent) -> Change:
        """Take in what changed, and answer from it. Raises `UserError`, see `index.sync`; the index is as it was."""
        made = self.index.manifest
        change = sync(self.folder, Path(made.docs), made.splitter, self.embedder, made.language, report)
        self.index.follow()
        return change

    # -- on disk ---------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        shutil.copytree(self.folder, folder / INDEX)
        write_json(folder / SPEC, {"schema_version": SCHEMA, **to_dict(self.setup)})
        if self.record is not None:
            write_json(folder / RECORD, self.record)

    @classmethod
    def load(cls, folder: Path, report: Reporter = silent) -> Self:
        """Raises `UserError` where the index is damaged, or its embedder's weights are not the ones it was made by."""
        setup = read_setup(folder / SPEC)
        made_by = read_manifest(folder / INDEX).embedder
        embedder = load_embedder(made_by.name, report) if made_by else None
        model = None if setup.reader == "quote" else load_language_model(setup.model, report)
        return cls(setup, folder / INDEX, model, embedder)


def reading_chat(setup: Setup, question: str, passages: Sequence[Passage]) -> list[dict[str, str]]:
    """What the model that writes is asked; a reader is tuned on the very same (`tuning.grounded`)."""
    lang = "zh" if setup.language == "zh" else "en"
    given = FROM_PASSAGES[lang] + MARKS[lang] if passages else ""
    instruction = instruction_for(setup.task, (), lang) + given
    return chat(setup.task, (), Input(question), setup.demonstrations, passages, instruction)


# -- what it had to leave out --------------------------------------------------------------------------


def _dropped_note(dropped: int) -> tuple[Text, ...]:
    if not dropped:
        return ()
    return (
        {
            "en": f"{dropped} questions were asked with fewer passages, to fit the model's window",
            "zh": f"{dropped} 个问题为适应模型窗口而减少了段落",
        },
    )


def _refused_note(refused: int) -> tuple[Text, ...]:
    if not refused:
        return ()
    return (
        {
            "en": f"{refused} marks named passages that the model had not been shown, and were removed",
            "zh": f"{refused} 处引用标记指向未提供给模型的段落，已删除",
        },
    )
