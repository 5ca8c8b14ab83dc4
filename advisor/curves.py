"""Published learning curves: what in-context learning and fine-tuning reached with so many examples and classes.

Covered: reading `knowledge/curves.csv`, choosing the data sets nearest in number of classes, and reading their curves:
linear between measured points in the logarithm of the number of examples, never beyond them. Not covered: other tasks
than classification, other methods (the study has no small classifier), and how it is shown (`report.curves`).

Source: Bertsch et al. 2024, arXiv 2405.00200; what was left out of its results is said at the head of the file.
"""

from __future__ import annotations

import bisect
import csv
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from advisor.texts import KNOWLEDGE

SOURCE = "long_context_icl"  # an id of knowledge/sources.yaml
TUNING = "fine_tuning"
METHODS = ("icl_random", "icl_retrieved", TUNING)
ALIKE = math.log(1.5)  # data sets whose number of classes is within this factor of the user's are shown as well
FAR = math.log(2)  # beyond this factor the figures are of another problem, and the reader is told
SHOWN_AT_MOST = 2


@dataclass(frozen=True)
class Point:
    """A measured accuracy, the mean over `runs` with deviation `sd`, for a number of examples."""

    examples: int
    accuracy: float
    sd: float
    runs: int


@dataclass(frozen=True)
class Curve:
    """One model's points, fewest examples first. `model` is empty where the study does not name it."""

    model: str
    points: tuple[Point, ...]

    def at(self, examples: float) -> Point | None:
        """The curve at a number of examples, interpolated in its logarithm; None outside the measured range."""
        counts = [point.examples for point in self.points]
        if not counts[0] <= examples <= counts[-1]:
            return None
        right = bisect.bisect_left(counts, examples)
        after = self.points[right]
        if after.examples == examples:
            return after
        before = self.points[right - 1]
        share = math.log(examples / before.examples) / math.log(after.examples / before.examples)
        accuracy = before.accuracy + share * (after.accuracy - before.accuracy)
        sd = before.sd + share * (after.sd - before.sd)
        return Point(round(examples), accuracy, sd, min(before.runs, after.runs))


@dataclass(frozen=True)
class Study:
    """The curves of one data set, by method. Retrieved demonstrations were picked from all its `train_rows`."""

    dataset: str
    classes: int
    train_rows: int
    curves: Mapping[str, tuple[Curve, ...]]

    def range(self, method: str) -> tuple[int, int]:
        """The fewest and the most examples measured for a method."""
        counts = [point.examples for curve in self.curves[method] for point in curve.points]
        return min(counts), max(counts)

    def counts(self, method: str) -> list[int]:
        """The numbers of examples at which a method was measured with any model, in order."""
        return sorted({point.examples for curve in self.curves[method] for point in curve.points})


@dataclass(frozen=True)
class Reading:
    """The mean over the models that cover a number of examples, and how far it spreads.

    `low` and `high` are the models' extremes, or with a single model one deviation over its runs to each side.
    """

    examples: float
    mean: float
    low: float
    high: float
    models: int


@dataclass(frozen=True)
class Crossing:
    """Where fine-tuning overtakes in-context learning by one method, both read where both were measured.

    `at`: the number of examples from which on tuning's mean is higher, None where it is not at the end of that range;
    `until`: the end of that range. `best`: the highest mean the method reached anywhere, and `matched` the number of
    examples with which tuning reaches that, None where it never does.
    """

    method: str
    at: float | None
    until: int
    best: float
    matched: float | None


@dataclass(frozen=True)
class Comparison:
    """One data set's curves, read at the user's number of labels. `readings` lacks methods not measured there."""

    study: Study
    labels: int
    readings: Mapping[str, Reading]
    crossings: Mapping[str, Crossing]
    far: bool  # more than `FAR` from the user's number of classes


# -- the data ------------------------------------------------------------------------------------------


@functools.cache
def load_studies() -> tuple[Study, ...]:
    """Every data set of `knowledge/curves.csv`, fewest classes first. Raises `ValueError` listing all faults."""
    return parse_studies((KNOWLEDGE / "curves.csv").read_text(encoding="utf-8").splitlines())


def parse_studies(lines: Iterable[str]) -> tuple[Study, ...]:
    """The data sets in the lines of a CSV file, `#` lines left out. Raises `ValueError` listing all faults."""
    faults: list[str] = []
    points: dict[tuple[str, int, int], dict[str, dict[str, list[Point]]]] = {}
    for number, row in enumerate(csv.DictReader(line for line in lines if not line.startswith("#")), 1):
        try:
            study = (row["dataset"], int(row["classes"]), int(row["train_rows"]))
            point = Point(int(row["examples"]), float(row["accuracy"]), float(row["sd"]), int(row["runs"]))
        except (KeyError, TypeError, ValueError) as error:
            faults.append(f"row {number}: {error}")
            continue
        faults += _row_faults(number, row["method"], point)
        points.setdefault(study, {}).setdefault(row["method"], {}).setdefault(row["model"], []).append(point)
    studies = tuple(Study(*study, curves=_curves(methods, study[0], faults)) for study, methods in points.items())
    if faults:
        raise ValueError("curves.csv:\n" + "\n".join(f"  {fault}" for fault in faults))
    return tuple(sorted(studies, key=lambda study: study.classes))


