"""Tuning a model as the reader of a RAG: every training prompt holds passages that were found, not the right one alone.

A prompt is composed by the reader's own words (`retriever.predictor.reading_chat`) from the passages that the user's
index brings for the question, so that what is trained is what is asked later: the right passage among others that look
like it, or missing. Of a row whose passage was not found, a stated share (`gold`) gets it put in, at a random place;
the others are taught to say that it is not there. From a share of all rows (`absent`) it can be taken out on purpose,
as RAFT does with a fifth (Zhang et al. 2024); by default from none, for a RAG withholds weak answers by its threshold.
Where a row's passage is shown, the answer ends with its number, which the instruction asks for. A row whose passage
cannot be told keeps its answer.

The index and the rows stay in the job's folder: what is resumed trains on the same prompts. The artifact holds the
index as well, and answers by searching it. Not covered: passages that are not text, and training the search itself.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from executors.base import Job, Passage, Plan, Problem, Reporter, Row, Text, UserError, silent, to_dict, write_atomic
from executors.messages import TEXT_TASKS
from executors.models import LanguageModel
from executors.tuning.material import Material
from executors.tuning.params import AnsweringParams, TuningParams
from executors.tuning.rows import PreparedRows, TokenRow, TokenRows

FOLDER = "reading"  # in the job's folder
ROWS = "rows.jsonl"
SPEC, INDEX = "rag.json", "index"  # as a RAG's artifact holds them
SPARE = 3  # passages found beyond those shown, to stand in for one that is taken out
DEEP = 50  # passages looked through for the one that holds the answer
SAMPLE = 200  # documents that tell the language

How = Literal["found", "put in", "left out", "unknown"]


@dataclass(frozen=True)
class Reading:
    """One training row as a reader sees it: `passages` in the prompt's order, and the answer that is learnt.

    `how` the passage with the answer came there: found, put in, left out (the answer says so), or not known.
    """

    id: str
    question: str
    passages: tuple[Passage, ...]
    answer: str
    how: How


# -- faults --------------------------------------------------------------------------------------------


def reading_problems(plan: Plan, params: TuningParams) -> list[Problem]:
    """Everything wrong with how passages are asked for, seen without work; nothing where none are."""
    if not isinstance(params, AnsweringParams):
        return []
    problems = _value_problems(params)
    if params.passages <= 0:
        return problems
    if plan.task not in TEXT_TASKS:
        named = ", ".join(sorted(TEXT_TASKS))
        zh = Problem(f"params.passages：只用于要写出答案的任务（{named}），而任务是 {plan.task}")
        problems.append(Problem(f"params.passages: for tasks with written answers, not {plan.task}", named, zh))
    if not plan.docs and not params.retriever:
        zh = Problem(
            "params.passages：需要可检索的文档", "请给出 --docs 文件夹，或用 params.retriever 指定一个 rag 运行"
        )
        hint = "give them with --docs DIR, or name a finished rag run with params.retriever"
        problems.append(Problem("params.passages: there are no documents to find passages in", hint, zh))
    from executors.retriever.earlier import earlier_problems

    return problems + earlier_problems(params.retriever)


def _value_problems(params: AnsweringParams) -> list[Problem]:
    problems = []
    if params.passages < 0:
        zh = Problem(f"params.passages：不得为负，收到 {params.passages}")
        problems.append(Problem(f"params.passages: must not be negative, got {params.passages}", "", zh))
    for name in ("gold", "absent"):
        share = getattr(params, name)
        if not 0 <= share <= 1:
            zh = Problem(f"params.{name}：应在 0 到 1 之间，收到 {share}")
            problems.append(Problem(f"params.{name}: must be from 0 to 1, got {share}", "", zh))
    if params.retriever and not params.passages:
        zh = Problem("params.retriever：只在 params.passages 大于 0 时才有意义", "params.passages=3")
        problems.append(Problem("params.retriever: has no meaning without params.passages", "params.passages=3", zh))
    return problems


# -- material ------------------------------------------------------------------------------------------


def grounded_material(job: Job, params: AnsweringParams, limit: int, model: Any, tokenizer: Any) -> Material:
    """The job's rows as a reader sees them, at most `limit` tokens each, in two sides as ever.

    Raises `UserError`: no documents, an index that cannot be opened, no token left to train on.
    """
    from executors.data.left_out import FILE, write_left_out
    from executors.tuning.batches import collator_of, completion_loss
    from executors.tuning.cleaning import training_sides
    from executors.tuning.replay import replay_note, replay_rows
    from executors.tuning.xray import look, xray_notes

    sides = training_sides(job, params)
    readings = _kept(job.folder / FOLDER / ROWS)
    if not readings:
        readings = _compose(job, (*sides.train, *sides.development), params, limit, model, tokenizer)
    by_id, setup = {reading.id: reading for reading in readings}, _setup(job.folder / FOLDER)
    train, watched = (
        _encode([(row, by_id[row.id]) for row in side], setup, limit, tokenizer)
        for side in (sides.train, sides.development)
    )
    if not train.rows:
        raise _nothing_fits(train)
    every = train.with_(watched)
    notes = (*every.notes(), *_how_notes(readings, params), *sides.notes)
    found = PreparedRows(train, watched, sides, (*sides.left_out, *every.left_out), notes)
    write_left_out(job.folder / FILE, found.left_out)
    general = replay_rows(tokenizer, len(train.rows), params.replay, job.plan.seed)
    seen = xray_notes(look(job.plan, found, model, tokenizer))
    notes = (*notes, *seen, *replay_note(len(general), len(train.rows)))
    return Material([*train.rows, *general], watched.rows, collator_of(model, tokenizer), completion_loss, notes)


def _encode(rows: Sequence[tuple[Row, Reading]], setup: Any, limit: int, tokenizer: Any) -> TokenRows:
    """Rows as tokens by how they are read; those that do not fit, or have no answer, are counted."""
    from executors.data.left_out import of_row
    from executors.models import encode_answer

    encoded, left, longest = list[TokenRow](), [], 0
    for row, reading in rows:
        answer = encode_answer(tokenizer, reading.answer)
        prompt = _prompt(tokenizer, setup, reading.question, reading.passages)
        longest = max(longest, len(prompt) + len(answer))
        if len(answer) < 2:
            left.append(of_row(row, "no_token"))
        elif len(prompt) + len(answer) > limit:
            left.append(of_row(row, "too_long"))
        else:
            encoded.append(TokenRow(tuple(prompt), tuple(answer)))
    counts = Counter(one.reason for one in left)
    return TokenRows(tuple(encoded), limit, 0, counts["too_long"], counts["no_token"], tuple(left), longest)


def _nothing_fits(counts: TokenRows) -> UserError:
    told = f"{counts.too_long} do not fit {counts.limit} tokens with their passages, {counts.empty} have no answer"
    zh = f"{counts.too_long} 条连同段落超过 {counts.limit} 个词元，{counts.empty} 条没有答案"
    return UserError(
        f"there is no token to train on: of {counts.given} training rows, {told}",
        "raise params.max_length, or lower params.passages",
        Problem(
            f"没有可训练的词元：{counts.given} 条训练数据中，{zh}", "请增大 params.max_length，或减小 params.passages"
        ),
    )


def _prompt(tokenizer: Any, setup: Any, question: str, passages: Sequence[Passage]) -> list[int]:
    from executors.models import encode_chat
    from executors.retriever.predictor import reading_chat

    return encode_chat(tokenizer, reading_chat(setup, question, passages))


# -- passages ------------------------------------------------------------------------------------------


def _compose(
    job: Job, rows: Sequence[Row], params: AnsweringParams, limit: int, model: Any, tokenizer: Any
) -> list[Reading]:
    """Every row with what is found for it, written to the job's folder once all are there."""
    from executors.models import LocalModel, encode_answer

    reader = _retrieval(job, params, LocalModel(model, tokenizer, job.plan.model))
    with reader.index:
        found = reader.find([row.input.text for row in rows], params.passages + SPARE, job.report)
        readings = []
        for row, passages in zip(rows, found, strict=True):
            room = limit - len(encode_answer(tokenizer, row.target.strip())) - 8  # 8: the passage's number, and air
            fits = _fits(tokenizer, reader.setup, row.input.text, room)
            gold = _Gold(reader, row, passages[: params.passages])
            readings.append(_read(row, passages, gold, params, job.plan.seed, fits))
    lines = [json.dumps(to_dict(reading), ensure_ascii=False) for reading in readings]
    write_atomic(job.folder / FOLDER / ROWS, "".join(f"{line}\n" for line in lines))
    return readings


