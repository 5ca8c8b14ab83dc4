"""Labels read from what a model wrote, where it cannot say how likely each is."""

from __future__ import annotations

import pytest

from executors.prompt.spoken import Match, match_label

CARDS = ("card_arrival", "card_arrival_delay", "lost card")
MOOD = ("positive", "negative", "neutral")


def found(text: str, labels: tuple[str, ...]) -> tuple[str, str] | None:
    match = match_label(text, labels)
    return (match.label, match.how) if match else None


@pytest.mark.parametrize(
    "text",
    ["card_arrival", "Card Arrival.", "“card-arrival”", "**CARD  ARRIVAL**", " card_arrival\n", "ｃａｒｄ arrival",
     "card_arrival\n\nText: where is my money?\nLabel: lost card", "<think>lost card?</think>card arrival"],
)  # fmt: skip
def test_a_label_in_any_dress_is_exact(text: str) -> None:
    assert match_label(text, CARDS) == Match("card_arrival", "exact")


def test_marks_within_a_label_may_be_left_out() -> None:
    assert found("Cash, credit", ("cash/credit", "debit")) == ("cash/credit", "exact")
    assert found("don't know", ("dont know", "yes")) == ("dont know", "exact")


def test_labels_that_differ_in_marks_or_case_alone_are_told_apart() -> None:
    labels = ("C", "C++", "C#", "US", "us", "+1", "-1", ":)", ":(")
    for label in labels:
        assert found(label, labels) == (label, "exact")
    assert found("C++.", labels) == ("C++", "exact")
    assert found("Us", labels) is None
    assert found("The answer is -1 here", labels) == ("-1", "within")
    assert found("Best written in C++ today", labels) == ("C++", "within")
    assert found("a sad face :( again", labels) == (":(", "within")


def test_the_only_label_in_a_sentence_is_it() -> None:
    assert found("I would say this is Positive, clearly.", MOOD) == ("positive", "within")
    assert found("Label: negative", MOOD) == ("negative", "within")
    assert found("Either positive or negative", MOOD) is None
    assert found("nonpositive energy", MOOD) is None  # part of a word is no word


def test_the_longest_label_at_a_place_wins() -> None:
    assert found("This is about card arrival delay, I think", CARDS) == ("card_arrival_delay", "within")
    assert found("This is about card arrival, I think", CARDS) == ("card_arrival", "within")
    assert found("card arrival delay, not plain card arrival", CARDS) is None
    assert found("a lost card arrival", CARDS) is None  # two labels that overlap


def test_chinese_labels_stand_within_a_text_without_spaces() -> None:
    labels = ("满意", "不满意", "退款")
    assert found("退款。", labels) == ("退款", "exact")
    assert found("这位客户不满意", labels) == ("不满意", "within")
    assert found("这位客户很满意", labels) == ("满意", "within")
    assert found("不满意，要求退款", labels) is None
    assert found("类别为positive类", MOOD) == ("positive", "within")


def test_one_letter_counts_in_its_own_case_only() -> None:
    labels = ("A", "B", "C")
    assert found("This is a case of B", labels) == ("B", "within")
    assert found("b", labels) == ("B", "exact")
    assert found("a friend of mine said so", labels) is None


def test_numbers_are_whole() -> None:
    labels = ("1", "2", "10")
    assert found("I rate it 10 of all", labels) == ("10", "within")
    assert found("roughly 1.5 I think", labels) is None
    assert found("minus: -1", labels) is None
    assert found("roughly 1.5 I think", ("0", "5")) is None
    assert found("level 12", ("level 10", "other")) is None  # near in letters, another number


def test_an_answer_cut_short_or_inflected() -> None:
    assert found("neg", MOOD) == ("negative", "begins")
    assert found("positively", MOOD) == ("positive", "begins")
    assert found("ne", MOOD) is None
    assert found("positivelyandbeyond", MOOD) is None
    assert found("no", ("normal", "abnormal")) is None
    assert found("card arr", CARDS) is None  # two labels begin so
    assert found("退款", ("退款申请", "换货申请")) == ("退款申请", "begins")


def test_a_misspelt_label_is_the_nearest_if_near_enough() -> None:
    assert found("positve", MOOD) == ("positive", "near")  # 2·7 of 15 characters: .93
    assert found("lots card", CARDS) == ("lost card", "near")  # 2·8 of 18: .89
    assert found("pasotove", MOOD) is None  # 2·5 of 16: .63
    assert found("label x", ("label a", "label b")) is None  # .86 both


@pytest.mark.parametrize("text", ["", "   ", "I do not know", "<think>positive", "?"])
def test_where_none_is_named_there_is_none(text: str) -> None:
    assert match_label(text, MOOD) is None


def test_an_empty_label_is_never_named_and_no_labels_are_no_match() -> None:
    assert match_label("", ("", "x")) is None
    assert match_label("anything", ()) is None


def test_two_thousand_labels_are_told_apart() -> None:
    labels = tuple(f"topic {n}" for n in range(2000))
    for n in (0, 7, 77, 777, 1999):
        assert found(f"It belongs to topic {n}, surely", labels) == (f"topic {n}", "within")


def test_negation_is_not_understood() -> None:
    assert found("not positive", MOOD) == ("positive", "within")  # a limit, stated in the module's docstring
