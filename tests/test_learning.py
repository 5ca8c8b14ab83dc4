"""Curves through pilots: what is measured stays, what is foretold has an honest interval, and is said in words."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.prove.learning import Curve, Point, curves, fit, learns, project, told
from advisor.prove.records import Pilot, Race, Standing
from executors import EXECUTORS
from executors.base import Score
from executors.metrics import wilson


def pilot(rows: int, right: int, scored: int = 200, name: str = "probe", share: float = 0.0) -> Pilot:
    return Pilot(name, rows, share or rows / 1000, scored, f"{name}/{rows}", "accuracy", wilson(right, scored))


def errors(rows: int, value: float, spread: float = 0.05) -> Pilot:
    return Pilot("probe", rows, rows / 1000, 200, "p", "mae", Score(value, value - spread, value + spread, 200))


# -- the score of a full run -----------------------------------------------------------------------------


def test_what_was_measured_on_all_rows_is_the_score() -> None:
    full = pilot(1000, 180)
    assert project([pilot(250, 150), full], 1000, "accuracy") is full.score
    assert project([pilot(0, 150)], 0, "accuracy") == wilson(150, 200)  # nothing to learn from: as it is


def test_a_single_pilot_foretells_a_wide_interval_around_the_usual_course() -> None:
    """An error of .5 on a sixteenth of the rows: by the prior between a tenth of it and nearly all of it stays."""
    foretold = project([pilot(62, 100)], 1000, "accuracy")
    assert 0.6 < foretold.value < 0.85
    assert foretold.low < 0.52
    assert foretold.high > 0.9
    assert foretold.n == 200


def test_a_second_pilot_narrows_the_interval_and_moves_it_where_it_points() -> None:
    single = project([pilot(250, 140)], 1000, "accuracy")
    rising = project([pilot(62, 80), pilot(250, 140)], 1000, "accuracy")
    flat = project([pilot(62, 139), pilot(250, 140)], 1000, "accuracy")
    assert flat.value < single.value < rising.value
    assert rising.value - flat.value > 0.04
    assert flat.high - flat.low < single.high - single.low


def test_an_exact_power_law_is_followed() -> None:
    """error = .1 + 4.8·n^-.5, measured on 100,000 held-out rows at four sizes: .2518 at 1,000, .1759 at 4,000."""

    def law(rows: int) -> float:
        return 0.1 + 4.8 / math.sqrt(rows)

    pilots = [pilot(rows, round((1 - law(rows)) * 100_000), 100_000) for rows in (128, 256, 512, 1000)]
    curve = fit(pilots, "accuracy")
    assert curve is not None
    for rows in (2000, 4000):
        foretold = curve.at(rows)
        assert foretold.low < 1 - law(rows) < foretold.high
        assert foretold.value == pytest.approx(1 - law(rows), abs=0.02)
    gain = curve.gain(3000)
    assert gain.value == pytest.approx(law(1000) - law(4000), abs=0.025)
    assert gain.low > 0.02


def test_where_lower_is_better_the_error_falls() -> None:
    foretold = project([errors(62, 0.9), errors(250, 0.6)], 1000, "mae")
    assert foretold.low < foretold.value < 0.6
    assert foretold.low > 0
    curve = fit([errors(62, 0.9), errors(250, 0.6)], "mae")
    assert curve is not None
    assert curve.gain(750).value > 0.05  # a gain is positive where it gets better


def test_a_pilot_that_scored_worse_on_more_rows_foretells_little() -> None:
    foretold = project([pilot(62, 120), pilot(250, 100)], 1000, "accuracy")
    assert 0.45 < foretold.value < 0.68


def test_pilots_that_no_curve_meets_still_give_an_interval() -> None:
    """From .99 down to .1 on 10,000 held-out rows each: no error falls like that."""
    foretold = project([pilot(16, 9900, 10_000), pilot(64, 1000, 10_000)], 256, "accuracy")
    assert 0 <= foretold.low <= foretold.value <= foretold.high < 0.99


def test_a_perfect_pilot_stays_near_perfect() -> None:
    foretold = project([pilot(62, 128, 128)], 1000, "accuracy")
    assert foretold.high == 1.0
    assert foretold.low > 0.95


@settings(max_examples=40, deadline=None)
@given(
    rights=st.lists(st.integers(0, 60), min_size=1, max_size=4),
    more=st.integers(1, 64),
)
def test_intervals_hold_their_value_within_the_metric_s_range(rights: list[int], more: int) -> None:
    pilots = [pilot(16 * 4**n, right, 60) for n, right in enumerate(rights)]
    curve = fit(pilots, "accuracy")
    assert curve is not None
    for score in (curve.at(curve.rows * more + 1), project(pilots, curve.rows * more + 1, "accuracy")):
        assert 0 <= score.low <= score.value <= score.high <= 1
        assert not math.isnan(score.value)
    gain = curve.gain(more)
    assert gain.low <= gain.value <= gain.high


def test_intervals_hold_what_power_laws_come_to() -> None:
    """60 laws drawn by a seed, two pilots on 200 held-out rows each: at most 6 of the 95 % intervals may miss."""
    chance, missed = random.Random(0), 0
    for _ in range(60):
        left, fall, exponent = chance.uniform(0, 0.2), chance.uniform(0.3, 0.8), chance.uniform(0.1, 0.8)
        law = {rows: min(1.0, left + fall * (rows / 16) ** -exponent) for rows in (64, 256, 1024)}
        seen = {rows: sum(chance.random() >= law[rows] for _ in range(200)) for rows in (64, 256)}
        foretold = project([pilot(64, seen[64]), pilot(256, seen[256])], 1024, "accuracy")
        missed += not foretold.low <= 1 - law[1024] <= foretold.high
    assert missed <= 6


# -- which pilots count ----------------------------------------------------------------------------------


def test_of_pilots_on_as_many_rows_the_one_scored_on_most_counts_and_then_the_latest() -> None:
    few, most, later = pilot(62, 40, 48), pilot(62, 100, 200), pilot(62, 110, 200)
    for order in ([few, most, later], [most, few, later]):
        curve = fit(order, "accuracy")
        assert curve is not None
        assert curve.points == (Point(62, wilson(110, 200)),)


def test_pilots_that_failed_or_saw_no_rows_are_left_out() -> None:
    failed = Pilot("probe", 62, 0.1, 0, "p", error="it crashed")
    assert fit([failed, pilot(0, 100)], "accuracy") is None
    with pytest.raises(ValueError, match="no pilot was scored"):
        project([failed], 1000, "accuracy")


def test_the_same_pilots_foretell_the_same() -> None:
    first, second = (Curve((Point(62, wilson(100, 200)),), "accuracy").at(500) for _ in range(2))
    assert first == second


def test_every_method_either_learns_from_labels_or_not() -> None:
    assert {name for name in EXECUTORS if learns([name])} == {"probe", "peft", "full", "preference", "small_encoder"}
    assert learns(("rag", "peft"))
    assert not learns(("prompt",))


# -- in words ----------------------------------------------------------------------------------------------


def race(*pilots: Pilot) -> Race:
    names = list(dict.fromkeys(one.candidate for one in pilots))
    standings = tuple(Standing(name, tuple(name.split("+")), "viable") for name in names)
    return Race("classification", "accuracy", 1000, 200, 0.02, None, 1, 1, 1, "done", standings, pilots)


def test_a_race_has_curves_of_those_that_learn_by_their_share_of_the_rows() -> None:
    """A pilot of a share takes that share of the steps, though it may see more rows: at least 32."""
    found = curves(race(pilot(32, 60, share=1 / 64), pilot(1000, 150), pilot(1000, 90, name="prompt")))
    assert list(found) == ["probe"]
    assert [point.rows for point in found["probe"].points] == [16, 1000]


def test_the_method_that_profits_most_is_named_first() -> None:
    steep = [pilot(62, 30, name="peft"), pilot(250, 80, name="peft"), pilot(1000, 130, name="peft")]
    flat = [pilot(62, 178), pilot(250, 179), pilot(1000, 180)]
    lines = told(curves(race(*flat, *steep)), "en", 2000)
    assert lines[0].startswith("2,000 more labels would help, Parameter-efficient")
    assert "accuracy" in lines[0]
    assert "1,000 rows" in lines[0]
    assert lines[1].startswith("Of the others: ")


def test_labels_that_hardly_help_are_said_to_and_one_pilot_is_a_guess() -> None:
    flat = [pilot(62, 1990, 2000), pilot(1000, 1990, 2000)]
    assert "hardly" in told(curves(race(*flat)), "en")[0]
    lines = told(curves(race(pilot(1000, 120))), "en")
    assert "may help" in lines[0]
    assert "one pilot" in lines[1]
    assert "No candidate" in told({}, "en")[0]


def test_it_is_said_in_chinese_as_well() -> None:
    lines = told(curves(race(pilot(62, 60), pilot(1000, 120), pilot(1000, 100, name="peft"))), "zh")
    assert "再标注 500 行" in lines[0]
    assert not any("{" in line for line in lines)
