"""The metric that decides: which fit a task, and a race by another than the task's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from advisor.facts import load_vocabulary
from advisor.prove.race import Options
from executors.base import Input, Prediction, Row, UserError
from executors.metrics import HIGHER_IS_BETTER, check_metric, deciding_metric, metrics_of, score
from executors.metrics.compare import row_values
from tests.test_errors import check
from tests.test_race import Racer, racer  # noqa: F401 (a fixture)

TASKS = tuple(load_vocabulary()["task"].options)
ROWS = [Row(str(n), Input(f"t{n}"), (str(n % 3),)) for n in range(6)]
ANSWERS = [Prediction(str(n % 2)) for n in range(6)]


@pytest.mark.parametrize("task", TASKS)
def test_every_metric_that_can_decide_a_task_is_told_of_a_run_and_of_each_row(task: str) -> None:
    scores = score(task, ROWS, ANSWERS)[1]
    assert deciding_metric(task, ROWS) in metrics_of(task)
    for metric in metrics_of(task):
        check_metric(task, metric)
        assert metric in HIGHER_IS_BETTER
        assert row_values(task, metric, ROWS, ANSWERS).mean() == pytest.approx(scores[metric].value, abs=1e-6)


@pytest.mark.parametrize(
    ("task", "metric", "said"),
    [
        ("classification", "makro_f1", "did you mean 'macro_f1'"),
        ("generation", "accuracy", "chrf"),
        ("question_answering", "bleu", "exact_match"),
        ("regression", "perplexity", "mae"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused_with_those_that_do(task: str, metric: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        check_metric(task, metric)
    check(caught.value.problem, metric)
    assert said in f"{caught.value.message} {caught.value.hint}"
    assert all(name in caught.value.hint for name in metrics_of(task))


def test_a_figure_of_the_whole_of_rows_that_are_all_right_is_not_held_for_certain() -> None:
    perfect = [Prediction(row.target) for row in ROWS]
    scores = score("classification", ROWS, perfect)[1]
    assert scores["macro_f1"] == scores["accuracy"]  # else a race stops every other candidate below a 1.000 at least
    assert scores["macro_f1"].low == pytest.approx(6 / (6 + 1.96**2), abs=0.001)
    longer = [Row(str(n), Input("t"), ("word " * n + "end",)) for n in range(6)]
    chrf = score("translation", longer, [Prediction(row.target) for row in longer])[1]["chrf"]
    assert [chrf.value, chrf.low] == pytest.approx([1.0, scores["accuracy"].low])


def test_a_race_is_decided_by_the_metric_that_was_asked_for(racer: Racer) -> None:  # noqa: F811
    field = {"good": (0.8, 1.0), "poor": (0.4, 1.0)}
    found = racer(field, Options(seconds=1000.0, metric="macro_precision"))
    again = racer(field, Options(seconds=1000.0))
    assert (found.metric, again.metric) == ("macro_precision", "accuracy")
    assert {pilot.metric for pilot in found.pilots} == {"macro_precision"}
    assert {pilot.metric for pilot in again.pilots} == {"accuracy"}  # no score of the other race was taken for its own
    assert found.stamp != again.stamp


def test_a_race_by_a_metric_that_does_not_fit_runs_nothing(racer: Racer) -> None:  # noqa: F811
    with pytest.raises(UserError, match="'bleu' does not fit"):
        racer({"good": (1.0, 1.0)}, Options(metric="bleu"))


def test_a_ladder_is_not_climbed_by_another_metric(advisor: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = advisor("prove", "--data", "x.csv", "--until", "0.8", "--metric", "macro_f1", "--lang", "en")
    assert code == 1
    assert "--metric does not go with --until" in err
