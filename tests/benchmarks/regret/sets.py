"""The data sets of the regret benchmark: what is learnt from, and held-out rows in two halves.

The first half is the user's own: `ask` and `prove` are given it, and the oracle is chosen on it. The other half is seen
by nothing that chooses. Rows are drawn by a seed; no training row has the text of a held-out one. Answers files say
what someone in that situation would answer, and were written before any score was known.
"""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from advisor.decision import Inputs
from executors.base import Plan, write_atomic
from executors.data.shapes import named_paragraphs
from tests.benchmarks.prompting import data
from tests.benchmarks.tuning.quality import DEMO

SEED = 7
HELD_OUT = 500  # or all there are
PAIRS = 200  # questions learnt from where documents are given
GSM8K_TRAIN, GSM8K_TEST = 64, 60
ANSWERS = Path(__file__).parent / "answers"

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Situation:
    """One data set as a user has it. `held_out` has the rows of `own` and as many that nothing which chooses sees."""

    name: str
    task: str
    answers: Path
    train: Path
    own: Path
    held_out: Path
    docs: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    def inputs(self, *, whole: bool = False) -> Inputs:
        """What the user points at; `whole`: with all held-out rows, as the oracle is run."""
        test = self.held_out if whole else self.own
        docs = str(self.docs) if self.docs else None
        return Inputs(str(self.train), str(test), docs, Plan.model, columns=dict(self.columns))


# -- halves --------------------------------------------------------------------------------------------


def halves(rows: Sequence[Any], seed: int = SEED) -> tuple[list[Any], list[Any]]:
    """The rows in two halves, in random order; the first is not the smaller."""
    mixed = random.Random(seed).sample(list(rows), len(rows))
    middle = (len(mixed) + 1) // 2
    return mixed[:middle], mixed[middle:]


def apart(train: Rows, held_out: Rows, column: str) -> list[Mapping[str, Any]]:
    """Training rows whose text is not held out."""
    seen = {_plain(row[column]) for row in held_out}
    return [row for row in train if _plain(row[column]) not in seen]


def distinct(rows: Rows, column: str) -> list[Mapping[str, Any]]:
    """The first row of each text."""
    return list({_plain(row[column]): row for row in reversed(rows)}.values())[::-1]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


# -- the sets ------------------------------------------------------------------------------------------


def _banking77(count: int) -> Situation:
    held_out = data.drawn(distinct(data.banking77("test"), "text"), HELD_OUT, SEED)  # type: ignore[arg-type]
    train = data.few_a_class(apart(data.banking77("train"), held_out, "text"), count, SEED)
    return _written(f"banking77-{count}", "classification", "banking77", train, halves(held_out))


