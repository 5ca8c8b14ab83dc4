"""A finished run as a step of a LangChain chain: ``prompt | executors.load("last").as_runnable() | parser``.

Covered: `invoke`, `batch` (one call of the predictor for all inputs, so that what prompts share is computed once), and
their asynchronous forms. Calls from several threads take turns: a predictor keeps counts and caches. Not covered:
streaming within an answer (`stream` yields it whole), and chats of several turns, which a run has its own prompt for.

Importing this module imports langchain-core; nothing else here does.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.prompt_values import PromptValue, StringPromptValue
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import run_in_executor

from executors.base import Input, Prediction, Predictor, Problem, UserError, to_dict

KEYS = ("text", "context")
TURNS = frozenset({"human", "user"})


class PredictorRunnable(Runnable[Any, Any]):
    """Answers a text, or a mapping of ``text`` and ``context`` (the passage an answer is to rest on).

    Also taken: `Input`, what a prompt template makes, a message. The answer is its text; with `full` a mapping of all
    fields of `Prediction` (text, score, scores, passages, usage), as ``advisor predict --json`` prints them.
    """

    def __init__(self, predictor: Predictor, full: bool = False) -> None:
        self.predictor, self.full = predictor, full
        self._turn = threading.Lock()

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """One answer. Raises `UserError` for an input it cannot read, and what the predictor raises."""
        return self._call_with_config(lambda given: self._answer([given])[0], input, config)

    def batch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """All answers by one call of the predictor; so one input that cannot be answered fails them all."""
        return self._batch_with_config(self._answer, inputs, config, return_exceptions=return_exceptions)

    async def abatch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """As `batch`, in a thread: by default LangChain would ask row by row."""
        return await run_in_executor(None, self.batch, inputs, config, return_exceptions=return_exceptions)

    def _answer(self, given: list[Any]) -> list[Any]:
        inputs = [as_input(one) for one in given]
        with self._turn:
            predictions = self.predictor.predict(inputs)
        return [self._told(prediction) for prediction in predictions]

    def _told(self, prediction: Prediction) -> Any:
        return to_dict(prediction) if self.full else prediction.text


def as_input(given: Any) -> Input:
    """What a predictor is given, read from what a chain hands on. Raises `UserError` for anything else."""
    if isinstance(given, Input):
        return given
    if isinstance(given, str):
        return Input(given)
    if isinstance(given, Mapping):
        return _of_mapping(given)
    if isinstance(given, StringPromptValue):
        return Input(given.text)
    if isinstance(given, PromptValue):
        return _of_messages(given.to_messages())
    if isinstance(given, BaseMessage):
        return _of_messages([given])
    if isinstance(given, Sequence) and given and all(isinstance(one, BaseMessage) for one in given):
        return _of_messages(given)
    raise _unreadable(f"a {type(given).__name__}", f"收到 {type(given).__name__}")


def _of_mapping(given: Mapping[Any, Any]) -> Input:
    unknown = [str(key) for key in given if key not in KEYS]
    if unknown or not isinstance(given.get("text"), str) or not isinstance(given.get("context", ""), str):
        keys = ", ".join(map(str, given)) or "–"
        raise _unreadable(f"a mapping with the keys {keys}", f"收到的键：{keys}")
    return Input(given["text"], given.get("context", ""))


def _of_messages(messages: Sequence[BaseMessage]) -> Input:
    """The text of a single message of the user's: a run has an instruction and demonstrations of its own."""
    if len(messages) != 1 or messages[0].type not in TURNS:
        kinds = ", ".join(message.type for message in messages)
        raise _unreadable(f"messages ({kinds})", f"收到消息（{kinds}）")
    return Input(str(messages[0].text))


def _unreadable(got: str, got_zh: str) -> UserError:
    return UserError(
        f"this run answers a text, {{'text': …, 'context': …}}, or one message of the user's; it was given {got}",
        "a system's message or further turns are not read: the run has its own prompt",
        Problem(
            f"输入应为文本、{{'text': …, 'context': …}} 或单条用户消息；{got_zh}",
            "系统消息和多轮消息不会被读取：运行自带提示",
        ),
    )
