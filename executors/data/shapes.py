"""JSON records of the shapes people keep, flattened into rows of plain text.

Covered: flat objects; SQuAD files (articles → paragraphs → questions); conversations as ``messages`` (role, content)
or ``conversations`` (from, value), whose last assistant turn is the target, or whose ``chosen`` answer is where
there is one; preference pairs whose ``prompt``, ``chosen`` and ``rejected`` are texts or lists of turns, and Alpaca's
``output: [better, worse]``; Alpaca's ``system`` and ``history``; answers as ``{"text": [...]}``. Anything else nested
becomes JSON text in its cell. Not covered: calls of tools as values of their own; they are text of their turn.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from executors.base import Problem, did_you_mean

ASSISTANT = frozenset({"assistant", "gpt", "bot", "model", "chatgpt", "function_call", "tool_call"})
SYSTEM = frozenset({"system", "developer"})
USER = frozenset({"user", "human", "tool", "function", "observation", "ipython"})  # with what tools answer
CONVERSATIONS = ("messages", "conversations")  # the keys a conversation has

Turns = tuple[tuple[str, str], ...]
"""(role, content) each; the roles are system, user and assistant."""


class BrokenRecord(Exception):
    """A record that is none of the shapes it looks like; `problem` names the field, what is wrong, and what to do."""

    def __init__(self, field: str, en: str, zh: str) -> None:
        super().__init__(f"{field}: {en}")
        example = '"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]'
        self.problem = Problem(f"{field}: {en}", f"e.g. {example}", Problem(f"{field}：{zh}", f"例如 {example}"))


class Transcript(str):
    """A conversation as text, which still knows its turns; none where one user turn is all of it.

    `key` is what the file calls it. Equal to, and as good as, the plain text wherever turns do not matter.
    """

    turns: Turns
    key: str

    @classmethod
    def of(cls, turns: Turns, key: str) -> Transcript:
        made = cls(transcript(turns))
        made.turns = turns if len(turns) > 1 else ()
        made.key = key
        return made


def cell(value: Any) -> str:
    """A JSON value as the text of a cell: null is empty, ``3.0`` is ``3``, lists and objects are JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value) if isinstance(value, (int, float)) else json.dumps(value, ensure_ascii=False)


def flatten(record: Mapping[str, Any]) -> dict[str, str]:
    """One record as cells. Raises `BrokenRecord`."""
    for key in CONVERSATIONS:
        if isinstance(record.get(key), list):
            rest = {name: value for name, value in record.items() if name != key}
            return _conversation(_turns(record[key], key), rest, key)
    if "rejected" in record and _are_lists(record):
        return _pair((), dict(record), "prompt")
    record = _alpaca_pair(record)
    cells = {str(name): _references(value) if name == "answers" else cell(value) for name, value in record.items()}
    return _alpaca_turns(record, cells)


def _references(value: Any) -> str:
    """Acceptable answers as a JSON list: SQuAD's ``[{"text": ...}]`` and ``{"text": [...]}`` alike."""
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        value = value["text"]
    if isinstance(value, list):
        texts = [cell(v.get("text") if isinstance(v, Mapping) else v) for v in value]
        return json.dumps(list(dict.fromkeys(texts)), ensure_ascii=False)
    return cell(value)


# -- conversations -------------------------------------------------------------------------------------


def _turns(value: Sequence[Any], field: str) -> Turns:
    """The turns in a list, neighbours of one role together. Raises `BrokenRecord` for what is no turn."""
    turns: list[tuple[str, str]] = []
    for number, turn in enumerate(value):
        role, content = _turn(turn, f"{field}[{number}]")
        if turns and turns[-1][0] == role:
            content = f"{turns.pop()[1]}\n\n{content}"
        turns.append((role, content))
    return tuple(turns)


def _turn(turn: Any, field: str) -> tuple[str, str]:
    if not isinstance(turn, Mapping):
        raise BrokenRecord(
            field, f"no turn with a role and a content, but {_shown(turn)}", "不是含角色和内容的一轮对话"
        )
    named, said = next(((r, c) for r, c in (("role", "content"), ("from", "value")) if r in turn), ("", ""))
    if not named:
        raise BrokenRecord(f"{field}.role", "missing: each turn says who speaks", "缺失：每一轮都要写明说话者")
    if said not in turn and "tool_calls" not in turn:
        raise BrokenRecord(f"{field}.{said}", "missing: the turn has no text", "缺失：这一轮没有文本")
    role = str(turn[named]).strip().lower()
    for name, known in (("assistant", ASSISTANT), ("user", USER), ("system", SYSTEM)):
        if role in known:
            return name, _content(turn.get(said) or turn.get("tool_calls"))
    every = sorted(ASSISTANT | USER | SYSTEM)
    raise BrokenRecord(
        f"{field}.{named}",
        f"unknown role '{turn[named]}'{did_you_mean(role, every)}; known are {', '.join(every)}",
        f"未知的角色“{turn[named]}”{did_you_mean(role, every, 'zh')}；可用的有 {', '.join(every)}",
    )


def _shown(value: Any) -> str:
    return repr(value if len(repr(value)) <= 40 else f"{str(value)[:40]}…")