def _sst2(count: int) -> Situation:
    held_out = data.drawn(distinct(data.sst2("test"), "text"), HELD_OUT, SEED)  # type: ignore[arg-type]
    train = data.few_a_class(apart(data.sst2("train"), held_out, "text"), count // 2, SEED)
    return _written(f"sst2-{count}", "classification", "sst2", train, halves(held_out))


def _xquad(lang: str) -> Situation:
    """Documents are the paragraphs of all articles; questions learnt from are about other articles than those asked."""
    articles = json.loads((data.public_data() / "xquad" / f"xquad.{lang}.json").read_text(encoding="utf-8"))["data"]
    docs = data.MADE / "regret" / f"xquad-{lang}-docs"
    for name, paragraph in named_paragraphs({"data": articles}):
        _put(docs / name, paragraph["context"])
    numbers = halves(range(len(articles)))  # the same articles in every language
    asked, learnt = (
        distinct([row for row in _questions(articles) if row["article"] in part], "question") for part in numbers
    )
    held_out = random.Random(SEED).sample(asked, min(HELD_OUT, len(asked)))
    train = random.Random(SEED).sample(apart(learnt, held_out, "question"), PAIRS)
    kept = ("question", "answers", "source")
    plain, first, second = ([{k: row[k] for k in kept} for row in part] for part in (train, *halves(held_out)))
    name = f"xquad-{lang}"
    return _written(name, "question_answering", name, plain, (first, second), docs=docs)


def _questions(articles: Sequence[Any]) -> Iterable[dict[str, Any]]:
    numbers = [number for number, article in enumerate(articles) for _ in article["paragraphs"]]
    for (name, paragraph), number in zip(named_paragraphs({"data": articles}), numbers, strict=True):
        for asked in sorted(paragraph["qas"], key=lambda qa: str(qa["id"])):
            answers = list(dict.fromkeys(answer["text"] for answer in asked["answers"]))
            yield {"question": asked["question"], "answers": answers, "source": name, "article": number}


def _e2e(count: int) -> Situation:
    """Held-out meaning representations, each with all its sentences; those learnt from are others."""
    train, test = (_table(data.public_data() / "e2e" / f"{side}.csv") for side in ("train", "test"))
    parts = halves(random.Random(SEED).sample(sorted({row["mr"] for row in test}), HELD_OUT))
    first, second = ([row for mr in part for row in test if row["mr"] == mr] for part in parts)
    learnt = random.Random(SEED).sample(distinct(apart(train, test, "mr"), "ref"), count)
    return _written(f"e2e-{count}", "generation", "e2e", learnt, (first, second))


def _demo_rows(name: str, task: str, label: str) -> Situation:
    train, test = (_table(DEMO / f"requests-{side}.csv") for side in ("train", "test"))
    return _written(name, task, name, apart(train, test, "text"), halves(test), columns={"label": label})


def _demo_questions() -> Situation:
    train, test = (_lines(DEMO / f"questions-{side}.jsonl") for side in ("train", "test"))
    name = "demo-questions"
    return _written(
        name, "question_answering", name, apart(train, test, "question"), halves(test), docs=DEMO / "handbook"
    )


def _gsm8k() -> Situation:
    """Only to see that nothing is told apart from the floor; too small for anything else."""
    train, test = (_lines(data.public_data() / "gsm8k" / f"{side}.jsonl") for side in ("train", "test"))
    chance = random.Random(SEED)
    drawn = chance.sample(test, GSM8K_TEST)
    learnt = chance.sample(apart(train, drawn, "question"), GSM8K_TRAIN)
    return _written("gsm8k", "reasoning", "gsm8k", learnt, (drawn, []))


SETS: Mapping[str, Callable[[], Situation]] = {
    "demo-requests": partial(_demo_rows, "demo-requests", "classification", "intent"),
    "demo-urgency": partial(_demo_rows, "demo-urgency", "regression", "urgency"),
    "demo-questions": _demo_questions,
    "sst2-16": partial(_sst2, 16),
    "sst2-64": partial(_sst2, 64),
    "sst2-256": partial(_sst2, 256),
    "banking77-5": partial(_banking77, 5),
    "banking77-10": partial(_banking77, 10),
    "banking77-30": partial(_banking77, 30),
    "e2e-100": partial(_e2e, 100),
    "e2e-500": partial(_e2e, 500),
    "xquad-en": partial(_xquad, "en"),
    "xquad-zh": partial(_xquad, "zh"),
}
FLOORED: Mapping[str, Callable[[], Situation]] = {"gsm8k": _gsm8k}  # only raced: all are at the floor


def situation(name: str) -> Situation:
    """The data set called `name`, written where it can be read. Raises `KeyError` for an unknown name."""
    return {**SETS, **FLOORED}[name]()


# -- files ---------------------------------------------------------------------------------------------


def _written(
    name: str,
    task: str,
    answers: str,
    train: Rows,
    parts: tuple[Rows, Rows],
    docs: Path | None = None,
    columns: Mapping[str, str] | None = None,
) -> Situation:
    folder = data.MADE / "regret" / name
    write = _jsonl if any(isinstance(value, list) for value in train[0].values()) or docs else _csv
    sides = {"train": train, "own": parts[0], "held-out": [*parts[0], *parts[1]]}
    learnt, own, held_out = (write(folder / side, rows) for side, rows in sides.items())
    return Situation(name, task, ANSWERS / f"{answers}.yaml", learnt, own, held_out, docs, columns or {})


def _csv(path: Path, rows: Rows) -> Path:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return _put(path.with_suffix(".csv"), out.getvalue())


def _jsonl(path: Path, rows: Rows) -> Path:
    return _put(path.with_suffix(".jsonl"), "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))


def _put(path: Path, content: str) -> Path:
    """Write it unless it is there: another process may be reading it."""
    if not path.is_file() or path.read_text(encoding="utf-8") != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
    return path


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
