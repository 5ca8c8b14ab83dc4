"""JSON records of the shapes people keep, flattened into rows of plain text.

Covered: flat objects; SQuAD files (articles → paragraphs → questions); conversations as ``messages`` (role, content)
or ``conversations`` (from, value), whose last assistant turn is the target, or whose ``chosen`` answer is where
there is one; answers as ``{"text": [...]}``. Anything else nested becomes JSON text in its cell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

ASSISTANT = frozenset({"assistant", "gpt", "bot", "model"})
SYSTEM = frozenset({"system", "developer"})


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
    """One record as cells."""
    for key, role, content in (("messages", "role", "content"), ("conversations", "from", "value")):
        turns: Any = record.get(key)
        if _are_turns(turns, role):
            rest = {name: value for name, value in record.items() if name != key}
            return _conversation([(str(t[role]), _content(t.get(content))) for t in turns], rest, content)
    return {str(name): _references(value) if name == "answers" else cell(value) for name, value in record.items()}


def _references(value: Any) -> str:
    """Acceptable answers as a JSON list: SQuAD's ``[{"text": ...}]`` and ``{"text": [...]}`` alike."""
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        value = value["text"]
    if isinstance(value, list):
        texts = [cell(v.get("text") if isinstance(v, Mapping) else v) for v in value]
        return json.dumps(list(dict.fromkeys(texts)), ensure_ascii=False)
    return cell(value)


# -- conversations -------------------------------------------------------------------------------------


def _are_turns(turns: Any, role: str) -> bool:
    return isinstance(turns, list) and bool(turns) and all(isinstance(t, Mapping) and role in t for t in turns)


def _content(value: Any) -> str:
    """A turn's text, also where it is a list of parts (``[{"type": "text", "text": ...}]``)."""
    if isinstance(value, list):
        return "".join(str(part.get("text", "")) if isinstance(part, Mapping) else str(part) for part in value)
    return cell(value)


def _conversation(turns: Sequence[tuple[str, str]], rest: Mapping[str, Any], content: str) -> dict[str, str]:
    """The last assistant turn, or the `chosen` answer, is the response; what stands before it is the prompt."""
    row = {name: _content(v.get(content)) if isinstance(v, Mapping) else cell(v) for name, v in rest.items()}
    if "chosen" in row:
        return {"prompt": _transcript(turns), **row}
    last = max((n for n, (role, _) in enumerate(turns) if role.lower() in ASSISTANT), default=None)
    if last is None:
        return {"prompt": _transcript(turns), "response": "", **row}
    return {"prompt": _transcript(turns[:last]), "response": turns[last][1], **row}


def _transcript(turns: Sequence[tuple[str, str]]) -> str:
    """One user turn as it is; several as lines with who speaks. A system turn stands before them."""
    system = [text for role, text in turns if role.lower() in SYSTEM]
    spoken = [(role, text) for role, text in turns if role.lower() not in SYSTEM]
    if len(spoken) == 1:
        return "\n\n".join([*system, spoken[0][1]])
    lines = [f"{'assistant' if role.lower() in ASSISTANT else 'user'}: {text}" for role, text in spoken]
    return "\n\n".join([*system, "\n".join(lines)])


def is_dialogue(prompt: str) -> bool:
    """Whether a prompt made here holds an earlier answer, that is, more than one exchange."""
    return "\nassistant: " in prompt


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
