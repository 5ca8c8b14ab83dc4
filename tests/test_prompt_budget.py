"""The budget of tokens: parts add up, what gives way is the least near or the last, and each loss is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from executors.base import Input, Row, UserError
from executors.models import load_language_model
from executors.prompt.budget import FRAME_AIR, LABEL_AIR, Budget
from executors.prompt.demonstrations import Neighbour
from executors.prompt.params import Prompt, PromptParams
from executors.prompt.wording import Renderer
from tests.fakes import Acting

SYSTEM = "one two three four"  # 4 tokens of the fake's


def row(n: int, words: int = 10) -> Row:
    return Row(str(n), Input(f"n{n} " + "w " * (words - 2) + "e"), ("yes",))


def prompt(rows: tuple[Row, ...] = (), task: str = "generation", **params: object) -> Prompt:
    given = PromptParams(max_tokens=10, **params)  # type: ignore[arg-type]
    return Prompt(task, ("yes", "no") if task == "classification" else (), "acting", SYSTEM, rows, given)


def budget(made: Prompt, window: int) -> Budget:
    return Budget(Acting(window=window), Renderer(made))


def near(*similarities: float) -> list[Neighbour]:
    return [Neighbour(row(n), similarity) for n, similarity in enumerate(similarities)]


def ids(shown: tuple[Neighbour, ...]) -> list[str]:
    return [neighbour.row.id for neighbour in shown]


RETRIEVED = prompt(selection="nearest", shots=3)


def test_the_least_near_demonstrations_give_way_first_and_the_others_keep_their_order() -> None:
    shown = near(0.7, 0.5, 0.1, 0.9)  # 11 tokens each
    made = budget(RETRIEVED, window=10 + 4 + 2 * 11 + 5)
    asked = made.fit(Input("a b c d e"), shown)
    assert ids(asked.shown) == ["0", "3"]
    assert [m["content"] for m in asked.chat[1:-1:2]] == [row(0).input.text, row(3).input.text]
    assert made.model.count_chat(asked.chat) == made.room == 31
    assert asked.given == Input("a b c d e")


def test_one_token_less_costs_one_more_demonstration() -> None:
    made = budget(RETRIEVED, window=10 + 4 + 2 * 11 + 5 - 1)
    assert ids(made.fit(Input("a b c d e"), near(0.5, 0.9, 0.1, 0.7)).shown) == ["1"]


def test_a_prompt_that_fits_is_counted_for_that_and_once_more() -> None:
    made = budget(RETRIEVED, window=10_000)
    counted: list[int] = []
    count = made.model.count_chat
    made.model.count_chat = lambda chat: counted.append(len(chat)) or count(chat)  # type: ignore[method-assign, func-returns-value]
    made.fit(Input("a"), near(*(n / 10 for n in range(9))))
    assert counted == [20, 20]


def test_of_demonstrations_equally_near_the_last_give_way() -> None:
    rows = tuple(row(n) for n in range(4))
    made = budget(prompt(rows), window=10 + 4 + 2 * 11 + 5)
    assert ids(made.fit(Input("a b c d e"), [Neighbour(r, 1.0) for r in rows]).shown) == ["0", "1"]


def test_what_gave_way_is_counted_and_said() -> None:
    made = budget(RETRIEVED, window=10 + 4 + 2 * 11 + 5)
    made.fit(Input("a"), near(0.5, 0.9))
    assert made.counts.notes() == ()
    made.fit(Input("a b c d e"), near(0.5, 0.9, 0.1, 0.7))
    made.fit(Input("a b c d e"), near(0.5, 0.9, 0.1, 0.7, 0.2, 0.3))
    (note,) = made.counts.notes()
    assert "2 rows were asked with fewer demonstrations" in note["en"]
    assert "(3.0 fewer a row)" in note["en"]  # 2 and 4; the row that lost none is not averaged in
    assert "2 条输入" in note["zh"]


def test_a_row_longer_than_the_window_loses_all_demonstrations_then_its_end() -> None:
    made = budget(RETRIEVED, window=30)
    asked = made.fit(Input(" ".join(f"t{n}" for n in range(500))), near(0.5, 0.9))
    assert asked.shown == ()
    assert asked.given.text.split() == [f"t{n}" for n in range(16)]  # 30 - 10 - 4
    assert made.model.count_chat(asked.chat) == made.room
    told = [note["en"] for note in made.counts.notes()]
    assert any("1 rows were asked with fewer" in note for note in told)
    assert any("1 rows were cut at their end" in note for note in told)


def test_of_a_row_with_a_passage_the_passage_is_cut() -> None:
    made = budget(prompt(task="question_answering"), window=40)
    asked = made.fit(Input("what is it?", "p " * 500), [])
    assert asked.given.text == "what is it?"
    assert 0 < len(asked.given.context) < 60
    assert asked.chat[-1]["content"].endswith("</passage 1>\n\nQuestion: what is it?")
    assert made.counts.shortened == 1


def test_a_window_too_small_for_the_instruction_is_the_users_to_mend() -> None:
    for window in (13, 5):  # 4 for the instruction, 10 for the answer; less than the answer
        with pytest.raises(UserError, match=f"the instruction alone exceeds the {window} tokens of acting") as error:
            budget(prompt(), window).fit(Input("x"), [])
        assert "窗口" in error.value.told("zh").message
    assert budget(prompt(), 14).fit(Input("x"), []).given == Input("")  # just fits, and the cut is said


def test_the_answers_room_is_the_longest_label_or_what_may_be_written() -> None:
    made = budget(prompt(task="classification"), 100)
    assert made.room == 100 - 10  # max_tokens
    made = Budget(made.model, Renderer(replace(prompt(task="classification"), labels=("a b c d", "e"))))
    assert made.room == 100 - max(4 + LABEL_AIR, 10)
    assert budget(prompt(chain_of_thought=True), 100).answer == 10
    reasons = Prompt("classification", ("a",), "acting", SYSTEM, params=PromptParams(chain_of_thought=True))
    assert budget(reasons, 1000).answer == 256  # steps need room, a label alone would have 16


def test_fixed_demonstrations_that_fit_by_far_are_rendered_as_if_all_was_counted() -> None:
    rows = tuple(row(n) for n in range(3))
    shown, given = [Neighbour(r, 1.0) for r in rows], Input("a b c", "and a passage")
    quick, counted = budget(prompt(rows), 10_000), budget(prompt(rows), 10_000)
    around = counted.model.count_chat(counted.renderer.chat(Input("?", "?"), rows))
    exact = budget(prompt(rows), 10 + around + FRAME_AIR + 6)
    counted.__dict__["_frame"] = 10_000  # so that it counts the whole prompt
    assert quick.fit(given, shown) == counted.fit(given, shown) == exact.fit(given, shown)
    assert counted.counts.fewer == 0
    tight = budget(prompt(rows), exact.model.window - 1)  # no longer by far: counted, and still whole
    assert tight.fit(given, shown) == quick.fit(given, shown)


@pytest.mark.parametrize("context", ["", "The shop opens at nine."])
def test_the_parts_add_up_to_the_prompt(context: str) -> None:
    made = budget(prompt(tuple(row(n) for n in range(2))), 10_000)
    asked = made.fit(Input("when does it open", context), near(1.0, 1.0))
    parts = {part.name: part for part in made.parts(asked)}
    assert list(parts) == ["template", "instruction", "demonstrations", "passages", "input", "answer"]
    assert parts["instruction"].tokens == 4
    assert parts["demonstrations"].tokens == 22
    assert parts["template"].tokens == 0  # the fake has none
    assert sum(p.tokens for p in parts.values() if p.name != "answer") == made.model.count_chat(asked.chat)
    assert parts["input"].text == "when does it open"
    assert ("opens at nine" in parts["passages"].text) == bool(context)
    assert (parts["passages"].tokens > 0) == bool(context)
    assert parts["answer"].tokens == 10
    assert [p.name for p in parts.values() if p.static] == ["template", "instruction", "demonstrations"]


def test_retrieved_demonstrations_cannot_be_cached() -> None:
    made = budget(RETRIEVED, 10_000)
    parts = made.parts(made.fit(Input("x"), near(0.5)))
    assert [p.name for p in parts if p.static] == ["template", "instruction"]


def test_the_parts_add_up_with_the_real_tokenizer_and_template() -> None:
    model = load_language_model("smollm2-135m-instruct")
    made = Budget(model, Renderer(prompt(tuple(row(n) for n in range(2)), wording="cued", task="question_answering")))
    asked = made.fit(Input("when does it open?", "The shop opens at nine."), near(1.0, 1.0))
    parts = made.parts(asked)
    assert sum(p.tokens for p in parts if p.name != "answer") == model.count_chat(asked.chat)
    assert all(part.tokens > 0 for part in parts)
