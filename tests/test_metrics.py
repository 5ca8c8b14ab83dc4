"""Scores against values worked out by hand, and intervals that are honest where there is little to go on."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import pytest

from executors.base import Input, Prediction, Row, Score
from executors.metrics import HIGHER_IS_BETTER, read_number, same_final, score, token_f1, tokens, wilson


def scored(task: str, pairs: Sequence[tuple[str | tuple[str, ...], str]]) -> dict[str, Score]:
    """Scores of (target or targets, answer) pairs."""
    rows = [Row(str(n), Input("x"), (t,) if isinstance(t, str) else t) for n, (t, _) in enumerate(pairs)]
    main, scores = score(task, rows, [Prediction(answer) for _, answer in pairs])
    assert main in scores
    for name, s in scores.items():
        assert name in HIGHER_IS_BETTER
        assert s.low <= s.value <= s.high
        assert all(map(math.isfinite, (s.low, s.value, s.high)))
    return scores


def test_wilson_by_hand() -> None:
    # 8 of 10: centre (.8 + 1.9207/10) / (1 + 3.8415/10) = .7168; half 1.96/1.38415 * sqrt(.016 + .0096036) = .2266
    s = wilson(8, 10)
    assert (round(s.low, 4), round(s.high, 4)) == (0.4902, 0.9433)
    assert wilson(0, 10).low == 0
    assert round(wilson(0, 10).high, 4) == 0.2775
    assert wilson(10, 10).high == 1


def test_classification_by_hand() -> None:
    pairs = [("a", "a"), ("a", "a"), ("a", "b"), ("b", "b"), ("b", "a"), ("c", "other")]
    scores = scored("classification", pairs)
    assert scores["accuracy"].value == pytest.approx(3 / 6)
    # a: hits 2, rows 3, answers 3 → 2/3; b: 1, 2, 2 → 1/2; c: 0
    assert scores["macro_f1"].value == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_macro_f1_agrees_with_scikit_learn_and_its_interval_with_resampled_rows() -> None:
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(5)
    targets = rng.integers(0, 4, 120)
    answers = np.where(rng.random(120) < 0.7, targets, rng.integers(0, 4, 120))
    s = scored("classification", [(str(t), str(a)) for t, a in zip(targets, answers, strict=True)])["macro_f1"]
    assert s.value == pytest.approx(f1_score(targets, answers, average="macro"))
    draws = [rng.integers(0, 120, 120) for _ in range(400)]
    low, high = np.percentile([f1_score(targets[d], answers[d], average="macro") for d in draws], (2.5, 97.5))
    assert (s.low, s.high) == (pytest.approx(low, abs=0.02), pytest.approx(high, abs=0.02))


def test_all_right_and_all_wrong_keep_an_interval() -> None:
    right = scored("classification", [("a", "a")] * 10)
    assert (right["macro_f1"].value, round(right["macro_f1"].low, 4)) == (1, 0.7225)
    wrong = scored("question_answering", [("yes", "no")] * 10)
    assert (wrong["f1"].value, round(wrong["f1"].high, 4)) == (0, 0.2775)


def test_regression_by_hand() -> None:
    scores = scored("regression", [("1", "1.5"), ("2", "2"), ("3", "2"), ("6", "about 5")])
    assert scores["mae"].value == pytest.approx((0.5 + 0 + 1 + 1) / 4)
    # mean 3; squared deviations 4 + 1 + 0 + 9 = 14; squared errors .25 + 0 + 1 + 1 = 2.25
    assert scores["r2"].value == pytest.approx(1 - 2.25 / 14)
    assert "unparsed" not in scores


def test_an_answer_without_a_number_counts_as_the_worst_there_could_be() -> None:
    scores = scored("regression", [("0", "0"), ("10", "no idea"), ("4", "4 or 5"), ("5", "nan")])
    # the range is 0 to 10: 10 counts as 0, 4 as 10, 5 as 0
    assert scores["mae"].value == pytest.approx((0 + 10 + 6 + 5) / 4)
    assert scores["unparsed"].value == pytest.approx(3 / 4)
    assert not HIGHER_IS_BETTER["unparsed"]


def test_regression_is_finite_where_it_is_hardly_defined() -> None:
    assert scored("regression", [("3", "3")])["r2"].value == 1
    assert scored("regression", [("3", "4"), ("3", "x")])["r2"].value == 0
    assert scored("regression", [("0.1", "0.2")] * 3)["r2"].value == 0
    assert scored("regression", [("1", "1e99"), ("2", "1e400"), ("3", "inf")])["unparsed"].value == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7), (" 7.5 ", 7.5), ("urgency: 7", 7), ("1,250.5", 1250.5), ("-3", -3), ("−3", -3), ("７", 7),
        ("评分是 4 分", 4), (".5", 0.5), ("2e3", 2000), ("7/10", None), ("high", None), ("", None), ("1_000", None),
    ],
)  # fmt: skip
def test_numbers_in_answers(text: str, value: float | None) -> None:
    assert read_number(text) == value


def test_texts_are_normalised_as_squads_scorer_does() -> None:
    assert tokens("The  Cat, sat.") == ["cat", "sat"]
    assert tokens("£1,000 (a year)") == ["1000", "year"]
    assert tokens("6.5 %") == ["6.5"]
    assert tokens("Don't") == ["dont"]
    assert tokens("The") == ["the"]
    assert tokens("北京，２００８年") == ["北", "京", "2008", "年"]
    assert tokens("用 Python 写") == ["用", "python", "写"]


def test_token_f1_by_hand() -> None:
    # 2 of 3 wanted tokens, 2 of 4 given: precision 1/2, recall 2/3, F1 4/7
    assert token_f1(["x", "y", "z"], ["x", "y", "p", "q"]) == pytest.approx(4 / 7)
    assert token_f1(["x", "x"], ["x"]) == pytest.approx(2 / 3)
    assert token_f1([], []) == 1
    assert token_f1(["x"], []) == 0


def test_text_scores_by_hand() -> None:
    scores = scored(
        "question_answering",
        [
            ("beneath the rubber ring", "Beneath rubber ring."),  # exact
            ("17 days", "It is 17 days after delivery"),  # 2 of 2 wanted, 2 of 6 given: F1 1/2; contained
            ("308", "1308"),  # nothing: a number within another is another number
            ("北京市", "北京"),  # 2 of 3 wanted, 2 of 2 given: F1 4/5
        ],
    )
    assert scores["f1"].value == pytest.approx((1 + 0.5 + 0 + 0.8) / 4)
    assert scores["exact_match"].value == pytest.approx(1 / 4)
    assert scores["contains"].value == pytest.approx(2 / 4)


def test_the_best_of_several_targets_counts() -> None:
    scores = scored("generation", [(("a cheap pub", "an inexpensive pub in town"), "inexpensive pub in town")])
    assert scores["f1"].value == scores["exact_match"].value == 1


def test_f1_decides_texts_and_exact_match_what_must_be_exact() -> None:
    row, prediction = [Row("1", Input("x"), ("y",))], [Prediction("y")]
    assert score("summarisation", row, prediction)[0] == "f1"
    assert score("reasoning", row, prediction)[0] == "exact_match"
    assert score("classification", row, prediction)[0] == "accuracy"
    assert score("regression", [Row("1", Input("x"), ("1",))], prediction)[0] == "mae"


def test_code_keeps_case_and_marks() -> None:
    scores = scored(
        "structured_output", [("a > b", "a < b"), ("SELECT  a", "SELECT a"), ('{"a": 1, "b": 2}', '{"b":2,"a":1.0}')]
    )
    assert scores["exact_match"].value == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("target", "answer", "same"),
    [
        ("so 48 + 24 = 72\n#### 72", "First 48, then 24. Answer: 72 clips in 2 months", True),
        ("#### 72", "the answer is 71", False),
        ("#### 1,200", "That makes 3 times 400, so 1200.", True),
        ("#### 72", "I cannot say", False),
        ("#### Monday", "Answer: monday.", True),
        ("#### 72", "答案是 72", True),
    ],
)
def test_reasoning_is_judged_by_its_final_answer(target: str, answer: str, same: bool) -> None:
    assert same_final(target, answer) is same


def test_the_same_predictions_get_the_same_intervals() -> None:
    pairs = [("a b c", "a b" if n % 3 else "c d") for n in range(50)]
    assert scored("generation", pairs) == scored("generation", pairs)


def test_ten_thousand_rows_are_scored_in_seconds() -> None:
    begin = time.perf_counter()
    scored("classification", [(f"class {n % 77}", f"class {n % 70}") for n in range(10_000)])
    scored("question_answering", [(f"the answer {n}", f"answer {n % 100}") for n in range(10_000)])
    scored("regression", [(str(n), str(n + 1)) for n in range(10_000)])
    assert time.perf_counter() - begin < 10


def test_predictions_that_do_not_belong_to_the_rows_are_a_bug() -> None:
    with pytest.raises(ValueError, match="0 predictions for 1 rows"):
        score("generation", [Row("1", Input("x"), ("y",))], [])
