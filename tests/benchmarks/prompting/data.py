"""Public data as the benchmarks of prompting use it: drawn by a seed, written where a plan can name it.

Rows that are scored are never among those that are learnt from: another file, or questions about other articles.
"""

from __future__ import annotations

import csv
import json
import os
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.benchmarks.harness import OUT, ROOT

MADE = OUT / "data"
SENTIMENTS = ("negative", "positive")


def public_data() -> Path:
    """The folder of the public data sets. Raises `SystemExit` where this machine has none."""
    folder = Path(os.environ.get("ADVISOR_BENCH_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        raise SystemExit("no public data here: set ADVISOR_BENCH_DATA to its folder")
    return folder


def sst2(side: str) -> list[dict[str, str]]:
    """SST-2's sentences of `side` (train, dev, test): text, label."""
    with (public_data() / "sst2" / f"{side}.txt").open(encoding="utf-8") as file:
        pairs = [line.rstrip("\n").split(" ", 1) for line in file]
    return [{"text": text, "label": SENTIMENTS[int(label)]} for label, text in pairs]


def banking77(side: str) -> list[dict[str, str]]:
    """Banking77's requests of `side` (train, test): text, label."""
    with (public_data() / "banking77" / f"{side}.csv").open(encoding="utf-8") as file:
        return [{"text": row["text"], "label": row["category"]} for row in csv.DictReader(file)]


def few_a_class(rows: Iterable[Mapping[str, str]], count: int, seed: int) -> list[Mapping[str, str]]:
    """`count` rows of each label."""
    by_label = defaultdict(list)
    for row in rows:
        by_label[row["label"]].append(row)
    chance = random.Random(seed)
    return [row for _, found in sorted(by_label.items()) for row in chance.sample(found, count)]


def drawn(rows: list[dict[str, str]], count: int, seed: int = 0) -> list[dict[str, str]]:
    return random.Random(seed).sample(rows, count)


def write_rows(name: str, rows: Iterable[Mapping[str, str]]) -> Path:
    """Rows as a CSV file; its path."""
    MADE.mkdir(parents=True, exist_ok=True)
    path = MADE / f"{name}.csv"
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, ["text", "label"])
        writer.writeheader()
        writer.writerows(rows)
    return path


def xquad(train_paragraphs: int, test_questions: int, seed: int = 0) -> tuple[Path, Path]:
    """XQuAD-en as two SQuAD files: every question about some paragraphs, and some about other articles' paragraphs.

    Articles are whole on one side, since the paragraphs of one tell of the same things.
    """
    articles = json.loads((public_data() / "xquad" / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    random.Random(seed).shuffle(articles)
    train, found = [], 0
    while found < train_paragraphs:
        train.append(articles.pop())
        found += len(train[-1]["paragraphs"])
    ids = [question["id"] for article in articles for p in article["paragraphs"] for question in p["qas"]]
    chosen = set(random.Random(seed).sample(ids, test_questions))
    test = [only(article, chosen) for article in articles]
    return write_squad("xquad-train", train), write_squad("xquad-test", test)


def only(article: Mapping[str, Any], ids: set[str]) -> dict[str, Any]:
    """The article with the questions `ids` alone."""
    paragraphs = [{**p, "qas": [q for q in p["qas"] if q["id"] in ids]} for p in article["paragraphs"]]
    return {**article, "paragraphs": [p for p in paragraphs if p["qas"]]}


def write_squad(name: str, articles: list[Any]) -> Path:
    """Articles as a SQuAD file; its path."""
    MADE.mkdir(parents=True, exist_ok=True)
    path = MADE / f"{name}.json"
    path.write_text(json.dumps({"data": articles}, ensure_ascii=False), encoding="utf-8")
    return path


def read_rows(path: Path) -> list[dict[str, str]]:
    """What `write_rows` wrote."""
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))
