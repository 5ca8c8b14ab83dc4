"""Retrieval-augmented answers: documents split, indexed and searched, answers read from what was found.

Covered: Markdown and text files, dense and lexical search joined by rank, three readers (see `reader`), every answer
with the passages it rests on. Where the models do not speak the documents' language, retrieval is lexical and answers
are quotations, and that is said. Not covered yet: changing an index in place, reranking, citations within answers.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from executors.base import (
    Event,
    Executor,
    Input,
    Job,
    Passage,
    Plan,
    Prediction,
    Predictor,
    Problem,
    Reporter,
    Row,
    Text,
    UserError,
    parse_params,
    silent,
    to_dict,
    write_json,
)
from executors.data.near import leak_notes, refuse_leaks
from executors.messages import TEXT_TASKS, answer_tokens, chat
from executors.models import (
    Embedder,
    LanguageModel,
    alias_of,
    load_embedder,
    load_language_model,
    name_problems,
)
from executors.models.endpoint import endpoint_of
from executors.retriever.documents import Document, folder_problems, read_documents, skipped_notes
from executors.retriever.index import Index, Search, embedded_text, open_index, read_manifest, write_index
from executors.retriever.lexical import chinese_share, count_words
from executors.retriever.reader import Reader
from executors.retriever.splitting import split_documents

__all__ = ["Document", "RagExecutor", "RagParams", "RagPredictor", "read_documents"]

SPEC = "rag.json"
CHINESE = 0.3  # share of Chinese letters from which documents count as Chinese
TRIAL_ROWS = 12  # training questions the readers are compared on
TRIAL_LEAST = 4  # fewer say nothing
SMALL = 1_000_000_000  # parameters below which a model reads better than it writes, as long as nothing is measured
SPANS = frozenset({"question_answering", "extraction"})  # tasks whose answers stand in the documents

ReaderName = Literal["extract", "generate", "quote"]


@dataclass(frozen=True)
class RagParams:
    """`reader` "auto": measured on training questions, else by the model's size; see `reader`."""

    k: int = 5  # passages retrieved, and named as sources
    chunk_tokens: int = 96  # of a passage, by the embedder's tokenizer
    overlap: int = 24  # tokens repeated where a section is cut
    search: Search = "hybrid"
    reader: Literal["auto", "extract", "generate", "quote"] = "auto"
    passages_read: int = 3  # in the prompt of the reader that generates
    shots: int = 0  # demonstrations in that prompt, from training rows


@dataclass(frozen=True)
class Setup:
    """How a finished RAG answers: everything beside its index."""

    task: str
    model: str
    k: int
    search: Search
    reader: ReaderName
    passages_read: int
    demonstrations: tuple[Row, ...] = ()
    notes: tuple[Text, ...] = ()


class RagPredictor(Predictor):
    """Retrieves, then reads. Every prediction carries the passages it rests on, best first."""

    def __init__(self, setup: Setup, folder: Path, model: LanguageModel | None, embedder: Embedder | None) -> None:
        """`folder` holds the index; `model` is None where answers are quoted, `embedder` where search is lexical."""
        self.setup, self.folder, self.model, self.embedder = setup, folder, model, embedder
        self.index: Index = open_index(folder, embedder)
        self._reader = Reader(model, embedder)
        self.dropped = 0

    @property
    def notes(self) -> tuple[Text, ...]:  # type: ignore[override]
        """How it answers, and what it had to leave out so far."""
        return (*self.setup.notes, *_dropped_note(self.dropped))

    def predict(self, inputs: Sequence[Input], report: Reporter = silent) -> list[Prediction]:
        """Raises `UserError` where a question alone exceeds the model's window."""
        if not inputs:
            return []
        found = self.index.search([given.text for given in inputs], self.setup.k, self.setup.search)
        if self.setup.reader == "generate":
            return self._generate(inputs, found, report)
        predictions = []
        for given, passages in zip(inputs, found, strict=True):
            read = self._reader.extract if self.setup.reader == "extract" else self._reader.quote
            predictions.append(Prediction(read(given.text, passages), passages=tuple(passages)))
            report(Event("predict", len(predictions), len(inputs)))
        return predictions

    def _generate(self, inputs: Sequence[Input], found: Sequence[list[Passage]], report: Reporter) -> list[Prediction]:
        assert self.model is not None
        chats = [self._fitting(given.text, passages) for given, passages in zip(inputs, found, strict=True)]
        answers = self.model.generate(chats, answer_tokens(self.setup.task), report)
        return [
            Prediction(answer.text, passages=tuple(passages), usage=answer.usage)
            for answer, passages in zip(answers, found, strict=True)
        ]

    def _fitting(self, question: str, passages: Sequence[Passage]) -> list[dict[str, str]]:
        """The prompt with as many passages as fit the window, the best of them."""
        assert self.model is not None
        room = self.model.window - answer_tokens(self.setup.task)
        read = passages[: self.setup.passages_read]
        while read and self.model.count_chat(self._messages(question, read)) > room:
            read = read[:-1]
        self.dropped += len(read) < len(passages[: self.setup.passages_read])
        return self._messages(question, read)

    def _messages(self, question: str, passages: Sequence[Passage]) -> list[dict[str, str]]:
        return chat(self.setup.task, (), Input(question), self.setup.demonstrations, passages)

    def save(self, folder: Path) -> None:
        shutil.copytree(self.folder, folder / "index")
        write_json(folder / SPEC, {"schema_version": 1, **to_dict(self.setup)})

    @classmethod
    def load(cls, folder: Path, report: Reporter = silent) -> Self:
        """Raises `UserError` where the index is damaged, or its embedder's weights are not the ones it was made by."""
        setup = _read_setup(folder / SPEC)
        made_by = read_manifest(folder / "index")["embedder"]
        embedder = load_embedder(made_by["name"], report) if made_by else None
        model = None if setup.reader == "quote" else load_language_model(setup.model, report)
        return cls(setup, folder / "index", model, embedder)


