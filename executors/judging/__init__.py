"""An optional judge: a language model behind an endpoint that grades a run's answers, where overlap with a reference
says little of how good they are.

Two forms. ``rubric``: each answer by itself, 1 to 5, beside the reference. ``pairwise``: against the reference, asked
in both orders, a win only where both say so, as judges favour a place (Zheng et al., 2023, arXiv 2306.05685).
How far a judge can be trusted is measured against people's labels, see `agreement`. It never decides a race or a run.

Not covered: that judges favour long answers, and those of their own family; grading passages and their use.
"""

from __future__ import annotations

from executors.judging.agreement import BOUND, Agreement, agree
from executors.judging.asking import FORMS, TASKS, criterion_of, said_of
from executors.judging.judge import (
    FOLDER,
    JudgeParams,
    JudgeRecord,
    Verdict,
    check,
    judge,
    read_judged,
    read_labels,
    requests,
)

__all__ = [
    "BOUND", "FOLDER", "FORMS", "TASKS", "Agreement", "JudgeParams", "JudgeRecord", "Verdict", "agree", "check",
    "criterion_of", "judge", "read_judged", "read_labels", "requests",
    "said_of",
]  # fmt: skip
