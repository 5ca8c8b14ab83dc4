"""Chain-of-thought: steps are asked for, shown in the demonstrations, and the answer is read after them.

Wei et al. (2022) show worked steps, Kojima et al. (2022) only ask for them; both help large models and can harm small
ones, so whether to use it is for the search to find out. Not covered: several chains with a vote (self-consistency).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from executors.base import Row, Text
from executors.finals import find_final, find_mark, first_line, without_thoughts

MARKER: Text = {"en": "Answer: ", "zh": "答案："}
STEPS: Text = {
    "en": "Think step by step, in short steps. Then write one last line: 'Answer: ' and {what}, nothing else.",
    "zh": "请分步思考，步骤要简短。最后另起一行，只写“答案：”和{what}。",
}
WHAT: Mapping[str, Text] = {
    "classification": {"en": "the label", "zh": "标签"},
    "regression": {"en": "the number", "zh": "数值"},
    "reasoning": {"en": "the final result", "zh": "最终结果"},
}
ANSWER: Text = {"en": "the answer", "zh": "回答"}  # of every other task
ONE_LINE = frozenset({"classification", "regression", "question_answering", "reasoning"})
AROUND = " *_`"  # what Markdown sets around a short answer
FORMULA = re.compile(r"\$([^$]+)\$|\\\((.+)\\\)")  # LaTeX around a whole answer
CALCULATOR = re.compile(r"<<[^<>]*>>")  # GSM8K's notes to a calculator: tokens that help no reader


def instruction(task: str, lang: str = "en") -> str:
    """The sentences that ask for steps and then a last line with the answer."""
    return STEPS[lang].format(what=WHAT.get(task, ANSWER)[lang])


def final_answer(text: str, task: str) -> str | None:
    """The answer that `text` comes to after its last mark (see `executors.finals`), without the full stop.

    One line of tasks whose answers are short, else all that follows. None where nothing is marked. Units, currency
    and digit groups stay: what a number is, the scorer says.
    """
    found = find_final(text)
    if found is None or task not in ONE_LINE:
        return found
    line = re.sub(r"(?<=[^.])[.。]$", "", first_line(found).strip(AROUND)).strip(AROUND)
    formula = FORMULA.fullmatch(line)
    return (formula[1] or formula[2] if formula else line) or None


def split_target(target: str) -> tuple[str, str]:
    """(rationale, answer) of a target such as GSM8K's ``… #### 18``; the rationale is empty where it has none.

    A mark within a sentence ("so the answer is 18.") leaves that sentence in the rationale.
    """
    found, answer = find_mark(target), final_answer(target, "reasoning")
    if found is None or answer is None:
        return "", target.strip()
    spoken = without_thoughts(target)
    before = spoken[: found[0]]
    opens_line = not before.rpartition("\n")[2].strip("*_ \t")
    rationale = before.strip("*_ \t\n\r") if opens_line else spoken.strip()
    return rationale, answer


def demonstration_answer(row: Row, lang: str = "en") -> str:
    """A row's target as the model is to write it: the steps where there are any, then the line with the answer.

    `lang` is the language of `instruction`, so that the demonstrations mark the answer as it asks.
    """
    rationale, answer = split_target(row.target)
    steps = CALCULATOR.sub("", rationale)
    return f"{steps}\n{MARKER[lang]}{answer}" if steps else f"{MARKER[lang]}{answer}"
