"""The ladder that climbs itself, on runs that answer as they are told to: no model is behind them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from advisor.commands.ask import complete
from advisor.decision import Decision, Inputs
from advisor.facts import Fact, Facts
from advisor.prove.until import FILE, FOLDER, Climb, Climbing, cures, read_climb, stages
from advisor.texts import LANGUAGES
from executors.base import Plan, Prediction, Result, UserError, write_json
from executors.chain import Chain
from executors.data import load_dataset
from executors.metrics import score
from executors.run import write_predictions

TEST = 100
SAID: Mapping[str, object] = {
    "task": "classification", "classes": 2, "labelled_examples": 60, "training_budget": "small",
    "knowledge_tokens": 0, "knowledge_change": "static",
}  # fmt: skip


def write_rows(folder: Path) -> Inputs:
    for name, count in (("train", 60), ("test", TEST)):
        lines = [f"{name} case {n} {'good' if n % 2 else 'bad'},{'yes' if n % 2 else 'no'}" for n in range(count)]
        (folder / f"{name}.csv").write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")
    return Inputs(data=str(folder / "train.csv"), test=str(folder / "test.csv"))


@pytest.fixture(scope="module")
def decision(tmp_path_factory: pytest.TempPathFactory) -> Decision:
    facts = Facts({name: Fact(name, value, "asked") for name, value in SAID.items()})  # type: ignore[arg-type]
    return complete(facts, write_rows(tmp_path_factory.mktemp("rows")), "r")


class Runs:
    """Runs that are right on so many rows by method, or fail; `made` in the order in which they were run."""

    def __init__(self, right: Mapping[str, int], broken: tuple[str, ...] = (), stop_at: str = "") -> None:
        self.right, self.broken, self.stop_at = right, broken, stop_at
        self.made: list[str] = []

    def __call__(self, folder: Path, plan: Plan | Chain, again: str) -> Result:
        assert isinstance(plan, Plan)
        self.made.append(plan.executor)
        if plan.executor == self.stop_at:
            raise KeyboardInterrupt
        if plan.executor in self.broken:
            raise RuntimeError("out of memory")
        rows = load_dataset(plan.data, plan.task, plan.seed).test
        wrong = {"yes": "no", "no": "yes"}
        right = self.right.get(plan.executor, 50)
        given = [Prediction(row.target if n < right else wrong[row.target]) for n, row in enumerate(rows)]
        write_predictions(folder / "predictions.jsonl", {row.id: p for row, p in zip(rows, given, strict=True)})
        (folder / "artifact").mkdir(exist_ok=True)
        write_json(folder / "artifact" / "about.json", {"plan": plan, "executor": plan.executor})
        metric, scores = score(plan.task, rows, given)
        return Result(plan.executor, plan.task, "done", metric=metric, scores=scores, rows={"test": len(rows)})


@pytest.fixture
def climb(tmp_path: Path, decision: Decision) -> Callable[..., tuple[Climb, Runs]]:
    def call(target: float, right: Mapping[str, int], minutes: float | None = None, **more: object):  # type: ignore[no-untyped-def]
        runs = Runs(right, **more)  # type: ignore[arg-type]
        return Climbing(tmp_path / "r", decision, target, minutes, runs).climb(), runs

    return call


def names(climb: Climb) -> list[str]:
    return [rung.name for rung in climb.rungs]


def test_it_stops_at_the_target_and_says_that_all_of_the_interval_is_there(climb) -> None:  # type: ignore[no-untyped-def]
    found, runs = climb(0.8, {"probe": 95})
    assert names(found) == ["baseline", "probe"] == runs.made
    last = found.rungs[-1]
    assert (found.status, last.reached, last.surely) == ("reached", True, True)


def test_a_target_reached_by_the_estimate_alone_is_said_to_be(climb) -> None:  # type: ignore[no-untyped-def]
    found, _ = climb(0.94, {"probe": 95})
    assert (found.status, found.rungs[-1].reached, found.rungs[-1].surely) == ("reached", True, False)
    assert "to be sure" in found.told["en"]


def test_the_lever_follows_the_failure_and_nothing_is_run_twice(climb) -> None:  # type: ignore[no-untyped-def]
    found, runs = climb(0.99, {"prompt": 55, "probe": 80, "small_encoder": 85, "peft": 85})
    assert found.status == "exhausted"
    assert runs.made[0] == "baseline"
    assert len(names(found)) == len(set(names(found)))
    after = names(found)[names(found).index("prompt") + 1 :]
    assert found.rungs[-1].read == "behaviour"  # labels that examples teach
    assert all(cures((name.partition("@")[0],), "behaviour") for name in after)
    assert found.best is not None
    assert found.best.score is not None
    assert found.best.score.value == 0.85


def test_a_rung_that_the_budget_cannot_pay_is_skipped(climb) -> None:  # type: ignore[no-untyped-def]
    found, runs = climb(0.99, {}, minutes=1e-6)
    assert runs.made == ["baseline"]
    assert found.status == "budget"
    assert "left" in found.skipped["probe"]["en"]


def test_a_rung_that_crashes_is_kept_and_the_next_is_run(climb) -> None:  # type: ignore[no-untyped-def]
    found, runs = climb(0.9, {"prompt": 95, "small_encoder": 95}, broken=("probe",))
    crashed = next(rung for rung in found.rungs if rung.name == "probe")
    assert (crashed.state, crashed.error) == ("failed", "RuntimeError: out of memory")
    assert found.status == "reached"
    assert len(runs.made) > 2


def test_a_climb_that_was_broken_off_takes_the_same_way(tmp_path: Path, decision: Decision) -> None:
    right = {"probe": 60, "prompt": 55, "small_encoder": 95}
    whole = Climbing(tmp_path / "a", decision, 0.9, None, Runs(right)).climb()
    last = whole.rungs[-1].methods[0]
    with pytest.raises(KeyboardInterrupt):
        Climbing(tmp_path / "b", decision, 0.9, None, Runs(right, stop_at=last)).climb()
    kept = read_climb(tmp_path / "b")
    assert kept is not None
    assert kept.status == "interrupted"
    again = Climbing(tmp_path / "b", decision, 0.9, None, Runs(right)).climb()
    assert [rung.folder for rung in again.rungs] == [rung.folder for rung in whole.rungs]
    assert again.status == "reached"


def test_the_record_is_read_back_and_every_rung_has_its_decision(climb, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    found, _ = climb(0.8, {"probe": 95})
    assert read_climb(tmp_path / "r") == found
    for rung in found.rungs:
        raw = json.loads((tmp_path / "r" / FOLDER / rung.folder / "decision.json").read_text(encoding="utf-8"))
        assert raw["run"].endswith(rung.folder)
    assert set(found.told) == set(LANGUAGES)


def test_a_damaged_record_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / FILE).write_text('{"rungs": 3}', encoding="utf-8")
    with pytest.raises(UserError) as raised:
        read_climb(tmp_path)
    assert "--until" in raised.value.hint


def test_a_hybrid_is_built_stage_by_stage(decision: Decision) -> None:
    import dataclasses

    assert stages(dataclasses.replace(decision, methods=("rag", "peft"))) == ["rag", "rag+peft"]
    assert stages(dataclasses.replace(decision, methods=("probe",))) == ["probe"]


@pytest.mark.parametrize(
    ("failure", "levers"),
    [("facts", {"rag", "rag+peft"}), ("behaviour", {"peft", "rag+peft"}), ("both", {"rag", "peft", "rag+peft"})],
)
def test_what_cures_a_failure(failure: str, levers: set[str]) -> None:
    found = {name for name in ("prompt", "rag", "peft", "rag+peft") if cures(tuple(name.split("+")), failure)}
    assert found == levers


def test_it_is_shown_in_both_languages(climb, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    from advisor.commands.shared import console
    from advisor.screen.until import show_climb, tell_rung

    found, _ = climb(0.94, {"probe": 95})
    for lang, said in (("en", "reaches the target"), ("zh", "达到目标")):
        tell_rung(found, lang, console())
        show_climb(found, lang, console())
        assert said in " ".join(capsys.readouterr().out.split())
