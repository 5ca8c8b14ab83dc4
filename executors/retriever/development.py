"""Development questions: training rows that tell how soon a reader of the retrieved passages comes to the answer.

Ways to cut documents cannot be compared by place alone: of larger passages the first few hold more of everything. So a
place is counted in tokens. An answer stands, for all we know, in the middle of its passage; what must be read until
there is counted in passages of `UNIT` tokens, and that place is discounted as nDCG does. A passage of `UNIT` tokens is
worth 1 in first place and .63 in second; one of three times the size is worth .63 in first place.
Covered too: what luck alone would give the best of many trials. Not covered: how well a reader then reads.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from executors.base import Job, Passage, Row
from executors.data.near import refuse_leaks
from executors.retriever.documents import Document
from executors.retriever.evaluation import discount, holds, holds_target, is_from, named_sources

UNIT = 96  # tokens
MOST_QUESTIONS = 256
DRAWS = 4000  # sign flips; luck is told to about a percent
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Question:
    """A training row whose answer stands in `own` documents. `literally`: in the words of one of its targets."""

    row: Row
    own: tuple[str, ...]
    literally: bool

    @property
    def text(self) -> str:
        return self.row.input.text

    def is_answered_by(self, passage: Passage) -> bool:
        return passage.source in self.own and (not self.literally or holds_target(passage, self.row.targets))


def development_questions(job: Job, documents: Sequence[Document]) -> list[Question]:
    """Training rows whose document is known, in a random order, at most 256.

    Rows that nearly equal a held-out row are left out: they would tell which parameters suit it.
    """
    rows = list(refuse_leaks(job, job.rows)[0])
    random.Random(f"development {job.plan.seed}").shuffle(rows)
    found: list[Question] = []
    for row in rows:
        question = _question(row, documents)
        if question.own:
            found.append(question)
        if len(found) == MOST_QUESTIONS:
            break
    return found


def _question(row: Row, documents: Sequence[Document]) -> Question:
    names = named_sources(row.source)
    if names:
        blank = Passage("", "")
        own = [d for d in documents if any(is_from(replace(blank, source=d.path), name) for name in names)]
    else:
        wanted = [target.casefold() for target in row.targets if target.strip()]
        own = [d for d in documents if any(target in d.text.casefold() for target in wanted)]
    holding = [d for d in own if holds(d.text, row.targets)]
    chosen = holding or (own if names else [])
    return Question(row, tuple(d.path for d in chosen), bool(holding))


def gain(question: Question, passages: Sequence[Passage], sizes: Sequence[int]) -> float:
    """What the passages, best first, are worth: 1 where the answer is read at once, 0 where it is not among them.

    `sizes` are the passages' tokens.
    """
    read = 0.0
    for passage, size in zip(passages, sizes, strict=True):
        if question.is_answered_by(passage):
            return discount(max(1.0, 1 + (read + size / 2 - UNIT / 2) / UNIT))
        read += size
    return 0.0


def luck(differences: Sequence[Floats], best: int) -> float:
    """How often luck alone lets one of the trials stand out as much as trial `best` does, 0 to 1.

    `differences` are each trial's gains less the plan's, question by question; a trial may have fewer of them. Under no
    difference every sign is as likely as its opposite: a sign-flip test of the largest of all trials (Westfall & Young
    1993), which counts how many were tried, and that they resemble each other.
    """
    n = max(len(one) for one in differences)
    table = np.stack([np.pad(one, (0, n - len(one))) for one in differences])  # [trials, questions]
    scale = np.sqrt((table**2).sum(axis=1, keepdims=True))
    unit = table / np.where(scale == 0, 1, scale)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (DRAWS, n))
    largest = (signs @ unit.T).max(axis=1)
    return float((1 + np.sum(largest >= unit[best].sum() - 1e-9)) / (DRAWS + 1))
