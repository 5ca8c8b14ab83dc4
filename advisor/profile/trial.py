"""Plain prompting on the user's held-out rows, beside the floor: the baseline score, and what it says of the model.

The plan is a plain few-shot prompt, without the search that `advisor run --method prompt` makes for a better one, on
at most `MOST` held-out rows. It is kept in the
cache under the content of the rows, so a repeated call has its result at once and an interrupted one goes on.

What the score says of `base_competence`: the share of the way from the floor (no model) to 1 that the model goes,
under `LOW` low, from `HIGH` on high. The limits are ours, not measured. Not covered: tasks of open text, whose overlap
with one reference stays far below 1 for a perfect answer; questions whose facts stand in documents, which no model
can know. A better prompt may show more: the estimate is a lower bound of what the model can do.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advisor import formats
from advisor.decision import Inputs, decide
from advisor.facts import Fact, Facts
from advisor.profile.data import LABELLED
from advisor.texts import LANGUAGES, text
from executors.base import Plan, Reporter, Result, Row, Score, Text, silent, write_atomic

MOST = 100  # held-out rows that are asked
LEARN = 20_000  # training rows that demonstrations are drawn from
LEAST = 20  # rows below which a score says nothing
LOW, HIGH = 0.25, 0.7
CLOSED = frozenset(
    {"classification", "regression", "extraction", "question_answering", "structured_output", "reasoning"}
)


@dataclass(frozen=True)
class Trial:
    """What plain prompting scored on `score.n` of `held_out` rows. `competence` is None where nothing follows."""

    model: str
    task: str
    metric: str
    score: Score
    floor: Score
    held_out: int
    competence: str | None
    reason: Text


def prepare(
    sides: tuple[Sequence[Row], Sequence[Row]],
    task: str,
    model: str,
    seed: int = 0,
    endpoint: Mapping[str, Any] | None = None,
) -> tuple[Plan, Path]:
    """The plan on a draw of the rows, and the folder it runs in, which the draw names."""
    from advisor.plan import make_plan
    from executors.models.catalogue import cache_folder

    train, test = (_draw(side, most, seed) for side, most in zip(sides, (LEARN, MOST), strict=True))
    written = [_lines(side, task) for side in (train, test)]
    digest = hashlib.sha256("\0".join([*written, task, model, str(seed)]).encode(errors="surrogatepass")).hexdigest()
    folder = cache_folder() / "profile" / digest[:16]
    folder.mkdir(parents=True, exist_ok=True)
    names = [folder / "train.jsonl", folder / "test.jsonl"]
    for name, lines in zip(names, written, strict=True):
        write_atomic(name, lines)
    columns = {"text": "text", "label": _target_name(task), "context": "context", "source": ""}
    if not any(row.input.context for row in train):
        columns["context"] = ""
    inputs = Inputs(str(names[0]), str(names[1]), model=model, columns=columns)
    said = Facts().with_(Fact("task", task, "asked"))
    plain = dataclasses.replace(decide(said, inputs=inputs), variants={"prompt": "few_shot"})
    return make_plan(plain, inputs, "prompt", {"search_seconds": 0.0}, endpoint or {}), folder


def run(plan: Plan, folder: Path, held_out: int, with_documents: bool, report: Reporter = silent) -> Trial:
    """Run the plan and the floor. Raises `UserError` for what a user can fix, such as weights that cannot be had."""
    from executors.run import run_plan

    result = run_plan(plan, folder / "prompt", report, again="advisor profile … --measure")
    floor_plan = dataclasses.replace(plan, executor="baseline", params={}, endpoint={}, reasons={})
    floor = run_plan(floor_plan, folder / "floor", report)
    metric = "r2" if plan.task == "regression" else result.metric  # from 0 to 1, as the fact is
    score, bottom = _clipped(result, metric), _clipped(floor, metric)
    facts_elsewhere = with_documents and not plan.data.columns.get("context") and plan.task not in LABELLED
    level, reason = competence(plan.task, score, bottom, facts_elsewhere)
    return Trial(plan.model, plan.task, metric, score, bottom, held_out, level, reason)


def competence(task: str, score: Score, floor: Score, needs_documents: bool) -> tuple[str | None, Text]:
    """The level that a score says of the model, and the sum; None where it says nothing, and why."""
    if task not in CLOSED:
        return None, text("profile.competence_open")
    if needs_documents:
        return None, text("profile.competence_documents")
    if score.n < LEAST:
        return None, text("profile.competence_few", n=score.n, least=LEAST)
    gain = (score.value - floor.value) / max(1 - floor.value, 1e-9)
    level = "low" if gain < LOW else "high" if gain >= HIGH else "medium"
    return level, text(
        "profile.competence",
        score=formats.score(score.value),
        floor=formats.score(floor.value),
        share={lang: formats.percent(max(gain, 0), lang) for lang in LANGUAGES},
        low={lang: formats.percent(LOW, lang) for lang in LANGUAGES},
        high={lang: formats.percent(HIGH, lang) for lang in LANGUAGES},
    )


def trial_facts(trial: Trial) -> Facts:
    """`baseline_score`, and `base_competence` where it could be told."""
    told = text(
        "profile.baseline",
        model=trial.model,
        metric=text(f"word.metric.{trial.metric}"),
        score=formats.score(trial.score.value),
        low=formats.score(trial.score.low),
        high=formats.score(trial.score.high),
        n=trial.score.n,
        held_out=trial.held_out,
        floor=formats.score(trial.floor.value),
    )
    facts = Facts().with_(Fact("baseline_score", round(trial.score.value, 3), "measured", told))
    if trial.competence:
        facts = facts.with_(Fact("base_competence", trial.competence, "measured", trial.reason))
    return facts


def _clipped(result: Result, metric: str) -> Score:
    found = result.scores[metric]
    value, low, high = (min(1.0, max(0.0, end)) for end in (found.value, found.low, found.high))
    return Score(value, low, high, found.n)


def _draw(rows: Sequence[Row], most: int, seed: int) -> list[Row]:
    """At most so many rows, in their order."""
    if len(rows) <= most:
        return list(rows)
    return [rows[place] for place in sorted(random.Random(seed).sample(range(len(rows)), most))]


def _target_name(task: str) -> str:
    """A label is one; of answers a row may have several, which a column of this name holds as a list."""
    return "label" if task in LABELLED else "answers"


def _lines(rows: Sequence[Row], task: str) -> str:
    name = _target_name(task)
    return "".join(
        json.dumps(
            {
                "text": row.input.text,
                "context": row.input.context,
                name: row.target if name == "label" else list(row.targets),
            },
            ensure_ascii=False,
        )
        + "\n"
        for row in rows
    )
