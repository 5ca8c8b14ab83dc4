"""The oracle's runs: every method that can do a task, with its default plan, run to the end once on all rows.

    python -m tests.benchmarks.regret.oracle --list            set, run and foretold minutes, in the order to run them
    python -m tests.benchmarks.regret.oracle SET RUN           one run, in this process
    python -m tests.benchmarks.regret.oracle [SET ...]         all that is not done, each in a process of its own

Each run is a folder of `tests/benchmarks/out/runs/regret/<set>/`, goes on where it was broken off, and leaves
`cost.json`: CPU seconds, of this process and those it started, without loading the libraries. Weights that were trained
are deleted once they have answered. What a run scored is kept in `measured.json`, beside this file, too: a plan that
stands there, with the same rows, is not run again on another machine; delete its line to run it.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import executors
from advisor.answers import read_answers
from advisor.commands.ask import complete, merge
from advisor.commands.shared import save_decision
from advisor.decision import Decision
from advisor.plan import choose_method, make_plan, stages_of
from advisor.profile import measure
from advisor.prove.candidates import FLOOR, TUNED_READER, foretold
from executors.base import Event, Plan, Reporter, Result, UserError, to_dict, write_json
from executors.chain import Chain, chain_stamp, check_chain, run_chain
from executors.run import check_plan, fingerprint, read_result, run_plan
from tests.benchmarks.harness import OUT, ROOT, told
from tests.benchmarks.regret.sets import SETS, Situation, situation

RUNS = OUT / "runs" / "regret"
COST = "cost.json"
MEASURED = Path(__file__).parent / "measured.json"
EVERY = 20.0  # seconds between two notes of what was spent: what a kill leaves uncounted
HEAVY = ("torch", "transformers", "peft", "sentence_transformers", "sklearn.linear_model", "faiss")
WEIGHTS = 20_000_000  # bytes of a file that is deleted once it has answered

AnyPlan = Plan | Chain


# -- what is run ---------------------------------------------------------------------------------------


def decide(case: Situation) -> Decision:
    """What `advisor ask --answers … --data … --test …` recommends, from the user's own half; kept in `asked/`."""
    inputs, asked = case.inputs(), read_answers(case.answers)
    profile = measure(inputs, asked)
    facts, warnings = merge(asked, profile.facts)
    folder = asked_folder(case.name)
    folder.mkdir(parents=True, exist_ok=True)
    decision = complete(facts, inputs, folder.name, (*warnings, *profile.warnings))
    save_decision(folder, decision)
    return decision


def asked_folder(name: str) -> Path:
    return RUNS / name / "asked"


def recommended(decision: Decision) -> str:
    """The run that a decision's first step is: a chain where its parts make one, else the method that runs first."""
    parts = stages_of(decision)
    return canonical("+".join(parts)) if len(parts) > 1 else choose_method(decision).method


def canonical(name: str) -> str:
    """One name for a chain, in whichever order its methods are recommended."""
    tuned_reader = "+".join(TUNED_READER)
    return tuned_reader if {*name.split("+")} == {*TUNED_READER} else name


def names(case: Situation, decision: Decision) -> list[str]:
    """All that could be run: every method, and hybrids."""
    hybrids = ["+".join(TUNED_READER)] if case.docs else []
    return list(dict.fromkeys([*executors.EXECUTORS, *hybrids, recommended(decision)]))


def plan_of(name: str, case: Situation, decision: Decision) -> AnyPlan:
    """As `advisor run --method` makes it, scored on both halves. Raises `UserError` where it cannot be run."""
    inputs = case.inputs(whole=True)
    if "+" in name:
        from advisor.chains import make_chain

        chain = dataclasses.replace(make_chain(decision, inputs, name.split("+")), without=())
        last = [stage.name for stage in chain.stages].index(chain.final)
        chain = dataclasses.replace(chain, stages=chain.stages[: last + 1])
        problems = check_chain(chain)
    else:
        plan = make_plan(decision, inputs, name)
        problems = check_plan(plan)
    if problems:
        raise UserError.of(problems)
    return chain if "+" in name else plan


