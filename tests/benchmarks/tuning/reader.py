"""A RAG's reader tuned on what its own index finds, beside the plain readers: XQuAD-en, all paragraphs as documents.

Questions of the test are about other articles than those learnt from; the index holds the paragraphs of all. Nothing is
withheld here (`abstain: never`), so that readers are compared on every question.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from executors.data.shapes import named_paragraphs
from tests.benchmarks.harness import Figure
from tests.benchmarks.prompting import data
from tests.benchmarks.tuning.quality import figure, run

PAIRS, TEST = 300, 120
PASSAGES = 3
PARAMS = {"passages": PASSAGES, "epochs": 1.0, "min_steps": 1}  # one pass: prompts of three passages are long
TASK = "question_answering"


def reader() -> list[Figure]:
    """Exact match and F1 of the reader that extracts, the plain model that writes, and the tuned one."""
    docs, train, test = reader_files()
    plain = {"abstain": "never", "passages_read": PASSAGES}
    extracts = run("reader-extract", "rag", TASK, train, test, {**plain, "reader": "extract"}, docs=str(docs))
    writes = run("reader-plain", "rag", TASK, train, test, {**plain, "reader": "generate"}, docs=str(docs))
    tuned = run("reader-tuned", "peft", TASK, train, test, PARAMS, docs=str(docs))
    named = (("extracts", extracts), ("plain model writes", writes), ("tuned model writes", tuned))
    found = [
        figure(f"XQuAD-en by retrieval, {name}: {metric}", result, metric, "reader")
        for name, result in named
        for metric in ("exact_match", "f1", "hit@5", "citation_precision")
        if metric in result.scores
    ]
    return [
        *found,
        Figure("reader tuned / plain: F1", tuned.scores["f1"].value / max(writes.scores["f1"].value, 1e-9), 1.5, ">=",
               tuned.scores["f1"].n, command="python -m tests.benchmarks.bench_tuning --only reader"),
    ]  # fmt: skip


def reader_files() -> tuple[Path, Path, Path]:
    """The folder of all paragraphs, `PAIRS` training questions of some articles, and test questions of others."""
    articles = json.loads((data.public_data() / "xquad" / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    docs = data.MADE / "xquad-docs"
    docs.mkdir(parents=True, exist_ok=True)
    for name, paragraph in named_paragraphs({"data": articles}):
        (docs / name).write_text(paragraph["context"], encoding="utf-8")
    rows = list(_rows(articles))
    titles = sorted({row["title"] for row in rows})
    held = set(random.Random(0).sample(titles, len(titles) // 3))
    train = random.Random(0).sample([row for row in rows if row["title"] not in held], PAIRS)
    test = random.Random(0).sample([row for row in rows if row["title"] in held], TEST)
    return docs, _write("xquad-reader-train", train), _write("xquad-reader-test", test)


def _rows(articles: list[Any]) -> Iterator[dict[str, Any]]:
    titles = [article["title"] for article in articles for _ in article["paragraphs"]]
    for (name, paragraph), title in zip(named_paragraphs({"data": articles}), titles, strict=True):
        for asked in paragraph["qas"]:
            answers = list(dict.fromkeys(answer["text"] for answer in asked["answers"]))
            yield {"question": asked["question"], "answers": answers, "source": name, "title": title}


def _write(name: str, rows: list[dict[str, Any]]) -> Path:
    path = data.MADE / f"{name}.jsonl"
    lines = [json.dumps({k: v for k, v in row.items() if k != "title"}, ensure_ascii=False) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path
