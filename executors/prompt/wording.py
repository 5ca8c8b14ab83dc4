"""Prompts in words: instruction, demonstrations as turns, and the input, through LangChain's chat templates.

Covered: the wordings of `knowledge/wordings.yaml` in English and Chinese, the drafted instruction with the labels and
what they stand for, labels spelled as words. Not covered: which demonstrations are shown, and fitting a window.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from executors.base import Input, Passage, Row
from executors.messages import FROM_PASSAGES, fenced, instruction_for
from executors.metrics import CHARACTERWISE
from executors.models.catalogue import KNOWLEDGE
from executors.prompt.reasoning import demonstration_answer
from executors.prompt.reasoning import instruction as steps_instruction

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from langchain_core.prompts import ChatPromptTemplate

    from executors.prompt.params import Prompt, PromptParams

PLAIN = "plain"
CHINESE = 0.3  # share of characters of scripts without spaces from which on texts are asked about in Chinese
ROLES = {"system": "system", "human": "user", "ai": "assistant"}
SAMPLE = 200  # rows whose language is looked at


@dataclass(frozen=True)
class Wording:
    """A template in one language. `user` is a turn of LangChain's; without `instruction` the drafted one stands."""

    name: str
    user: str
    instruction: str = ""
    spelled: bool = False

    @property
    def lists_labels(self) -> bool:
        return not self.instruction or "{labels}" in self.instruction


@functools.cache
def _knowledge() -> Mapping[str, Any]:
    read: Mapping[str, Any] = yaml.safe_load((KNOWLEDGE / "wordings.yaml").read_text(encoding="utf-8"))
    return read


def _of_task(part: Mapping[str, Any], task: str) -> Any:
    return part.get(task, part["other"])


def wording_names(task: str) -> tuple[str, ...]:
    """The names of a task's wordings, `plain` first."""
    return (PLAIN, *_of_task(_knowledge()["wordings"], task))


def load_wording(name: str, task: str, lang: str) -> Wording:
    """The wording `name` of `task`; `KeyError` for one that `wording_names` does not list."""
    if name == PLAIN:
        return Wording(PLAIN, _of_task(_knowledge()["plain"], task)[lang])
    entry = _of_task(_knowledge()["wordings"], task)[name]
    return Wording(name, entry["user"][lang], entry.get("instruction", {}).get(lang, ""), entry.get("spelled", False))


def language_of(rows: Sequence[Row]) -> str:
    """ "zh" where training texts are written without spaces between words for a good part, else "en"."""
    texts = "".join(row.input.text[:500] for row in rows[:SAMPLE])
    return "zh" if texts and len(CHARACTERWISE.findall(texts)) / len(texts) > CHINESE else "en"


def spelling(labels: Sequence[str], wording: Wording) -> Mapping[str, str]:
    """How each label is written: as it is, or as words where no two would become one."""
    words = {label: " ".join(label.replace("_", " ").split()) or label for label in labels}
    return words if wording.spelled and len(set(words.values())) == len(labels) else {label: label for label in labels}


def draft_instruction(
    task: str, labels: Sequence[str], params: PromptParams, lang: str, *, grounded: bool, listed: bool = True
) -> str:
    """The system's text: what to do, the labels and what they stand for, what else is required, passages being data.

    `listed` False leaves the labels out: where they are too many for the window.
    """
    wording = load_wording(params.wording, task, lang)
    written = spelling(labels, wording)
    if params.instruction:
        text = params.instruction
    elif wording.instruction or not listed:
        unlisted = load_wording("bare", task, lang).instruction if task == "classification" and not listed else ""
        text = (unlisted or wording.instruction).replace("{labels}", ", ".join(written.values()))
    else:
        text = instruction_for(task, tuple(written.values()), lang)
    parts = [text + (FROM_PASSAGES[lang] if grounded and not params.instruction else "")]
    parts += [f"- {written.get(label, label)}: {told}" for label, told in params.descriptions.items()]
    if not params.instruction:
        parts += [_knowledge()["requirements"][name][lang] for name in params.requirements]
    if params.chain_of_thought:
        parts.append(steps_instruction(task, lang))
    return "\n".join(parts)


class Renderer:
    """Puts a finished prompt into words. The template has the variables demonstrations, passages, text and cue."""

    def __init__(self, prompt: Prompt) -> None:
        self.prompt = prompt
        self.wording = load_wording(prompt.params.wording, prompt.task, prompt.lang)
        self.cue = prompt.params.cue or _of_task(_knowledge()["cues"], prompt.task)[prompt.lang]
        self.spelled = spelling(prompt.labels, self.wording)
        self._turns: dict[Row, list[BaseMessage]] = {}

    @functools.cached_property
    def template(self) -> ChatPromptTemplate:
        """LangChain's template: the instruction as it is, then demonstrations, then the input's turn."""
        from langchain_core.messages import SystemMessage
        from langchain_core.prompts import ChatPromptTemplate, HumanMessagePromptTemplate, MessagesPlaceholder

        turn = HumanMessagePromptTemplate.from_template(self.wording.user)
        parts: list[Any] = [
            SystemMessage(self.prompt.instruction),
            MessagesPlaceholder("demonstrations", optional=True),
            turn,
        ]
        return ChatPromptTemplate(parts).partial(cue=self.cue, passages="")

    def chat(self, given: Input, demonstrations: Sequence[Row]) -> list[dict[str, str]]:
        """The messages that ask for the answer to `given`."""
        shown = [message for row in demonstrations for message in self.turns(row)]
        messages = self.template.format_messages(demonstrations=shown, **self.variables(given))
        return [{"role": ROLES[m.type], "content": str(m.content)} for m in messages]

    def variables(self, given: Input) -> dict[str, str]:
        """What the input's turn is filled with."""
        passages = fenced(1, Passage(given.context, "")) + "\n\n" if given.context else ""
        return {"text": given.text, "passages": passages}

    def turns(self, row: Row) -> list[BaseMessage]:
        """One demonstration: what is asked, what is answered."""
        from langchain_core.messages import AIMessage, HumanMessage

        if row not in self._turns:
            turn: Any = self.template.messages[-1]
            asked = turn.format(cue=self.cue, **self.variables(row.input))
            self._turns[row] = [HumanMessage(str(asked.content)), AIMessage(self.answer(row))]
        return self._turns[row]

    def answer(self, row: Row) -> str:
        """A row's target as the model is to write it."""
        if self.prompt.params.chain_of_thought:
            return demonstration_answer(row, self.prompt.lang)
        return self.spelled.get(row.target, row.target)
