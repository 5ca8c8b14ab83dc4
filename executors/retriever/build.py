"""From documents to a finished RAG: how to cut and search, the index, the reader, and when to abstain.

Whatever is chosen is chosen on training rows, and told with its figures.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from executors.base import Executor, Job, Plan, Problem, Row, Text, UserError, parse_params
from executors.data.near import leak_notes, refuse_leaks
from executors.messages import TEXT_TASKS
from executors.models import LanguageModel, alias_of, load_embedder, load_language_model, name_problems
from executors.retriever.abstention import set_threshold
from executors.retriever.chooser import Choice, choose
from executors.retriever.documents import Document, folder_problems, iter_documents, read_documents, skipped_notes
from executors.retriever.earlier import earlier_problems, take_over
from executors.retriever.index import Change, Splitter, sync
from executors.retriever.languages import documents_language, speaks
from executors.retriever.params import SMALL, SPANS, RagParams, ReaderName, Setup, param_problems
from executors.retriever.predictor import INDEX, RagPredictor
from executors.retriever.rerank import load_reranker

TRIAL_ROWS = 12  # training questions the readers are compared on
TRIAL_LEAST = 4  # fewer say nothing
SAMPLE = 200  # documents that tell the language


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
            problems += [*param_problems(params, plan), *earlier_problems(params.retriever)]
        return [*problems, *folder_problems(plan.docs)]

    def build(self, job: Job) -> RagPredictor:
        """Choose, index, and set up the reader. The index, and what a choice found, survive an interruption."""
        params, problems = parse_params(RagParams, job.plan.params)
        if params is None:
            raise UserError.of(problems)
        params = replace(params, sources=tuple(params.sources))
        if params.retriever:
            params, embedder = take_over(job, params)
            job = replace(job, plan=replace(job.plan, embedder=embedder))
        docs = Path(str(job.plan.docs))
        language = documents_language(_sample(docs))
        choice = _choice(job, docs, params, language)
        params = choice.params
        splitter = Splitter(params.chunk_tokens, params.overlap)
        change = sync(job.folder / INDEX, docs, splitter, choice.embedder, language, job.report)
        model = _reading_model(job, params, language)
        setup = Setup(
            task=job.plan.task,
            model=job.plan.model,
            k=params.k,
            search=params.settings,
            reader=_first_reader(params, model),
            passages_read=params.passages_read,
            sources=tuple(params.sources),
            language=language,
            notes=(*_index_notes(change), *_language_notes(job.plan, language), *choice.notes),
        )
        predictor = RagPredictor(setup, job.folder / INDEX, model, choice.embedder, choice.record)
        _finish(predictor, job, params)
        return predictor


def _sample(docs: Path) -> list[Document]:
    """The first documents that can be read. Raises `UserError` where there are none."""
    read = list(itertools.islice((d for d in iter_documents(docs) if isinstance(d, Document)), SAMPLE))
    return read or read_documents(docs)  # says why none can be read


def _choice(job: Job, docs: Path, params: RagParams, language: str) -> Choice:
    """How to cut and search, with the encoder to index by: None where it does not know the documents' language."""
    embedder = load_embedder(job.plan.embedder, job.report) if speaks(job.plan.embedder, language) else None
    if not params.search_seconds:
        return Choice(params, None, (), embedder)
    reranker = load_reranker(params.rerank) if params.rerank else None
    return choose(job, read_documents(docs), params, embedder, reranker)


def _reading_model(job: Job, params: RagParams, language: str) -> LanguageModel | None:
    """The model that reads, or writes other words for a question; None where answers are quoted."""
    if params.reader == "quote" or not speaks(job.plan.model, language):
        return None
    return load_language_model(job.plan.model, job.report)


def _first_reader(params: RagParams, model: LanguageModel | None) -> ReaderName:
    if model is None:
        return "quote"
    return "generate" if params.reader == "auto" else params.reader


def _finish(predictor: RagPredictor, job: Job, params: RagParams) -> None:
    """Demonstrations, the reader, and the threshold: what needs the index to be chosen."""
    if params.shots:
        rows, refused = refuse_leaks(job, job.rows)
        shown = _demonstrations(predictor, rows, params.shots, job.plan.seed)
        notes = (*predictor.setup.notes, *leak_notes(refused))
        predictor.setup = replace(predictor.setup, demonstrations=shown, notes=notes)
    if predictor.model is not None and params.reader == "auto" and predictor.model.can_score:  # else it generates
        choose_reader(predictor, job, predictor.setup.language)
    if params.abstain == "auto" and job.rows and job.plan.task in SPANS:
        set_threshold(predictor, job, params.answered)


def _demonstrations(predictor: RagPredictor, given: Sequence[Row], shots: int, seed: int) -> tuple[Row, ...]:
    """Of the given rows, some with the sentence of their own source that is nearest to the question."""
    rows = list(given)
    random.Random(seed).shuffle(rows)
    found = predictor.find([row.input.text for row in rows[: 4 * shots]], predictor.setup.k)
    chosen: list[Row] = []
    for row, passages in zip(rows, found, strict=False):
        own = [p for p in passages if p.source == row.source or (not row.source and row.target in p.text)]
        if own and len(chosen) < shots:
            quoted = predictor.reader.quote(row.input.text, own[:1]).text
            chosen.append(replace(row, input=replace(row.input, context=quoted)))
    return tuple(chosen)


def choose_reader(predictor: RagPredictor, job: Job, language: str) -> None:
    """Set the reader that answers training questions best; by the model's size where there are too few."""
    if job.plan.task not in SPANS or language != "en":  # words are told by spaces
        return
    showable = refuse_leaks(job, job.rows)[0]
    rows = random.Random(job.plan.seed).sample(showable, min(TRIAL_ROWS, len(showable)))
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


def _index_notes(change: Change) -> list[Text]:
    documents = sum(map(len, (change.added, change.updated, change.unchanged, change.kept)))
    size = {
        "en": f"{change.passages} passages of {documents} documents",
        "zh": f"{documents} 份文档，{change.passages} 个段落",
    }
    return [size, *skipped_notes(change.skipped)]


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
