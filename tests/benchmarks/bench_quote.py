"""Do quotes hold? Memory and time of real tuning runs beside what was quoted. `make bench-quote`; resumes.

LoRA and full tuning of the default model over six pairs of batch and length, each through the commands a user types:
`advisor run` on rows of that length, `advisor quote` before and after 20 steps were timed. Finished runs and timings
are kept in `tests/benchmarks/out/quote/`: delete a folder to measure it anew. About 40 minutes on two cores; cases can
be named: `python -m tests.benchmarks.bench_quote peft-1-128 full-2-256`. Needs a machine with nothing else on it.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.harness import OUT, ROOT, Figure, advisor, finish

FOLDER = OUT / "quote"
MODEL = "smollm2-135m-instruct"
HANDBOOK = ROOT / "knowledge" / "demo" / "handbook"
PAIRS = ((1, 128), (2, 128), (4, 128), (1, 256), (2, 256), (1, 512))
ROWS, HELD_OUT = 60, 8
STEPS, TIMED = 30, 20
ANSWER = 0.2  # share of a row that is trained on
HEAD = ("run", "peak GB", "quoted", "likely", "timed", "seconds", "quoted", "timed")
LEFT = "task: generation\ntraining_budget: small\nknowledge_change: static\nfailure: behaviour\n"


@dataclass(frozen=True)
class Case:
    method: str
    batch: int
    length: int

    @property
    def name(self) -> str:
        return f"{self.method}-{self.batch}-{self.length}"

    @property
    def folder(self) -> Path:
        return FOLDER / self.name


CASES = [Case(method, *pair) for method in ("peft", "full") for pair in PAIRS]


def main(names: list[str]) -> int:
    cases = [case for case in CASES if case.name in names or not names]
    figures = [figure for case in cases for figure in compare(case)]
    print("\n".join(["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD), *map(line, cases)]))
    return finish("quote", figures)


def compare(case: Case) -> list[Figure]:
    """Peak memory and seconds of the run, each beside both ends of what was quoted before and after timing."""
    quoted = {"untimed": untimed(case)}
    result = run(case)
    quoted["timed"] = timed(case)
    measured = {"memory_gb": result["peak_memory_mb"] / 1e3, "train_hours": result["seconds"]["build"] / 3600}
    return [
        figure
        for stage, found in quoted.items()
        for name, value in measured.items()
        for figure in inside(f"{case.name} {stage}", name, value, found[name], narrow=stage == "timed")
    ]


def line(case: Case) -> str:
    """One row of the table in RESULTS.md."""
    first, later, result = untimed(case), timed(case), run(case)

    def gigabytes(found: dict[str, Any]) -> str:
        return "{:.2f}–{:.2f}".format(*found["memory_gb"])

    def seconds(found: dict[str, Any]) -> str:
        return "{:.0f}–{:.0f}".format(*(3600 * end for end in found["train_hours"]))

    peak, took = result["peak_memory_mb"] / 1e3, result["seconds"]["build"]
    likely = f"{first['memory_point_gb']:.2f} ({first['memory_point_gb'] / peak - 1:+.0%})"
    cells = (gigabytes(first), likely, gigabytes(later), f"{took:.0f}", seconds(first), seconds(later))
    return f"| {case.method} {case.batch} × {case.length} | {peak:.2f} | " + " | ".join(cells) + " |"


def inside(label: str, name: str, value: float, ends: tuple[float, float], *, narrow: bool) -> list[Figure]:
    """The measured value against both ends; of a timed quote the ends against each other as well."""
    what, unit = ("seconds", 3600) if name == "train_hours" else ("peak GB", 1)
    low, high = (end * unit for end in ends)
    figures = [
        Figure(f"{label}: {what}, above the low end", value * unit, low, ">=", interval=(low, high)),
        Figure(f"{label}: {what}, below the high end", value * unit, high, "<=", interval=(low, high)),
    ]
    return figures + ([Figure(f"{label}: {what}, high end over low end", high / low, 2, "<=")] if narrow else [])


def untimed(case: Case) -> dict[str, Any]:
    """What is quoted before the run, on the machine as it is then."""
    set_up(case)
    plain = FOLDER / "plain" / case.name  # without the records of timed steps
    plain.mkdir(parents=True, exist_ok=True)
    shutil.copy(case.folder / "decision.json", plain)
    return _kept(case, "untimed", lambda: _quote(case, plain, *settings(case)))


def timed(case: Case) -> dict[str, Any]:
    """What is quoted once steps were timed."""
    return _kept(case, "timed", lambda: _quote(case, case.folder, *settings(case), "--time", "--steps", str(TIMED)))


def _quote(case: Case, folder: Path, *options: str) -> dict[str, Any]:
    told = json.loads(advisor("quote", str(folder), "--method", case.method, *options, "--json", runs=FOLDER))
    found: dict[str, Any] = told["quotes"][case.method]
    return found


def _kept(case: Case, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    path = case.folder / f"quote-{name}.json"
    if not path.is_file():
        print(f"{case.name}, {name} …", file=sys.stderr, flush=True)
        path.write_text(json.dumps(make(), indent=2), encoding="utf-8")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def run(case: Case) -> dict[str, Any]:
    """The real run's record; a finished one is read, not repeated."""
    record = case.folder / "result.json"
    if not record.is_file() or json.loads(record.read_text(encoding="utf-8"))["status"] != "done":
        print(f"{case.name}, run …", file=sys.stderr, flush=True)
        set_up(case)
        advisor("run", str(case.folder), "--method", case.method, *settings(case), "--json", runs=FOLDER)
    result: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    return result


def settings(case: Case) -> list[str]:
    """The plan's parameters, as `run` and `quote` both take them."""
    given = {"batch_size": case.batch, "max_length": case.length, "min_steps": STEPS, "epochs": 0.01}
    given |= {"layers": "all"} if case.method == "full" else {}
    return [part for name, value in given.items() for part in ("--set", f"{name}={value}")]


def set_up(case: Case) -> None:
    """A run's folder with a decision, and rows that are all cut to the case's length."""
    if (case.folder / "decision.json").is_file():
        return
    data = FOLDER / "data"
    data.mkdir(parents=True, exist_ok=True)
    train, test, answers = (data / f"{case.length}-{name}" for name in ("train.jsonl", "test.jsonl", "answers.yaml"))
    answers.write_text(LEFT, encoding="utf-8")
    write_rows(train, ROWS, case.length, seed=0)
    write_rows(test, HELD_OUT, case.length, seed=1)
    inputs = ("--data", str(train), "--test", str(test), "--model", MODEL)
    decision = json.loads(advisor("ask", "--answers", str(answers), *inputs, "--json", runs=FOLDER / "asked"))
    (FOLDER / "asked" / decision["run"]).rename(case.folder)


def write_rows(path: Path, count: int, length: int, seed: int) -> None:
    """Passages of the demo's handbook with what follows as the answer; a word is at least a token, so all are cut."""
    words = " ".join(file.read_text(encoding="utf-8") for file in sorted(HANDBOOK.glob("*.md"))).split()
    chance, answer = random.Random(f"{seed} {length}"), round(ANSWER * length)
    with path.open("w", encoding="utf-8") as out:
        for _ in range(count):
            start = chance.randrange(len(words) - length - answer)
            given, follows = words[start : start + length], words[start + length : start + length + answer * 2 // 3]
            out.write(json.dumps({"text": " ".join(given), "output": " ".join(follows)}) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