@dataclasses.dataclass(frozen=True)
class Entry:
    """One run of the oracle: its plan, or why there is none. `seconds` as foretold."""

    set: str
    name: str
    plan: AnyPlan | None
    why_not: str = ""
    seconds: float = 0.0

    @property
    def folder(self) -> Path:
        return RUNS / self.set / self.name

    @property
    def stamp(self) -> str:
        if self.plan is None:
            return ""
        return chain_stamp(self.plan) if isinstance(self.plan, Chain) else fingerprint(self.plan)

    @property
    def cost(self) -> Mapping[str, Any]:
        """What was noted of it so far; empty where nothing was, or of another plan."""
        path = self.folder / COST
        found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return found if found.get("stamp") == self.stamp else {}

    @property
    def kept(self) -> Mapping[str, Any]:
        """What `measured.json` has of it; empty where it has nothing, or of another plan."""
        found: Mapping[str, Any] = measured().get(self.set, {}).get(self.name, {})
        return found if self.plan is not None and found.get("plan") == plan_hash(self.plan) else {}

    @property
    def state(self) -> str:
        """refused | done | failed | open. `failed` is a crash, which is tried again when it is asked for by name."""
        if self.plan is None:
            return "refused"
        return str(self.cost.get("state") or ("done" if self.kept else "open"))


@cache
def entries(set_name: str) -> list[Entry]:
    """All runs of a set, those that take least first."""
    case = situation(set_name)
    decision = decide(case)
    found = []
    for name in names(case, decision):
        try:
            plan = plan_of(name, case, decision)
            found.append(Entry(set_name, name, plan, seconds=foretold(plan)))
        except UserError as error:
            found.append(Entry(set_name, name, None, " ".join(error.message.split())))
    return sorted(found, key=lambda one: (one.name != FLOOR, one.seconds))


# -- what was measured before --------------------------------------------------------------------------


def measured() -> dict[str, dict[str, Any]]:
    """By set, and in it by run: the plan's hash, scores of both halves, CPU seconds."""
    return json.loads(MEASURED.read_text(encoding="utf-8")) if MEASURED.is_file() else {}


def plan_hash(plan: AnyPlan) -> str:
    """Of the values of a plan and of what its files hold, and not of where they lie."""
    stages = [stage.plan for stage in plan.stages] if isinstance(plan, Chain) else [plan]
    digest = hashlib.sha256()
    for stage in stages:
        values = json.dumps(to_dict(dataclasses.replace(stage, reasons={})), sort_keys=True)
        digest.update(values.replace(str(ROOT), "").encode())
        for name in filter(None, (stage.data.path, stage.data.test, stage.docs)):
            for file in sorted(Path(name).rglob("*")) if Path(name).is_dir() else [Path(name)]:
                if file.is_file():
                    digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]


# -- running -------------------------------------------------------------------------------------------


def cpu_seconds() -> float:
    """User and system time of this process and of those that it started and that have ended."""
    import resource

    spent = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in spent)


@contextmanager
def counted(path: Path, stamp: str) -> Iterator[tuple[Reporter, dict[str, Any]]]:
    """Count CPU and wall seconds into the file at `path`, over all attempts of the same stamp.

    Gives a reporter, which notes what was spent so far as the work goes on, and the record to add to.
    """
    for name in HEAVY:
        __import__(name)
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    earlier = earlier if earlier.get("stamp") == stamp else {"stamp": stamp}
    earlier = {name: value for name, value in earlier.items() if name not in ("state", "error")}
    record: dict[str, Any] = dict(earlier)
    cpu, wall, last = cpu_seconds(), time.perf_counter(), 0.0

    def note() -> None:
        nonlocal last
        last = time.perf_counter()
        record["cpu"] = round(earlier.get("cpu", 0.0) + cpu_seconds() - cpu, 2)
        record["wall"] = round(earlier.get("wall", 0.0) + last - wall, 2)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, record)

    say = told(path.parent.name)

    def report(event: Event) -> None:
        say(event)
        if time.perf_counter() - last >= EVERY:
            note()

    try:
        yield report, record
    finally:
        record["attempts"] = earlier.get("attempts", 0) + 1
        note()


