"""Regret of the advice: against every method run to the end, alone and with a race. `make bench-regret`.

Parts can be named: `python -m tests.benchmarks.bench_regret --only oracle --only table`. `oracle` runs every method on
every data set, `prove` races each; both take hours, are kept in `tests/benchmarks/out/runs/regret/` and go on where
they were broken off. `table` scores what there is: a data set of which runs of the oracle are missing is shown, and
does not count. It is written to `tests/benchmarks/out/regret.json` and, one line a data set, `regret.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from advisor.prove.candidates import FLOOR
from tests.benchmarks.harness import OUT, Figure, run_parts
from tests.benchmarks.regret import oracle, scoring, taken
from tests.benchmarks.regret.sets import FLOORED, SETS
from tests.benchmarks.regret.taken import Case

COMMAND = "python -m tests.benchmarks.bench_regret --only "
MEAN_AFTER, EACH_AFTER, MEAN_ASKED, SHARE = 0.01, 0.05, 0.04, 0.25  # the bars
HEAD = (
    "| data set | runs | best of all (own → hidden) | CPU min | `ask` takes | regret | `prove` takes, by rule | regret "
    "| CPU min | share |\n|---|---|---|---|---|---|---|---|---|---|"
)


def run_oracle() -> list[Figure]:
    oracle.run_all(list(SETS))
    return []


def run_prove() -> list[Figure]:
    taken.race_all([*SETS, *FLOORED])
    return []


def table() -> list[Figure]:
    """Every data set beside its oracle, as far as it was run."""
    cases = [taken.case_of(name) for name in SETS]
    taken.keep(cases)
    lines = [HEAD, *(_line(case) for case in cases if case.runs)]
    (OUT / "regret.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines), flush=True)
    whole = [case for case in cases if case.complete]
    proved = [case for case in whole if case.proved]
    return [
        *_of_sets(whole, "ask", lambda case: case.asked, None),
        *_of_sets(proved, "prove", lambda case: case.proved, EACH_AFTER),
        *(Figure(f"{c.name}: compute of prove / oracle", c.spent / c.searched, n=len(c.runs)) for c in proved),
        *_in_all(whole, proved),
        *_floors(),
    ]


def _line(case: Case) -> str:
    missing = len(case.open) + len(case.failed)
    count = str(len(case.runs)) + (f" of {len(case.runs) + missing}" if missing else "")
    proved = f"{case.proved}, {case.rule} | {_told(case, case.proved)}" if case.proved else "– | –"
    share = f"{case.spent / 60:.1f} | {case.spent / case.searched:.2f}" if case.proved else "– | –"
    return (
        f"| {case.name} | {count} | {case.best.name} ({case.best.own:.3f} → {case.best.hidden:.3f}) "
        f"| {case.searched / 60:.1f} | {case.asked} | {_told(case, case.asked)} | {proved} | {share} |"
    )


def _told(case: Case, chosen: str) -> str:
    """The regret, where that run is done or known not to be possible."""
    known = FLOOR in case.runs and chosen not in (*case.open, *case.failed)
    return f"{case.regret(chosen):+.3f}" if known else "–"


def _of_sets(cases: Sequence[Case], how: str, chosen: Callable[[Case], str], bar: float | None) -> list[Figure]:
    """Regret on each data set, with the interval of rows paired."""
    found = []
    for case in cases:
        gap = taken.difference(case, chosen(case))
        name = f"{case.name}: regret after {how}, {chosen(case)} for {case.best.name}"
        op = "<=" if bar is not None else ""
        n, interval = (gap.n, (gap.low, gap.high)) if gap else (1, None)
        found.append(Figure(name, case.regret(chosen(case)), bar, op, n, interval, command=f"{COMMAND}table"))
    return found


def _in_all(whole: Sequence[Case], proved: Sequence[Case]) -> list[Figure]:
    """Means over data sets; nothing where there is none."""
    command = f"{COMMAND}table"
    asked, raced = [case.regret(case.asked) for case in whole], [case.regret(case.proved) for case in proved]
    found = []
    if asked:
        found.append(
            Figure("mean regret after ask", scoring.mean(asked), MEAN_ASKED, "<=", len(asked), command=command)
        )
    if raced:
        found.append(
            Figure("mean regret after prove", scoring.mean(raced), MEAN_AFTER, "<=", len(raced), command=command)
        )
        spent = scoring.share(sum(case.spent for case in proved), [run for c in proved for run in c.runs.values()])
        found.append(Figure("compute of prove / oracle, all sets", spent, SHARE, "<=", len(proved), command=command))
    return found


def _floors() -> list[Figure]:
    return [
        Figure(f"{name}: all at the floor is said", float(rule == "floor"), 1.0, ">=", command=f"{COMMAND}prove")
        for name, rule in taken.floored().items()
        if rule
    ]


PARTS: dict[str, Callable[[], list[Figure]]] = {"oracle": run_oracle, "prove": run_prove, "table": table}
GROUPS = {"all": tuple(PARTS)}


if __name__ == "__main__":
    sys.exit(run_parts("regret", __doc__, PARTS, GROUPS, sys.argv[1:]))
