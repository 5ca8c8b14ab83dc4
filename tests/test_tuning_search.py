"""Searches for a training's parameters: what they choose, that they go on, and that they never see held-out rows."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from advisor import report
from advisor.texts import LANGUAGES, say
from executors.base import DataSpec, Event, Input, Job, Plan, Row, UserError, silent, to_dict
from executors.run import check_plan
from executors.trials import RECORD, SearchRecord, Trial, parse_record
from executors.tuning import FullParams, PeftExecutor, PeftParams, TunedPredictor, trials
from executors.tuning.search import search_problems, searches
from executors.tuning.timing import measure
from executors.tuning.trials import (
    LINES,
    LOOKS,
    MOST,
    RANGE_STEPS,
    SHORTEST,
    Pruned,
    Rising,
    Shape,
    run_range,
    run_trials,
    space_of,
    suggested,
    trial_steps,
)
from executors.tuning.watching import Diverged, Watcher
from tests.samples import DECISION, FLOOR, RESULT
from tests.small import write_small

PARAMS = PeftParams(search_minutes=2.0, min_steps=10, learning_rate=1e-3)
SHAPE = Shape(rate=1e-3, steps=60, watched=12, setup_seconds=1.0, step_seconds=0.1, smallest=32)
BEST = 3e-3  # of the made-up trainings below


class Made:
    """Made-up trainings: the loss is lower the nearer the rate is to `BEST`, and above ten times that there is none.

    Each takes ten seconds of a made-up clock, or its share of them where it is ended early.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[PeftParams] = []
        self.stop_at = -1

    def __call__(self, params: Any, folder: Path, watcher: Watcher) -> None:
        if len(self.asked) == self.stop_at:
            raise KeyboardInterrupt
        self.asked.append(params)
        assert params.learning_rate is not None
        for look in range(LOOKS):
            self.now += 10 / LOOKS
            off = abs(math.log10(params.learning_rate / BEST))
            watcher.look((look + 1) * watcher.every, 1 + off - 0.1 * look + 0.01 * (params.rank == 32))
        if params.learning_rate > 10 * BEST:
            raise Diverged("the training diverged")

    def clock(self) -> float:
        return self.now


def outcomes(made: Made, folder: Path, params: PeftParams = PARAMS) -> tuple[list[Any], str]:
    return run_trials(made, params, SHAPE, folder, 0, silent, made.clock)


# -- trials --------------------------------------------------------------------------------------------


def test_the_plans_own_parameters_come_first_and_something_better_is_found(tmp_path: Path) -> None:
    made = Made()
    found, stopped = outcomes(made, tmp_path)
    assert (found[0].values["learning_rate"], found[0].values["rank"]) == (1e-3, 16)
    best = min(found, key=lambda one: one.loss)
    assert best.loss < found[0].loss - 0.2
    assert BEST / 1.8 < best.values["learning_rate"] < 1.8 * BEST
    assert stopped == "budget"
    assert 90 <= made.now <= 135  # of the 120 seconds it had: the last trial began while half of it fitted


