"""Figures of retrieval and citation, against values worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from executors.base import Input, Passage, Prediction, Row
from executors.metrics import HIGHER_IS_BETTER, score, wilson
from executors.retriever.evaluation import Found, evaluate, holds, is_from, look, named_sources, precision


def row(source: str = "", target: str = "y", name: str = "1") -> Row:
    return Row(name, Input("x"), (target,), source)


def answer(*sources: str, cited: Sequence[int] = (), **more: object) -> Prediction:
    passages = tuple(Passage(f"text {n}", source) for n, source in enumerate(sources))
    return Prediction("y", passages=passages, cited=tuple(cited), **more)  # type: ignore[arg-type]


# -- figures of one answer ---------------------------------------------------------------------------


def test_one_document_in_third_place_by_hand() -> None:
    found = look(row("b.md"), answer("x.md", "x.md", "b.md", "b.md").passages)
    assert found == Found((3,), 1)  # the second passage of a document brings nothing new
    assert (found.hit(1), found.hit(3), found.recall(5), found.reciprocal_rank) == (0, 1, 1, pytest.approx(1 / 3))
    assert found.ndcg(10) == pytest.approx(1 / math.log2(4)) == pytest.approx(0.5)
    assert found.ndcg(2) == 0


def test_two_of_three_documents_by_hand() -> None:
    found = look(row("a.md; b.md; c.md"), answer("b.md", "x.md", "a.md").passages)
    assert found == Found((1, 3), 3)
    assert found.recall(1) == pytest.approx(1 / 3)
    assert found.recall(5) == pytest.approx(2 / 3)
    best = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert found.ndcg(10) == pytest.approx(1.5 / best) == pytest.approx(0.7039, abs=1e-4)
    assert found.ndcg(2) == pytest.approx(1 / (1 + 1 / math.log2(3)))  # the best two places hold two at most


def test_nothing_found_is_worth_nothing() -> None:
    found = look(row("a.md"), ())
    assert (found.hit(5), found.recall(5), found.reciprocal_rank, found.ndcg(10)) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("", []), ("a.md", ["a.md"]), ("a b.md", ["a b.md"]), ("a.md; b.md", ["a.md", "b.md"]),
        ('["a.md", "b;c.md"]', ["a.md", "b;c.md"]), ("甲.md；乙.md", ["甲.md", "乙.md"]), ("[a].md", ["[a].md"]),
    ],
)  # fmt: skip
def test_a_row_names_one_document_or_several(cell: str, names: list[str]) -> None:
    assert named_sources(cell) == names


@pytest.mark.parametrize(
    ("path", "source", "same"),
    [
        ("a.md", "a.md", True), ("guide/a.md", "a.md", True), ("a.md", "docs/a.md", True), ("a.md", "A", True),
        ("guide\\a.md", "guide/a", True), ("aa.md", "a.md", False), ("b/a.md", "c/a.md", False),
    ],
)  # fmt: skip
def test_a_source_may_be_named_with_or_without_its_folder_and_ending(path: str, source: str, same: bool) -> None:
    assert is_from(Passage("", path), source) is same


@pytest.mark.parametrize(
    ("text", "target", "there"),
    [
        ("It lasts for The Three (3) years.", "three 3 years", True), ("It lasts thirty years.", "three years", False),
        ("costs £1,200 a year", "1,200", True), ("costs 12,000", "1,200", False), ("needs 6.5 A", "65", False),
        ("门铃的保修期为三年。", "三年", True), ("保修期为 三 年", "三年", True), ("三月与五年", "三年", False),
        ("ＡＢＣ 型号", "abc", True), ("anything", " ", False),
    ],
)  # fmt: skip
def test_a_passage_holds_a_target_as_the_text_metrics_read_it(text: str, target: str, there: bool) -> None:
    assert holds(text, (target,)) is there


# -- figures of many -----------------------------------------------------------------------------------


def test_the_figures_of_rows_that_name_their_source_by_hand() -> None:
    rows = [row(source, name=str(n)) for n, source in enumerate(["a.md", "b.md", "c.md"])]
    found = [["a.md", "b.md"], ["x.md", "x.md", "b.md"], ["x.md"] * 5 + ["c.md"]]
    scores = evaluate("summarisation", rows, [answer(*names) for names in found])
    assert scores["hit@1"] == wilson(1, 3)
    assert scores["hit@5"] == wilson(2, 3)
    assert scores["recall@5"].value == pytest.approx(2 / 3)
    assert scores["mrr"].value == pytest.approx((1 + 1 / 3 + 1 / 6) / 3)
    assert scores["ndcg@10"].value == pytest.approx((1 + 1 / 2 + 1 / math.log2(7)) / 3)
    assert all(score.low <= score.value <= score.high for score in scores.values())


def test_rows_without_a_source_are_judged_by_their_answer_where_answers_stand_in_documents() -> None:
    rows = [row(target="three years"), row(target="五年")]
    predictions = [
        Prediction("", passages=(Passage("Nothing.", "a.md"), Passage("For three years.", "b.md"))),
        Prediction("", passages=(Passage("", "z.md", heading="保修五年"),)),
    ]
    scores = evaluate("question_answering", rows, predictions)
    assert scores["hit@1"].value == 0.5
    assert scores["mrr"].value == pytest.approx(0.75)
    assert set(evaluate("summarisation", rows, predictions)) == {"abstained"}


def test_the_named_source_decides_not_the_words() -> None:
    prediction = Prediction("", passages=(Passage("the answer y", "other.md"),))
    assert evaluate("question_answering", [row("a.md")], [prediction])["hit@5"].value == 0


def test_citations_are_as_good_as_what_they_point_to() -> None:
    assert precision(row("a.md"), answer("a.md", "b.md", "a.md", cited=(1, 2))) == 0.5
    rows = [row("a.md"), row("a.md"), row("a.md")]
    predictions = [answer("a.md", "b.md", cited=(1, 2)), answer("a.md", cited=(1,)), answer("a.md")]
    scores = evaluate("question_answering", rows, predictions)
    assert scores["citation_precision"].value == 0.75
    assert scores["citation_precision"].n == 2  # the third cites nothing


def test_support_and_abstention_are_told() -> None:
    predictions = [answer("a.md", support=1.0), answer("a.md", support=0.5), answer(abstained=True)]
    scores = evaluate("question_answering", [row("a.md")] * 3, predictions)
    assert scores["support"].value == 0.75
    assert scores["abstained"] == wilson(1, 3)
    assert "citation_precision" not in scores


def test_the_answered_are_scored_by_themselves_where_some_were_abstained_from() -> None:
    rows = [row("a.md", "red"), row("a.md", "blue")]
    predictions = [Prediction("red", passages=(Passage("red", "a.md"),)), Prediction("none", abstained=True)]
    _, scores = score("question_answering", rows, predictions)
    assert (scores["f1"].value, scores["answered_f1"].value, scores["answered_f1"].n) == (0.5, 1, 1)
    assert "answered_f1" not in score("question_answering", rows[:1], predictions[:1])[1]


def test_retrieval_is_scored_only_where_there_is_some() -> None:
    assert evaluate("question_answering", [row("a.md")], [Prediction("y")]) == {}
    assert "hit@1" not in score("question_answering", [row("a.md")], [Prediction("y")])[1]


def test_every_figure_says_which_way_is_better() -> None:
    predictions = [answer("a.md", cited=(1,), support=1.0), answer(abstained=True)]
    _, scores = score("question_answering", [row("a.md")] * 2, predictions)
    assert set(scores) <= set(HIGHER_IS_BETTER)
    assert not HIGHER_IS_BETTER["abstained"]