def _fits(tokenizer: Any, setup: Any, question: str, room: int) -> Callable[[Sequence[Passage]], bool]:
    return lambda passages: len(_prompt(tokenizer, setup, question, passages)) <= room


def _read(
    row: Row,
    found: Sequence[Passage],
    gold: _Gold,
    params: AnsweringParams,
    seed: int,
    fits: Callable[[Sequence[Passage]], bool],
) -> Reading:
    """What the reader of `row` is shown and taught, see the module's text. The same for the same row and seed.

    `found` holds more than are shown, to stand in for a passage that is taken out.
    """
    from executors.retriever.abstention import NOT_FOUND
    from executors.retriever.packing import packed

    chance = random.Random(f"reading {seed} {row.id}")
    ranked = list(found[: params.passages])
    taken_out = gold.best is not None and random.Random(f"absent {seed} {row.id}").random() < params.absent
    if taken_out:
        ranked = [passage for passage in found if not gold.is_gold(passage)][: params.passages]
    how: How = "found" if any(map(gold.is_gold, ranked)) else "unknown" if gold.best is None else "left out"
    if how == "left out" and gold.best is not None and not taken_out and chance.random() < params.gold:
        ranked = ranked[:-1]  # as many passages as any other row has
        ranked.insert(chance.randint(0, len(ranked)), gold.best)
        how = "put in"
    shown = [ranked[i] for i in packed(ranked, fits)]
    number = next((n for n, passage in enumerate(shown, 1) if gold.is_gold(passage)), 0)
    if how in ("found", "put in") and not number:
        how = "left out"  # it is there, and did not fit
    answer = NOT_FOUND["zh" if gold.language == "zh" else "en"] if how == "left out" else row.target.strip()
    return Reading(row.id, row.input.text, tuple(shown), f"{answer} [{number}]" if number else answer, how)


