"""The arithmetic of regret: what a choice loses against the best run of all, and what finding it took.

Pure. Scores are on [0, 1], higher is better: of mean absolute errors it is 1 − error / range of the held-out targets.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from executors.base import Prediction, Row
from executors.data.splits import input_key
from executors.metrics import deciding_metric, score
from executors.metrics.compare import span


@dataclass(frozen=True)
class Run:
    """One run to the end: its score on the user's own half and on the hidden one, and CPU seconds for the own half."""

    name: str
    own: float
    hidden: float
    seconds: float


def oracle(runs: Mapping[str, Run]) -> Run:
    """The best on the own half; of equal ones the cheaper."""
    return min(runs.values(), key=lambda run: (-run.own, run.seconds, run.name))


def taken(runs: Mapping[str, Run], chosen: str, floor: str) -> Run:
    """The run that stands for a choice; the floor's where that cannot be run."""
    return runs.get(chosen) or runs[floor]


def regret(runs: Mapping[str, Run], chosen: str, floor: str) -> float:
    """What is lost on the hidden half by taking `chosen`; below 0 where it happens to be better there."""
    return oracle(runs).hidden - taken(runs, chosen, floor).hidden


def share(spent: float, runs: Iterable[Run]) -> float:
    """Seconds spent as a share of running everything to the end."""
    return spent / sum(run.seconds for run in runs)


def own_seconds(total: float, build: float, predict: float, own: int, answered: int) -> float:
    """What a run takes that answers the `own` rows alone, of a `total` in which `answered` rows were.

    `build` and `predict` tell in which proportion the total was spent.
    """
    known = build + predict
    return total * (build + predict * own / answered) / known if known > 0 else total


def mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else 0.0


def half_score(task: str, rows: Sequence[Row], predictions: Sequence[Prediction], all_rows: Sequence[Row]) -> float:
    """The deciding metric of `rows` on [0, 1]; `all_rows`, of both halves, tell which that is and its range."""
    metric = deciding_metric(task, all_rows)
    value = score(task, rows, predictions)[1][metric].value
    return max(0.0, 1 - value / span(metric, all_rows)) if metric == "mae" else value


def split_half(rows: Sequence[Row], own: Sequence[Row]) -> tuple[list[int], list[int]]:
    """Places of the rows that stand in `own`, and of all others."""
    mine = {input_key(row) for row in own}
    places = [place for place, row in enumerate(rows) if input_key(row) in mine]
    return places, [place for place in range(len(rows)) if place not in set(places)]
