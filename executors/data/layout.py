"""Which of the shapes people keep their rows in a file has, by its names: said, so that a wrong guess is seen.

Covered: messages, sharegpt, alpaca, prompt_completion, preference, squad, classification, regression, and plain tables
of texts and answers. The columns decide what is read; this only names what they make.
"""

from __future__ import annotations

from collections.abc import Mapping

from executors.base import Text
from executors.data.columns import INSTRUCTIONS, plain_name
from executors.data.reading import Table
from executors.data.shapes import Transcript

CONVERSATIONS = {"messages": "messages", "conversations": "sharegpt"}
COMPLETIONS = ("completion", "response")


def recognise_layout(table: Table, columns: Mapping[str, str], task: str) -> tuple[str, Text]:
    """The shape's name, and why it is taken for it."""
    text, label = columns["text"], columns["label"]
    cells = [row[text] for row in table.rows]
    keys = {cell.key for cell in cells if isinstance(cell, Transcript)}
    several = sum(isinstance(cell, Transcript) and any(r == "assistant" for r, _ in cell.turns) for cell in cells)
    if "rejected" in columns:
        worse = columns["rejected"]
        return "preference", _because(
            f"preference pairs: '{label}' is the better answer to '{text}', '{worse}' the worse",
            f"偏好对：对“{text}”，“{label}”是较好的回答，“{worse}”是较差的",
        )
    for key, name in CONVERSATIONS.items():
        if key in keys:
            return name, _because(
                f"conversations under '{key}' ({several:,} of {len(cells):,} of several turns): the last answer is the "
                "target",
                f"“{key}”下的对话（{len(cells):,} 段中有 {several:,} 段为多轮）：最后一轮回答是目标",
            )
    if table.format == "squad":
        return "squad", _because("SQuAD: articles, paragraphs, questions", "SQuAD 格式：文章、段落、问题")
    if plain_name(text) == "instruction" or plain_name(text) == "指令":
        joined = f" with '{columns['context']}' joined to it" if "context" in columns else ""
        joined_zh = f"（与“{columns['context']}”相连）" if "context" in columns else ""
        return "alpaca", _because(
            f"Alpaca: '{text}'{joined}, '{label}'", f"Alpaca 格式：“{text}”{joined_zh}、“{label}”"
        )
    if task in ("classification", "regression"):
        kind, kind_zh = ("a class", "类别") if task == "classification" else ("a number", "数值")
        return task, _because(
            f"a table: '{text}', and {kind} in '{label}'", f"表格：“{text}”，以及“{label}”中的{kind_zh}"
        )
    if plain_name(text) in INSTRUCTIONS and plain_name(label) in COMPLETIONS:
        return "prompt_completion", _because(f"'{text}' and '{label}'", f"“{text}”和“{label}”")
    return "table", _because(
        f"a table of texts ('{text}') and answers ('{label}')", f"文本（“{text}”）与答案（“{label}”）的表格"
    )


def _because(en: str, zh: str) -> Text:
    return {"en": en, "zh": zh}
