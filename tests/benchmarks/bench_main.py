"""The figures of the main job, each through the command a user types. `make bench-main`; resumes.

Finished runs are kept in `tests/benchmarks/out/runs/`: repeat after an interruption, delete to measure anew.
Parts can be named: `python -m tests.benchmarks.bench_main requests handbook`.
"""

from __future__ import annotations

import csv
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.harness import ADVISOR, OUT, ROOT, Figure, advisor, finish

DEMO = "knowledge/demo"
RUNS = OUT / "runs"
QUESTIONS = ("--data", f"{DEMO}/questions-train.jsonl", "--test", f"{DEMO}/questions-test.jsonl")
REQUESTS = ("--data", f"{DEMO}/requests-train.csv", "--test", f"{DEMO}/requests-test.csv")
TASKS = {
    "requests": (("baseline", "prompt", "probe", "peft", "full"), "probe", REQUESTS),
    "handbook": (("baseline", "prompt", "rag", "peft", "full"), "rag", (*QUESTIONS, "--docs", f"{DEMO}/handbook")),
}
ANSWERS = {
    "requests": "task: classification\ntraining_budget: small\nknowledge_change: static\nfailure: behaviour\n",
    "handbook": "task: question_answering\ntraining_budget: small\nknowledge_change: weekly\nfailure: facts\n",
}


def main(parts: list[str]) -> int:
    measures: dict[str, Callable[[], list[Figure]]] = {
        "startup": startup,
        "demo": demo_minutes,
        "data": demo_data,
        "requests": lambda: methods("requests"),
        "handbook": lambda: methods("handbook"),
        "public": public,
    }
    return finish("main", [figure for part in parts or measures for figure in measures[part]()])


def startup() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder) / "a.yaml"
        answers.write_text("training_budget: small\nlabelled_examples: 800\nknowledge_change: weekly\n")
        help_ = _median([*ADVISOR, "--help"], folder)
        ask = _median([*ADVISOR, "ask", "--answers", str(answers)], folder)
    return [
        Figure("help, seconds (median)", help_, 0.3, "<=", 15, command="advisor --help"),
        Figure("ask, seconds (median)", ask, 0.8, "<=", 15, command="advisor ask --answers a.yaml"),
    ]


def _median(call: list[str], folder: str, times: int = 15) -> float:
    seconds = []
    for _ in range(times + 1):
        begin = time.perf_counter()
        subprocess.run(call, check=True, capture_output=True, env={**os.environ, "ADVISOR_RUNS": f"{folder}/runs"})
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:])  # the first fills the file cache


def demo_minutes() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        advisor("demo", runs=Path(folder))
        minutes = (time.perf_counter() - begin) / 60
    return [Figure("demo, minutes", minutes, 6, "<=", command="advisor demo")]


def demo_data() -> list[Figure]:
    """Is the labelled demo data varied? Cosine of every pair of its texts."""
    from executors.models import load_embedder

    texts = []
    for name in ("requests-train.csv", "requests-test.csv"):
        with (ROOT / DEMO / name).open(encoding="utf-8") as file:
            texts += [row["text"] for row in csv.DictReader(file)]
    vectors = load_embedder("all-minilm-l6-v2").embed(texts)
    cosines = [c for n, row in enumerate(vectors @ vectors.T) for c in row[n + 1 :]]
    share = sum(c > 0.95 for c in cosines) / len(cosines)
    return [Figure("demo requests, share of pairs above cosine .95", share, 0.05, "<", len(cosines))]


def methods(task: str) -> list[Figure]:
    """Every method on one of the demo's tasks, and the recommended one against the floor."""
    names, recommended, inputs = TASKS[task]
    figures, results = [], {}
    for name in names:
        command, results[name] = _run(f"{task}-{name}", ANSWERS[task], name, *inputs)
        for metric, s in results[name]["scores"].items():
            if metric == results[name]["metric"] or metric == "hit@5":
                bounds = (s["low"], s["high"])
                figures.append(
                    Figure(f"{task}, {name}: {metric}", s["value"], n=s["n"], interval=bounds, command=command)
                )
    metric = results["baseline"]["metric"]
    low, high = results[recommended]["scores"][metric]["low"], results["baseline"]["scores"][metric]["high"]
    figures.append(Figure(f"{task}: {recommended}'s low end above the floor's high end", low, high, ">"))
    if task == "requests":
        accuracy = results["probe"]["scores"]["accuracy"]["value"]
        figures += [
            Figure("demo requests, probe: not too hard", accuracy, 0.60, ">="),
            Figure("demo requests, probe: not too easy", accuracy, 0.95, "<="),
        ]
    return figures