class _Gold:
    """Which passages hold the answer of a row, and the best of them in all documents; None where it cannot be told.

    Of a row that names its document, passages of it; of a task whose answers stand in documents, those with the words.
    """

    def __init__(self, reader: Any, row: Row, found: Sequence[Passage]) -> None:
        from executors.retriever.evaluation import holds_target, is_from, named_sources
        from executors.retriever.params import SPANS

        self.language = reader.setup.language
        self._names = named_sources(row.source)
        self._targets = row.targets if reader.setup.task in SPANS else ()
        self._holds, self._is_from = holds_target, is_from
        self.best: Passage | None = next(filter(self.is_gold, found), None)
        if self.best is None and (self._names or self._targets):
            own = self._own(reader, row.input.text)
            self.best = next(filter(self.is_gold, own), None)
            if self.best is None and self._names and own:  # the answer is in other words than the document's
                self._targets, self.best = (), own[0]

    def is_gold(self, passage: Passage) -> bool:
        if not (self._names or self._targets):
            return False
        named = not self._names or any(self._is_from(passage, name) for name in self._names)
        return named and (not self._targets or self._holds(passage, self._targets))

    def _own(self, reader: Any, question: str) -> list[Passage]:
        """The passages nearest to the question, of the documents that the row names."""
        blank = Passage("", "")
        paths = [source.path for source in reader.index.sources()] if self._names else []
        own = [p for p in paths if any(self._is_from(replace(blank, source=p), name) for name in self._names)]
        if self._names and not own:
            return []
        passages: list[Passage] = reader.searcher.search([question], DEEP, own)[0]
        return passages


def _retrieval(job: Job, params: AnsweringParams, model: LanguageModel) -> Any:
    """The index over the documents in the job's folder, opened as the reader that is tuned will find it."""
    from executors.retriever.params import SCHEMA

    folder = job.folder / FOLDER
    folder.mkdir(exist_ok=True)
    setup, embedder = _given(job, params, folder) if params.retriever else _indexed(job, folder)
    setup = replace(
        setup,
        task=job.plan.task,
        model=job.plan.model,
        k=max(setup.k, params.passages),
        reader="generate",
        passages_read=params.passages,
        threshold=None,  # set where a RAG is built on this reader: it depends on what is written
        demonstrations=(),
        notes=(),
    )
    write_atomic(folder / SPEC, json.dumps({"schema_version": SCHEMA, **to_dict(setup)}, ensure_ascii=False))
    from executors.retriever.predictor import RagPredictor

    return RagPredictor(setup, folder / INDEX, model, embedder)


