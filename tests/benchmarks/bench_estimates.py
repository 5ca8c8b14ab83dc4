"""How far off estimates are: the middle of each finished run's estimate beside the seconds that it took.

    python -m tests.benchmarks.bench_estimates [FOLDER ...] [--tflops RATE]

Folders are searched for runs (`result.json` beside `artifact/about.json`); without one, those that other benchmarks
left. Runs that were resumed are said to be. The machine's rate is measured now, not when the runs were: `--tflops`
names another, e.g. that of an idle machine. Prints a line a run, worst last, and how many are within twice.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advisor.estimate import estimate_plan
from advisor.plan import plan_of
from executors.base import UserError
from tests.benchmarks.harness import OUT

WITHIN = 2.0


@dataclass(frozen=True)
class Run:
    """One run. `middle`: of its estimate, in a process that had its libraries; seconds."""

    name: str
    method: str
    middle: float
    took: float
    resumed: bool

    @property
    def factor(self) -> float:
        return self.middle / max(self.took, 0.1)


def finished(folders: Sequence[Path], tflops: float | None) -> Iterator[Run]:
    """All runs below the folders whose plan can still be read, and whose data is still there."""
    for path in sorted(found for folder in folders for found in folder.rglob("result.json")):
        about = path.parent / "artifact" / "about.json"
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if result["status"] != "done" or result["executor"] == "baseline" or not about.is_file():
            continue
        try:
            plan = plan_of(json.loads(about.read_text(encoding="utf-8"))["plan"])
            middle = estimate_plan(plan, warm=True, tflops=tflops).point
        except UserError as error:
            print(f"{path.parent.name}: {error.problem.message}")
            continue
        resumed = any("resumed" in note["en"] for note in result["notes"])
        method = f"{plan.executor} {plan.params.get('variant', '')}".strip()
        if middle:
            yield Run(path.parent.name, method, middle, sum(result["seconds"].values()), resumed)


def main(arguments: Sequence[str]) -> int:
    given = list(arguments)
    rate = None
    if "--tflops" in given:
        at = given.index("--tflops")
        rate = float(given[at + 1])
        del given[at : at + 2]
    folders = [Path(one) for one in given] or [OUT / "runs"]
    runs = sorted(finished(folders, rate), key=lambda one: abs(math.log(one.factor)))
    for one in runs:
        told = (
            f"{one.name:44} {one.method:28} took {one.took:8.1f} s, estimate {one.middle:8.1f} s, x {one.factor:5.2f}"
        )
        print(f"{told}{' (resumed)' if one.resumed else ''}")
    near = [one for one in runs if 1 / WITHIN <= one.factor <= WITHIN]
    print(f"{len(near)} of {len(runs)} within {WITHIN:g} times")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
