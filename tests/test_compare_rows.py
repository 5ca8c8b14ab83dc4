"""Methods compared on the same rows: values a row, exact tests, Holm, non-inferiority, rows needed."""

from __future__ import annotations

import random
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.base import Input, Prediction, Row
from executors.metrics import score
from executors.metrics.compare import (
    better,
    holm,
    mean_difference,
    non_inferior,
    p_value,
    paired,
    row_values,
    rows_needed,
    span,
)
from executors.metrics.intervals import Floats

BINARY = st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=60)
GRADED = st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=1, max_size=40)
PS = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def differences(more: int, less: int, n: int) -> Floats:
    """Of `n` rows `more` are won and `less` lost."""
    return np.array([1.0] * more + [-1.0] * less + [0.0] * (n - more - less))


def rows(*targets: str | tuple[str, ...]) -> list[Row]:
    given = [(target,) if isinstance(target, str) else target for target in targets]
    return [Row(str(n), Input("x"), each) for n, each in enumerate(given)]


def answers(*texts: str) -> list[Prediction]:
    return [Prediction(text) for text in texts]


# -- a value a row -------------------------------------------------------------------------------------

CASES = {
    "classification": (rows("a", "b", "c", "a", "b", "b"), answers("a", "c", "c", "b", "b ", "?")),
    "regression": (rows("1", "2", "5", "9", "9"), answers("1.5", "2", "none", "7", "about 9")),
    "generation": (
        rows(("the cat sat on the mat", "a cat sat there"), "it rains all day in May", "no word is right here"),
        answers("the cat sat on a mat", "it rains all day in June", "the cat sat on it"),
    ),
    "translation": (rows("今天天气很好。", "我们去公园吧。"), answers("今天天气好。", "我们去学校吧。")),
    "reasoning": (rows("2 + 2 = 4. Answer: 4", "#### 12"), answers("Answer: 4", "it is 11")),
    "structured_output": (rows('{"a": 1}', '{"b": 2}'), answers('{"a": 1.0}', "{}")),
}


@pytest.mark.parametrize("task", CASES)
def test_the_mean_of_row_values_is_the_metric_of_the_whole_set(task: str) -> None:
    asked, given = CASES[task]
    scores = score(task, asked, given)[1]
    assert len(scores) >= 3
    for metric, whole in scores.items():
        values = row_values(task, metric, asked, given)
        assert values.shape == (len(asked),)
        assert values.mean() == pytest.approx(whole.value, abs=1e-9), metric


@pytest.mark.parametrize("metric", ["macro_f1", "macro_recall", "macro_precision"])
def test_the_spread_of_a_macro_averages_row_values_is_that_of_resampled_sets(metric: str) -> None:
    chance = random.Random(0)
    asked = rows(*(chance.choice("aaabbc") for _ in range(300)))
    given = answers(*(row.target if chance.random() < 0.7 else chance.choice("abc") for row in asked))
    values = row_values("classification", metric, asked, given)
    whole = score("classification", asked, given)[1][metric]
    assert 2 * 1.96 * values.std() / 300**0.5 == pytest.approx(whole.high - whole.low, rel=0.1)


def test_an_answer_without_a_number_counts_as_far_off_as_in_the_whole_set() -> None:
    values = row_values("regression", "mae", rows("0", "10", "4"), answers("0", "10", "no idea"))
    assert values.tolist() == [0, 0, 6]  # the far end of the targets' range, not the row's own
    assert row_values("regression", "unparsed", rows("0", "10"), answers("0", "?")).tolist() == [0, 1]


def test_equal_targets_have_an_r2_of_all_or_nothing() -> None:
    assert row_values("regression", "r2", rows("3", "3"), answers("3", "3")).tolist() == [1, 1]
    assert row_values("regression", "r2", rows("3", "3"), answers("3", "4")).tolist() == [0, 0]


def test_one_row_of_generation_is_the_set() -> None:
    asked, given = rows("the cat sat on the mat"), answers("the cat sat on a mat")
    whole = score("generation", asked, given)[1]["bleu"].value
    assert row_values("generation", "bleu", asked, given).tolist() == pytest.approx([whole])