def run_entry(entry: Entry) -> str:
    """Run it here, to the end; its state. What a person could mend, or a crash, is noted and not raised."""
    if entry.plan is None:
        return entry.state
    with alone(entry.folder):  # another process may have run it meanwhile
        return _run_alone(entry)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process works in a folder. Freed with the process, however that ends; POSIX only."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run_alone(entry: Entry) -> str:
    if entry.state in ("done", "refused"):
        return entry.state
    with counted(entry.folder / COST, entry.stamp) as (report, record):
        try:
            result = _run(entry, report)
        except UserError as error:
            record |= {"state": "refused", "error": " ".join(error.message.split())}
        except Exception as error:  # noqa: BLE001 (whatever one method fails of, the others are still run)
            record |= {"state": "failed", "error": " ".join(f"{type(error).__name__}: {error}".split())}
        else:
            record |= {"state": "done", "seconds": _seconds(entry, result)}
    if record["state"] == "done":
        prune(entry.folder)
    return str(record["state"])


def _run(entry: Entry, report: Reporter) -> Result:
    if isinstance(entry.plan, Chain):
        return run_chain(entry.plan, entry.folder, report)
    assert entry.plan is not None  # only those with a plan are run
    return run_plan(entry.plan, entry.folder, report)


def _seconds(entry: Entry, result: Result) -> dict[str, float]:
    """Build and predict of the run, or summed over a chain's stages."""
    if not isinstance(entry.plan, Chain):
        return dict(result.seconds)
    stages = [found for stage in entry.plan.stages if (found := read_result(entry.folder / stage.name))]
    return {name: sum(stage.seconds.get(name, 0.0) for stage in stages) for name in ("build", "predict")}


def prune(folder: Path) -> None:
    """Delete the weights of what has answered, and what was kept to go on."""
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size > WEIGHTS:
            path.unlink()
    for path in folder.rglob("work"):
        shutil.rmtree(path, ignore_errors=True)


def in_order(sets: list[str]) -> list[Entry]:
    """Runs of the sets, the set first that takes least in all."""
    by_set = sorted((entries(name) for name in sets), key=lambda found: sum(one.seconds for one in found))
    return [entry for found in by_set for entry in found]


def run_all(sets: list[str]) -> None:
    """All that is open, each in a process of its own, so that one's memory is not another's."""
    for entry in in_order(sets):
        if entry.state == "open":
            command = [sys.executable, "-m", "tests.benchmarks.regret.oracle", entry.set, entry.name]
            subprocess.run(command, cwd=ROOT, check=False)


def show(sets: list[str], say: Callable[[str], None] = print) -> None:
    for entry in in_order(sets):
        told_why = entry.why_not or entry.cost.get("error", "")
        say(f"{entry.set:15} {entry.name:14} {entry.state:8} {entry.seconds / 60:7.1f} {told_why[:110]}")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="say what there is to run, and what is done")
    parser.add_argument("named", nargs="*", help="sets; or one set and one of its runs")
    given = parser.parse_args(arguments)
    runs = [name for name in given.named if name not in SETS]
    sets = [name for name in given.named if name in SETS] or list(SETS)
    if given.list:
        show(sets)
    elif runs:
        for entry in (one for name in sets for one in entries(name) if one.name in runs):
            print(entry.set, entry.name, run_entry(entry), flush=True)
    else:
        run_all(sets)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
