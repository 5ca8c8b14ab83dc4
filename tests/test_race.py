"""A race: what is piloted and when, what stops a candidate, what is kept, and what is chosen."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import executors
from advisor.decision import Inputs, decide
from advisor.facts import Fact, Facts
from advisor.prove import race as racing
from advisor.prove.candidates import Candidate, too_long, waiting_for_labels
from advisor.prove.pilots import Size, sharing_cap, shrink, sizes
from advisor.prove.race import Options, race
from advisor.prove.records import FILE, FOLDER, Race, race_of, read_race
from executors.base import DataSpec, Input, Job, Plan, Prediction, Problem, Reporter, UserError, silent, to_dict
from executors.models.endpoint import LEDGER
from tests import fakes
from tests.conftest import DEMO
from tests.fakes import FirstWordExecutor, FirstWordPredictor

BUILT: list[tuple[float, int]] = []  # the skill and rows of every training


REFUSED: list[float | None] = []  # skills whose candidates refuse to be built


@dataclass(frozen=True)
class SkilledParams:
    skill: float = 1.0  # share of the words that it learns
    min_steps: int = 100
    crash: bool = False


class SkilledExecutor(FirstWordExecutor):
    """Learns a share of the words it is shown; a candidate as good as a test wants it."""

    Params = SkilledParams

    def check(self, plan: Plan) -> list[Problem]:
        return []

    def build(self, job: Job) -> FirstWordPredictor:
        skill = job.plan.params.get("skill", 1.0)
        BUILT.append((skill, len(job.rows)))
        if skill in REFUSED:
            raise UserError("no room", "make room")
        if job.plan.params.get("crash"):
            raise MemoryError("no room for it")
        words = sorted({row.input.text.split()[0]: row.target for row in job.rows}.items())
        return FirstWordPredictor(dict(words[: round(skill * len(words))]))


class SlowPredictor(FirstWordPredictor):
    """Takes a millisecond an answer."""

    def predict(self, inputs: Sequence[Input], report: Reporter = silent) -> list[Prediction]:
        time.sleep(0.001 * len(inputs))
        return super().predict(inputs, report)


class SlowExecutor(SkilledExecutor):
    Predictor = SlowPredictor


class FloorExecutor(SkilledExecutor):
    """Knows nothing but the first word."""

    def build(self, job: Job) -> FirstWordPredictor:
        return FirstWordPredictor({})


Racer = Callable[..., Race]
AMPLE = Options(seconds=1000.0)


@pytest.fixture
def racer(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Racer:
    """``racer({"name": (skill, seconds)}, ...)``: a race of such candidates on 25 words of as many classes."""
    monkeypatch.setitem(executors.EXECUTORS, "skilled", f"{__name__}:SkilledExecutor")
    monkeypatch.setitem(executors.EXECUTORS, "slow", f"{__name__}:SlowExecutor")
    monkeypatch.setitem(executors.EXECUTORS, "floor", f"{__name__}:FloorExecutor")
    fakes.BREAK.clear()
    BUILT.clear()
    lines = [f"word{n % 25:02d} {side}{n},label{n % 25:02d}" for side in ("a", "b") for n in range(400)]
    Path("train.csv").write_text("text,label\n" + "\n".join(lines[:400]) + "\n", encoding="utf-8")
    Path("test.csv").write_text("text,label\n" + "\n".join(lines[400:]) + "\n", encoding="utf-8")
    decision = decide(Facts(), run="r")

    def run(
        racers: dict[str, tuple[float, float]],
        options: Options = AMPLE,
        crash: str = "",
        refuse: float | None = None,
        shown: Callable[[Race, str], None] = lambda race, running: None,
    ) -> Race:
        REFUSED[:] = [refuse]
        plan = Plan("floor", "classification", DataSpec("train.csv", "test.csv"))
        found = [Candidate("baseline", ("baseline",), "floor", plan, 0.1)]
        for name, (skill, seconds) in racers.items():
            params = {"skill": skill, **({"crash": True} if name == crash else {})}
            mine = replace(plan, executor="slow" if seconds >= 500 else "skilled", params=params)
            found.append(Candidate(name, (name,), "recommended" if name == "advised" else "viable", mine, seconds))
        monkeypatch.setattr(racing, "candidates", lambda *_: (found, []))
        told = {one.name: one.seconds for one in found}

        def foretold(candidate: Candidate, size: Size) -> float:
            return told[candidate.name] * (0.8 * size.share + 0.2 * size.scored / 400)

        monkeypatch.setattr(racing, "foretold_pilot", foretold)
        return race(decision, workdir / "r", Inputs(data="train.csv", test="test.csv"), options, shown=shown)

    return run


def test_the_best_wins_and_every_candidate_answered_the_same_rows(racer: Racer) -> None:
    found = racer({"good": (0.9, 1.0), "better": (1.0, 2.0), "poor": (0.3, 3.0)})
    assert found.status == "done"
    assert {s.name: s.state for s in found.standings} == dict.fromkeys(
        ("baseline", "good", "better", "poor"), "finished"
    )
    assert found.choice is not None
    assert (found.choice.chosen, found.choice.winner, found.choice.rule) == ("better", "better", "best")
    assert found.standing("good").pilot.score.value == pytest.approx(0.88)  # type: ignore[union-attr]
    assert {pair.other for pair in found.pairs} == {"baseline", "good", "poor"}


def test_a_cheaper_one_within_the_margin_is_taken_though_it_is_not_the_best(racer: Racer) -> None:
    found = racer({"cheap": (0.96, 1.0), "dear": (1.0, 500.0)}, Options(seconds=10_000.0, margin=0.08))
    assert found.choice is not None
    assert found.choice.best == "dear"
    assert found.choice.chosen == "cheap"
    assert found.choice.rule == "cheaper_equal"


def test_the_cheapest_at_the_target_is_taken(racer: Racer) -> None:
    found = racer({"cheap": (0.8, 1.0), "dear": (1.0, 500.0)}, Options(seconds=10_000.0, target=0.75))
    assert found.choice is not None
    assert (found.choice.chosen, found.choice.rule) == ("cheap", "cheapest_at_target")


def test_what_is_dear_begins_with_a_share_of_rows_and_answers(racer: Racer) -> None:
    found = racer({"cheap": (0.5, 1.0), "dear": (1.0, 900.0)}, Options(seconds=100_000.0))
    rows = [(p.rows, p.scored) for p in found.pilots if p.candidate == "dear"]
    assert rows == [(100, 96), (400, 400)]


def test_what_is_recommended_is_run_to_the_end_before_others_are_piloted(racer: Racer) -> None:
    field = {"dear": (0.5, 550.0), "advised": (1.0, 600.0)}
    found = racer(field, Options(seconds=1000.0))
    order = [(p.candidate, p.rows) for p in found.pilots]
    assert order[:3] == [("baseline", 400), ("advised", 400), ("dear", 100)]
    found = racer(field, Options(seconds=700.0, seed=1))  # no room for it
    assert [(p.candidate, p.rows) for p in found.pilots][1:3] == [("dear", 100), ("advised", 100)]


def test_one_that_cannot_reach_the_leader_is_stopped_and_the_saving_said(racer: Racer) -> None:
    found = racer({"good": (1.0, 1.0), "hopeless": (0.0, 900.0)}, Options(seconds=100_000.0))
    hopeless = found.standing("hopeless")
    assert hopeless.state == "stopped"
    assert hopeless.saved > 0
    assert "good" in hopeless.why["en"]
    assert all(p.rows < 400 for p in found.pilots if p.candidate == "hopeless")


def test_what_the_budget_does_not_allow_is_not_run(racer: Racer) -> None:
    found = racer({"cheap": (0.9, 1.0), "dear": (1.0, 10_000.0)}, Options(seconds=20.0))
    assert found.standing("dear").state == "raced"
    assert found.standing("dear").pilot is None
    assert "budget" in found.standing("dear").why["en"]
    assert found.choice is not None
    assert found.choice.chosen == "cheap"


def test_no_winner_is_named_while_one_that_was_not_run_could_reach_it(racer: Racer) -> None:
    found = racer({"cheap": (0.9, 1.0), "dear": (1.0, 10_000.0)}, Options(seconds=20.0))
    assert found.choice is not None
    assert found.choice.winner == ""
    assert "dear could still reach it" in found.choice.why["en"]


def test_a_budget_too_small_for_any_pilot_is_refused_with_what_would_do(racer: Racer) -> None:
    with pytest.raises(UserError, match="too little for any pilot") as told:
        racer({"dear": (1.0, 10_000.0)}, Options(seconds=1.0))
    assert "--minutes" in told.value.hint
    assert not BUILT


def test_a_candidate_that_crashes_is_told_of_and_the_race_goes_on(racer: Racer, workdir: Path) -> None:
    found = racer({"good": (0.9, 1.0), "broken": (1.0, 2.0)}, crash="broken")
    assert found.standing("broken").state == "failed"
    assert "MemoryError: no room for it" in found.standing("broken").why["en"]
    assert found.choice is not None
    assert found.choice.chosen == "good"
    assert "no room for it" in (workdir / "r" / FOLDER / "broken" / "full" / "crash.txt").read_text()


def test_a_process_that_died_twice_on_a_candidate_does_not_try_it_again(racer: Racer, workdir: Path) -> None:
    place = workdir / "r" / FOLDER / "deadly" / "full"
    place.mkdir(parents=True)
    (place / "begun").write_text("2")
    found = racer({"deadly": (1.0, 1.0), "good": (0.9, 2.0)})
    assert found.standing("deadly").state == "failed"
    assert "killed 2 times" in found.standing("deadly").why["en"]
    assert {skill for skill, _ in BUILT} == {0.9}


def test_all_at_the_floor_is_said(racer: Racer) -> None:
    found = racer({"nothing": (0.0, 1.0), "as little": (0.01, 2.0)})
    assert found.choice is not None
    assert (found.choice.chosen, found.choice.rule, found.choice.winner) == ("baseline", "floor", "")


def test_a_race_broken_off_goes_on_and_repeats_nothing(racer: Racer, workdir: Path) -> None:
    field = {"one": (0.9, 1.0), "two": (0.95, 2.0), "three": (1.0, 3.0)}

    def stop(state: Race, running: str) -> None:
        if running == "three":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        racer(field, shown=stop)
    kept = read_race(workdir / "r")
    assert kept is not None
    assert kept.status == "interrupted"
    done = [p.candidate for p in kept.pilots]
    built = len(BUILT)
    found = racer(field)
    assert found.status == "done"
    assert [p.candidate for p in found.pilots][: len(done)] == done
    assert not [skill for skill, rows in BUILT[built:] if rows == 400 and skill != 1.0]


def test_a_race_that_is_done_is_told_again_without_work(racer: Racer) -> None:
    field = {"one": (0.9, 1.0), "two": (1.0, 900.0)}
    first = racer(field)
    built = len(BUILT)
    again = racer(field)
    assert len(BUILT) == built
    assert again.choice == first.choice
    assert again.pilots == first.pilots


def test_more_minutes_go_on_where_fewer_ended(racer: Racer) -> None:
    field = {"cheap": (0.9, 1.0), "dear": (1.0, 900.0)}
    racer(field, Options(seconds=20.0))
    built = len(BUILT)
    found = racer(field, Options(seconds=100_000.0))
    assert found.standing("dear").state == "finished"
    assert not [skill for skill, rows in BUILT[built:] if skill == 0.9]


def test_fewer_minutes_lose_nothing_that_was_measured(racer: Racer) -> None:
    field = {"cheap": (0.9, 1.0), "dear": (1.0, 900.0)}
    first = racer(field, Options(seconds=100_000.0))
    built = len(BUILT)
    found = racer(field, Options(seconds=2.0))
    assert found.pilots == first.pilots
    assert found.choice == first.choice
    assert len(BUILT) == built


def test_what_failed_is_tried_again_when_the_race_is_run_again(racer: Racer) -> None:
    field = {"good": (0.9, 1.0), "refused": (1.0, 2.0)}
    found = racer(field, refuse=1.0)
    assert found.standing("refused").state == "failed"
    assert "no room (make room)" in found.standing("refused").why["en"]
    built = len(BUILT)
    found = racer(field)
    assert found.standing("refused").state == "finished"
    assert BUILT[built:] == [(1.0, 400)]


def test_pilots_share_what_an_endpoint_may_cost(tmp_path: Path) -> None:
    (tmp_path / "prompt" / "full").mkdir(parents=True)
    (tmp_path / "prompt" / "full" / LEDGER).write_text('{"charged": 0.25, "why": "lost"}\n', encoding="utf-8")
    plan = Plan("rag", "question_answering", DataSpec("q.csv"), endpoint={"max_cost": 1.0})
    assert sharing_cap(plan, tmp_path, tmp_path / "rag" / "full").endpoint["charged"] == 0.25  # type: ignore[union-attr]
    assert sharing_cap(plan, tmp_path, tmp_path / "prompt" / "full").endpoint["charged"] == 0  # type: ignore[union-attr]
    free = replace(plan, endpoint={})
    assert sharing_cap(free, tmp_path, tmp_path / "rag" / "full") == free


def test_the_record_reads_back_as_the_same(racer: Racer, workdir: Path) -> None:
    found = racer({"good": (0.9, 1.0), "dear": (1.0, 10_000.0)}, Options(seconds=20.0))
    plain = json.loads((workdir / "r" / FOLDER / FILE).read_text(encoding="utf-8"))
    assert race_of(plain) == read_race(workdir / "r")
    assert to_dict(race_of(plain)) == to_dict(found)


def test_a_damaged_record_is_refused_with_what_to_do(workdir: Path) -> None:
    (workdir / "r" / FOLDER).mkdir(parents=True)
    (workdir / "r" / FOLDER / FILE).write_text('{"task": 1}', encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read") as told:
        read_race(workdir / "r")
    assert "advisor prove r" in told.value.hint


def test_methods_that_only_wait_for_labels_take_part_and_those_ruled_out_do_not() -> None:
    known = {"task": "classification", "classes": 77, "labelled_examples": 231, "weights_access": True}

    def waiting(budget: str) -> frozenset[str]:
        facts = (Fact(name, value, "asked") for name, value in {**known, "training_budget": budget}.items())
        return waiting_for_labels(decide(Facts().with_(*facts), run="r"))

    assert {"probe", "small_encoder"} <= waiting("small")
    assert "rag" not in waiting("small")
    assert not {"probe", "small_encoder"} & waiting("none")


def test_documents_beyond_the_models_window_are_not_raced_whole() -> None:
    plan = Plan("long_context", "question_answering", DataSpec("x.csv"), docs=str(DEMO / "handbook"))
    assert "smollm2-135m-instruct has room for 8,192" in too_long(plan)[0].message
    assert too_long(replace(plan, executor="rag")) == []


def test_a_pilot_of_a_training_takes_a_share_of_rows_and_steps_and_looks_at_nothing_else() -> None:
    plan = Plan("peft", "classification", DataSpec("x.csv"))
    small = shrink(plan, Size(50, 0.25, 20))
    assert isinstance(small, Plan)
    assert (small.data.rows, small.data.scored) == (50, 20)
    assert small.params == {"compare": 0, "forgetting": False, "min_steps": 25}
    assert shrink(plan, Size(200, 1.0, 80)) == replace(plan, data=replace(plan.data, scored=80))


def test_what_no_share_makes_cheaper_begins_with_fewer_answers() -> None:
    plan = Plan("baseline", "classification", DataSpec("x.csv"))
    candidate = Candidate("baseline", ("baseline",), "floor", plan, 1.0)
    assert [(s.rows, s.share, s.scored) for s in sizes(candidate, 500, 300)] == [
        (500, 1.0, 48), (500, 1.0, 96), (500, 1.0, 300)]  # fmt: skip


def test_the_smallest_pilot_has_rows_enough_to_learn_from() -> None:
    plan = Plan("peft", "classification", DataSpec("x.csv"))
    candidate = Candidate("peft", ("peft",), "viable", plan, 1.0)
    assert [(s.rows, s.share) for s in sizes(candidate, 1600, 300)] == [(100, 1 / 16), (400, 1 / 4), (1600, 1.0)]
    assert [(s.rows, s.share) for s in sizes(candidate, 64, 300)] == [(32, 1 / 4), (64, 1.0)]
