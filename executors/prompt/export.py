"""A finished prompt handed over: as a template of LangChain, as OpenAI messages, as plain text.

Covered: a file that LangChain alone loads back, with the variables {text} and, where inputs bring a passage, {context};
messages of given inputs, or of a template row with these names standing where an input goes. Fixed demonstrations are
written into all of them. Demonstrations retrieved for each input cannot be: LangChain's template then wants them as
`demonstrations`, a list of messages, and `examples` gives those there are.

Not covered, for it is not in a prompt: labels compared by likelihood, calibration, JSON repaired, answers read after
steps of reasoning. A passage that itself holds the marks of the fence ("<passage") is mended by our renderer alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from executors.base import Input, Passage, Row
from executors.messages import fenced
from executors.prompt.wording import ROLES, Renderer

if TYPE_CHECKING:
    from langchain_core.prompts import ChatPromptTemplate

TEXT, CONTEXT = "{text}", "{context}"


def is_grounded(renderer: Renderer, inputs: Iterable[Input]) -> bool:
    """Whether inputs bring a passage: those of the demonstrations, or the given ones."""
    shown = (row.input for row in renderer.prompt.demonstrations)
    return any(given.context for given in (*shown, *inputs))


# -- LangChain -----------------------------------------------------------------------------------------


def langchain_template(renderer: Renderer, grounded: bool) -> ChatPromptTemplate:
    """The prompt as LangChain's template, with nothing left to fill in but an input's own parts."""
    from langchain_core.messages import SystemMessage
    from langchain_core.prompts import ChatPromptTemplate, HumanMessagePromptTemplate, MessagesPlaceholder

    prompt = renderer.prompt
    shown: list[Any] = [message for row in prompt.demonstrations for message in renderer.turns(row)]
    if prompt.params.retrieves:
        shown = [MessagesPlaceholder("demonstrations")]
    turn = HumanMessagePromptTemplate.from_template(_turn(renderer, grounded))
    return ChatPromptTemplate([SystemMessage(prompt.instruction), *shown, turn])


def _turn(renderer: Renderer, grounded: bool) -> str:
    """The input's turn as an f-string: the cue written out, and the passage's fence where there is one."""
    cue = renderer.cue.replace("{", "{{").replace("}", "}}")
    passages = f"{fenced(1, Passage(CONTEXT, ''))}\n\n" if grounded else ""
    return renderer.wording.user.replace("{cue}", cue).replace("{passages}", passages)


def to_langchain(renderer: Renderer, grounded: bool) -> str:
    """The template as JSON, for ``langchain_core.load.loads(text, allowed_objects="core")``."""
    from langchain_core.load import dumpd

    return json.dumps(dumpd(langchain_template(renderer, grounded)), ensure_ascii=False, indent=2) + "\n"


# -- messages ------------------------------------------------------------------------------------------

Chat = Sequence[Mapping[str, str]]


def template_chat(renderer: Renderer, grounded: bool) -> list[dict[str, str]]:
    """The messages with ``{text}`` and ``{context}`` where an input's own stand. All else is literal, braces too."""
    return renderer.chat(Input(TEXT, CONTEXT if grounded else ""), renderer.prompt.demonstrations)


def to_openai(chats: Iterable[Chat]) -> str:
    """One ``{"messages": [...]}`` a line, without answers: what a server that speaks OpenAI's format is sent."""
    return "".join(json.dumps({"messages": list(chat)}, ensure_ascii=False) + "\n" for chat in chats)


def to_text(chats: Iterable[Chat]) -> str:
    """Each message under its role; prompts are parted by a line of equals signs."""
    told = ("\n\n".join(f"[{message['role']}]\n{message['content']}" for message in chat) for chat in chats)
    return f"\n\n{'=' * 72}\n\n".join(told) + "\n"


def examples(renderer: Renderer, rows: Sequence[Row]) -> Iterator[Chat]:
    """Each row as the two turns that show it: what retrieved demonstrations are chosen from."""
    for row in rows:
        yield [{"role": ROLES[message.type], "content": str(message.content)} for message in renderer.turns(row)]
