"""The arithmetic of the regret benchmark: what a choice loses, and what finding it took. By hand-computed values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from advisor.answers import read_answers
from executors.base import DataSpec, Input, Plan, Prediction, Row, UserError
from tests.benchmarks.regret import oracle, scoring, sets
from tests.benchmarks.regret.oracle import Entry
from tests.benchmarks.regret.scoring import Run

RUNS = {
    "baseline": Run("baseline", 0.10, 0.12, 1.0),
    "probe": Run("probe", 0.84, 0.80, 9.0),
    "peft": Run("peft", 0.90, 0.86, 190.0),
}


def test_the_oracle_is_chosen_on_the_own_half_and_regret_is_measured_on_the_hidden_one() -> None:
    assert scoring.oracle(RUNS).name == "peft"
    assert scoring.regret(RUNS, "probe", "baseline") == pytest.approx(0.06)
    assert scoring.regret(RUNS, "peft", "baseline") == 0


def test_a_choice_that_is_better_on_the_hidden_half_has_a_regret_below_zero() -> None:
    runs = {**RUNS, "peft": Run("peft", 0.90, 0.77, 190.0)}
    assert scoring.regret(runs, "probe", "baseline") == pytest.approx(-0.03)


def test_of_equal_runs_the_cheaper_is_the_oracle() -> None:
    runs = {**RUNS, "full": Run("full", 0.90, 0.99, 191.0)}
    assert scoring.oracle(runs).name == "peft"


def test_a_choice_that_cannot_be_run_counts_as_the_floor() -> None:
    assert scoring.regret(RUNS, "rag", "baseline") == pytest.approx(0.86 - 0.12)


def test_compute_is_a_share_of_running_everything() -> None:
    assert scoring.share(50.0, RUNS.values()) == pytest.approx(0.25)


def test_what_a_run_took_is_counted_for_the_rows_that_a_race_answers() -> None:
    # 120 CPU seconds, two thirds of which built: 80 + 40 * 250 / 500
    assert scoring.own_seconds(120.0, build=40.0, predict=20.0, own=250, answered=500) == pytest.approx(100.0)
    assert scoring.own_seconds(3.0, build=0.0, predict=0.0, own=1, answered=2) == 3.0


def test_numbers_are_scored_from_zero_to_one_by_the_range_of_all_held_out_targets() -> None:
    rows = [Row(str(n), Input(f"text {n}"), (target,)) for n, target in enumerate(("0", "10", "4"))]
    answers = [Prediction("1"), Prediction("7"), Prediction("4")]
    # of the first two: errors 1 and 3, mean 2, of a range of 10
    assert scoring.half_score("regression", rows[:2], answers[:2], rows) == pytest.approx(0.8)


def test_errors_beyond_the_range_score_zero() -> None:
    rows = [Row(str(n), Input(f"text {n}"), (target,)) for n, target in enumerate(("0", "1"))]
    assert scoring.half_score("regression", rows, [Prediction("5"), Prediction("9")], rows) == 0.0


def test_halves_are_told_by_what_the_rows_say() -> None:
    rows = [Row(str(n), Input(text)) for n, text in enumerate(("one", "two", "three"))]
    mine = [Row("0", Input("Three"))]  # another file: another id
    assert scoring.split_half(rows, mine) == ([2], [0, 1])


def test_halves_share_nothing_and_the_first_is_not_the_smaller() -> None:
    first, second = sets.halves(range(7))
    assert (len(first), len(second)) == (4, 3)
    assert sorted([*first, *second]) == list(range(7))


def test_no_training_row_has_the_text_of_a_held_out_one() -> None:
    train = [{"text": "Card  lost"}, {"text": "card stolen"}]
    assert sets.apart(train, [{"text": "card lost"}], "text") == [{"text": "card stolen"}]


def test_the_demo_sets_keep_their_halves_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sets.data, "MADE", tmp_path)
    case = sets.situation("demo-questions")
    own, whole, train = (
        [json.loads(line)["question"] for line in path.read_text(encoding="utf-8").splitlines()]
        for path in (case.own, case.held_out, case.train)
    )
    assert len(own) * 2 == len(whole) == 70
    assert own == whole[:35]
    assert not {*train} & {*whole}
    assert case.inputs().test == str(case.own)
    assert case.inputs(whole=True).test == str(case.held_out)


def test_every_answers_file_can_be_read() -> None:
    paths = sorted(sets.ANSWERS.glob("*.yaml"))
    assert len(paths) == 9
    for path in paths:
        assert "target_score" not in read_answers(path)  # with a target, less than the best may be right


def test_a_chain_has_one_name() -> None:
    assert oracle.canonical("peft+rag") == "rag+peft"
    assert oracle.canonical("cpt+peft") == "cpt+peft"


# -- one run -------------------------------------------------------------------------------------------


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Entry:
    """The floor on three rows, in a folder of this test; no libraries are loaded before."""
    monkeypatch.setattr(oracle, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(oracle, "HEAVY", ())
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(40)), encoding="utf-8")
    return Entry("set", "baseline", Plan("baseline", "classification", DataSpec(str(path))))


def test_a_run_leaves_its_cost_and_is_not_run_again(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    assert entry.state == "open"
    assert oracle.run_entry(entry) == "done" == entry.state
    assert entry.cost["cpu"] >= 0
    assert entry.cost["attempts"] == 1
    assert {*entry.cost["seconds"]} == {"build", "predict"}
    monkeypatch.setattr(oracle, "_run", None)  # would crash
    assert oracle.run_entry(entry) == "done"


def test_a_crash_is_noted_and_another_attempt_adds_to_the_cost(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise ValueError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(oracle, "_run", crash)
        assert oracle.run_entry(entry) == "failed"
    assert entry.cost["error"] == "ValueError: out of memory"
    assert oracle.run_entry(entry) == "done"
    assert entry.cost["attempts"] == 2
    assert "error" not in entry.cost


def test_what_a_method_refuses_is_told_with_its_reason(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise UserError("the documents do not fit")

    monkeypatch.setattr(oracle, "_run", refuse)
    assert oracle.run_entry(entry) == "refused"
    assert entry.cost["error"] == "the documents do not fit"


def test_another_plan_is_another_run(entry: Entry) -> None:
    oracle.run_entry(entry)
    assert entry.plan is not None
    assert not isinstance(entry.plan, oracle.Chain)
    other = Entry(entry.set, entry.name, oracle.dataclasses.replace(entry.plan, seed=1))
    assert other.state == "open"


def test_weights_are_deleted_and_answers_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle, "WEIGHTS", 10)
    (tmp_path / "artifact").mkdir()
    (tmp_path / "work").mkdir()
    for name, content in (("artifact/model.safetensors", "x" * 20), ("work/step", "x"), ("answers", "x")):
        (tmp_path / name).write_text(content, encoding="utf-8")
    oracle.prune(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["answers", "artifact"]
