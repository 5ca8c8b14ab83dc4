"""Which held-out rows real methods got right: how far methods agree is taken from here, not assumed.

`answered.csv` holds one line a run of `bench_tuning`: the data set, the draw of training rows, the run, and a 1 or 0 a
held-out row. Banking77: an encoder and a probe learnt from 10 rows a class, and from all (1,000 rows answered); SST-2:
a small encoder, a probe, and a probe on SmolLM2's best layer, each learnt from the same 64 rows, five draws (400 rows);
the demo's requests: LoRA and six other forms of tuning, and SetFit (150 rows). Runs at the floor are not among them,
nor DoRA's, whose answers are LoRA's.

Written anew from the runs that lie here: `python -m tests.benchmarks.prove.answered`.
"""

from __future__ import annotations

import csv
import functools
import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from executors.base import DataSpec
from executors.data import load_dataset
from executors.run import read_predictions
from tests.benchmarks.harness import OUT, ROOT

RUNS = OUT / "runs" / "tuning"
KEPT = Path(__file__).parent / "answered.csv"
FORMS = ("lora", "rslora", "ia3", "prefix_tuning", "prompt_tuning", "bottleneck_adapters")

Right = NDArray[np.float64]
"""1 where a row was answered right, else 0: [n]."""


@functools.cache
def load_answered() -> dict[tuple[str, str], dict[str, Right]]:
    """(data set, draw) -> run -> right."""
    found: dict[tuple[str, str], dict[str, Right]] = defaultdict(dict)
    with KEPT.open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            found[line["data"], line["draw"]][line["run"]] = np.array([float(bit) for bit in line["right"]])
    return dict(found)


@functools.cache
def pairs() -> list[tuple[Right, Right]]:
    """Every two runs that answered the same rows, learnt from the same draw."""
    return [pair for runs in load_answered().values() for pair in combinations(runs.values(), 2)]


def correlation(one: Right, other: Right) -> float:
    """Of being right (phi): 0 where one tells nothing about the other, 1 where the same rows are right."""
    return float(np.corrcoef(one, other)[0, 1])


def _written() -> Iterator[tuple[str, str, str]]:
    """(data set, draw, run) of every line."""
    for name in ("banking10", "banking10-probe", "banking-all", "banking-all-probe"):
        yield "banking77", "0", name
    for draw in range(5):
        for method in ("probe", "small-encoder", "probe-on-SmolLM2's-best-layer"):
            yield "sst2", str(draw), f"sst2-{method}-{draw}"
    for name in (*(f"variant-{form}" for form in FORMS), "encoder-setfit"):
        yield "requests", "0", name


def _targets() -> dict[str, dict[str, str]]:
    """Data set -> row -> its label."""
    made = OUT / "data"
    files = {
        "banking77": DataSpec(str(made / "banking77-encoders-10.csv"), str(made / "banking77-1000.csv")),
        "sst2": DataSpec(str(made / "sst2-64-0.csv"), str(made / "sst2-encoders-test.csv")),
        "requests": DataSpec(
            str(ROOT / "knowledge/demo/requests-train.csv"), str(ROOT / "knowledge/demo/requests-test.csv")
        ),
    }
    return {
        name: {row.id: row.target for row in load_dataset(spec, "classification", 0).test}
        for name, spec in files.items()
    }


def write() -> None:
    targets = _targets()
    with KEPT.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("data", "draw", "run", "right"))
        for data, draw, run in _written():
            answers = read_predictions(RUNS / run / "predictions.jsonl")
            wanted = {row: label for row, label in targets[data].items() if row in answers}
            bits = "".join(str(int(answers[row].text.strip() == label)) for row, label in wanted.items())
            stated = json.loads((RUNS / run / "result.json").read_text(encoding="utf-8"))["scores"]["accuracy"]["value"]
            if abs(bits.count("1") / len(bits) - stated) > 1e-6:
                raise SystemExit(f"{run}: {bits.count('1') / len(bits):.4f} right here, {stated:.4f} in its result")
            out.writerow((data, draw, run, bits))


if __name__ == "__main__":
    write()
