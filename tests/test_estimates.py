"""Estimates before a run: each part by hand, and beside what finished runs really took."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from advisor.estimate import Estimate, estimate_all, estimate_plan, estimate_seconds, rig_of
from advisor.profile.machine import Machine
from advisor.quote.workload import ATTENTION, Workload
from advisor.work import Rows, add, over
from advisor.work_heads import FIT_FLOPS, FIT_SECONDS, LOOKS, fits, stopping
from advisor.work_training import _asked, trained
from executors.base import DataSpec, Plan
from executors.tuning.params import PeftParams

DEMO = Path(__file__).parents[1] / "knowledge" / "demo"
REQUESTS = DataSpec(str(DEMO / "requests-train.csv"), str(DEMO / "requests-test.csv"))  # 210 rows, 150, 12 labels
MACHINE = Machine(cores=2, memory_gb=8)
ROWS = Rows(train=210, test=150, input_tokens=24, answer_tokens=4, labels=12)
TFLOPS = 0.15  # what a busy half hour left of the .2 of two cores, on which the runs below took their time
SHORT: dict[str, Any] = {"epochs": 1e-9, "min_steps": 60, "checkpoint_steps": 60, "compare": 0, "forgetting": False}


def seconds(method: str, rows: Rows = ROWS, **params: Any) -> tuple[float, float]:
    return estimate_seconds(Plan(method, "classification", REQUESTS, params=params), rows, MACHINE, TFLOPS, warm=True)


# -- beside what runs took -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "params", "took"),
    [
        ("peft", {**SHORT, "variant": "ia3"}, 125.8),
        ("peft", {**SHORT, "variant": "prefix_tuning"}, 121.4),
        ("peft", {**SHORT, "variant": "prompt_tuning"}, 136.2),
        ("peft", {**SHORT, "variant": "bottleneck_adapters"}, 130.6),
        ("peft", {**SHORT, "variant": "dora"}, 251.2),
        ("probe", {}, 5.4),
        ("small_encoder", {"variant": "setfit"}, 44.4),
    ],
    ids=lambda value: value.get("variant", "") if isinstance(value, dict) else str(value),
)
def test_what_runs_on_the_demo_took_is_within_twice_of_the_middle(method: str, params: Any, took: float) -> None:
    low, high = seconds(method, **params)
    assert 0.5 < math.sqrt(low * high) / took < 2


def test_the_middle_is_geometric_and_of_nothing_nothing() -> None:
    assert Estimate({}, (4.0, 100.0)).point == 20.0
    assert Estimate({}).point is None


def test_what_runs_after_another_does_not_load_the_libraries_again() -> None:
    plan = Plan("probe", "classification", REQUESTS)
    cold, warm = (estimate_seconds(plan, ROWS, MACHINE, TFLOPS, warm=told) for told in (False, True))
    assert (cold[0] - warm[0], cold[1] - warm[1]) == pytest.approx((3, 25))
    assert "all stages together" in estimate_all([plan, plan])["en"]


def test_an_estimate_counts_only_the_rows_a_plan_may_learn_from_and_is_scored_on() -> None:
    few = replace(REQUESTS, rows=24, scored=15)
    plans = [Plan("peft", "classification", spec, params=SHORT | {"min_steps": 1}) for spec in (REQUESTS, few)]
    whole, part = (estimate_plan(plan, warm=True).point or 0.0 for plan in plans)
    assert part < whole / 2


# -- parts ---------------------------------------------------------------------------------------------


def test_heads_are_rows_classes_and_dimensions() -> None:
    from advisor.quote.shape import MINILM

    rig = rig_of(MACHINE, 0.1)
    flops = 26 * FIT_FLOPS * 100 * 12 * 384
    expected = add((26 * FIT_SECONDS[0], 26 * FIT_SECONDS[1]), over((flops, flops), rig))
    assert fits(100, MINILM, 12, 26, rig) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("rows", "watched", "expected"),
    [
        (450, True, (4 * 57, 171)),  # three passes of 57 steps: it cannot end before
        (58, True, (4 * 8, 10 * 8)),  # 100 steps are twelve passes of 8: it may end after four looks, or ten
        (58, False, (100, 100)),  # nothing is watched
    ],
)
def test_a_training_ends_early_where_it_is_long(rows: int, watched: bool, expected: tuple[int, int]) -> None:
    assert LOOKS == 10
    least, most = expected
    assert stopping(PeftParams(), rows, watched) == (min(least, most), most)


def test_rows_of_one_passage_are_read_with_it_once() -> None:
    """Instruction 46, of which 40 before the input; 100 of passage, 20 of question and answer, and the last 6."""
    rows = Workload(rows=40, input_tokens=116, answer_tokens=4, instruction_tokens=46, passage_tokens=100)
    assert rows.length == 166
    apart = rows.computed(8, 166)[0]
    together = replace(rows, alike=4.0).computed(8, 166)
    assert apart > 8 * 126
    assert together[0] in (40 + 2 * 100 + 8 * 26, 2 * (40 + 100 + 4 * 26))
    one, two = ((n, n * (1 + ATTENTION * n / lines)) for lines, n in ((1, 448), (2, 488)))
    assert together[0] == min(one, two, key=lambda pair: pair[1])[0]


def test_lines_cost_as_the_engine_has_it() -> None:
    from executors.tuning import batches

    assert ATTENTION == batches.ATTENTION


def test_a_search_by_trials_takes_its_minutes_and_by_a_rising_rate_forty_steps() -> None:
    rig = rig_of(MACHINE, TFLOPS)

    def of(**params: Any) -> tuple[float, float]:
        return trained(Plan("peft", "classification", REQUESTS, params=params), ROWS, rig)

    plain, trials, rising = of(), of(search_minutes=10), of(search="range")
    assert 0.8 * 600 <= trials[0] - plain[0] < 600
    assert 600 < trials[1] - plain[1] < 900
    a_step = (of(min_steps=200)[0] - of(min_steps=199)[0]) or 1.0
    assert rising[0] - plain[0] > 10 * a_step
    assert rising[1] < trials[1]


def test_variants_add_what_they_add() -> None:
    times = {variant: seconds("peft", **SHORT, variant=variant)[0] for variant in ("ia3", "lora", "dora")}
    assert times["ia3"] < times["lora"] < times["dora"]


def test_small_encoders_are_counted_by_variant() -> None:
    """Passes over 189 of 210 rows; contrast over all six times; half of the layers forward and back; adapters."""
    times = {v: seconds("small_encoder", variant=v)[0] for v in ("head_and_all", "first_frozen", "last_layers", "lora")}
    assert times["last_layers"] < times["lora"] < times["head_and_all"]
    assert times["last_layers"] < times["first_frozen"] < times["head_and_all"]
    many = replace(ROWS, train=8000)
    assert seconds("small_encoder", many)[1] < 5 * seconds("small_encoder", replace(ROWS, train=2000))[1]


def test_a_probe_on_a_language_model_reads_with_that_model() -> None:
    encoder, language = seconds("probe"), seconds("probe", model="language")
    assert language[0] > encoder[0] + 5
    assert seconds("probe", model="language", layer=3)[1] < language[1]


def test_pairs_are_read_three_times_and_trained_on_twice() -> None:
    rows = replace(ROWS, labels=0, input_tokens=60, answer_tokens=100)
    rig = rig_of(MACHINE, TFLOPS)
    plan = Plan("preference", "dialogue", REQUESTS, params={"forgetting": False, "compare": 0})
    one, two = (trained(plan, rows, rig, factor)[0] for factor in (1, 2))
    assert 1.4 < two / one < 2.1
    first = replace(plan, params={**plan.params, "sft_first": True})
    plain, imitated = (estimate_seconds(one, rows, MACHINE, TFLOPS)[0] for one in (plan, first))
    assert imitated - plain == pytest.approx(trained(first, rows, rig)[0])


def test_the_rows_asked_before_and_after_are_bounded_as_a_training_bounds_them() -> None:
    plan = Plan("peft", "summarisation", REQUESTS)
    long = replace(ROWS, labels=0, input_tokens=300, answer_tokens=100, train=400)
    assert _asked(plan, PeftParams(), long) == 8  # answers of 128 tokens at most; 20 texts could be read
    assert _asked(plan, PeftParams(), replace(long, input_tokens=3000)) == 5  # never fewer
    assert _asked(plan, PeftParams(), replace(long, input_tokens=20, answer_tokens=4)) == 32
    assert _asked(plan, PeftParams(compare=0), long) == 0


def test_a_rate_that_was_measured_beside_other_work_is_the_least() -> None:
    plan = Plan("probe", "classification", REQUESTS)
    many = replace(ROWS, train=5000)
    quiet, busy = (estimate_seconds(plan, many, MACHINE, 0.02, warm=True, busy=told) for told in (False, True))
    assert busy[1] == quiet[1]
    assert busy[0] < quiet[0] / 3  # .14 TFLOP/s where the other work ends
