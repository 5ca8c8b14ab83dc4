"""Chain-of-thought: what is asked, how a worked demonstration looks, and which answer a chain comes to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from executors.base import Input, Prediction, Row
from executors.finals import without_thoughts
from executors.metrics import same_final, score
from executors.prompt.reasoning import demonstration_answer, final_answer, instruction, split_target

CLIPS = "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nTogether 48+24 = <<48+24=72>>72 clips.\n#### 72"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("3 + 4 = 7\nAnswer: 7", "7"),
        ("Answer: 5. No, wait.\nAnswer: 7.", "7"),
        ("So the answer is 7", "7"),
        ("The correct answer would be: Monday.", "Monday"),
        ("**Answer:** 7", "7"),
        ("**Final answer**: **7**", "7"),
        ("Answer:\n\n$70,000\nThat is a lot.", "$70,000"),
        ("#### 18", "18"),
        ("先算……\n答案：18元。", "18元"),
        ("所以答案是 18", "18"),
        ("最终答案应该是：星期一。", "星期一"),
        ("答：小明有18个苹果。", "小明有18个苹果"),
        (r"Thus \boxed{\frac{1}{2}} it is", r"\frac{1}{2}"),
        (r"The answer is $\boxed{18}$.", "18"),
        ("The answer is $18$.", "18"),
        (r"Answer: \(x\)", "x"),
        ("Answer: 7\nAnswer:", "7"),
        ("<think>Answer: 3</think>Answer: 4", "4"),
        ("The answer is 3.5", "3.5"),
        ("It is 7", None),
        ("The answers differ", None),
        ("Answer:", None),
        ("<think>the answer is 3", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_final_answer_stands_after_the_last_mark(text: str, answer: str | None) -> None:
    assert final_answer(text, "reasoning") == answer


def test_answers_of_several_lines_are_kept_whole_where_the_task_has_such() -> None:
    text = "First, the facts.\nAnswer: One.\nTwo."
    assert final_answer(text, "summarisation") == "One.\nTwo."
    assert final_answer(text, "question_answering") == "One"
    assert final_answer("Answer: **One** and two.", "summarisation") == "**One** and two."


def test_thoughts_are_no_answer() -> None:
    assert without_thoughts("<think>a</think>b") == "b"
    assert without_thoughts("a</think>b") == "b"
    assert without_thoughts("b<think>never ends") == "b"


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        (CLIPS, (CLIPS.removesuffix("\n#### 72"), "72")),
        ("#### 72", ("", "72")),
        ("So it is.\nThe answer is 18.", ("So it is.", "18")),
        ("Six and six, so the answer is 12.", ("Six and six, so the answer is 12.", "12")),
        ("先算一步。\n答案：7", ("先算一步。", "7")),
        ("Monday", ("", "Monday")),
    ],
)  # fmt: skip
def test_a_target_is_split_into_rationale_and_answer(target: str, parts: tuple[str, str]) -> None:
    assert split_target(target) == parts


def test_a_demonstration_shows_steps_and_marks_its_answer_as_the_instruction_asks() -> None:
    shown = demonstration_answer(Row("1", Input("How many clips?"), (CLIPS,)))
    assert shown == "Natalia sold 48/2 = 24 clips in May.\nTogether 48+24 = 72 clips.\nAnswer: 72"
    assert demonstration_answer(Row("1", Input("x"), ("7",))) == "Answer: 7"
    assert demonstration_answer(Row("1", Input("x"), ("先算一步。\n#### 7",)), "zh") == "先算一步。\n答案：7"
    for lang, mark in (("en", "Answer: "), ("zh", "答案：")):
        assert mark in instruction("reasoning", lang)


def test_the_instruction_names_what_the_task_ends_in() -> None:
    assert "the label" in instruction("classification")
    assert "标签" in instruction("classification", "zh")
    assert "the answer" in instruction("question_answering")


@pytest.mark.parametrize(
    ("target", "answer", "same"),
    [
        (CLIPS, "48 + 24 = 72. Answer: 48 + 24 = 72 clips", True),  # an equation comes to its right side
        (CLIPS, "Answer: 72 = 48 + 24", True),
        (CLIPS, "Answer: 48 + 24 = 72 clips in 2 months", True),
        (CLIPS, "Answer: 48\nThat leaves 72.", False),
        (CLIPS, r"So \boxed{72}", True),
        (CLIPS, "<think>Answer: 72</think>Answer: 71", False),
        (CLIPS, "答：她一共卖了72个。", True),
        ("#### 70000", "Answer: $70,000.00", True),
        ("#### -5", "Answer: 5", False),
        ("#### Monday", "Answer: Monday\nBecause it follows Sunday.", True),
        ("#### Monday", "Answer: not Monday", False),
    ],
)  # fmt: skip
def test_chains_are_right_where_they_end_right(target: str, answer: str, same: bool) -> None:
    assert same_final(target, answer) is same


def test_f1_of_reasoning_is_of_the_final_answers() -> None:
    rows = [Row("1", Input("x"), ("A long way.\n#### two red hens",))]
    scores = score("reasoning", rows, [Prediction("Another way.\nAnswer: red hens")])[1]
    assert scores["f1"].value == pytest.approx(0.8)  # 2 of 3 wanted, 2 of 2 given
    assert scores["exact_match"].value == scores["contains"].value == 0
    scores = score("reasoning", rows, [Prediction("There are two red hens in it")])[1]
    assert scores["contains"].value == 1


def test_every_row_of_gsm8k_is_shown_with_the_answer_it_is_scored_by(bench_data: Path) -> None:
    lines = (bench_data / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    for n, line in enumerate(lines):
        target = json.loads(line)["answer"]
        wanted = target.rpartition("#### ")[2].strip()
        assert split_target(target)[1] == wanted
        shown = demonstration_answer(Row(str(n), Input("x"), (target,)))
        assert shown.endswith(f"\nAnswer: {wanted}")
        assert "<<" not in shown
        assert same_final(target, shown)
        assert not same_final(target, f"Answer: 1{wanted}")