def _read_setup(path: Path) -> Setup:
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    read.pop("schema_version")
    rows = [Row(r["id"], Input(**r["input"]), tuple(r["targets"]), r["source"]) for r in read["demonstrations"]]
    return Setup(**{**read, "demonstrations": tuple(rows), "notes": tuple(read["notes"])})


class RagExecutor(Executor):
    """An index over the documents, and a reader on top of it."""

    Params = RagParams
    Predictor = RagPredictor
    tasks: ClassVar[frozenset[str]] = TEXT_TASKS
    needs_docs: ClassVar[bool] = True

    def check(self, plan: Plan) -> list[Problem]:
        params, _ = parse_params(RagParams, plan.params)
        problems = [*name_problems(plan.model, "language"), *name_problems(plan.embedder, "embedder")]
        if params:
            problems += [*_range_problems(params, plan.task), *_reader_problems(params, plan)]
        return problems + folder_problems(plan.docs)

    def build(self, job: Job) -> RagPredictor:
        """Split and index the documents, then choose the reader. Vectors made before an interruption are kept."""
        params, problems = parse_params(RagParams, job.plan.params)
        if params is None:
            raise UserError.of(problems)
        job.report(Event("read"))
        skipped: list[Problem] = []
        documents = read_documents(Path(str(job.plan.docs)), skipped)
        language = documents_language(documents)
        embedder = load_embedder(job.plan.embedder, job.report) if speaks(job.plan.embedder, language) else None
        passages = _index(documents, params, embedder, job)
        reader: ReaderName = "quote"
        model = None
        if params.reader != "quote" and speaks(job.plan.model, language):
            model = load_language_model(job.plan.model, job.report)
            reader = "generate" if params.reader == "auto" else params.reader
        notes = [*_index_notes(documents, passages, skipped), *_language_notes(job.plan, language)]
        setup = Setup(
            job.plan.task, job.plan.model, params.k, params.search, reader, params.passages_read, notes=tuple(notes)
        )
        predictor = RagPredictor(setup, job.folder / "index", model, embedder)
        if params.shots:
            rows, refused = refuse_leaks(job, job.rows)
            shown = _demonstrations(predictor, rows, params.shots, job.plan.seed)
            predictor.setup = replace(setup, demonstrations=shown, notes=(*setup.notes, *leak_notes(refused)))
        if model is not None and params.reader == "auto" and model.can_score:  # else it generates
            _choose_reader(predictor, job, language)
        return predictor


def _range_problems(params: RagParams, task: str) -> list[Problem]:
    problems = []
    for name, least in (("k", 1), ("chunk_tokens", 16), ("overlap", 0), ("passages_read", 1), ("shots", 0)):
        value = getattr(params, name)
        if value < least:
            problems.append(Problem(f"params.{name}: at least {least}, got {value}"))
    if params.overlap >= params.chunk_tokens:
        rule = f"params.overlap: less than chunk_tokens ({params.chunk_tokens}), got {params.overlap}"
        problems.append(Problem(rule))
    if params.reader == "extract" and task not in SPANS:
        problems.append(Problem(f"params.reader: 'extract' answers {', '.join(sorted(SPANS))}, not {task}"))
    return problems


def _reader_problems(params: RagParams, plan: Plan) -> list[Problem]:
    """A reader that compares likelihoods needs a model that tells them."""
    if params.reader != "extract" or endpoint_of(plan.model) is None:
        return []
    message = f"params.reader: 'extract' marks answers by their likelihood, which '{plan.model}' does not tell"
    zh = Problem(
        f"params.reader：“extract”按似然标出答案，而“{plan.model}”不提供似然", "请改用 reader=generate 或 auto"
    )
    return [Problem(message, "reader=generate, or auto", zh)]


# -- building ------------------------------------------------------------------------------------------


def documents_language(documents: Sequence[Document]) -> str:
    """The language code "zh" where a fair share of the letters is Chinese, else "en"; no others are told apart."""
    sample = "".join(document.text[:2000] for document in documents[:200])
    return "zh" if chinese_share(sample) >= CHINESE else "en"


def speaks(model: str, language: str) -> bool:
    """Whether `model` was made for `language`; models the catalogue does not know are trusted to be."""
    alias = alias_of(model)
    return alias is None or language in alias.languages


