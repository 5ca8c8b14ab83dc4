"""How well the searched prompt answers, through `run_plan` as `advisor run --method prompt` calls it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from executors.base import DataSpec, Plan, Result
from executors.run import read_predictions, run_plan
from tests.benchmarks.harness import OUT, Figure
from tests.benchmarks.prompting import data
from tests.benchmarks.prompting.shared import COMMAND

RUNS = OUT / "runs" / "prompting"

PARAMS: Mapping[str, Mapping[str, Any]] = {
    "banking77": {"search_seconds": 300.0},
    "sst2": {"search_seconds": 120.0},
    "xquad": {"search_seconds": 300.0},
}
"""The searched runs' parameters; everything else is at its default."""

PLAIN: Mapping[str, Any] = {"shots": 0}
"""Without search and demonstrations: what the searched prompt of XQuAD is compared with."""

A_CLASS, BANKING_TEST = 10, 500
SST2_ROWS, SST2_TEST, SEEDS = 64, 150, range(5)
XQUAD_PARAGRAPHS, XQUAD_TEST = 50, 320


def banking77() -> list[Figure]:
    """10 labelled requests a class; the searched prompt, and the floor without a model."""
    train = data.write_rows("banking77-10", data.few_a_class(data.banking77("train"), A_CLASS, seed=0))
    test = data.write_rows("banking77-500", data.drawn(data.banking77("test"), BANKING_TEST))
    found = _run("banking77", "classification", train, test, PARAMS["banking77"])
    floor = _run("banking77-floor", "classification", train, test, {}, method="baseline")
    return [
        _figure("Banking77, 10 a class: accuracy", found, "accuracy", 0.78),
        _figure("Banking77, 10 a class: accuracy of the floor", floor, "accuracy"),
        *_search_figures("banking77", "Banking77, 10 a class"),
    ]


def sst2() -> list[Figure]:
    """64 labelled sentences in all, five draws; beside it what the same prompts say without calibration."""
    test = data.write_rows(f"sst2-{SST2_TEST}", data.drawn(data.sst2("dev"), SST2_TEST))
    accuracies, losses = [], []
    for seed in SEEDS:
        few = data.few_a_class(data.sst2("train"), SST2_ROWS // 2, seed)
        train = data.write_rows(f"sst2-64-{seed}", few)
        name = f"sst2-{seed}"
        found = _run(name, "classification", train, test, PARAMS["sst2"], seed=seed).scores["accuracy"].value
        accuracies.append(found)
        losses.append(_without_calibration(RUNS / name, test) - found)
    air = 2.776 * stdev(accuracies) / len(accuracies) ** 0.5  # Student's t with 4 degrees of freedom
    middle = mean(accuracies)
    command = COMMAND + "sst2"
    return [
        Figure("SST-2, 64 rows, 5 draws: mean accuracy", middle, 0.82, ">=", SST2_TEST * len(SEEDS),
               (middle - air, middle + air), command=command),
        *(Figure(f"SST-2, draw {seed}: accuracy", a, n=SST2_TEST) for seed, a in zip(SEEDS, accuracies, strict=True)),
        Figure("SST-2: most that calibration costs", max(losses), 0.01, "<=", len(SEEDS), command=command),
    ]  # fmt: skip


def _without_calibration(folder: Path, test: Path) -> float:
    """Accuracy of a run's label probabilities with the calibration taken off again: same prompts, same scores.

    Of an ensemble, whose answer is the mean of logarithms, the mean of the members' priors is what was taken off.
    """
    spec = json.loads((folder / "artifact" / "prompt.json").read_text(encoding="utf-8"))
    none = [0.0] * len(spec["labels"])
    priors = [member["offsets"] or none for member in (spec, *spec["others"])]
    offsets = dict(zip(spec["labels"], map(mean, zip(*priors, strict=True)), strict=True))
    predictions = read_predictions(folder / "predictions.jsonl")
    right = []
    for line, row in enumerate(data.read_rows(test), 2):  # below the header
        found = predictions[f"{test.name}:{line}"].scores
        raw = {label: math.log(max(p, 1e-12)) + offsets[label] for label, p in found.items()}
        right.append(max(raw, key=lambda label: raw[label]) == row["label"])
    return mean(right)


def xquad() -> list[Figure]:
    """Questions with the right paragraph, the search on questions about other articles."""
    train, test = data.xquad(XQUAD_PARAGRAPHS, XQUAD_TEST)
    plain = _run("xquad-plain", "question_answering", train, test, PLAIN)
    found = _run("xquad", "question_answering", train, test, PARAMS["xquad"])
    return [
        _figure("XQuAD-en, right paragraph: F1", found, "f1", 0.24),
        _figure("XQuAD-en, right paragraph: F1 of the plain prompt", plain, "f1"),
        *_search_figures("xquad", "XQuAD-en, right paragraph"),
    ]


def _run(
    name: str, task: str, train: Path, test: Path, params: Mapping[str, Any], method: str = "prompt", seed: int = 0
) -> Result:
    """A finished run is read, not repeated."""
    plan = Plan(method, task, DataSpec(str(train), str(test)), seed=seed, params=params)
    return run_plan(plan, RUNS / name)


def _search_figures(name: str, title: str) -> list[Figure]:
    """What the record of a search says of the development rows it chose on."""
    record = json.loads((RUNS / name / "artifact" / "search.json").read_text(encoding="utf-8"))
    rows, command = record["development_rows"], COMMAND + name
    told = {"the chosen prompt": "score", "the plan's own": "plain", "the nearest row's answer": "floor"}
    found = [(what, record[key]) for what, key in told.items() if record[key] is not None]
    return [
        *(Figure(f"{title}: development rows, {what}", value, n=rows, command=command) for what, value in found),
        Figure(f"{title}: seconds of the search", record["seconds"], command=command),
    ]


def _figure(name: str, result: Result, metric: str, bar: float | None = None) -> Figure:
    score = result.scores[metric]
    command = COMMAND + ("xquad" if metric == "f1" else "banking77")
    return Figure(name, score.value, bar, ">=" if bar else "", score.n, (score.low, score.high), command=command)
