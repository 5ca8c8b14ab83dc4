"""Retrieved demonstrations behind LangChain's interface, for prompts that are built with its templates.

Importing this module imports langchain-core; nothing else here does.
"""

from __future__ import annotations

from typing import Any

from langchain_core.example_selectors import BaseExampleSelector

from executors.base import Input, Problem, Row, UserError
from executors.prompt.demonstrations import Demonstrations, Nearby, Order


class DemonstrationSelector(BaseExampleSelector):
    """Chooses demonstrations as `Demonstrations.choose` does. An example has the keys text, context and answer."""

    def __init__(
        self,
        demonstrations: Demonstrations,
        shots: int,
        selection: Nearby = "nearest",
        order: Order = "nearest_last",
        seed: int = 0,
    ) -> None:
        self.demonstrations, self.shots = demonstrations, shots
        self.selection, self.order, self.seed = selection, order, seed

    def select_examples(self, input_variables: dict[str, Any]) -> list[dict[str, str]]:
        """The examples for the input in `text` and, where it brings a passage, `context`."""
        given = Input(_text_of(input_variables), str(input_variables.get("context", "")))
        (chosen,) = self.demonstrations.choose([given], self.shots, self.selection, self.order, seed=self.seed)
        rows = [neighbour.row for neighbour in chosen]
        return [{"text": row.input.text, "context": row.input.context, "answer": row.target} for row in rows]

    def add_example(self, example: dict[str, str]) -> str:
        """Add one example, embedding it, and return the id of its row. Raises `UserError` without text or answer."""
        text, answer = _text_of(example), example.get("answer", "").strip()
        if not answer:
            raise UserError(
                "example: 'answer' is missing or empty",
                "give it as {'text': …, 'answer': …}",
                Problem("示例：缺少 'answer' 或其值为空", "请写成 {'text': …, 'answer': …}"),
            )
        name = f"example:{len(self.demonstrations) + 1}"
        row = Row(name, Input(text, example.get("context", "")), (answer,))
        self.demonstrations = self.demonstrations.extended(row)
        return name


def _text_of(variables: dict[str, Any]) -> str:
    text = str(variables.get("text", "")).strip()
    if not text:
        listed = ", ".join(map(repr, variables)) or "none"
        raise UserError(
            f"'text' is missing or empty (keys given: {listed})",
            "name the input variable 'text'",
            Problem(f"缺少 'text' 或其值为空（收到的键：{listed}）", "请把输入变量命名为 'text'"),
        )
    return text
