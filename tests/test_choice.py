"""What a race comes to: who is told apart from whom, who is chosen by which rule, and what is said of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from advisor.prove.choice import LEAST_ROWS, choose, compare
from advisor.prove.records import Choice
from executors.metrics.compare import p_value

N = 200
COSTS = {"baseline": 0.0, "probe": 1.0, "peft": 5.0, "full": 20.0}
METHODS = ("baseline", "probe", "peft", "full")

Values = dict[str, NDArray[np.float64]]


def first(right: int, n: int = N) -> NDArray[np.float64]:
    """The first `right` of `n` rows are right: methods so made differ on as few rows as they can."""
    return (np.arange(n) < right).astype(float)


def last(right: int, n: int = N) -> NDArray[np.float64]:
    """The last rows are right: differs from `first` on as many as it can."""
    return first(right, n)[::-1]


def chosen(
    values: Values,
    margin: float = 0.0,
    target: float | None = None,
    gains: Mapping[str, float] | None = None,
    costs: Mapping[str, float] = COSTS,
    **more: Any,
) -> Choice:
    return choose(values, costs, "baseline", margin, target, gains or {}, **more)


# -- comparing -----------------------------------------------------------------------------------------


def test_the_best_is_held_against_every_other_nearest_first() -> None:
    found = compare({"baseline": first(20), "probe": first(150), "peft": last(170)})
    assert [(pair.one, pair.other) for pair in found] == [("peft", "probe"), ("peft", "baseline")]
    assert found[0].difference.value == pytest.approx(0.10)
    assert found[0].difference.n == N
    # of 200 rows 50 are won and 30 lost: told apart at once, and so after Holm, the floor's p being smaller still
    assert found[0].p == p_value(last(170) - first(150))
    assert found[0].adjusted == found[0].p
    assert found[1].adjusted == pytest.approx(2 * found[1].p)


def test_the_rows_needed_are_more_than_there_are_and_nothing_where_they_tell() -> None:
    close, far = compare({"peft": last(160), "probe": first(150), "baseline": first(10)})
    assert not close.told_apart
    assert close.rows_needed is not None
    assert close.rows_needed > N
    assert far.told_apart
    assert far.rows_needed is None


def test_another_than_the_best_mean_can_be_held_against_the_rest() -> None:
    found = compare({"probe": first(150), "peft": first(120)}, best="peft")
    assert found[0].one == "peft"
    assert found[0].difference.value == pytest.approx(-0.15)


def test_one_candidate_or_no_rows_are_not_compared() -> None:
    assert compare({"probe": first(100)}) == ()
    assert compare({}) == ()
    assert compare({"probe": first(0, 0), "peft": first(0, 0)}) == ()


def test_different_rows_are_a_bug() -> None:
    with pytest.raises(ValueError, match=r"\[100, 200\]"):
        compare({"probe": first(50, 100), "peft": first(50)})


# -- rules ---------------------------------------------------------------------------------------------


def test_nothing_scored_is_said() -> None:
    found = chosen({})
    assert (found.chosen, found.rule, found.winner) == ("", "none", "")
    assert "Nothing was scored" in found.why["en"]


def test_all_at_the_floor() -> None:
    found = chosen({"baseline": first(100), "probe": last(104), "peft": last(101)})
    assert (found.chosen, found.best, found.rule, found.winner) == ("baseline", "probe", "floor", "")
    assert "floor (0.500) on 200 rows" in found.why["en"]
    assert "0.520" in found.why["en"]


def test_where_only_the_floor_was_run_nothing_is_said_of_others() -> None:
    found = chosen({"baseline": first(20)})
    assert (found.chosen, found.rule) == ("baseline", "floor")
    assert "Only the floor was run" in found.why["en"]


def test_a_cost_that_is_hardly_lower_is_no_difference() -> None:
    values = {"baseline": first(20), "probe": first(158), "peft": first(160)}
    assert chosen(values, 0.05, costs={"baseline": 0.0, "probe": 0.95, "peft": 1.0}).chosen == "peft"
    assert chosen(values, 0.05, costs={"baseline": 0.0, "probe": 0.8, "peft": 1.0}).chosen == "probe"


def test_the_floor_itself_may_be_best() -> None:
    found = chosen({"baseline": first(120), "probe": first(90)})
    assert (found.chosen, found.rule) == ("baseline", "floor")
    assert "Nothing scores higher than the floor (0.600)" in found.why["en"]


def test_nothing_is_advised_that_is_worse_than_the_floor_even_where_it_is_told_apart() -> None:
    found = chosen({"baseline": first(150), "probe": first(20)}, target=0.05)
    assert (found.chosen, found.rule) == ("baseline", "floor")


def test_eight_rows_are_too_few_to_call_it_the_floor_and_that_is_said() -> None:
    few: Values = {"baseline": first(2, 8), "probe": first(4, 8), "peft": last(5, 8)}
    found = chosen(few)
    assert (found.chosen, found.rule, found.winner) == ("peft", "best", "")
    assert found.rows_needed is not None
    assert found.rows_needed > 8
    assert "too few" in found.why["en"]
    assert LEAST_ROWS > 8


def test_the_best_is_chosen_and_named_where_all_others_are_told_apart() -> None:
    found = chosen({"baseline": first(20), "probe": first(120), "peft": first(160)}, margin=0.02)
    assert (found.chosen, found.winner, found.rule, found.rows_needed) == ("peft", "peft", "best", None)
    assert "told apart from every other" in found.why["en"]


def test_a_best_that_the_rows_cannot_tell_apart_is_chosen_without_being_a_winner() -> None:
    found = chosen({"baseline": first(20), "probe": first(150), "peft": last(160)})
    assert (found.chosen, found.winner, found.rule) == ("peft", "", "best")
    assert str(found.rows_needed) in found.why["en"].replace(",", "")


def test_a_cheaper_one_within_the_margin_is_chosen() -> None:
    values: Values = {"baseline": first(20), "probe": first(160), "peft": first(162), "full": first(161)}
    found = chosen(values, margin=0.05)
    assert (found.chosen, found.best, found.rule) == ("probe", "peft", "cheaper_equal")
    assert chosen(values, margin=0.0).chosen == "peft"
    assert chosen(values, margin=0.01).chosen == "peft"  # two of 200 are .01 already
    assert chosen(values, margin=0.05, costs={**COSTS, "peft": 0.5}).chosen == "peft"


def test_not_to_be_told_apart_is_not_to_be_equal() -> None:
    """30 won, 24 lost of 200: nothing is told apart, but .03 worse may well be .1 worse."""
    values: Values = {"baseline": first(10), "probe": first(170), "peft": last(176)}
    assert not compare(values)[0].told_apart
    assert chosen(values, margin=0.05).chosen == "peft"


def test_the_cheapest_at_the_target_is_chosen_before_a_better_one() -> None:
    values: Values = {"baseline": first(20), "probe": first(150), "peft": first(180), "full": first(195)}
    found = chosen(values, target=0.85)
    assert (found.chosen, found.best, found.rule, found.winner) == ("peft", "full", "cheapest_at_target", "full")
    missed = chosen(values, target=0.99)
    assert (missed.chosen, missed.rule) == ("full", "best")
    assert "No candidate reaches the target of 0.990" in missed.why["en"]
    assert "没有候选达到目标 0.990" in missed.why["zh"]


def test_what_a_full_run_is_expected_to_add_decides_but_names_no_winner() -> None:
    values: Values = {"baseline": first(20), "probe": first(150), "peft": first(100)}
    found = chosen(values, gains={"peft": 0.40})
    assert (found.chosen, found.best, found.winner) == ("peft", "peft", "")
    assert "expected" in found.why["en"]
    assert "0.900" in found.why["en"]


def test_hope_alone_is_not_above_the_floor() -> None:
    """A pilot that has learnt nothing yet does not hide one that has, whatever its curve promises."""
    values: Values = {"baseline": first(40), "probe": first(150), "peft": last(42)}
    assert chosen(values, gains={"peft": 0.7}).chosen == "probe"
    assert chosen({k: v for k, v in values.items() if k != "probe"}, gains={"peft": 0.7}).rule == "floor"


def test_the_margin_is_what_is_left_after_expected_gains() -> None:
    values: Values = {"baseline": first(20), "probe": first(160), "peft": first(160)}
    assert chosen(values, margin=0.05, gains={"peft": 0.02}).chosen == "probe"
    assert chosen(values, margin=0.05, gains={"peft": 0.06}).chosen == "peft"


def test_the_only_candidate_is_no_winner() -> None:
    found = choose({"probe": first(150)}, COSTS, "baseline", 0.02, None, {})
    assert (found.chosen, found.winner) == ("probe", "")


def test_errors_are_turned_and_told_as_they_are() -> None:
    """Mean absolute errors of targets from 0 to 40: a margin of .05 is 2."""
    chance = np.random.default_rng(0)
    error = chance.uniform(0, 4, N)
    values: Values = {"baseline": -(error + 8), "probe": -(error + 0.5), "peft": -error}
    near = chosen(values, margin=0.05, scale=40, sign=-1)
    assert (near.chosen, near.rule, near.winner) == ("probe", "cheaper_equal", "peft")
    assert not re.search(r"-\d", near.why["en"] + near.why["zh"])
    reached = chosen(values, target=-5.0, scale=40, sign=-1)
    assert (reached.chosen, reached.rule) == ("probe", "cheapest_at_target")
    assert "target of 5" in reached.why["en"]


# -- properties ----------------------------------------------------------------------------------------

ROWS = st.integers(1, 60)


@st.composite
def races(draw: st.DrawFn) -> Values:
    """Two to four candidates, right or wrong at random or graded, on the same rows."""
    n, names = draw(ROWS), METHODS[: draw(st.integers(2, 4))]
    value = draw(st.sampled_from([st.sampled_from([0.0, 1.0]), st.floats(0, 1).map(lambda x: round(x, 2))]))
    return {name: np.array(draw(st.lists(value, min_size=n, max_size=n))) for name in names}


@given(races(), st.floats(0, 0.3), st.one_of(st.none(), st.floats(0, 1)), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_neither_the_order_of_rows_nor_of_candidates_matters(
    values: Values, margin: float, target: float | None, chance: Any
) -> None:
    order = list(range(len(next(iter(values.values())))))
    chance.shuffle(order)
    names = list(values)
    chance.shuffle(names)
    one = chosen(values, margin, target)
    other = chosen({name: values[name][order] for name in names}, margin, target)
    assert (one.chosen, one.best, one.winner, one.rule, one.rows_needed) == (
        other.chosen, other.best, other.winner, other.rule, other.rows_needed
    )  # fmt: skip


@given(races(), st.floats(0, 0.3))
@settings(max_examples=60, deadline=None)
def test_a_winner_is_the_best_and_told_apart_and_otherwise_rows_are_asked_for(values: Values, margin: float) -> None:
    found = chosen(values, margin)
    pairs = compare(values, found.best)
    if found.winner:
        assert found.winner == found.best
        assert all(pair.told_apart and pair.difference.value > 0 for pair in pairs)
        assert found.rows_needed is None
    else:
        n = len(values["baseline"])
        needed = [pair.rows_needed for pair in pairs if pair.rows_needed]
        assert found.rows_needed == (max(needed) if needed else None)
        assert all(rows > n for rows in needed)
    assert found.chosen in values
    assert all(pair.adjusted >= pair.p for pair in pairs)
    assert set(found.why) == {"en", "zh"}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=80), st.integers(2, 4), st.floats(0, 0.2))
@settings(max_examples=60, deadline=None)
def test_identical_candidates_have_no_winner_and_the_cheapest_is_taken(
    row_values: list[float], count: int, margin: float
) -> None:
    values = {name: np.array(row_values) for name in METHODS[:count]}
    found = chosen(values, margin)
    assert found.winner == ""
    assert found.chosen == "baseline"
    assert found.rows_needed is None
    assert math.isfinite(COSTS[found.best])