def test_trials_behind_the_median_are_ended_early(tmp_path: Path) -> None:
    found, _ = outcomes(Made(), tmp_path)
    ended = [one for one in found if one.state == "pruned"]
    assert ended
    assert all(len(one.looks) < LOOKS and one.loss == math.inf for one in ended)
    median = sorted(one.looks[1] for one in found if one.state == "done")[len(found) // 3]
    assert all(one.looks[-1] > min(median, 1.2) for one in ended)


def test_an_interrupted_search_goes_on_to_the_same_end(tmp_path: Path) -> None:
    whole, _ = outcomes(Made(), tmp_path / "whole")
    broken = Made()
    broken.stop_at = 5
    with pytest.raises(KeyboardInterrupt):
        outcomes(broken, tmp_path / "again")
    with (tmp_path / "again" / LINES).open("a") as out:
        out.write('{"values": {"lea')  # a line that a kill cut off
    rest = Made()
    again, _ = outcomes(rest, tmp_path / "again")
    assert [one.values for one in again] == [one.values for one in whole]
    assert len(rest.asked) == len(whole) - 5


def test_a_training_that_diverges_is_no_choice(tmp_path: Path) -> None:
    params = replace(PARAMS, learning_rate=4e-2)
    found, _ = run_trials(Made(), params, replace(SHAPE, rate=4e-2), tmp_path, 0, silent, Made().clock)
    assert found[0].state == "diverged"
    assert len(found) == MOST  # that clock stands still
    assert min(found, key=lambda one: one.loss).values["learning_rate"] <= 10 * BEST


def test_trials_are_as_short_as_the_time_asks_for() -> None:
    assert trial_steps(PARAMS, SHAPE, 600) == 60  # the whole training
    assert trial_steps(PARAMS, replace(SHAPE, steps=600), 120) == 138  # (120 / 8 - 1) / .1, less two steps of looking
    assert trial_steps(PARAMS, replace(SHAPE, steps=600), 1) == SHORTEST


def test_epochs_are_searched_only_where_a_trial_is_the_whole_training() -> None:
    assert space_of(PARAMS, SHAPE, 60).epochs == (1, 2, 3, 5)
    assert space_of(PARAMS, SHAPE, 59).epochs == ()
    assert space_of(replace(PARAMS, min_steps=60), SHAPE, 60).epochs == ()  # min_steps decides, whatever the epochs


def test_ranks_are_searched_where_there_are_any() -> None:
    assert space_of(PARAMS, SHAPE, 20).ranks == (4, 8, 16, 32)
    assert space_of(PARAMS, replace(SHAPE, smallest=16), 20).ranks == (4, 8, 16)
    assert space_of(replace(PARAMS, variant="ia3"), SHAPE, 20).ranks == ()
    assert space_of(replace(PARAMS, alpha=32), SHAPE, 20).ranks == ()  # the scale would change with the rank
    assert space_of(FullParams(search_minutes=1), SHAPE, 20).ranks == ()  # type: ignore[arg-type]


# -- a rising rate -------------------------------------------------------------------------------------


def test_a_rising_rate_suggests_one_below_the_lowest_loss() -> None:
    def attempt(params: Any, folder: Path, watcher: Watcher) -> None:
        assert (params.min_steps, params.schedule) == (RANGE_STEPS, "constant")
        for step in range(RANGE_STEPS):
            rate = watcher.rate(step)
            assert rate is not None
            watcher.look(step + 1, 1 + 2 * abs(math.log10(rate / BEST)))

    points = run_range(attempt, PARAMS, SHAPE, Path("nowhere"))
    assert points[0][0] == pytest.approx(1e-3 / 30)
    assert len(points) < RANGE_STEPS  # it ended where the loss was twice the lowest
    assert suggested(points) == pytest.approx(BEST / 3, rel=0.1)


def test_a_loss_that_never_falls_suggests_nothing() -> None:
    assert suggested([(1e-4, 1.0), (2e-4, 1.1)]) is None
    assert suggested([]) is None


def test_a_rate_rises_by_the_same_factor_from_step_to_step() -> None:
    rates = [Rising(1e-3).rate(step) or 0 for step in range(RANGE_STEPS)]
    assert rates[-1] == pytest.approx(3e-2)
    assert {round(b / a, 6) for a, b in itertools.pairwise(rates)} == {round(900 ** (1 / 39), 6)}
    watcher = Rising(1e-3)
    watcher.look(1, 1.0)
    with pytest.raises(Pruned):
        watcher.look(2, 2.1)


# -- what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said", "said_zh"),
    [
        ({"search": "trials"}, "needs search_minutes", "需要给出 search_minutes"),
        ({"search": "range", "search_minutes": 3}, "goes with search=trials", "只用于 search=trials"),
        ({"search_minutes": -1}, "params.search_minutes: must not be negative", "search_minutes"),
        ({"search": "grid"}, "params.search: expected", "params.search"),
    ],
)
def test_a_search_that_cannot_be_is_refused(given: dict[str, Any], said: str, said_zh: str) -> None:
    plan = Plan("peft", "classification", DataSpec("x.csv"), params=given)
    [problem] = check_plan(plan)
    assert said in problem.message
    assert said_zh in problem.told("zh").message


def test_an_encoder_is_not_searched_for() -> None:
    plan = Plan("peft", "classification", DataSpec("x.csv"), model="all-minilm-l6-v2", params={"search": "range"})
    told = [p.message for p in search_problems(PeftParams(search="range"), plan)]
    assert told == ["params.search: range is for models that write text"]


def test_it_is_off_unless_asked_for() -> None:
    assert searches(PeftParams()) == "none"
    assert searches(PeftParams(search_minutes=1)) == "trials"
    assert searches(FullParams(search="range")) == "range"


# -- in a real training --------------------------------------------------------------------------------

