"""Readers that copy: the sentence that is nearest, and the words of it that are the answer, with their passage."""

from __future__ import annotations

import pytest

from executors.base import Passage, Reporter, silent
from executors.retriever.lexical import overlap, terms
from executors.retriever.packing import outside_in, packed
from executors.retriever.reader import Reader, Reading, answer_spans
from tests.fakes import Scripted


def test_answers_are_words_that_stand_together() -> None:
    spans = answer_spans("It costs £17, paid within 3 days (or later).")
    assert {"£17", "3 days", "within 3 days", "later", "paid"} <= set(spans)
    assert not any(" paid" in span for span in spans), "not across a comma"
    assert "the" not in answer_spans("the cat")
    assert "green" in answer_spans("Lamp: green | Meaning: all is well")


def test_chinese_terms_are_characters_and_pairs() -> None:
    assert terms("保修期3 Years") == ["保", "修", "期", "保修", "修期", "3", "years"]
    assert overlap("保修期", "门铃的保修期为三年") == 1
    assert overlap("red lamp", "A red door") == pytest.approx(3 / 7)


class Likes(Scripted):
    """Finds one answer likely, when asked the one question it belongs to."""

    def __init__(self, question: str, answer: str) -> None:
        super().__init__("what I think")
        self.question, self.answer = question, answer

    def score(self, chats, continuations, report: Reporter = silent):  # type: ignore[no-untyped-def]
        self.asked += chats
        asked = [self.question in chat[-1]["content"] for chat in chats]
        return [[0.0 if hit and text == self.answer else -5.0 for text in continuations] for hit in asked]


PASSAGES = [
    Passage("A door is made of oak.", "b.md", "Doors"),
    Passage("The lamp is red. It costs 12 pounds.", "a.md", "Lamp"),
    Passage("It costs 12 pounds. It is sold in Denmark.", "a.md", "Lamp"),
]


def test_the_words_likely_for_this_question_are_extracted_with_their_passage() -> None:
    question = "How much does the lamp cost in pounds?"
    reader = Reader(Likes(question, "12 pounds"), None)
    assert reader.extract(question, PASSAGES) == Reading("12 pounds", 2)
    assert reader.extract(question, PASSAGES[1:]) == Reading("12 pounds", 1)
    assert reader.extract("anything", []) == Reading("", 0)


def test_a_quotation_names_its_passage() -> None:
    reader = Reader(None, None)
    assert reader.quote("What is a door made of?", PASSAGES) == Reading("A door is made of oak.", 1)
    assert reader.quote("Is the lamp red?", PASSAGES) == Reading("The lamp is red.", 2)
    assert reader.quote("门铃", []) == Reading("", 0)


def test_a_sentence_that_two_passages_share_is_read_once() -> None:
    found = [s for s, _ in Reader(None, None).rank("Denmark", [PASSAGES[2], PASSAGES[2]])]
    assert [(s.text, s.number) for s in found] == [("It is sold in Denmark.", 1), ("It costs 12 pounds.", 1)]


def test_the_best_passage_is_first_and_the_second_best_last() -> None:
    assert [outside_in(count) for count in range(6)] == [
        [],
        [0],
        [0, 1],
        [0, 2, 1],
        [0, 2, 3, 1],
        [0, 2, 4, 3, 1],
    ]


def test_the_worst_passages_are_left_out_until_the_rest_fits() -> None:
    passages = [Passage("one two", "a"), Passage("three", "b"), Passage("four five six", "c")]

    def fits(read):  # type: ignore[no-untyped-def]
        return sum(len(p.text.split()) for p in read) <= 3

    assert packed(passages, fits) == [0, 1]
    assert packed(passages, lambda read: True) == [0, 2, 1]
    assert packed(passages, lambda read: not read) == []
