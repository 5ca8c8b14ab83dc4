"""How well tuned models answer, through `run_plan` as `advisor run` calls it, beside the floor and prompting.

Test rows are never among those that are learnt from: another file, or questions about other articles.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from executors.base import DataSpec, Plan, Result
from executors.run import run_plan
from tests.benchmarks import harness
from tests.benchmarks.harness import OUT, ROOT, Figure
from tests.benchmarks.prompting import data

RUNS = OUT / "runs" / "tuning"
COMMAND = "python -m tests.benchmarks.bench_tuning --only "
DEMO = ROOT / "knowledge" / "demo"

XQUAD_PAIRS, XQUAD_TEST = 300, 320
E2E_ROWS, E2E_TEST = 500, 200
TRANSLATION_ROWS, TRANSLATION_TEST = 400, 150


def run(
    name: str, method: str, task: str, train: Path, test: Path | None, params: Mapping[str, Any] = {}, **plan: Any
) -> Result:
    """One run in the benchmarks' folder; one that was broken off goes on, one that is done is read."""
    spec = DataSpec(str(train), str(test) if test else None)
    return run_plan(Plan(method, task, spec, params=params, **plan), RUNS / name, harness.told(name))


def figure(name: str, found: Result, metric: str, part: str, bar: float | None = None, op: str = ">=") -> Figure:
    score = found.scores[metric]
    return Figure(name, score.value, bar, op if bar is not None else "", score.n, (score.low, score.high),
                  command=COMMAND + part)  # fmt: skip


# -- question answering --------------------------------------------------------------------------------


def xquad() -> list[Figure]:
    """XQuAD-en with the paragraph given: 300 pairs learnt from, questions about other articles asked."""
    train, test = xquad_files()
    task = "question_answering"
    tuned = run("xquad", "peft", task, train, test)
    plain = run("xquad-plain", "prompt", task, train, test, {"shots": 0})
    return [
        figure("XQuAD-en, 300 pairs, LoRA: exact match", tuned, "exact_match", "xquad", 0.35),
        figure("XQuAD-en, 300 pairs, LoRA: F1", tuned, "f1", "xquad", 0.50),
        figure("XQuAD-en, plain prompt: exact match", plain, "exact_match", "xquad"),
        figure("XQuAD-en, plain prompt: F1", plain, "f1", "xquad"),
        Figure("XQuAD-en, LoRA: seconds of training", tuned.seconds["build"], command=COMMAND + "xquad"),
    ]


def xquad_files(pairs: int = XQUAD_PAIRS) -> tuple[Path, Path]:
    """`pairs` questions about some articles, and the test questions about others."""
    train, test = data.xquad(pairs // 4, XQUAD_TEST)  # a paragraph has about five questions
    articles = json.loads(train.read_text(encoding="utf-8"))["data"]
    ids = [question["id"] for article in articles for p in article["paragraphs"] for question in p["qas"]]
    chosen = set(random.Random(0).sample(ids, pairs))
    return data.write_squad(f"xquad-train-{pairs}", [data.only(article, chosen) for article in articles]), test


# -- writing -------------------------------------------------------------------------------------------


def e2e() -> list[Figure]:
    """E2E: 500 sentences learnt from; each meaning representation of the test set scored against all its sentences."""
    train = _write("e2e-500", ("mr", "ref"), _drawn(_rows("e2e", "train"), E2E_ROWS))
    wanted = set(_drawn(sorted({row["mr"] for row in _rows("e2e", "test")}), E2E_TEST))
    test = _write("e2e-test", ("mr", "ref"), [row for row in _rows("e2e", "test") if row["mr"] in wanted])
    tuned = run("e2e", "peft", "generation", train, test)
    prompted = run("e2e-prompt", "prompt", "generation", train, test, {"search_seconds": 240.0})
    best = prompted.scores["bleu"].value
    return [
        figure("E2E, 500 rows, LoRA: BLEU", tuned, "bleu", "e2e", 0.35),
        Figure("E2E: BLEU of LoRA / of the best prompt", tuned.scores["bleu"].value / max(best, 1e-9), 3.0, ">=",
               tuned.scores["bleu"].n, command=COMMAND + "e2e"),
        figure("E2E, best prompt: BLEU", prompted, "bleu", "e2e"),
        Figure("E2E, LoRA: seconds of training", tuned.seconds["build"], command=COMMAND + "e2e"),
    ]  # fmt: skip


def translation() -> list[Figure]:
    """English questions to Chinese, by XQuAD's parallel questions; test questions are about other articles."""
    train, test = _parallel()
    tuned = run("translation", "peft", "translation", train, test)
    prompted = run("translation-prompt", "prompt", "translation", train, test, {"shots": 4})
    floor = run("translation-floor", "baseline", "translation", train, test)
    named = (("LoRA", tuned), ("prompt, 4 shots", prompted), ("floor", floor))
    return [figure(f"translation en→zh, {name}: chrF", found, "chrf", "translation") for name, found in named]


def _parallel() -> tuple[Path, Path]:
    english, chinese = (
        json.loads((data.public_data() / "xquad" / f"xquad.{lang}.json").read_text(encoding="utf-8"))["data"]
        for lang in ("en", "zh")
    )
    sides = [list(_questions(one)) for one in (english, chinese)]
    pairs = [{"text": en, "translation": zh, "article": n} for (n, en), (_, zh) in zip(*sides, strict=True)]
    numbers = sorted({pair["article"] for pair in pairs})
    held = set(_drawn(numbers, len(numbers) // 4))
    train = _drawn([pair for pair in pairs if pair["article"] not in held], TRANSLATION_ROWS)
    test = _drawn([pair for pair in pairs if pair["article"] in held], TRANSLATION_TEST)
    columns = ("text", "translation")
    return _write("translation-train", columns, train), _write("translation-test", columns, test)


def _questions(articles: list[Any]) -> Iterable[tuple[int, str]]:
    """(article's number, question), in an order that is the same in every language."""
    for number, article in enumerate(articles):
        for paragraph in article["paragraphs"]:
            yield from ((number, qa["question"]) for qa in sorted(paragraph["qas"], key=lambda qa: qa["id"]))


# -- numbers -------------------------------------------------------------------------------------------


def urgency() -> list[Figure]:
    """The demo's `urgency`, 0 to 10: mean absolute error of each method that gives numbers."""
    found = []
    for method, params in (("baseline", {}), ("probe", {}), ("small_encoder", {}), ("peft", {})):
        spec = DataSpec(str(DEMO / "requests-train.csv"), columns={"label": "urgency"})
        result = run_plan(
            Plan(method, "regression", spec, params=params), RUNS / f"urgency-{method}", harness.told(method)
        )
        found.append(figure(f"urgency, {method}: mean absolute error", result, "mae", "urgency"))
    return found


# -- rows ----------------------------------------------------------------------------------------------


def _rows(folder: str, side: str) -> list[dict[str, str]]:
    with (data.public_data() / folder / f"{side}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _drawn(rows: list[Any], count: int) -> list[Any]:
    return random.Random(0).sample(rows, count)


def _write(name: str, columns: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> Path:
    data.MADE.mkdir(parents=True, exist_ok=True)
    path = data.MADE / f"{name}.csv"
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path