def _given(job: Job, params: AnsweringParams, folder: Path) -> tuple[Any, Any]:
    """Index and way to search of a finished run, brought up to date with the documents."""
    from executors.models import load_embedder
    from executors.retriever.earlier import earlier_artifact
    from executors.retriever.index import read_manifest, sync
    from executors.retriever.params import read_setup

    artifact = earlier_artifact(params.retriever)
    if not (folder / INDEX).is_dir():
        shutil.copytree(artifact / INDEX, folder / f"{INDEX}.tmp", dirs_exist_ok=True)
        (folder / f"{INDEX}.tmp").rename(folder / INDEX)
    made = read_manifest(folder / INDEX)
    embedder = load_embedder(made.embedder.name, job.report) if made.embedder else None
    docs = Path(job.plan.docs or made.docs)
    sync(folder / INDEX, docs, made.splitter, embedder, made.language, job.report)
    return read_setup(artifact / SPEC), embedder


def _indexed(job: Job, folder: Path) -> tuple[Any, Any]:
    """An index of the documents by the defaults of rag."""
    from executors.models import load_embedder
    from executors.retriever.documents import Document, iter_documents
    from executors.retriever.index import Splitter, sync
    from executors.retriever.languages import documents_language, speaks
    from executors.retriever.params import RagParams, Setup

    docs, defaults = Path(str(job.plan.docs)), RagParams()
    read = (d for d in iter_documents(docs) if isinstance(d, Document))
    language = documents_language(list(itertools.islice(read, SAMPLE)))
    embedder = load_embedder(job.plan.embedder, job.report) if speaks(job.plan.embedder, language) else None
    sync(folder / INDEX, docs, Splitter(defaults.chunk_tokens, defaults.overlap), embedder, language, job.report)
    settings = defaults.settings
    setup = Setup(job.plan.task, job.plan.model, defaults.k, settings, "generate", defaults.passages_read)
    return replace(setup, language=language), embedder


# -- what is kept --------------------------------------------------------------------------------------


def _setup(folder: Path) -> Any:
    from executors.retriever.params import read_setup

    return read_setup(folder / SPEC)


def _kept(path: Path) -> list[Reading]:
    """The rows as an interrupted training composed them; none where it had not come so far."""
    if not path.is_file():
        return []
    read = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Reading(**{**one, "passages": tuple(Passage(**p) for p in one["passages"])}) for one in read]


def keep_index(work: Path, artifact: Path) -> None:
    """Put the index that was trained with beside the trained weights. `work`: the job's folder."""
    if (work / FOLDER / SPEC).is_file():
        shutil.copytree(work / FOLDER / INDEX, artifact / INDEX)
        shutil.copyfile(work / FOLDER / SPEC, artifact / SPEC)


def open_reader(folder: Path, model: LanguageModel, report: Reporter = silent) -> Any:
    """The RAG that a tuned reader's artifact holds: its index, read by `model`. None where it holds no index."""
    if not (folder / SPEC).is_file():
        return None
    from executors.models import load_embedder
    from executors.retriever.index import read_manifest
    from executors.retriever.params import read_setup
    from executors.retriever.predictor import RagPredictor

    made_by = read_manifest(folder / INDEX).embedder
    embedder = load_embedder(made_by.name, report) if made_by else None
    return RagPredictor(read_setup(folder / SPEC), folder / INDEX, model, embedder)


# -- notes ---------------------------------------------------------------------------------------------


def _how_notes(readings: Sequence[Reading], params: AnsweringParams) -> tuple[Text, ...]:
    """How often the passage with the answer was found, and what became of the other rows."""
    count = Counter(reading.how for reading in readings)
    en = (
        f"trained on prompts with {params.passages} retrieved passages: of {len(readings)} rows the passage with the "
        f"answer was found for {count['found']}, put in for {count['put in']}; {count['left out']} are taught to say "
        "that it is not there"
    )
    zh = (
        f"训练提示含 {params.passages} 个检索到的段落：共 {len(readings)} 条，{count['found']} 条检索到答案所在段落，"
        f"{count['put in']} 条补入该段落，{count['left out']} 条训练为说明未找到"
    )
    if count["unknown"]:
        en += f"; {count['unknown']} name no passage and were left as they are"
        zh += f"；{count['unknown']} 条无法确定段落，保持原样"
    return ({"en": en, "zh": zh},)