def _run(name: str, answers: str, method: str, *inputs: str, settings: tuple[str, ...] = ()) -> tuple[str, dict]:
    """One method through `ask` and `run`; (the command, result.json). A finished run is read, not repeated."""
    folder = RUNS / name
    shown = " ".join(Path(i).name if "/" in i else i for i in (*settings, *inputs))
    command = f"advisor run last --method {method} {shown}"
    if not (folder / "result.json").is_file() or json.loads((folder / "result.json").read_text())["status"] != "done":
        if not (folder / "decision.json").is_file():
            RUNS.mkdir(parents=True, exist_ok=True)
            (RUNS / "answers").mkdir(exist_ok=True)
            path = RUNS / "answers" / f"{name}.yaml"
            path.write_text(answers, encoding="utf-8")
            decision = json.loads(advisor("ask", "--answers", str(path), *inputs, "--json", runs=RUNS / "asked"))
            (RUNS / "asked" / decision["run"]).rename(folder)
        print(f"{name} …", file=sys.stderr, flush=True)
        advisor("run", str(folder), "--method", method, *settings, "--json", runs=RUNS)
    return command, json.loads((folder / "result.json").read_text(encoding="utf-8"))


def public() -> list[Figure]:
    """Banking77 and XQuAD, where this machine has them."""
    data = Path(os.environ.get("ADVISOR_BENCH_DATA") or ROOT.parent / "shared" / "data")
    if not data.is_dir():
        print("no public data here: Banking77 and XQuAD are left out (set ADVISOR_BENCH_DATA)", file=sys.stderr)
        return []
    made = OUT / "data"
    made.mkdir(parents=True, exist_ok=True)
    few = _ten_a_class(data / "banking77" / "train.csv", made / "banking77-10.csv")
    rows = ("--data", str(few), "--test", str(data / "banking77" / "test.csv"))
    command, banking = _run("banking77-probe", ANSWERS["requests"], "probe", *rows)
    accuracy = banking["scores"]["accuracy"]
    docs = _paragraphs(data / "xquad" / "xquad.en.json", made / "xquad-en")
    # quoting reads no slower than it finds: hit@5 is a matter of the search alone
    rows = ("--data", str(data / "xquad" / "xquad.en.json"), "--docs", str(docs))
    xcommand, xquad = _run("xquad-rag", ANSWERS["handbook"], "rag", *rows, settings=("--set", "reader=quote"))
    hit = xquad["scores"]["hit@5"]
    return [
        Figure(
            "Banking77, 10 labels a class, probe: accuracy",
            accuracy["value"], 0.82, ">=", accuracy["n"], (accuracy["low"], accuracy["high"]), command=command,
        ),
        Figure("XQuAD-en, rag: hit@5", hit["value"], 0.95, ">=", hit["n"], (hit["low"], hit["high"]), command=xcommand),
    ]  # fmt: skip


def _ten_a_class(source: Path, target: Path) -> Path:
    by_class = defaultdict(list)
    with source.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            by_class[row["category"]].append(row)
    chosen = [row for _, rows in sorted(by_class.items()) for row in random.Random(0).sample(rows, 10)]
    with target.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, ["text", "category"])
        writer.writeheader()
        writer.writerows(chosen)
    return target


def _paragraphs(source: Path, folder: Path) -> Path:
    """XQuAD's paragraphs as one text file each, named as the reader of SQuAD files names them."""
    from executors.data import squad_paragraphs

    folder.mkdir(exist_ok=True)
    for name, text in squad_paragraphs(source):
        (folder / name).write_text(text, encoding="utf-8")
    return folder


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
