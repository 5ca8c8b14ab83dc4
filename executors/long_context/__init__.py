"""The whole knowledge base in the prompt: every document before every question, and answers that name their sources.

Covered: all tasks of text; documents first, by their files' names, so that every prompt begins alike and that is
computed once; a refusal with its arithmetic where they do not fit; sources (see `sources`). Not covered: choosing among
documents, which is retrieval, and labels and numbers, which need no documents.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from executors.base import Event, Executor, Job, Plan, Problem, Row, Text, UserError, parse_params
from executors.data.near import leak_notes, refuse_leaks
from executors.long_context.knowledge import Knowledge, read_knowledge
from executors.long_context.predictor import LongContextPredictor, Setup
from executors.messages import FROM_PASSAGES, TEXT_TASKS, answer_tokens, instruction_for
from executors.models import LanguageModel, alias_of, aliases, load_language_model, name_problems
from executors.retriever.documents import folder_problems, skipped_notes
from executors.retriever.languages import documents_language, speaks
from executors.retriever.params import SMALL

__all__ = ["LongContextExecutor", "LongContextParams", "LongContextPredictor", "Room", "build_long_context"]

CITE = {
    "en": " After the answer give the number of the passage it stands in, as in [1].",
    "zh": "请在答案之后给出所在段落的编号，例如 [1]。",
}
HALF = 0.5  # of the window, from which a prompt is told to be long: its middle is read less reliably
SMALL_READS = 2000  # tokens that a small model still reads: SmolLM2-135M had the answer to .31 of 48 XQuAD questions in
# 240 tokens of documents, to .25 in 1,600 and to .10 in 3,200, which is 40 % of its window


@dataclass(frozen=True)
class LongContextParams:
    """`shots`: demonstrations from training rows, after the documents. `cite`: ask for the number of the passage, and
    take it off the answer; small models copy the number and lose the answer."""

    instruction: str = ""  # empty: drafted for the task
    shots: int = 0
    cite: bool = False


@dataclass(frozen=True)
class Room:
    """What a prompt takes of a model's window, in tokens."""

    documents: int
    instruction: int  # with demonstrations and the marks of the chat template
    longest_input: int
    answer: int
    window: int

    @property
    def needed(self) -> int:
        return self.documents + self.instruction + self.longest_input + self.answer

    @property
    def share(self) -> float:
        """Of the window, above 1 where it does not fit."""
        return self.needed / self.window


class LongContextExecutor(Executor):
    """Documents, demonstrations and question in one prompt; no weight is changed and nothing is searched."""

    Params = LongContextParams
    Predictor = LongContextPredictor
    tasks: ClassVar[frozenset[str]] = TEXT_TASKS
    needs_docs: ClassVar[bool] = True

    def check(self, plan: Plan) -> list[Problem]:
        params, _ = parse_params(LongContextParams, plan.params)
        problems = name_problems(plan.model, "language")
        if params and params.shots < 0:
            problems.append(Problem(f"params.shots: at least 0, got {params.shots}", "0: no demonstrations"))
        return problems + folder_problems(plan.docs)

    def build(self, job: Job) -> LongContextPredictor:
        """Read the documents and see that they fit. Raises `UserError` with the sum where they do not."""
        return build_long_context(job, load_language_model(job.plan.model, job.report))


def build_long_context(job: Job, model: LanguageModel) -> LongContextPredictor:
    """The predictor of `job` with `model`. Raises `UserError` for wrong parameters, and documents that do not fit."""
    params, problems = parse_params(LongContextParams, job.plan.params)
    if params is None:
        raise UserError.of(problems)
    job.report(Event("read"))
    skipped: list[Problem] = []
    knowledge = read_knowledge(Path(str(job.plan.docs)), skipped)
    showable, refused = refuse_leaks(job, job.rows) if params.shots else ((), ())
    rows = random.Random(job.plan.seed).sample(list(showable), min(params.shots, len(showable)))
    instruction = _instruction(job.plan.task, params, documents_language(knowledge.documents))
    bare = Setup(job.plan.task, job.plan.model, instruction, params.cite, tuple(rows))
    room = measure_room(LongContextPredictor(bare, knowledge, model), job.rows)
    if room.needed > room.window:
        raise too_long(room, model.name)
    notes = (_size_note(room, knowledge, model.name), *_language_notes(job.plan, knowledge), *skipped_notes(skipped))
    notes = (*notes, *leak_notes(refused))
    return LongContextPredictor(replace(bare, notes=notes), knowledge, model)


