"""A run on a part of the rows: which rows those are, how it goes on with more, and what single answers take."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import executors
from executors.base import DataSpec, Input, Plan, Row
from executors.data import load_dataset
from executors.data.drawing import draw
from executors.energy import Meter
from executors.run import check_plan, fingerprint, read_predictions, run_plan
from tests import fakes


def rows_of(labels: str) -> list[Row]:
    return [Row(str(n), Input(f"text {n}"), (label,)) for n, label in enumerate(labels)]


@given(st.text("abc", min_size=1, max_size=40), st.integers(0, 50), st.integers(0, 50), st.integers(0, 3))
def test_a_smaller_part_lies_within_a_larger_one(labels: str, one: int, other: int, seed: int) -> None:
    rows = rows_of(labels)
    small, large = sorted((one or len(rows), other or len(rows)))
    inside = draw(rows, small, seed, "classification")
    assert set(inside) <= set(draw(rows, large, seed, "classification"))
    assert len(inside) == min(small, len(rows))
    assert [int(row.id) for row in inside] == sorted(int(row.id) for row in inside)


def test_every_class_comes_first_and_then_has_its_share() -> None:
    rows = rows_of("a" * 80 + "b" * 18 + "c" * 2)
    assert {row.target for row in draw(rows, 3, 0, "classification")} == set("abc")
    counts = Counter(row.target for row in draw(rows, 50, 0, "classification"))
    assert 38 <= counts["a"] <= 42
    assert 8 <= counts["b"] <= 10


def test_another_seed_draws_other_rows() -> None:
    rows = rows_of("a" * 100)
    assert draw(rows, 20, 0, "generation") != draw(rows, 20, 1, "generation")


@pytest.fixture
def plan(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setitem(executors.EXECUTORS, "first_word", "tests.fakes:FirstWordExecutor")
    fakes.BREAK.clear()
    fakes.CALLS.update(build=0, rows=0)
    lines = [f"{word} thing {n},{label}" for n in range(60) for word, label in (("red", "warm"), ("blue", "cold"))]
    Path("rows.csv").write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return Plan("first_word", "classification", DataSpec("rows.csv", held_out=0.5))


def with_data(plan: Plan, **changes: int) -> Plan:
    return replace(plan, data=replace(plan.data, **changes))


def test_a_part_leaves_the_held_out_rows_alone(plan: Plan) -> None:
    whole, part = (load_dataset(p.data, p.task, 0) for p in (plan, with_data(plan, rows=10)))
    assert len(part.train) == 10
    assert set(part.train) < set(whole.train)
    assert part.test == whole.test


def test_more_held_out_rows_go_on_with_what_was_built_and_answered(plan: Plan, workdir: Path) -> None:
    first = run_plan(with_data(plan, scored=20), workdir / "r")
    early = read_predictions(workdir / "r" / "predictions.jsonl")
    assert first.rows["test"] == first.scores["accuracy"].n == len(early) == 20
    second = run_plan(with_data(plan, scored=50), workdir / "r")
    later = read_predictions(workdir / "r" / "predictions.jsonl")
    assert second.rows["test"] == 50
    assert set(early) < set(later)
    assert fakes.CALLS == {"build": 1, "rows": 50}


def test_fewer_held_out_rows_than_were_scored_are_no_new_work(plan: Plan, workdir: Path) -> None:
    run_plan(plan, workdir / "r")
    assert run_plan(with_data(plan, scored=5), workdir / "r").rows["test"] == 60
    assert fakes.CALLS["rows"] == 60


def test_fewer_rows_to_learn_from_are_another_run_and_none_named_is_the_same(plan: Plan) -> None:
    assert fingerprint(with_data(plan, rows=10)) != fingerprint(plan)
    assert fingerprint(with_data(plan, scored=10)) == fingerprint(plan)


def test_a_part_cannot_be_cross_validated(plan: Plan) -> None:
    assert "neither rows nor scored" in check_plan(with_data(plan, folds=3, rows=10))[0].message


def test_single_answers_are_timed_and_scored_with_the_others(plan: Plan, workdir: Path) -> None:
    result = run_plan(plan, workdir / "r", timed=11)
    assert result.latency["n"] == 10
    assert 0 < result.latency["p50"] <= result.latency["p95"]
    assert result.scores["accuracy"].n == 60
    assert fakes.CALLS["rows"] == 60


def test_a_meter_sums_the_processors_counters_across_their_end(tmp_path: Path) -> None:
    place = tmp_path / "intel-rapl:0"
    place.mkdir()
    (place / "max_energy_range_uj").write_text("10000000")
    (place / "energy_uj").write_text("9000000")
    with Meter(tmp_path, power=lambda: None) as meter:
        (place / "energy_uj").write_text("2000000")
    assert meter.joules == pytest.approx(3.0)


def test_a_meter_without_anything_to_read_tells_nothing(tmp_path: Path) -> None:
    with Meter(tmp_path, power=lambda: None) as meter:
        pass
    assert meter.joules is None