LABELS = ("billing", "returns")
ROWS = tuple(
    Row(str(n), Input(f"{'I was charged twice' if n % 2 else 'I want to send it back'} {n}"), (LABELS[1 - n % 2],))
    for n in range(60)
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_small(tmp_path_factory.mktemp("models") / "tiny", [row.input.text for row in ROWS])


Build = Callable[..., TunedPredictor]


@pytest.fixture
def build(tiny: str, tmp_path: Path) -> Build:
    def call(name: str = "work", rows: tuple[Row, ...] = ROWS, report: Any = silent, **params: Any) -> TunedPredictor:
        (tmp_path / name).mkdir(exist_ok=True)
        given = {"min_steps": 20, "epochs": 0.1, "batch_size": 4, "rank": 4, "compare": 0, "forgetting": False}
        plan = Plan("peft", "classification", DataSpec("x.csv"), model=tiny, params={**given, **params})
        return PeftExecutor().build(Job(plan, rows, LABELS, tmp_path / name, report))

    return call


def record_of(predictor: TunedPredictor) -> Any:
    return parse_record(json.loads((predictor.folder / RECORD).read_text(encoding="utf-8")))


def test_trials_choose_the_parameters_of_the_training(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "MOST", 4)  # so that it does not depend on this machine's speed
    events: list[Event] = []
    predictor = build(report=events.append, search_minutes=30, learning_rate=1e-5)
    record, params = record_of(predictor), predictor.about.params
    assert (record.subject, record.metric, record.development_rows, record.training_rows) == (
        *("training", "dev_loss"),
        *(6, 60),
    )
    assert record.trials[0].changes == {}
    assert record.trials[0].score == record.plain
    assert record.score == min(t.score for t in record.trials if not t.flags) <= record.plain
    assert {name: params[name] for name in record.chosen} == record.chosen
    assert params["learning_rate"] > 1e-5  # far too low: whatever is above it is better
    assert "4 short trainings were compared on 6 development rows; chosen: learning_rate=" in predictor.notes[0]["en"]
    assert any(event.stage == "search" for event in events)
    assert not list((tmp_path / "work" / "search").glob("[0-9]*"))  # no trial's weights are left


def test_a_finished_search_is_not_done_again(build: Build, tmp_path: Path) -> None:
    first = build(search="range", learning_rate=1e-3)
    before = (tmp_path / "work" / "search" / RECORD).stat().st_mtime_ns
    for path in sorted((tmp_path / "work" / "tuned").rglob("*"), reverse=True):  # as if killed before it was saved
        path.unlink() if path.is_file() else path.rmdir()
    (tmp_path / "work" / "tuned").rmdir()
    again = build(search="range", learning_rate=1e-3)
    assert (tmp_path / "work" / "search" / RECORD).stat().st_mtime_ns == before
    assert again.about.params["learning_rate"] == first.about.params["learning_rate"]


def test_a_rising_rate_chooses_the_rate_of_the_training_and_needs_no_development_rows(build: Build) -> None:
    predictor = build(rows=ROWS[:20], search="range", learning_rate=1e-3)
    record = record_of(predictor)
    assert (record.subject, record.development_rows) == ("learning_rate", 16)
    assert predictor.about.params["learning_rate"] == record.chosen["learning_rate"]
    rates = [trial.changes["learning_rate"] for trial in record.trials]
    assert rates == sorted(rates)
    assert len(rates) > 10
    assert record.trials[0].score != record.trials[-1].score  # the rates took effect


def test_trials_need_rows_to_compare_them_on(build: Build) -> None:
    with pytest.raises(UserError, match="20 training rows leave none to compare trials on") as failed:
        build(rows=ROWS[:20], search_minutes=1)
    assert "search=range needs none" in failed.value.hint
    assert "20 条训练数据" in failed.value.told("zh").message


def test_timed_steps_are_those_of_the_training_not_of_its_search(tiny: str, tmp_path: Path) -> None:
    plan = Plan("peft", "classification", DataSpec(""), model=tiny, params={"search_minutes": 60, "max_length": 256})
    spec = {"plan": to_dict(replace(plan, task="generation")), "steps": 3, "answer_tokens": 4, "began": time.time()}
    assert measure(spec, tmp_path, silent).steps == 3
    assert not (tmp_path / "search").exists()


# -- in the report -------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("form", ["md", "html"])
def test_the_report_tells_what_was_tried_and_chosen(form: str, lang: str) -> None:
    trial = Trial({"learning_rate": 3e-3, "rank": 8}, 0, 12, 0.51, 0.0, 9.0, 40, kept=True)
    ended = Trial({"learning_rate": 2e-4}, 0, 12, 1.42, 0.0, 4.0, 40, flags=("pruned",))
    record = SearchRecord(
        metric="dev_loss",
        higher_is_better=False,
        development_rows=12,
        training_rows=120,
        chance=0.0,
        budget_seconds=120.0,
        seconds=101.0,
        stopped="budget",
        candidates=3,
        trials=(Trial({}, 0, 12, 0.64, 0, 9, 40), ended, trial),
        chosen=trial.changes,
        score=0.51,
        plain=0.64,
        floor=None,
        subject="training",
    )
    told = report.render(DECISION, RESULT, FLOOR, form, lang, to_dict(record))
    assert say("report.trained", lang) in told
    assert say("search.flag_pruned", lang) in told
    for figure in ("0.510", "0.640", "1.42", "0.003", "120"):
        assert figure in told
    assert say("search.steps", lang) in told


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_report_tells_of_a_rising_rate(lang: str) -> None:
    points = tuple(Trial({"learning_rate": 1e-4 * n}, 0, 16, 2 - n / 9, 0.0, 0.0, n, kept=n == 3) for n in range(1, 12))
    record = SearchRecord(
        metric="dev_loss",
        higher_is_better=False,
        development_rows=16,
        training_rows=30,
        chance=0.0,
        budget_seconds=0.0,
        seconds=31.0,
        stopped="finished",
        candidates=11,
        trials=points,
        chosen={"learning_rate": 3e-4},
        score=1.6,
        plain=None,
        floor=None,
        subject="learning_rate",
    )
    told = report.render(DECISION, RESULT, FLOOR, "md", lang, to_dict(record))
    assert say("report.rising", lang) in told
    assert say("search.learning_rate", lang, value="0.0003") in told