def _content(value: Any) -> str:
    """A turn's text, also where it is a list of parts (``[{"type": "text", "text": ...}]``)."""
    if isinstance(value, list) and all(isinstance(part, str) or "text" in part for part in value):
        return "".join(str(part["text"]) if isinstance(part, Mapping) else part for part in value)
    return cell(value)


def _conversation(turns: Turns, rest: Mapping[str, Any], key: str) -> dict[str, str]:
    """The last assistant turn, or the `chosen` answer, is the response; what stands before it is the prompt."""
    if "chosen" in rest:
        return _pair(turns, rest, key)
    system = cell(rest.get("system")).strip()
    if system and turns and turns[0][0] != "system":  # as ShareGPT files have it, beside the conversation
        turns = (("system", system), *turns)
    cells = {name: cell(value) for name, value in rest.items()}
    last = max((n for n, (role, _) in enumerate(turns) if role == "assistant"), default=None)
    before, response = (turns, "") if last is None else (turns[:last], turns[last][1])
    return {"prompt": Transcript.of(before, key), "response": response, **cells}


def transcript(turns: Turns) -> str:
    """One user turn as it is; several as lines with who speaks. A system turn stands before them."""
    system = [text for role, text in turns if role == "system"]
    spoken = [(role, text) for role, text in turns if role != "system"]
    if len(spoken) == 1:
        return "\n\n".join([*system, spoken[0][1]])
    return "\n\n".join([*system, "\n".join(f"{role}: {text}" for role, text in spoken)])


def is_dialogue(prompt: str) -> bool:
    """Whether a prompt made here holds an earlier answer, that is, more than one exchange."""
    return "\nassistant: " in prompt


# -- Alpaca and preference pairs ---------------------------------------------------------------------


def _are_lists(record: Mapping[str, Any]) -> bool:
    return any(isinstance(record.get(key), list) for key in ("prompt", "chosen", "rejected"))


def _pair(turns: Turns, record: Mapping[str, Any], key: str) -> dict[str, str]:
    """A pair's prompt and both answers. Answers that are lists of turns may bring the prompt themselves."""
    if not turns and isinstance(record.get("prompt"), list):
        turns = _turns(record["prompt"], "prompt")
    cells = {}
    for name in ("chosen", "rejected"):
        answer = record.get(name)
        if isinstance(answer, Mapping):
            answer = answer.get("content", answer.get("value"))
        elif isinstance(answer, list):
            said = _turns(answer, name)
            if not said or said[-1][0] != "assistant":
                raise BrokenRecord(name, "its last turn is not the assistant's", "最后一轮不是助手的回答")
            answer = said[-1][1]
            if not turns and not cell(record.get("prompt")).strip():
                turns, key = said[:-1], name
        cells[name] = _content(answer)
    prompt = {"prompt": Transcript.of(turns, key)} if turns or "prompt" not in record else {}
    rest = {name: cell(value) for name, value in record.items() if name not in cells and name not in prompt}
    return {**prompt, **rest, **cells}


def _alpaca_pair(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """``instruction`` with ``output: [better, worse]`` as `chosen` and `rejected`."""
    output = record.get("output")
    two = isinstance(output, list) and len(output) == 2 and all(isinstance(part, str) for part in output)
    if not two or "instruction" not in record or "rejected" in record:
        return record
    rest = {name: value for name, value in record.items() if name != "output"}
    return {**rest, "chosen": record["output"][0], "rejected": record["output"][1]}


def _alpaca_turns(record: Mapping[str, Any], cells: dict[str, str]) -> dict[str, str]:
    """``history`` (a list of [question, answer]) and ``system`` of an instruction as turns before it."""
    history = record.get("history") or []
    system = cells.get("system", "").strip()
    if "instruction" not in record or not (history or system):
        return cells
    turns: list[tuple[str, str]] = [("system", system)] if system else []
    for number, exchange in enumerate(history):
        if not isinstance(exchange, list) or len(exchange) != 2:
            raise BrokenRecord(f"history[{number}]", "no pair of a question and its answer", "不是一问一答")
        turns += [("user", cell(exchange[0])), ("assistant", cell(exchange[1]))]
    turns.append(("user", cells["instruction"]))
    left = {name: value for name, value in cells.items() if name not in ("history", "system")}
    return {**left, "instruction": Transcript.of(tuple(turns), "instruction")}


# -- SQuAD ---------------------------------------------------------------------------------------------


def is_squad(document: Any) -> bool:
    articles = document.get("data") if isinstance(document, Mapping) else None
    return isinstance(articles, list) and any(isinstance(a, Mapping) and "paragraphs" in a for a in articles)


def squad_rows(document: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """A row a question: id, question, answers (a JSON list), context, source (the paragraph's name)."""
    for source, paragraph in named_paragraphs(document):
        for question in paragraph.get("qas", []):
            yield {
                "id": cell(question.get("id")),
                "question": cell(question.get("question")),
                "answers": _references(question.get("answers", [])),
                "context": cell(paragraph.get("context")),
                "source": source,
            }


def named_paragraphs(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every paragraph with its name, ``<article's title>-<paragraph's place in the file>.txt``: stable and unique."""
    place = 0
    for article in document["data"]:
        title = re.sub(r"\W+", "_", cell(article.get("title"))).strip("_")[:40] or "paragraph"
        for paragraph in article.get("paragraphs", []):
            yield f"{title}-{place:04}.txt", paragraph
            place += 1
