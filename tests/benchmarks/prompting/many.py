"""Scores one row over very many labels; prints seconds, peak memory in GB, and the largest difference from scores of
single labels. A program of its own, since the peak of a process covers all it ever did."""

from __future__ import annotations

import sys
import time

from executors.models import load_language_model
from executors.run import peak_memory_mb
from tests.benchmarks.prompting.data import banking77

CHECKED = 20


def main(count: int) -> None:
    names = sorted({row["label"] for row in banking77("train")})
    labels = [f"{names[n % len(names)]} {n // len(names)}" for n in range(count)]
    model = load_language_model("smollm2-135m-instruct")
    chat = [{"role": "user", "content": "Name the intent of the request: my card has not arrived."}]
    begin = time.perf_counter()
    (scores,) = model.score([chat], labels)
    seconds = time.perf_counter() - begin
    peak = (peak_memory_mb() or 0) / 1e3
    some = range(0, count, count // CHECKED)
    apart = max(abs(scores[n] - model.score([chat], [labels[n]])[0][0]) for n in some)
    print(seconds, peak, apart)


if __name__ == "__main__":
    main(int(sys.argv[1]))