def test_a_metric_that_answers_alone_do_not_give_is_refused() -> None:
    for task, metric in (("question_answering", "hit@5"), ("classification", "f1"), ("reasoning", "perplexity")):
        with pytest.raises(ValueError, match=metric):
            row_values(task, metric, rows("a"), answers("a"))


def test_errors_are_turned_so_that_higher_is_better() -> None:
    values = np.array([0.5, 2.0])
    assert better(values, "mae").tolist() == [-0.5, -2.0]
    assert better(values, "accuracy") is values
    assert better(values, "a metric of a plugin") is values


def test_a_margin_of_an_error_is_a_share_of_the_targets_range() -> None:
    asked = rows("2", "12", "7")
    assert span("mae", asked) == 10
    assert span("mse", asked) == 100
    assert span("accuracy", rows("a")) == span("r2", asked) == span("mae", rows("3", "3")) == 1


def test_a_paired_difference_keeps_the_metrics_own_direction() -> None:
    found = paired("regression", "mae", rows("0", "10"), answers("1", "10"), answers("3", "12"))
    assert found.value == -2  # errors of 1, 0 against 3, 2
    assert found.n == 2


# -- p -------------------------------------------------------------------------------------------------


def by_hand(more: int, less: int, n: int) -> float:
    """McNemar's unconditional p: every (won, lost) enumerated, at shares of differing rows that these make likely."""
    from math import comb, sqrt

    from scipy.stats import binomtest  # type: ignore[import-untyped]

    z, worst = abs(more - less) / sqrt(more + less), 0.0
    likely = binomtest(more + less, n).proportion_ci(0.9999)
    as_large = [
        (won, won + lost)
        for won, lost in product(range(n + 1), repeat=2)
        if 0 < won + lost <= n and abs(won - lost) / sqrt(won + lost) >= z - 1e-9
    ]
    for share in np.linspace(likely.low, likely.high, 200):
        chances = [comb(n, k) * comb(k, won) * (share / 2) ** k * (1 - share) ** (n - k) for won, k in as_large]
        worst = max(worst, sum(chances))
    return worst


@pytest.mark.parametrize(("more", "less", "n"), [(6, 1, 12), (5, 0, 8), (9, 3, 20), (4, 4, 10)])
def test_mcnemar_is_the_worst_case_over_how_many_rows_may_differ(more: int, less: int, n: int) -> None:
    found = p_value(differences(more, less, n))
    assert found == pytest.approx(min(1.0, by_hand(more, less, n) + 1e-4), abs=1e-3)
    assert found == p_value(differences(less, more, n))


@pytest.mark.parametrize("n", [8, 20, 60])
@pytest.mark.parametrize("share", [0.05, 0.25, 0.6, 1.0])
def test_of_equal_methods_no_more_than_five_in_a_hundred_are_told_apart(n: int, share: float) -> None:
    """Not simulated: every outcome with its probability."""
    from scipy.stats import binom  # type: ignore[import-untyped]

    false = 0.0
    for k in range(1, n + 1):
        told = [more for more in range(k + 1) if p_value(differences(more, k - more, n)) < 0.05]
        false += binom.pmf(k, n, share) * binom.pmf(told, k, 0.5).sum()
    assert false <= 0.05


def test_sign_flips_of_few_rows_are_counted_out() -> None:
    # sums of ±.5 ±.3 ±.1 at least .9 either way: 2 of 8 patterns; at least .7: 4 of 8
    assert p_value(np.array([0.5, 0.3, 0.1])) == 2 / 8
    assert p_value(np.array([0.5, 0.3, -0.1, 0.0])) == 4 / 8


def test_drawn_sign_flips_agree_with_the_t_test_and_are_never_nought() -> None:
    from scipy.stats import ttest_1samp

    values = np.random.default_rng(1).normal(0.1, 0.3, 80)
    assert p_value(values) == pytest.approx(ttest_1samp(values, 0).pvalue, rel=0.2, abs=2e-3)
    assert p_value(np.linspace(0.5, 0.9, 50)) == pytest.approx(1e-4)


@given(st.one_of(BINARY, GRADED), st.randoms(use_true_random=False))
def test_p_is_a_share_and_knows_neither_order_nor_side(given_: list[float], chance: random.Random) -> None:
    values = np.array(given_)
    shuffled = list(given_)
    chance.shuffle(shuffled)
    p = p_value(values)
    assert 0 < p <= 1
    assert p_value(np.array(shuffled)) == p
    assert p_value(-values) == p