def _row_faults(number: int, method: str, point: Point) -> list[str]:
    faults = [] if method in METHODS else [f"row {number}: unknown method '{method}'"]
    if point.examples < 1 or not 0 <= point.accuracy <= 1 or point.sd < 0:
        faults.append(f"row {number}: examples, accuracy or sd out of range")
    return faults


def _curves(
    methods: Mapping[str, Mapping[str, list[Point]]], dataset: str, faults: list[str]
) -> dict[str, tuple[Curve, ...]]:
    faults += [f"{dataset}: no curve for {method}" for method in METHODS if method not in methods]
    found = {}
    for method, models in methods.items():
        for model, points in models.items():
            if len({point.examples for point in points}) < len(points):
                faults.append(f"{dataset}: {method} of '{model}' has a number of examples twice")
        curves = (Curve(model, tuple(sorted(points, key=lambda p: p.examples))) for model, points in models.items())
        found[method] = tuple(curves)
    return found


# -- reading it ----------------------------------------------------------------------------------------


def compare(labels: int, classes: int, studies: Sequence[Study] | None = None) -> tuple[Comparison, ...]:
    """The data sets nearest to `classes` on a logarithmic scale, nearest first, read at `labels` examples.

    The nearest is always there; a second one where its number of classes is within a factor of 1.5 (`ALIKE`).
    """
    known = load_studies() if studies is None else studies
    ranked = sorted(known, key=lambda study: _distance(study, classes))
    near = [study for n, study in enumerate(ranked) if n == 0 or _distance(study, classes) <= ALIKE]
    return tuple(_compared(study, labels, classes) for study in near[:SHOWN_AT_MOST])


def _distance(study: Study, classes: int) -> float:
    return abs(math.log(study.classes / max(1, classes)))


def _compared(study: Study, labels: int, classes: int) -> Comparison:
    readings = {method: found for method in METHODS if (found := read(study, method, labels))}
    crossings = {method: crossing(study, method) for method in METHODS if method != TUNING}
    return Comparison(study, labels, readings, crossings, _distance(study, classes) > FAR)


def read(study: Study, method: str, examples: float) -> Reading | None:
    """A method's mean over models at a number of examples; None where no model was measured on both sides of it."""
    points = [point for curve in study.curves[method] if (point := curve.at(examples))]
    if not points:
        return None
    means = [point.accuracy for point in points]
    mean = sum(means) / len(means)
    if len(points) == 1:
        spread = points[0].sd
        return Reading(examples, mean, max(0.0, mean - spread), min(1.0, mean + spread), 1)
    return Reading(examples, mean, min(means), max(means), len(points))


def line(study: Study, method: str) -> list[Reading]:
    """A method's mean at every number of examples it was measured at, for drawing."""
    return [found for count in study.counts(method) if (found := read(study, method, count))]


def crossing(study: Study, method: str) -> Crossing:
    """Where fine-tuning overtakes `method`, and where it reaches the best that `method` reached."""
    (first, last), (tuned_first, tuned_last) = study.range(method), study.range(TUNING)
    start, until = max(first, tuned_first), min(last, tuned_last)
    counts = sorted({start, until, *study.counts(method), *study.counts(TUNING)})
    leads = [(count, _lead(study, method, count)) for count in counts if start <= count <= until]
    best = max(reading.mean for reading in line(study, method))
    tuned = [(reading.examples, reading.mean - best) for reading in line(study, TUNING)]
    return Crossing(method, _from(leads), until, best, _first(tuned))


def _lead(study: Study, method: str, examples: int) -> float:
    """How far fine-tuning is ahead; both are measured there."""
    tuned, other = read(study, TUNING, examples), read(study, method, examples)
    assert tuned is not None  # `examples` lies in both ranges
    assert other is not None
    return tuned.mean - other.mean


def _from(leads: Sequence[tuple[float, float]]) -> float | None:
    """The number of examples from which on the lead stays above 0; None where it is not so at the end."""
    behind = [n for n, (_, lead) in enumerate(leads) if lead <= 0]
    if not behind:
        return leads[0][0]
    return None if behind[-1] == len(leads) - 1 else _zero(leads[behind[-1]], leads[behind[-1] + 1])


def _first(leads: Sequence[tuple[float, float]]) -> float | None:
    """The first number of examples with a lead of at least 0; None where there is none."""
    ahead = next((n for n, (_, lead) in enumerate(leads) if lead >= 0), None)
    if ahead is None:
        return None
    return leads[0][0] if ahead == 0 else _zero(leads[ahead - 1], leads[ahead])


def _zero(before: tuple[float, float], after: tuple[float, float]) -> float:
    """Where a line through two leads, drawn over the logarithm of the examples, is 0."""
    (low, behind), (high, ahead) = before, after
    share = -behind / (ahead - behind)
    return low * math.exp(share * math.log(high / low))
