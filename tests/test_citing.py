"""Citations: marks read out of an answer and checked, attribution without marks, support."""

from __future__ import annotations

import pytest

from executors.base import Passage
from executors.retriever.citing import attribute, read_marks, support

PASSAGES = [
    Passage("The lamp costs 12 pounds. It is sold in Denmark.", "lamps.md", "Lamps"),
    Passage("A door is made of oak and weighs 40 kilograms.", "doors.md", "Doors"),
    Passage("门铃的保修期为三年。", "bell.md", "保修"),
]


@pytest.mark.parametrize(
    ("text", "plain", "numbers", "refused"),
    [
        ("12 pounds [1]", "12 pounds", (1,), 0),
        ("It is oak [2][1].", "It is oak.", (2, 1), 0),
        ("Both [1, 3] are", "Both are", (1, 3), 0),
        ("保修期三年【3】。", "保修期三年。", (3,), 0),
        ("Oak [Passage 2]", "Oak", (2,), 0),
        ("12 pounds [9]", "12 pounds", (), 1),
        ("12 pounds [1, 9] [0]", "12 pounds", (1,), 2),
        ("since [2024] and a[i]", "since [2024] and a[i]", (), 0),
        ("", "", (), 0),
    ],
)
def test_marks_are_read_out_of_the_text_and_only_shown_passages_count(
    text: str, plain: str, numbers: tuple[int, ...], refused: int
) -> None:
    marked = read_marks(text, 3)
    assert (marked.text, marked.numbers, marked.refused) == (plain, numbers, refused)


def test_without_marks_an_answer_goes_to_the_passages_that_hold_its_words() -> None:
    assert attribute("12 pounds", PASSAGES) == (1,)
    assert attribute("oak, 40 kilograms", PASSAGES) == (2,)
    assert attribute("保修期三年", PASSAGES) == (3,)
    assert attribute("The lamp costs 12 pounds and the door is made of oak", PASSAGES) == (1, 2)
    assert attribute("a kangaroo", PASSAGES) == ()
    assert attribute("12 pounds", []) == ()
    assert attribute("", PASSAGES) == ()


def test_of_passages_with_the_same_words_the_first_is_cited() -> None:
    assert attribute("12 pounds", [PASSAGES[1], PASSAGES[0], PASSAGES[0]]) == (2,)


def test_support_is_the_share_of_content_words_in_what_is_cited() -> None:
    assert support("the lamp costs 12 pounds", PASSAGES, (1,)) == 1
    assert support("the lamp costs 99 euros", PASSAGES, (1,)) == pytest.approx(2 / 4)
    assert support("the lamp costs 12 pounds", PASSAGES, (2,)) == 0
    assert support("lamp, oak", PASSAGES, (1, 2)) == 1, "all that is cited counts"
    assert support("Denmark", PASSAGES, ()) == 0
    assert support("", PASSAGES, (1,)) == 0
    assert support("保修期三年", PASSAGES, (3,)) == pytest.approx(8 / 9), "期三 does not stand there"


def test_a_text_of_empty_words_is_held_by_these() -> None:
    assert support("not to be", [Passage("To be or not", "a")], (1,)) == 1
    assert support("no", [Passage("Nothing", "a")], (1,)) == 0
