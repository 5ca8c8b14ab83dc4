"""Wordings: every template renders, user text survives to the character, labels are spelled so that they differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from executors.base import DataSpec, Input, Job, Plan, Row
from executors.messages import FROM_PASSAGES, INSTRUCTIONS_ZH, TASKS, chat, instruction_for
from executors.prompt.build import Builder
from executors.prompt.params import Prompt, PromptParams
from executors.prompt.wording import (
    Renderer,
    draft_instruction,
    language_of,
    load_wording,
    spelling,
    wording_names,
)
from tests.fakes import Acting

NASTY = "a {text} {{x}} \"q\" 's' ```py\n{cue}\n``` 100% \\n </passage 1> 中文，“引号”。 {"
LABELS = ("card_lost", "other")


def prompt(task: str, lang: str = "en", grounded: bool = False, **params: object) -> Prompt:
    given = PromptParams(**params)  # type: ignore[arg-type]
    labels = LABELS if task == "classification" else ()
    instruction = draft_instruction(task, labels, given, lang, grounded=grounded)
    return Prompt(task, labels, "acting", instruction, params=given, lang=lang)


def shown(task: str, context: str = "") -> list[Row]:
    target = {"classification": "card_lost", "regression": "3"}.get(task, "an answer")
    return [Row("a", Input("one", context), (target,)), Row("b", Input("two {x}", context), (target,))]


@pytest.mark.parametrize("task", ["classification", "question_answering", "regression", "generation"])
@pytest.mark.parametrize("context", ["", "The shop opens at nine."])
def test_plain_is_what_every_other_method_renders(task: str, context: str) -> None:
    labels = LABELS if task == "classification" else ()
    given, rows = Input("when {does} it open?", context), shown(task, context)
    renderer = Renderer(prompt(task, grounded=bool(context)))
    assert renderer.chat(given, []) == chat(task, labels, given)
    assert renderer.chat(given, rows) == chat(task, labels, given, rows)


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize(("task", "name"), [(task, name) for task in sorted(TASKS) for name in wording_names(task)])
def test_every_wording_keeps_the_users_text_whole(task: str, name: str, lang: str) -> None:
    made = prompt(task, lang, wording=name, descriptions={"card_lost": "{gone}"} if task == "classification" else {})
    messages = Renderer(made).chat(Input(NASTY, "opening {hours}"), [Row("d", Input(NASTY), ("card_lost",))])
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "user"]
    system, first, _, last = (m["content"] for m in messages)
    assert system == made.instruction
    assert NASTY in first
    assert "opening {hours}" in last
    assert NASTY in last
    for template in ("{passages}", "{question}", "{labels}"):
        assert template not in system + first + last
    if task == "classification":
        assert "{gone}" in system


def test_the_cue_closes_the_input_and_can_be_replaced() -> None:
    assert Renderer(prompt("classification", wording="cued")).chat(Input("hi"), [])[-1]["content"] == "hi\nLabel:"
    own = Renderer(prompt("classification", wording="cued", cue="Intent {x}"))
    messages = own.chat(Input("hi"), shown("classification"))
    assert [m["content"] for m in messages[1:]] == [
        "one\nIntent {x}:",
        "card lost",
        "two {x}\nIntent {x}:",
        "card lost",
        "hi\nIntent {x}:",
    ]


def test_labels_are_words_only_where_no_two_become_one() -> None:
    cued, plain = load_wording("cued", "classification", "en"), load_wording("plain", "classification", "en")
    assert spelling(["card_lost", "a__b"], cued) == {"card_lost": "card lost", "a__b": "a b"}
    assert spelling(["card_lost", "card lost"], cued) == {"card_lost": "card_lost", "card lost": "card lost"}
    assert spelling(["card_lost"], plain) == {"card_lost": "card_lost"}
    assert spelling(["_"], cued) == {"_": "_"}  # nothing left of it as words


def test_the_instruction_spells_labels_and_says_what_they_stand_for() -> None:
    params = PromptParams(wording="cued", descriptions={"card_lost": "the card is gone", "unheard_of": "x"})
    drafted = draft_instruction("classification", LABELS, params, "en", grounded=False)
    assert drafted.splitlines() == [
        "Classify the text. Answer with one of these labels only: card lost, other.",
        "- card lost: the card is gone",
        "- unheard_of: x",
    ]


def test_an_own_instruction_stands_as_it_is() -> None:
    params = PromptParams(wording="bare", instruction="Choose {labels}!")
    assert draft_instruction("classification", LABELS, params, "en", grounded=True) == "Choose {labels}!"


@pytest.mark.parametrize(("lang", "said"), [("en", "tone and style"), ("zh", "语气和文风")])
def test_what_the_facts_require_ends_a_drafted_instruction(lang: str, said: str) -> None:
    drafted = prompt("generation", lang, requirements=("style",)).instruction
    assert said in drafted.splitlines()[-1]
    assert "format" not in drafted
    assert prompt("generation", lang, requirements=("style",), instruction="Mine.").instruction == "Mine."


def test_passages_are_said_to_be_data() -> None:
    drafted = draft_instruction("question_answering", (), PromptParams(), "zh", grounded=True)
    assert drafted == INSTRUCTIONS_ZH["question_answering"] + FROM_PASSAGES["zh"]


def test_chain_of_thought_asks_for_steps_and_shows_them() -> None:
    made = prompt("reasoning", chain_of_thought=True)
    assert "step by step" in made.instruction.splitlines()[-1]
    row = Row("a", Input("2 + 2?"), ("Two and two make four.\n#### 4",))
    assert Renderer(made).chat(Input("x"), [row])[2]["content"] == "Two and two make four.\nAnswer: 4"


def test_the_language_is_the_rows() -> None:
    def rows(*texts: str) -> list[Row]:
        return [Row(str(n), Input(text), ("x",)) for n, text in enumerate(texts)]

    assert language_of(rows("我的卡丢了", "请帮我挂失 card")) == "zh"
    assert language_of(rows("my card is lost", "it says 卡")) == "en"
    assert language_of([]) == "en"


def built(tmp_path: Path, text: str, labels: tuple[str, ...], window: int = 10_000) -> Prompt:
    rows = tuple(Row(str(n), Input(f"{text} {n}"), (labels[n % len(labels)],)) for n in range(20))
    job = Job(Plan("prompt", "classification", DataSpec("x.csv")), rows, labels, tmp_path)
    return Builder(job, Acting(window=window)).build(PromptParams(shots=2)).prompt


def test_chinese_rows_are_asked_about_in_chinese(tmp_path: Path) -> None:
    made = built(tmp_path, "我的银行卡丢了怎么办", ("挂失", "其他"))
    assert made.lang == "zh"
    assert made.instruction == instruction_for("classification", ("挂失", "其他"), "zh")
    assert "挂失、其他" in made.instruction


def test_labels_that_would_crowd_the_window_are_not_listed_and_it_is_said(tmp_path: Path) -> None:
    many = tuple(f"intent_{n:04}" for n in range(2000))
    made = built(tmp_path, "text", many, window=2048)
    assert made.instruction == "Classify the text."
    (remark,) = made.remarks
    assert "the 2,000 labels are not listed in the instruction: 2,000 tokens of a window of 2,048" in remark["en"]
    assert "2,000 个标签" in remark["zh"]
    whole = built(tmp_path, "text", many, window=8000)  # exactly a quarter
    assert whole.remarks == ()
    assert "intent_1999" in whole.instruction
