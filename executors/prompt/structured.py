"""Answers that must be JSON of a schema: asked for, found in the text, checked, and asked again where they fail.

Covered: JSON alone, in a code fence, or within prose; a bounded number of repairs in which the model is shown its own
answer and every fault in it. Near-misses (single quotes, a trailing comma) are not mended here: what was meant is for
the model to say. Not covered: decoding that cannot leave the schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from executors.base import Reporter, Text, Usage, silent
from executors.data.values import parse_json, parse_json_at
from executors.finals import without_thoughts
from executors.models import GREEDY, Chat, Completion, LanguageModel, Sampling
from executors.prompt.schemas import Schema

FENCE = re.compile(r"```[\w+-]*[ \t]*\n?(.*?)```", re.DOTALL)
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)  # a string, or a bracket outside of one
LONE = re.compile("[\ud800-\udfff]")  # half of a character: no file can hold it but as an escape
FAULTS_TOLD = 8  # faults named in one repair; a fault is bounded by schemas.SHOWN

INSTRUCTION: Text = {
    "en": "Answer with one JSON value and nothing else: no explanation, no code fence, not the schema itself. "
    "It must be valid under this JSON Schema: {schema}",
    "zh": "只输出一个 JSON 值，不要解释，不要代码块，也不要重复 schema。它必须符合以下 JSON Schema：{schema}",
}
COMPLAINT: Text = {
    "en": "This answer is not valid:\n{faults}\nWrite the whole JSON again, corrected, and nothing else.",
    "zh": "这个回答不符合要求：\n{faults}\n请改正后重新输出完整的 JSON，不要输出其他内容。",
}
MORE: Text = {"en": "- and {n} more", "zh": "- 另有 {n} 处"}
NOTHING = "(nothing)"  # stands for an empty answer: chat templates want every turn to say something


@dataclass(frozen=True)
class Structured:
    """An answer after its repairs.

    `text` is one line of JSON where it is valid, with the keys in the order they were written (the scorer compares
    values, not texts); else the best raw answer, whole. `usage` is the sum over the `attempts`; `crowded`: a repair
    was not asked, as it no longer fitted the model's window.
    """

    text: str
    valid: bool
    attempts: int
    usage: Usage
    crowded: bool = False


def instruct(schema: Schema, lang: str = "en") -> str:
    """The sentences for the system instruction. They hold braces: never pass them through `str.format`."""
    return INSTRUCTION[lang].format(schema=schema.compact)


# -- JSON in a text ------------------------------------------------------------------------------------


def find_json(text: str, suits: Callable[[Any], bool] = lambda value: True) -> tuple[Any, str]:
    """(the first complete JSON value in `text` that `suits`, "").

    Where none suits, the first complete one; where there is none at all, (None, why not). A value is looked for in
    the whole text, then in code fences, then as an object or array within prose. What stands inside a broken object
    is not taken for the answer. Thoughts of the model are no part of the text.
    """
    spoken = without_thoughts(text).strip()
    first: list[Any] = []
    fault = "the answer is empty" if not spoken else "no JSON object or array in the answer"
    for value, problem in _values(spoken):
        if problem:
            fault = problem
        elif suits(value):
            return value, ""
        else:
            first = first or [value]
    return (first[0], "") if first else (None, fault)


def _values(text: str) -> Iterator[tuple[Any, str]]:
    """Every value that is found, with an empty fault, and the fault of each object or array that is broken."""
    for whole in (text, *(match[1] for match in FENCE.finditer(text))):
        try:
            yield parse_json(whole), ""
        except ValueError:
            continue  # prose around it, or broken: then it is met again below, where its fault is told
    start = _opening(text, 0)
    while start >= 0:
        try:
            value, end = parse_json_at(text, start)
            yield value, ""
        except ValueError as error:
            closed = _closing(text, start)
            yield None, f"{'no valid JSON' if closed else 'the JSON ends before it is complete'}: {error}"
            end = closed or len(text)
        start = _opening(text, end)


def _opening(text: str, start: int) -> int:
    """Where the next object or array begins; -1 where none does."""
    return min((n for n in (text.find("{", start), text.find("[", start)) if n >= 0), default=-1)


def _closing(text: str, start: int) -> int | None:
    """Where the brackets opened at `start` are closed again, those in strings left out; None if never."""
    depth = 0
    for token in TOKEN.finditer(text, start):
        depth += (token[0] in "[{") - (token[0] in "]}")
        if depth == 0 and token[0] in "]}":
            return token.end()
    return None


# -- asking --------------------------------------------------------------------------------------------


def complete(
    model: LanguageModel,
    chats: Sequence[Chat],
    schema: Schema,
    repairs: int = 2,
    max_tokens: int = 256,
    report: Reporter = silent,
    sampling: Sampling = GREEDY,
    lang: str = "en",
) -> list[Structured]:
    """An answer to each chat, in order; those that break the schema are asked again, at most `repairs` times.

    The chats must already tell of the schema, see `instruct`; `lang` is the language of what is added to them, save
    for the faults, which are told in the schema's own terms. Of greedy decoding, no question is asked twice.
    Raises what `LanguageModel.generate` raises.
    """
    cases = [_Case(chat, schema, lang) for chat in chats]
    for case, answer in zip(cases, model.generate(chats, max_tokens, report, sampling), strict=True):
        case.take(answer, max_tokens)
    for _ in range(repairs):
        failing = [case for case in cases if case.is_worth_asking(sampling.temperature > 0)]
        asked = [case for case in failing if case.fits(model, max_tokens)]
        if not asked:
            break
        answers = model.generate([case.repair() for case in asked], max_tokens, report, sampling)
        for case, answer in zip(asked, answers, strict=True):
            case.take(answer, max_tokens)
    return [case.result() for case in cases]


@dataclass(frozen=True)
class _Attempt:
    """One answer and what is wrong with it. `text` is its JSON on one line, empty where it has none."""

    raw: str
    text: str
    faults: tuple[str, ...]


class _Case:
    """A chat with its answers so far."""

    def __init__(self, chat: Chat, schema: Schema, lang: str) -> None:
        self.chat, self.schema, self.lang = chat, schema, lang
        self.attempts: list[_Attempt] = []
        self.usages: list[Usage] = []
        self.crowded = False

    def take(self, answer: Completion, max_tokens: int) -> None:
        """Judge one more answer."""
        value, fault = find_json(answer.text, lambda found: not self.schema.faults(found))
        faults = [fault] if fault else self.schema.faults(value)
        if fault and answer.finish == "length":
            faults.append(f"the answer was cut after {max_tokens} tokens: write it shorter")
        self.attempts.append(_Attempt(answer.text, "" if fault else one_line(value), tuple(faults)))
        self.usages.append(answer.usage)

    def is_worth_asking(self, by_chance: bool) -> bool:
        """Whether it failed, and a repair would ask something new (or is decoded `by_chance`)."""
        last, earlier = self.attempts[-1], [attempt.raw for attempt in self.attempts[:-1]]
        return bool(last.faults) and (by_chance or last.raw not in earlier)

    def fits(self, model: LanguageModel, max_tokens: int) -> bool:
        """Whether the next repair fits the window."""
        self.crowded = model.count_chat(self.repair()) + max_tokens > model.window
        return not self.crowded

    def repair(self) -> Chat:
        """The chat with the last answer and its faults."""
        last = self.attempts[-1]
        told = [f"- {fault}" for fault in last.faults[:FAULTS_TOLD]]
        if len(last.faults) > FAULTS_TOLD:
            told.append(MORE[self.lang].format(n=len(last.faults) - FAULTS_TOLD))
        complaint = COMPLAINT[self.lang].format(faults="\n".join(told))
        turns = (("assistant", last.raw.strip() or NOTHING), ("user", complaint))
        return [*self.chat, *({"role": role, "content": content} for role, content in turns)]

    def result(self) -> Structured:
        """The best answer: valid, else one with JSON, else any; of these with the fewest faults, the earliest."""
        best = min(self.attempts, key=lambda attempt: (not attempt.text, len(attempt.faults)))
        valid = not best.faults
        usage = Usage(*map(sum, zip(*map(astuple, self.usages), strict=True)))
        return Structured(
            best.text if valid else best.raw, valid, len(self.attempts), usage, self.crowded and not valid
        )


def one_line(value: Any) -> str:
    """A JSON value on one line, its keys in their order."""
    text = json.dumps(value, ensure_ascii=False)
    return json.dumps(value) if LONE.search(text) else text


def repair_notes(answers: Sequence[Structured]) -> list[Text]:
    """What a reader of the score must know: answers that were repaired, that stayed invalid, and for want of room."""
    repaired = sum(answer.valid and answer.attempts > 1 for answer in answers)
    invalid = sum(not answer.valid for answer in answers)
    crowded = sum(answer.crowded for answer in answers)
    notes: list[Text] = []
    if repaired:
        notes.append(
            {
                "en": f"{repaired} answers were not valid under the schema at first and were repaired",
                "zh": f"{repaired} 条回答起初不符合 schema，重新询问后已修正",
            }
        )
    if invalid:
        room = f", {crowded} of them because a repair no longer fitted the model's window" if crowded else ""
        room_zh = f"，其中 {crowded} 条因修正提示超出模型窗口而未再询问" if crowded else ""
        notes.append(
            {
                "en": f"{invalid} answers stayed invalid under the schema and are kept as they were written{room}",
                "zh": f"{invalid} 条回答始终不符合 schema，按原文保留{room_zh}",
            }
        )
    return notes