def _instruction(task: str, params: LongContextParams, lang: str) -> str:
    """The system's text: one of the user's own, or drafted in the documents' language."""
    own = params.instruction or instruction_for(task, lang=lang) + FROM_PASSAGES[lang]
    return own + (CITE[lang] if params.cite else "")


def measure_room(predictor: LongContextPredictor, rows: Sequence[Row]) -> Room:
    """The parts of the longest prompt, counted with the model's own tokenizer. `rows` are the training rows."""
    model, empty = predictor.model, Knowledge("", (), {})
    around = LongContextPredictor(predictor.setup, empty, model).frame
    longest = max((model.count(row.input.text) for row in rows), default=0)
    answer = answer_tokens(predictor.setup.task)
    return Room(predictor.frame - around, around, longest, answer, model.window)


def too_long(room: Room, model: str) -> UserError:
    """The sum that does not fit, and what does."""
    en = (
        f"documents {room.documents:,} + instruction {room.instruction:,} + longest input {room.longest_input:,} + "
        f"answer {room.answer:,} = {room.needed:,} tokens"
    )
    zh = (
        f"文档 {room.documents:,} + 指令 {room.instruction:,} + 最长输入 {room.longest_input:,} + "
        f"回答 {room.answer:,} = {room.needed:,} 个 token"
    )
    fitting = [alias.name for alias in aliases().values() if alias.kind == "language" and alias.window >= room.needed]
    such, such_zh = (f", such as {fitting[0]}", f"，例如 {fitting[0]}") if fitting else ("", "")
    return UserError(
        f"the documents do not fit the window of {model}: {en}; the window has {room.window:,}",
        f"find the passages instead (--method rag), or name a model with a window of at least {room.needed:,} "
        f"tokens{such}",
        Problem(
            f"文档放不进 {model} 的窗口：{zh}，而窗口只有 {room.window:,}",
            f"改用检索（--method rag），或换用窗口不小于 {room.needed:,} 个 token 的模型{such_zh}",
        ),
    )


def _size_note(room: Room, knowledge: Knowledge, model: str) -> Text:
    """How full the window is, with a warning where that is much for the model."""
    number, share = len(knowledge.documents), f"{room.share:.0%}"
    en = (
        f"{number} documents, {room.documents:,} tokens, stand in every prompt; with the rest it fills {share} of the "
        f"window of {model} ({room.window:,})"
    )
    zh = (
        f"每个提示都带上 {number} 份文档，共 {room.documents:,} 个 token；连同其余部分占 {model} 窗口"
        f"（{room.window:,}）的 {share}"
    )
    warning = _warning(room, model)
    return {"en": en + warning["en"], "zh": zh + warning["zh"]}


def _warning(room: Room, model: str) -> Text:
    """That this is more than the model reads well; empty where it is not known to be."""
    alias = alias_of(model)
    if alias and alias.parameters < SMALL and room.documents > SMALL_READS:
        size, size_zh = f"{alias.parameters / 1e6:,.0f} million", f"{alias.parameters / 1e8:.3g} 亿"
        return {
            "en": f": more than a model of {size} parameters reads well; compare with --method rag",
            "zh": f"：超出 {size_zh}参数的模型所能读好的长度，请与 --method rag 比较",
        }
    if room.share > HALF:
        return {
            "en": ": what stands in the middle of a long prompt is read less reliably; compare with --method rag",
            "zh": "：长提示中间的内容更容易被忽略，请与 --method rag 比较",
        }
    return {"en": "", "zh": ""}


def _language_notes(plan: Plan, knowledge: Knowledge) -> list[Text]:
    if speaks(plan.model, documents_language(knowledge.documents)):
        return []
    return [
        {
            "en": f"the documents are Chinese and {plan.model} does not speak it: name a model that does, such as "
            "--model qwen2.5-0.5b-instruct",
            "zh": f"文档为中文，而 {plan.model} 不支持中文：请换用支持中文的模型，例如 --model qwen2.5-0.5b-instruct",
        }
    ]
