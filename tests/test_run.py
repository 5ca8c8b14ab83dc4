"""Running a plan: the record it leaves, and what an interruption keeps."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import executors
from executors.base import DataSpec, Plan, UserError
from executors.run import check_plan, open_predictor, peak_memory_mb, read_predictions, read_result, run_plan
from tests import fakes
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(executors.EXECUTORS, "first_word", "tests.fakes:FirstWordExecutor")
    fakes.BREAK.clear()
    fakes.CALLS.update(build=0, rows=0)
    yield
    fakes.BREAK.clear()


@pytest.fixture
def plan(workdir: Path) -> Plan:
    words = {"red": "warm", "blue": "cold"}
    rows = [f"{word} thing {n},{words[word]}" for n in range(100) for word in words]
    Path("rows.csv").write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return Plan("first_word", "classification", DataSpec("rows.csv", held_out=0.8))


def test_a_run_leaves_its_record(plan: Plan, workdir: Path) -> None:
    result = run_plan(plan, workdir / "r")
    assert result.status == "done"
    assert result.metric == "accuracy"
    assert result.scores["accuracy"].value == 1.0
    assert result.rows["test"] == result.scores["accuracy"].n == 160
    assert result.params == {"strength": 1.0, "rounds": 2}
    assert read_result(workdir / "r") == result
    assert not (workdir / "r" / "work").exists()
    lines = (workdir / "r" / "predictions.jsonl").read_text().splitlines()
    assert len({json.loads(line)["id"] for line in lines}) == 160


def test_what_is_saved_answers_like_what_was_scored(plan: Plan, workdir: Path) -> None:
    run_plan(plan, workdir / "r")
    from executors.data import load_dataset

    test = load_dataset(plan.data, plan.task, plan.seed).test
    again = open_predictor(workdir / "r").predict([row.input for row in test])
    scored = read_predictions(workdir / "r" / "predictions.jsonl")
    assert [p.text for p in again] == [scored[row.id].text for row in test]


def test_a_finished_run_is_not_done_again(plan: Plan, workdir: Path) -> None:
    run_plan(plan, workdir / "r")
    run_plan(plan, workdir / "r")
    assert fakes.CALLS["build"] == 1


def test_changed_data_is_a_new_run(plan: Plan, workdir: Path) -> None:
    run_plan(plan, workdir / "r")
    with Path("rows.csv").open("a", encoding="utf-8") as out:
        out.write("green thing,cold\n" * 1)
    run_plan(plan, workdir / "r")
    assert fakes.CALLS["build"] == 2


def test_an_interrupted_prediction_goes_on_where_it_was(plan: Plan, workdir: Path) -> None:
    fakes.BREAK["predict"] = 64
    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, workdir / "r")
    interrupted = read_result(workdir / "r")
    assert interrupted is not None
    assert interrupted.status == "interrupted"
    fakes.BREAK.clear()
    result = run_plan(plan, workdir / "r")
    assert result.status == "done"
    assert "resumed" in result.notes[-1]["en"]
    assert fakes.CALLS == {"build": 1, "rows": 160}


def test_a_line_cut_by_a_kill_is_predicted_again(plan: Plan, workdir: Path) -> None:
    run_plan(plan, workdir / "r")
    path = workdir / "r" / "predictions.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    (workdir / "r" / "result.json").unlink()
    fakes.CALLS["rows"] = 0
    result = run_plan(plan, workdir / "r")
    assert fakes.CALLS["rows"] == 1
    assert result.scores["accuracy"].n == 160


def test_a_failure_is_recorded_and_keeps_its_traceback(plan: Plan, workdir: Path) -> None:
    fakes.BREAK["build"] = 1
    with pytest.raises(RuntimeError, match="the fake broke"):
        run_plan(plan, workdir / "r")
    failed = read_result(workdir / "r")
    assert failed is not None
    assert (failed.status, failed.error) == ("failed", "RuntimeError: the fake broke")


def test_every_problem_of_a_plan_is_said_at_once(plan: Plan, workdir: Path) -> None:
    from dataclasses import replace

    bad = replace(plan, task="summarisation", seed=-1, params={"strenght": 2, "rounds": "two"})
    messages = " ".join(p.message for p in check_plan(bad))
    for part in ("did you mean 'strength'", "params.rounds", "cannot do summarisation", "seed"):
        assert part in messages
    with pytest.raises(UserError, match="4 problems"):
        run_plan(bad, workdir / "r")
    assert not (workdir / "r").exists()


def test_the_peak_of_a_process_does_not_begin_with_that_of_its_parent() -> None:
    held = bytearray(300_000_000)
    held[::4096] = b"x" * len(held[::4096])  # resident
    code = "from executors.run import peak_memory_mb; print(peak_memory_mb())"
    child = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    own, parents = float(child.stdout), peak_memory_mb()
    assert parents is not None
    assert own < parents - 100 if sys.platform == "linux" else own > 0
    del held
