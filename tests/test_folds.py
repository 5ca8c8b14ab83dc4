"""Cross-validation: every row is scored once, by a model that never saw it, and an interruption costs one fold."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from executors.base import DataSpec, Event, Input, Job, Plan, Prediction, Reporter, UserError, silent
from executors.data import input_key, load_dataset
from executors.data.folds import check_folds, split_folds
from executors.run import run_plan
from tests.fakes import FirstWordExecutor, FirstWordPredictor

Advisor = Callable[..., tuple[int, str, str]]


class RememberingPredictor(FirstWordPredictor):
    """Answers with a label it has learnt by heart, and knows nothing of other texts."""

    def predict(self, inputs: Sequence[Input], report: Reporter = silent) -> list[Prediction]:
        return [Prediction(self.known.get(one.text, "unknown")) for one in inputs]


class RememberingExecutor(FirstWordExecutor):
    """Counts its trainings, and can be told to fail at one of them."""

    Predictor = RememberingPredictor

    def __init__(self, fails_at: int = -1) -> None:
        self.fails_at, self.jobs = fails_at, list[Job]()

    def build(self, job: Job) -> Any:
        self.jobs.append(job)
        if len(self.jobs) == self.fails_at:
            raise KeyboardInterrupt
        return RememberingPredictor({row.input.text: row.target for row in job.rows})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    lines = [f"text number {n},{'odd' if n % 2 else 'even'}" for n in range(23)]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["text,label", *lines]))
    return path


def plan(data: Path, folds: int = 4) -> Plan:
    return Plan("remembering", "classification", DataSpec(str(data), folds=folds))


def use(monkeypatch: pytest.MonkeyPatch, executor: RememberingExecutor) -> RememberingExecutor:
    monkeypatch.setattr("executors.method", lambda name: executor)
    return executor


def test_folds_hold_out_every_row_once_and_every_class_evenly(data: Path) -> None:
    dataset = load_dataset(DataSpec(str(data), folds=4), "classification", 0)
    folds = split_folds(dataset, 4, 0, "classification")
    assert sorted(row.id for fold in folds for row in fold.test) == sorted(row.id for row in dataset.train)
    assert sorted(len(fold.test) for fold in folds) == [5, 6, 6, 6]
    for fold in folds:
        assert not {row.id for row in fold.train} & {row.id for row in fold.test}
        assert len(fold.train) + len(fold.test) == 23
        assert sum(row.target == "odd" for row in fold.test) in (2, 3)
    assert [f.test for f in split_folds(dataset, 4, 0, "classification")] == [f.test for f in folds]
    assert [f.test for f in split_folds(dataset, 4, 1, "classification")] != [f.test for f in folds]


def test_rows_of_one_input_are_in_one_fold(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("\n".join(["text,answer", *(f"text {n // 3},answer {n}" for n in range(30))]))
    dataset = load_dataset(DataSpec(str(path), folds=5), "generation", 0)
    for fold in split_folds(dataset, 5, 0, "generation"):
        assert not {input_key(row) for row in fold.train} & {input_key(row) for row in fold.test}
        assert all(len(row.targets) == 3 for row in fold.test)


def test_every_row_is_scored_by_a_model_that_never_saw_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, events = use(monkeypatch, RememberingExecutor()), list[Event]()
    result = run_plan(plan(data), tmp_path / "run", events.append)
    assert result.scores["accuracy"].n == 23
    assert result.scores["accuracy"].value == 0  # what is known by heart would have been answered right
    assert (result.rows["train"], result.rows["test"]) == (23, 23)
    assert [len(job.rows) for job in executor.jobs] == [17, 17, 17, 18, 23]  # the last, to be kept, on all rows
    assert executor.jobs[0].leaks(executor.jobs[-1].rows)  # what is held out of the first fold
    assert not executor.jobs[-1].leaks(executor.jobs[-1].rows)  # nothing is held out of the one that is kept
    assert any(note["en"] == "accuracy by fold: 0, 0, 0, 0" for note in result.notes)
    assert "4-fold" in " ".join(note["en"] for note in result.notes)
    predictions = [json.loads(line) for line in (tmp_path / "run" / "predictions.jsonl").read_text().splitlines()]
    assert len({one["id"] for one in predictions}) == 23
    kept = RememberingPredictor.load(tmp_path / "run" / "artifact")
    assert len(kept.known) == 23
    assert not (tmp_path / "run" / "work").exists()
    assert {"1/4", "4/4"} <= {event.note for event in events if event.stage == "save"}
    assert run_plan(plan(data), tmp_path / "run") == result  # done, so not done again
    assert len(executor.jobs) == 5


@pytest.mark.parametrize("at", [3, 5])
def test_an_interrupted_cross_validation_goes_on_with_its_fold(
    at: int, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_plan_with(RememberingExecutor(), data, tmp_path / "whole", monkeypatch)
    executor = use(monkeypatch, RememberingExecutor(fails_at=at))
    with pytest.raises(KeyboardInterrupt):
        run_plan(plan(data), tmp_path / "run")
    again = use(monkeypatch, RememberingExecutor())
    result = run_plan(plan(data), tmp_path / "run")
    assert len(executor.jobs) + len(again.jobs) == 6  # five trainings, one of them begun twice
    assert result.scores == whole.scores
    files = [(tmp_path / name / "predictions.jsonl").read_text() for name in ("run", "whole")]
    assert files[0] == files[1]


def run_plan_with(executor: RememberingExecutor, data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    use(monkeypatch, executor)
    return run_plan(plan(data), folder)


def test_what_makes_no_folds_is_refused(data: Path, tmp_path: Path) -> None:
    for folds in (1, -3, 21):
        (problem,) = check_folds(DataSpec("x.csv", folds=folds))
        assert f"got {folds}" in problem.message
        assert problem.zh
    (problem,) = check_folds(DataSpec("x.csv", "test.csv", folds=5))
    assert "test.csv" in problem.message
    assert check_folds(DataSpec("x.csv", "test.csv")) == []
    few = tmp_path / "few.csv"
    few.write_text("text,label\none,a\ntwo,b\nthree,a\n")
    dataset = load_dataset(DataSpec(str(few), folds=5), "classification", 0)
    with pytest.raises(UserError, match="5 folds need as many different inputs, and there are 3"):
        split_folds(dataset, 5, 0, "classification")


def test_folds_are_offered_where_few_rows_are_held_out(data: Path, tmp_path: Path) -> None:
    notes = load_dataset(DataSpec(str(data)), "classification", 0).notes
    assert any("--folds 5" in note["en"] for note in notes)
    many = tmp_path / "many.csv"
    many.write_text("\n".join(["text,label", *(f"text number {n},{n % 2}" for n in range(600))]))
    assert not any("--folds" in note["en"] for note in load_dataset(DataSpec(str(many)), "classification", 0).notes)


def test_the_command_runs_folds_and_the_floor_on_the_same_rows(advisor: Advisor, workdir: Path, data: Path) -> None:
    from advisor.plan import read_plan, write_plan

    write_plan(workdir / "plan.yaml", Plan("baseline", "classification", DataSpec(str(data))))
    status, out, err = advisor("run", "plan.yaml", "--folds", "3", "--json")
    assert status == 0, err
    record = json.loads(out)
    assert (record["rows"]["test"], record["scores"]["accuracy"]["n"]) == (23, 23)
    (folder,) = (workdir / "runs").iterdir()
    assert read_plan(folder / "plan.yaml").data.folds == 3
    status, _, err = advisor("run", "plan.yaml", "--folds", "1")
    assert status == 1
    assert "folds: must be from 2 to 20" in err
