"""When to say that nothing was found: thresholds set on development questions, which are training rows.

Two things are asked of an answer. The best sentence of what was found must be near enough to the question, by words in
common and cosines (`Reader.rank`): of all signs tried on the demo handbook's training questions it tells best whether
the answer is there (area under the curve .86; the best passage's cosine .78, the likelihood of the extracted words
.59). And what the model writes must stand in what it cites (`Prediction.support`).

A question without an answer is made from a row by leaving its own documents out of what is found. Each threshold is the
highest that leaves a stated share of the answerable questions answered; how many of the others it stops is told.
Not covered: a document that is near, of the right kind, and lacks the answer: no threshold on likeness tells that.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from executors.base import Job, Passage, Row, Text
from executors.data.near import refuse_leaks

if TYPE_CHECKING:
    from executors.retriever.params import Setup
    from executors.retriever.predictor import RagPredictor

NOT_FOUND: Text = {"en": "I could not find this in the documents.", "zh": "资料中没有找到答案。"}
LEAST = 20  # development questions below which no threshold is set
MOST = 100
WRITTEN = 12  # of them that the model answers for the threshold on support
RIGHT_LEAST = 4  # right answers of these below which nothing is asked of support
DEEP = 50  # passages looked through for some that are not from a question's own documents


@dataclass(frozen=True)
class Threshold:
    """What an answer needs: `near`, of the best sentence to the question, and `support`, 0 to 1, by what it cites."""

    near: float
    support: float = 0.0


@dataclass(frozen=True)
class Question:
    """A training row with what is found for it, and what is found when its own documents are left out."""

    row: Row
    found: Sequence[Passage]
    without: Sequence[Passage]


def set_threshold(predictor: RagPredictor, job: Job, answered: float) -> None:
    """Set the threshold that leaves the share `answered` of answerable questions answered, and say what it does."""
    questions = development(predictor, job)
    if len(questions) < LEAST:
        predictor.setup = _noted(predictor, None, _too_few(len(questions)))
        return
    own = [predictor.nearness(q.row.input.text, q.found) for q in questions]
    other = [predictor.nearness(q.row.input.text, q.without) for q in questions]
    near = loosened(highest(own, answered), own, other)
    kept, stopped = share(own, near), 1 - share(other, near)
    held = _support(predictor, job, questions, answered) if predictor.setup.reader == "generate" else 0.0
    note = _set(Threshold(near, held), len(questions), kept, stopped)
    predictor.setup = _noted(predictor, Threshold(near, held), note)


def development(predictor: RagPredictor, job: Job) -> list[Question]:
    """Training rows whose documents are known, in a random order, at most `MOST`; none that equals a held-out row."""
    rows = list(refuse_leaks(job, job.rows)[0])
    random.Random(f"abstention {job.plan.seed}").shuffle(rows)
    rows = rows[:MOST]
    k = predictor.setup.k
    questions = []
    for row, deep in zip(rows, predictor.find([row.input.text for row in rows], DEEP, job.report), strict=True):
        own = _own(row, predictor, deep)
        if own:
            questions.append(Question(row, deep[:k], [p for p in deep if p.source not in own][:k]))
    return questions


def _own(row: Row, predictor: RagPredictor, deep: Sequence[Passage]) -> set[str]:
    """The documents that answer a row: those it names, else those found for it that hold a target."""
    from executors.retriever.evaluation import holds_target, is_from, named_sources

    names = named_sources(row.source)
    if not names:
        return {p.source for p in deep if holds_target(p, row.targets)}
    paths = [source.path for source in predictor.index.sources()]
    return {path for path in paths if any(is_from(Passage("", path), name) for name in names)}


def _support(predictor: RagPredictor, job: Job, questions: Sequence[Question], answered: float) -> float:
    """What to ask of support: what right answers have of it."""
    from executors.retriever.evaluation import holds

    asked = questions[:WRITTEN]
    answers = predictor.answer([q.row.input.text for q in asked], [q.found for q in asked], job.report)
    right = [
        answer.support or 0.0 for q, answer in zip(asked, answers, strict=True) if holds(answer.text, q.row.targets)
    ]
    return highest(right, answered) if len(right) >= RIGHT_LEAST else 0.0


def highest(values: Sequence[float], least: float) -> float:
    """The highest of the values that the next one of their kind reaches with probability `least`.

    Of n values that is the one in place floor((n + 1) (1 - least)) from below (split conformal prediction, Vovk et al.
    2005); the least of them where there are too few to tell.
    """
    below = math.floor((len(values) + 1) * (1 - least) + 1e-9)
    return sorted(values)[max(below, 1) - 1]


def loosened(threshold: float, own: Sequence[float], other: Sequence[float]) -> float:
    """The lowest of `own` values that stops as many of the `other` ones as the threshold does."""
    stopped = max((value for value in other if value < threshold), default=-math.inf)
    return min(value for value in own if value > stopped)


def share(values: Sequence[float], threshold: float) -> float:
    """The share of the values that reach the threshold."""
    return sum(value >= threshold for value in values) / len(values)


def _noted(predictor: RagPredictor, threshold: Threshold | None, note: Text) -> Setup:
    setup = predictor.setup
    return replace(setup, threshold=threshold, notes=(*setup.notes, note))


def _set(threshold: Threshold, n: int, kept: float, stopped: float) -> Text:
    asked = f"{threshold.near:.2f}"
    held, held_zh = "", ""
    if threshold.support:
        held = f", and {100 * threshold.support:.0f} % of an answer's words in what it cites"
        held_zh = f"，且答案中 {100 * threshold.support:.0f}% 的用词见于所引段落"
    return {
        "en": f"abstains where no sentence found is near enough (below {asked}){held}: of {n} training questions "
        f"{100 * kept:.0f} % stay answered, and with their documents left out {100 * stopped:.0f} % are abstained "
        "from; abstain=never answers all",
        "zh": f"找不到足够接近的句子时不作答（低于 {asked}）{held_zh}：{n} 个训练问题中 {100 * kept:.0f}% 仍会回答，"
        f"去掉其所在文档后 {100 * stopped:.0f}% 不作答；abstain=never 则一律回答",
    }


def _too_few(n: int) -> Text:
    return {
        "en": f"answers whatever is asked: to set when to abstain, {LEAST} training questions whose documents are "
        f"known are needed, and there are {n}",
        "zh": f"有问必答：要设定何时不作答，需要 {LEAST} 个已知所在文档的训练问题，现有 {n} 个",
    }