@given(BINARY)
def test_rows_on_which_both_agree_are_no_evidence_of_a_difference(given_: list[float]) -> None:
    values = np.array(given_)
    if not values.any():
        assert p_value(values) == 1


# -- Holm ----------------------------------------------------------------------------------------------


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(PS)
def test_holm_is_never_below_p_nor_above_bonferroni_and_keeps_the_order(ps: list[float]) -> None:
    found = holm(ps)
    assert all(p <= a <= min(1.0, len(ps) * p) + 1e-12 for p, a in zip(ps, found, strict=True))
    in_order = [found[n] for n in sorted(range(len(ps)), key=lambda n: ps[n])]
    assert in_order == sorted(in_order)


# -- differences, margins, rows --------------------------------------------------------------------------


@given(st.one_of(BINARY, GRADED), st.randoms(use_true_random=False))
def test_an_interval_holds_the_mean_and_knows_no_order(given_: list[float], chance: random.Random) -> None:
    found = mean_difference(np.array(given_))
    shuffled = list(given_)
    chance.shuffle(shuffled)
    again = mean_difference(np.array(shuffled))
    assert found.low <= found.value <= found.high
    assert (again.low, again.high) == (found.low, found.high)


def test_few_rows_without_a_difference_are_not_equal() -> None:
    """Wilson's one-sided bound: 1.645² (1 − .02) / .02 = 132.6 rows."""
    assert not non_inferior(np.zeros(132), 0.02)
    assert non_inferior(np.zeros(133), 0.02)


def test_non_inferiority_of_shares_by_hand() -> None:
    """Tango's table has no such row; at no losses his z is (share − margin) / √(margin (1 − margin) / n + …)."""
    assert non_inferior(differences(10, 10, 1000), 0.02)  # 1.645 √(.02 / 1000) = .0074
    assert not non_inferior(differences(100, 100, 1000), 0.02)  # 1.645 √(.2 / 1000) = .0233
    assert not non_inferior(differences(30, 5, 1000), 0.02)  # .025 lies without


def test_graded_differences_are_bounded_by_resampling() -> None:
    values = np.random.default_rng(0).normal(0, 0.1, 400)
    assert non_inferior(values - values.mean() + 0.0, 0.02)  # 1.645 · .1 / 20 = .008, and a row at each end
    assert not non_inferior(values - values.mean() + 0.015, 0.02)
    assert not non_inferior(np.full(40, 0.001), 0.02)  # nothing to resample, but rows not seen may differ
    assert non_inferior(np.full(4000, 0.001), 0.02)


def test_a_margin_on_a_wider_scale_wants_as_many_rows() -> None:
    assert non_inferior(np.zeros(400) + 0.1, 2.0, scale=100)
    assert not non_inferior(np.zeros(40) + 0.1, 2.0, scale=100)


@given(st.one_of(BINARY, GRADED), st.floats(0.005, 0.4), st.floats(0, 0.4))
def test_a_wider_margin_is_never_harder(given_: list[float], margin: float, more: float) -> None:
    values = np.array(given_)
    assert non_inferior(values, margin + more) or not non_inferior(values, margin)
    assert not non_inferior(values, 0.0)


def test_rows_needed_are_connors() -> None:
    """30 won, 10 lost of 200: (1.96 √.2 + .8416 √(.2 − .01))² / .01 = 154.3."""
    assert rows_needed(differences(30, 10, 200)) == 155
    assert rows_needed(differences(10, 30, 200)) == 155
    assert rows_needed(differences(10, 10, 200)) is None
    assert rows_needed(np.zeros(5)) is None


def test_that_many_rows_find_the_difference_four_times_in_five() -> None:
    needed = rows_needed(differences(30, 10, 200))
    assert needed is not None
    chance = np.random.default_rng(0)
    drawn = chance.multinomial(needed, [0.15, 0.05, 0.8], 400)
    told = [p_value(differences(int(more), int(less), needed)) < 0.05 for more, less, _ in drawn]
    assert np.mean(told) == pytest.approx(0.8, abs=0.06)
