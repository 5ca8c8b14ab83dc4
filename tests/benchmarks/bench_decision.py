"""The decision against published cases, beside advice that is always the same. `make bench-decision`.

Other files of cases can be named: `python -m tests.benchmarks.bench_decision cases.yaml`.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import yaml

from advisor.answers import read_answers
from advisor.decision import decide, next_question
from advisor.facts import Facts
from tests.benchmarks.harness import ROOT, Figure, finish

ALWAYS = ("peft", "rag", "prompt")


def main(files: list[str]) -> int:
    data = Path(os.environ.get("ADVISOR_BENCH_DATA") or ROOT.parent / "shared" / "data")
    paths = [Path(name) for name in files] or [data.parent / "cases-dev.yaml"]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        print(f"no cases at {', '.join(map(str, missing))}: name a file, or set ADVISOR_BENCH_DATA", file=sys.stderr)
        return 0
    return finish("decision", [figure for path in paths for figure in measure(path)])


def measure(path: Path) -> list[Figure]:
    cases = yaml.safe_load(path.read_text(encoding="utf-8"))["cases"]
    facts = [read_answers(case["answers"]) for case in cases]
    begin = time.perf_counter()
    chosen = [decide(known).methods for known in facts]
    seconds = (time.perf_counter() - begin) / len(cases)
    for case, methods in zip(cases, chosen, strict=True):
        verdict = "accepted" if among(methods, case["accept"]) else "MISSED"
        print(f"{case['id']:12} {verdict:9} {'+'.join(methods):24} of {case['accept']}; not {case['reject']}")
    count = len(cases)
    right = sum(among(methods, case["accept"]) for case, methods in zip(cases, chosen, strict=True))
    wrong = sum(among(methods, case["reject"]) for case, methods in zip(cases, chosen, strict=True))
    figures = [
        Figure(f"{path.stem}: share decided as accepted", right / count, 1.0, ">=", count),
        Figure(f"{path.stem}: share decided as rejected", wrong / count, 0.0, "<=", count),
        Figure(f"{path.stem}: questions asked, median", statistics.median(map(questions, facts)), 9, "<=", count),
        Figure(f"{path.stem}: milliseconds a decision", 1000 * seconds, n=count),
    ]
    for method in ALWAYS:
        share = sum(among([method], case["accept"]) for case in cases) / count
        figures.append(Figure(f"{path.stem}: always {method}", share, n=count))
    return figures


def among(methods: Iterable[str], lists: Iterable[list[str]]) -> bool:
    """Whether these methods are one of the lists, in any order; `prompt` in a hybrid does not count."""
    chosen = {*methods} - {"prompt"}
    return any({*one} - {"prompt"} == chosen for one in lists)


def questions(answers: Facts) -> int:
    """How many questions the interview asks somebody who knows what the case tells, and skips the rest."""
    known, asked = Facts(), list[str]()
    while question := next_question(known, [name for name in asked if name not in known]):
        asked.append(question.fact)
        known = known.with_(answers[question.fact]) if question.fact in answers else known
    return len(asked)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
