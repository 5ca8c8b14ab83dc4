"""The figures of `advisor profile`: a large file in bounded memory, and how near texts are to a model's training.

`make bench-profile`. Parts can be named: `python -m tests.benchmarks.bench_profile stream domain`.
"""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from tests.benchmarks.harness import ADVISOR, OUT, ROOT, Figure, finish

MEGABYTES = 1024
MOST_MEMORY = 512.0  # MiB a file of any size may add to what the command needs for a small one
MODEL = "smollm2-135m-instruct"


def main(parts: list[str]) -> int:
    measures: dict[str, Callable[[], list[Figure]]] = {"stream": stream, "domain": domain}
    return finish("profile", [figure for part in parts or measures for figure in measures[part]()])


def stream() -> list[Figure]:
    """A JSONL of a gigabyte of short requests, profiled as a user does it, beside one of a thousand rows."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small.jsonl"), Path(folder, "large.jsonl")
        _write(small, 0.2)
        rows = _write(large, MEGABYTES)
        (_, before), (seconds, peak) = _profiled(small), _profiled(large)
        size = large.stat().st_size / 1e6
    command = "advisor profile --data large.jsonl"
    return [
        Figure(
            "stream: peak memory beyond that of a small file, MiB",
            peak - before,
            MOST_MEMORY,
            "<=",
            rows,
            command=command,
        ),
        Figure("stream: seconds for the file", seconds, n=rows, command=command),
        Figure("stream: megabytes a second", size / seconds, n=rows, command=command),
    ]


def _write(path: Path, megabytes: float) -> int:
    """Rows of words drawn from the demo's requests, so that lengths and letters are those of real ones."""
    with (ROOT / "knowledge/demo/requests-train.csv").open(encoding="utf-8") as source:
        texts = [row["text"] for row in csv.DictReader(source)]
    words, draw, rows = " ".join(texts).split(), random.Random(0), 0
    with path.open("w", encoding="utf-8") as out:
        while out.tell() < megabytes * 1e6:
            for _ in range(1000):
                row = {"text": " ".join(draw.choices(words, k=25)), "label": f"class {draw.randrange(40)}"}
                out.write(json.dumps(row) + "\n")
            rows += 1000
    return rows


def _profiled(path: Path) -> tuple[float, float]:
    """Seconds, and the peak resident memory in MiB, of one call."""
    begin, peak = time.perf_counter(), 0
    environment = {**os.environ, "ADVISOR_RUNS": str(path.parent)}
    process = psutil.Popen(
        [*ADVISOR, "profile", "--data", str(path), "--json"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )
    while process.poll() is None:
        try:
            peak = max(peak, process.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.05)
    assert process.wait() == 0
    return time.perf_counter() - begin, peak / 2**20


def domain() -> list[Figure]:
    """Bits a byte of several texts, as a multiple of what the reference text of their language takes."""
    from advisor.profile.domain import measure_domain

    OUT.mkdir(exist_ok=True)
    figures = []
    for name, language, texts in _texts():
        measured = measure_domain(MODEL, _drawn(texts), language, OUT / "domain")
        figures.append(Figure(f"domain: {name}, times the {language} reference", measured.ratio, n=len(texts)))
    return figures


def _drawn(texts: list[str]) -> list[str]:
    """In any order and none longer than a quarter of what is judged, as `advisor profile --measure` draws them."""
    from advisor.profile.domain import BYTES

    return [text[: BYTES // 4] for text in random.Random(0).sample(texts, len(texts))]


def _texts() -> Iterator[tuple[str, str, list[str]]]:
    handbook = sorted((ROOT / "knowledge/demo/handbook").glob("*.md"))
    yield "the demo's handbook", "en", [page.read_text(encoding="utf-8") for page in handbook]
    yield (
        "our own source code",
        "en",
        [path.read_text(encoding="utf-8") for path in sorted((ROOT / "advisor").glob("*.py"))],
    )
    draw = random.Random(0)
    yield "random letters", "en", ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz ", k=2_000)) for _ in range(5)]
    data = Path(os.environ.get("ADVISOR_BENCH_DATA") or ROOT.parent / "shared" / "data")
    if not data.is_dir():
        print("no public data here: set ADVISOR_BENCH_DATA to its folder", file=sys.stderr)
        return
    with (data / "banking77/train.csv").open(encoding="utf-8") as source:
        yield "Banking77", "en", [row["text"] for row in csv.DictReader(source)]
    lines = (data / "gsm8k/train.jsonl").read_text(encoding="utf-8").splitlines()
    yield "GSM8K questions", "en", [json.loads(line)["question"] for line in lines]
    for language in ("en", "zh"):
        articles = json.loads((data / f"xquad/xquad.{language}.json").read_text(encoding="utf-8"))["data"]
        yield f"XQuAD-{language}", language, [p["context"] for article in articles for p in article["paragraphs"]]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
