"""Drafted questions: what is asked for, what makes the round trip, and that drafts are called drafts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from advisor import report
from advisor.texts import LANGUAGES, say
from executors.base import DataSpec, Passage
from executors.data import load_dataset
from executors.models import Chat
from executors.retriever.drafting import (
    ATTEMPTS,
    BATCH,
    BLANK,
    COLUMNS,
    Draft,
    answers_in,
    draft_questions,
    first_question,
)
from tests.fakes import Acting
from tests.samples import DECISION, FLOOR, RESULT

PASSAGES = [
    Passage(
        "The guarantee of a lamp lasts 30 days. It begins on the day of delivery.", "lamps.md", "Lamps > Guarantee"
    ),
    Passage("A gate weighs 45 kg and is lifted by two people.", "gates.md", "Gates"),
    Passage("Our office is in Rotterdam, beside the old harbour.", "office.md", "Office"),
    Passage("Nothing can be asked about this sentence.", "empty.md", "Empty"),
]
CHINESE = [
    Passage("门铃的保修期为三年。电池不在保修范围内。", "门铃.md", "门铃 > 保修"),
    Passage("安装高度应为1.4米。使用附带的螺丝固定。", "安装.md", "安装"),
]
WRITTEN = {
    "30 days": "How long does the guarantee of a lamp last?",
    "45 kg": "What does a gate weigh?",
    "Rotterdam": "Where is our office beside the harbour?",
}


def answer_of(chat: Chat) -> str:
    return chat[-1]["content"].rsplit("Answer: ", 1)[-1]


def drafted(model: Acting, count: int = 10, seed: int = 0) -> list[Draft]:
    return draft_questions(PASSAGES, model, count, seed)


@pytest.mark.parametrize(
    ("sentence", "answers"),
    [
        ("It costs £45.50 and lasts 30 days, 12 % less.", ["£45.50", "30 days", "12 %"]),
        ("Sold in the Netherlands, not in Great Britain at all.", ["Netherlands", "Great Britain"]),
        ("The sky is blue.", []),
        ("7", []),
        ("门铃的保修期为三年，电池寿命18个月，见《安装手册》。", ["三年", "18个月", "《安装手册》"]),
        ("请保持干燥。", []),
    ],
)  # fmt: skip
def test_what_a_sentence_can_be_asked_for(sentence: str, answers: list[str]) -> None:
    assert answers_in(sentence) == answers


@pytest.mark.parametrize(
    ("written", "question"),
    [
        ("\nWhen does it close? At five.", "When does it close?"), ('"What is it?"', "What is it?"),
        ("It closes. When?", "When?"), ("It closes at five.", ""), ("", ""), ("几点关门？答案是五点。", "几点关门？"),
    ],
)  # fmt: skip
def test_the_question_is_what_ends_in_a_question_mark(written: str, question: str) -> None:
    assert first_question(written) == question


def test_a_question_that_finds_its_passage_is_kept_with_its_place() -> None:
    found = drafted(Acting(lambda chat: WRITTEN[answer_of(chat)]))
    assert {draft.answer: draft.question for draft in found} == WRITTEN
    lamps = next(draft for draft in found if draft.answer == "30 days")
    assert lamps == Draft(WRITTEN["30 days"], "30 days", "lamps.md", "Lamps > Guarantee", "model", True)


def test_the_model_sees_the_passage_fenced_and_the_answer() -> None:
    model = Acting(lambda chat: WRITTEN[answer_of(chat)])
    drafted(model)
    asked = next(chat for chat in model.asked if answer_of(chat) == "45 kg")
    assert "<passage 1> Gates\nA gate weighs 45 kg" in asked[-1]["content"]
    assert asked[0]["role"] == "system"


@pytest.mark.parametrize(
    "written",
    [
        "Is the answer 30 days or 45 kg in Rotterdam?",  # gives it away
        "How tall is the Eiffel tower in Paris?",  # does not find its passage
        "What?",  # asks nothing
        "How do the guarantee, the gate and the office work?",  # asks for something else than a number or a name
        "What begins on the day of delivery of a lamp?",  # another sentence answers it
        "I cannot write questions.",
    ],
)
def test_what_does_not_make_the_round_trip_is_dropped(written: str) -> None:
    assert drafted(Acting(lambda chat: written)) == []


def test_attempts_end_where_the_model_writes_nothing_of_use() -> None:
    passages = [Passage(f"Room {n} costs {n + 100} crowns a night.", f"room-{n}.md") for n in range(300)]
    model = Acting(lambda chat: "?")
    assert draft_questions(passages, model, 8, 0) == []
    assert len(model.asked) <= ATTEMPTS * 8 + BATCH


def test_as_many_as_are_wanted_spread_over_the_documents() -> None:
    passages = [
        Passage(f"Item {n} of page {page} weighs {n + 10 * page} kg.", f"{page}.md")
        for page in range(1, 5)
        for n in range(9)
    ]
    found = draft_questions(passages, None, 8, 0)
    assert len(found) == 8
    assert {draft.source for draft in found} == {"1.md", "2.md", "3.md", "4.md"}
    assert draft_questions(passages, None, 8, 0) == found
    assert draft_questions(passages, None, 8, 1) != found


def test_without_a_model_a_blank_is_asked_for_in_either_language() -> None:
    english = draft_questions(PASSAGES, None, 10, 0)
    assert {draft.by for draft in english} == {"template"}
    assert next(d.question for d in english if d.answer == "45 kg") == (
        f'What belongs in the blank ("Gates")? A gate weighs {BLANK} and is lifted by two people.'
    )
    chinese = draft_questions(CHINESE, None, 10, 0)
    assert {(d.answer, d.source) for d in chinese} == {("三年", "门铃.md"), ("1.4米", "安装.md")}
    assert next(d.question for d in chinese if d.answer == "三年") == (
        f"“门铃 > 保修”中，空白处应填什么？门铃的保修期为{BLANK}。"
    )


def test_a_chinese_passage_is_asked_about_in_chinese() -> None:
    model = Acting(
        lambda chat: "门铃的保修期有多久？" if chat[-1]["content"].endswith("答案：三年") else "安装高度是多少？"
    )
    found = draft_questions(CHINESE, model, 2, 0)
    assert {(d.question, d.answer) for d in found} == {("门铃的保修期有多久？", "三年"), ("安装高度是多少？", "1.4米")}


# -- drafts are called drafts ----------------------------------------------------------------------------


def write(path: Path, marks: list[object]) -> str:
    rows = [{"question": f"What is item {n}?", "answer": f"thing {n}", "drafted": m} for n, m in enumerate(marks)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_a_draft_has_the_columns_of_its_file() -> None:
    assert {field.name for field in dataclasses.fields(Draft)} >= set(COLUMNS)


def test_rows_that_are_scored_and_but_drafted_are_counted_and_said(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", [True] * 10)
    test = tmp_path / "test.jsonl"
    other = write(test, [True, "yes", False, "", "false"])
    test.write_text(test.read_text(encoding="utf-8").replace("item", "part"), encoding="utf-8")
    dataset = load_dataset(DataSpec(train, other), "question_answering", 0)
    assert dataset.drafted == 2
    note = next(note for note in dataset.notes if "draft" in note["en"])
    assert note["en"].startswith("2 of 5 rows to score on are drafts")
    assert "5 行评分数据中有 2 行" in note["zh"]


def test_a_share_that_is_held_out_of_drafts_is_drafts(tmp_path: Path) -> None:
    assert load_dataset(DataSpec(write(tmp_path / "a.jsonl", [True] * 20)), "question_answering", 0).drafted == 4
    confirmed = load_dataset(DataSpec(write(tmp_path / "b.jsonl", [False] * 20)), "question_answering", 0)
    assert confirmed.drafted == 0
    assert not [note for note in confirmed.notes if "draft" in note["en"]]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_report_warns_of_scores_on_drafts(lang: str) -> None:
    result = dataclasses.replace(RESULT, rows={**RESULT.rows, "drafted": 21})
    warning = say("report.drafted", lang, drafted=21, count=70)
    assert warning in report.render(DECISION, result, FLOOR, "md", lang)
    assert warning not in report.render(DECISION, RESULT, FLOOR, "md", lang)
