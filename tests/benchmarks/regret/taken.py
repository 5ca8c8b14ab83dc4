"""Advice taken: what `ask` alone recommends, and what `prove` chooses, each scored by the oracle's runs.

    python -m tests.benchmarks.regret.taken SET      race that data set, in this process

A race is run on the user's own half in `tests/benchmarks/out/runs/regret/<set>/asked/prove/`, with a margin of 0, and
goes on where it was broken off; delete that folder to race anew. Its CPU seconds stand in `asked/cost.json`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

from advisor.decision import Decision
from advisor.prove.candidates import FLOOR
from advisor.prove.race import Options, race
from advisor.prove.records import FOLDER, Race, read_race
from executors.base import Prediction, Row, Score
from executors.chain import Chain
from executors.data import load_dataset
from executors.metrics import deciding_metric
from executors.metrics.compare import better, mean_difference, row_values, span
from executors.run import read_predictions
from tests.benchmarks.harness import ROOT
from tests.benchmarks.regret import oracle, scoring
from tests.benchmarks.regret.oracle import COST, Entry, asked_folder, canonical, counted, decide, entries, recommended
from tests.benchmarks.regret.scoring import Run
from tests.benchmarks.regret.sets import FLOORED, situation

RACE = "race"  # what `measured.json` calls it, beside the runs


@dataclass(frozen=True)
class Case:
    """A data set with all that was run on it. `open`: runs of the oracle that are still to be done."""

    name: str
    runs: dict[str, Run]
    open: tuple[str, ...]
    failed: tuple[str, ...]
    asked: str
    proved: str = ""  # empty: not raced
    rule: str = ""
    spent: float = 0.0  # CPU seconds of the race

    @property
    def complete(self) -> bool:
        """Whether all of the oracle's runs that can be run are done, the floor among them."""
        return not self.open and not self.failed and FLOOR in self.runs

    @property
    def best(self) -> Run:
        return scoring.oracle(self.runs)

    @property
    def searched(self) -> float:
        """CPU seconds of the oracle's search."""
        return sum(run.seconds for run in self.runs.values())

    def regret(self, chosen: str) -> float:
        return scoring.regret(self.runs, chosen, FLOOR)


# -- the oracle's runs as scores -----------------------------------------------------------------------


@cache
def rows_of(name: str) -> tuple[str, tuple[Row, ...], tuple[int, ...], tuple[int, ...]]:
    """(task, held-out rows of both halves, places of the own ones, places of the hidden ones)."""
    case = situation(name)
    whole = next(one.plan for one in entries(name) if one.plan is not None and not isinstance(one.plan, Chain))
    rows = load_dataset(whole.data, whole.task, whole.seed).test
    spec = replace(whole.data, test=str(case.own))
    own, hidden = scoring.split_half(rows, load_dataset(spec, whole.task, whole.seed).test)
    return whole.task, rows, tuple(own), tuple(hidden)


def predictions_of(entry: Entry) -> list[Prediction]:
    """What a run answered, in the order of the rows."""
    found = read_predictions(entry.folder / "predictions.jsonl")
    return [found[row.id] for row in rows_of(entry.set)[1]]


def run_of(entry: Entry) -> Run:
    """What a run scored, by its answers, or as it was kept."""
    if entry.cost.get("state") != "done":
        return Run(entry.name, *(entry.kept[name] for name in ("own", "hidden", "seconds")))
    task, rows, own, hidden = rows_of(entry.set)
    answered = predictions_of(entry)
    halves = [
        scoring.half_score(task, [rows[n] for n in part], [answered[n] for n in part], rows) for part in (own, hidden)
    ]
    cost = entry.cost
    seconds = scoring.own_seconds(
        cost["cpu"], cost["seconds"]["build"], cost["seconds"]["predict"], len(own), len(rows)
    )
    return Run(entry.name, halves[0], halves[1], seconds)