def _index(documents: Sequence[Document], params: RagParams, embedder: Embedder | None, job: Job) -> list[Passage]:
    """Write the index of the job and return its passages."""
    job.report(Event("split", 0, len(documents)))
    count = embedder.count if embedder else count_words
    limit = min(params.chunk_tokens, embedder.window - 2) if embedder else params.chunk_tokens
    passages = split_documents(documents, count, limit, params.overlap)
    vectors = None
    if embedder is not None:
        from executors.probe import embed_kept

        vectors = embed_kept(embedder, [embedded_text(p) for p in passages], job.folder, job.report)
    job.report(Event("index", 0, len(passages)))
    write_index(passages, vectors, embedder, job.folder / "index")
    job.report(Event("index", len(passages), len(passages)))
    return passages


def _demonstrations(predictor: RagPredictor, given: Sequence[Row], shots: int, seed: int) -> tuple[Row, ...]:
    """Of the given rows, some with the sentence of their own source that is nearest to the question."""
    rows = list(given)
    random.Random(seed).shuffle(rows)
    found = predictor.index.search([row.input.text for row in rows[: 4 * shots]], predictor.setup.k)
    chosen: list[Row] = []
    for row, passages in zip(rows, found, strict=False):
        own = [p for p in passages if p.source == row.source or (not row.source and row.target in p.text)]
        if own and len(chosen) < shots:
            quoted = predictor._reader.quote(row.input.text, own[:1])
            chosen.append(replace(row, input=replace(row.input, context=quoted)))
    return tuple(chosen)


def _choose_reader(predictor: RagPredictor, job: Job, language: str) -> None:
    """Set the reader that answers training questions best; by the model's size where there are too few."""
    if job.plan.task not in SPANS or language != "en":  # words are told by spaces
        return
    rows = random.Random(job.plan.seed).sample(list(job.rows), min(TRIAL_ROWS, len(job.rows)))
    if len(rows) < TRIAL_LEAST:
        alias = alias_of(job.plan.model)
        chosen: ReaderName = "extract" if alias and alias.parameters < SMALL else "generate"
        _set_reader(predictor, chosen, _by_size(chosen))
        return
    from executors.metrics import score

    readers: tuple[ReaderName, ...] = ("extract", "generate")
    values = {}
    for reader in readers:
        _set_reader(predictor, reader)
        metric, scores = score(job.plan.task, rows, predictor.predict([row.input for row in rows], job.report))
        values[reader] = scores[metric].value
    best = max(readers, key=lambda reader: values[reader])
    _set_reader(predictor, best, _by_trial(best, metric, values, len(rows)))


def _set_reader(predictor: RagPredictor, reader: ReaderName, *notes: Text) -> None:
    setup = predictor.setup
    predictor.setup = replace(setup, reader=reader, notes=(*setup.notes, *notes))


# -- notes ---------------------------------------------------------------------------------------------


def _by_size(chosen: str) -> Text:
    return {
        "en": f"reader: {chosen}, by the model's size; too few training questions to measure",
        "zh": f"阅读方式：{chosen}，按模型规模选择；训练问题太少，无法实测",
    }


def _by_trial(best: str, metric: str, values: dict[ReaderName, float], n: int) -> Text:
    figures = ", ".join(f"{reader} {value:.2f}" for reader, value in values.items())
    return {
        "en": f"reader: {best}, the better on {n} training questions ({metric}: {figures})",
        "zh": f"阅读方式：{best}，在 {n} 个训练问题上更好（{metric}：{figures}）",
    }


def _index_notes(documents: Sequence[Document], passages: Sequence[Passage], skipped: Sequence[Problem]) -> list[Text]:
    size = {
        "en": f"{len(passages)} passages of {len(documents)} documents",
        "zh": f"{len(documents)} 份文档，{len(passages)} 个段落",
    }
    return [size, *skipped_notes(skipped)]


def _language_notes(plan: Plan, language: str) -> list[Text]:
    """What the models' languages mean for the answers, and what to do about it."""
    notes: list[Text] = []
    if not speaks(plan.embedder, language):
        notes.append(
            {
                "en": f"the documents are Chinese and {plan.embedder} is not made for it: search goes by characters "
                "and pairs of them; better: --embedder bge-small-zh-v1.5",
                "zh": f"文档为中文，而 {plan.embedder} 不支持中文：改用字与双字词检索；"
                "建议 --embedder bge-small-zh-v1.5",
            }
        )
    if not speaks(plan.model, language):
        notes.append(
            {
                "en": f"the documents are Chinese and {plan.model} does not speak it: answers are the best sentence, "
                "quoted; better: --model qwen2.5-0.5b-instruct",
                "zh": f"文档为中文，而 {plan.model} 不支持中文：直接引用最相关的句子作答；"
                "建议 --model qwen2.5-0.5b-instruct",
            }
        )
    return notes


def _dropped_note(dropped: int) -> tuple[Text, ...]:
    if not dropped:
        return ()
    return (
        {
            "en": f"{dropped} questions were asked with fewer passages, to fit the model's window",
            "zh": f"{dropped} 个问题为适应模型窗口而减少了段落",
        },
    )