def difference(case: Case, chosen: str) -> Score | None:
    """Regret on the hidden half with its 95 % interval, of rows paired; None where the answers are not at hand."""
    task, rows, _, hidden = rows_of(case.name)
    found = {entry.name: entry for entry in entries(case.name)}
    two = [found[run] for run in (case.best.name, scoring.taken(case.runs, chosen, FLOOR).name)]
    if not all(entry.cost.get("state") == "done" for entry in two):
        return None
    metric = deciding_metric(task, rows)
    values = []
    for entry in two:
        answered = predictions_of(entry)
        part = row_values(task, metric, [rows[n] for n in hidden], [answered[n] for n in hidden])
        values.append(better(part, metric) / span(metric, rows))
    return mean_difference(values[0] - values[1])


# -- what is taken -------------------------------------------------------------------------------------


def case_of(name: str) -> Case:
    """A data set as far as it was run."""
    found = entries(name)
    runs = {entry.name: run_of(entry) for entry in found if entry.state == "done"}
    raced = read_race(asked_folder(name))
    open_, failed = (tuple(one.name for one in found if one.state == state) for state in ("open", "failed"))
    case = Case(name, runs, open_, failed, recommended(decision_of(name)))
    if raced and raced.status == "done" and raced.choice:
        return replace(case, proved=canonical(raced.choice.chosen), rule=raced.choice.rule, spent=spent_on(name))
    return replace(case, **oracle.measured().get(name, {}).get(RACE, {}))


def keep(cases: Iterable[Case]) -> None:
    """Write what was measured to `measured.json`, beside what stands there of runs that are not at hand."""
    known = oracle.measured()
    for case in cases:
        plans = {entry.name: entry.plan for entry in entries(case.name)}
        found = {
            name: {"plan": oracle.plan_hash(plan), "own": run.own, "hidden": run.hidden, "seconds": run.seconds}
            for name, run in case.runs.items()
            if (plan := plans[name]) is not None
        }
        raced = {RACE: {"proved": case.proved, "rule": case.rule, "spent": case.spent}} if case.proved else {}
        known[case.name] = {**known.get(case.name, {}), **found, **raced}
    lines = (f'"{name}": {{\n' + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in one.items()) + "\n}"
             for name, one in known.items() if one)  # fmt: skip
    oracle.MEASURED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


@cache
def decision_of(name: str) -> Decision:
    return decide(situation(name))


def spent_on(name: str) -> float:
    """CPU seconds of a race."""
    path = asked_folder(name) / COST
    return float(json.loads(path.read_text(encoding="utf-8"))["cpu"]) if path.is_file() else 0.0


def race_set(name: str) -> Race:
    """`advisor prove` on the user's own half, margin 0. One that is done is read."""
    case, folder = situation(name), asked_folder(name)
    known = read_race(folder)
    if known and known.status == "done":
        return known
    if known is None:
        (folder / COST).unlink(missing_ok=True)  # of a race that was thrown away
    with counted(folder / COST, "race") as (report, record):
        found = race(decision_of(name), folder, case.inputs(), Options(margin=0.0), report)
        record["state"] = "done"
    oracle.prune(folder / FOLDER)
    return found


def race_all(names: list[str]) -> None:
    """Race what was not raced, each in a process of its own."""
    for name in names:
        raced = read_race(asked_folder(name))
        if raced is None or raced.status != "done":
            subprocess.run([sys.executable, "-m", "tests.benchmarks.regret.taken", name], cwd=ROOT, check=False)


def floored() -> dict[str, str]:
    """The rule by which each set was decided on which all are at the floor; empty where it was not raced."""
    rules = {}
    for name in FLOORED:
        raced = read_race(asked_folder(name))
        rules[name] = raced.choice.rule if raced and raced.status == "done" and raced.choice else ""
    return rules


if __name__ == "__main__":
    for set_name in sys.argv[1:]:
        print(set_name, race_set(set_name).choice, flush=True)
