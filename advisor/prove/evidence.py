"""What measured answers say of the base model: what is wrong with its answers, and how much it can do already. Pure.

`failure` (none, facts, behaviour, both) is told by what cures it, as the chart needs it to pick a lever:

* **facts** are missing where text put before the model mends its wrong answers, or where the triage says that the text
  was still not before it (not indexed, not retrieved);
* **behaviour** is wrong where an answer stays wrong with the right passage before the model, where it holds the right
  words in the wrong form, or where learning from labelled rows, with nothing looked up besides, mends it. Of fixed
  labels nothing else is possible without documents: what a label means is a convention that rows show and no text says.

Each of the two is found (`True`), ruled out (`False`) or open (`None`): what was not tried is never ruled out. Two
kinds of evidence settle them. Where answers are right or wrong and something was looked up (or rows bring their
passages), the wrong answers of plain prompting are **sorted** one by one; a cause is found where at least `MATERIAL`
of them is its with 95 % confidence (Wilson), ruled out where at most that is: mending a rarer cause changes little.
Elsewhere, and where that leaves a cause open, an **experiment** settles it: a candidate with the cure against one
without, paired on the same rows; found where it is told apart upward (p < .05, Holm over the experiments on one
cause), ruled out where even the upper end of its gain is below `SMALL`, and it was run on all rows.

`base_competence` is the share of the way from the floor to the top that the model goes untrained, with the bounds of
`profile.trial` (ours, not measured): the top is 1, of open text, where no method reaches 1, the target. Where answers
stand in documents that no model can know, it is told from the rows whose passage was before it. A model whose whole
interval is at the target is high whatever the share: it does what is asked of it.

Not covered: causes within behaviour (format, tone, skill); models other than the one that was prompted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from advisor import formats
from advisor.profile.data import LABELLED
from advisor.profile.trial import CLOSED, HIGH, LEAST, LOW, competence
from advisor.prove.learning import learns
from advisor.texts import LANGUAGES, text
from advisor.words import method_name
from executors.base import Prediction, Row, Score, Text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PROMPT, FLOOR = "prompt", "baseline"
LOOKING_UP = ("rag", "long_context")  # the model untrained, with text before it
MATERIAL = 0.15  # of the wrong answers: a cause of fewer is not worth a lever of its own; ours, not measured
SMALL = 0.05  # of the metric's span: a cure that brings less at most is no cure
LEVEL = 0.05
UNSUPPLIED = ("not_indexed", "not_retrieved")  # causes of a triage: the text was not before the model
LEVELS = ("low", "medium", "high")


@dataclass(frozen=True)
class Answered:
    """What one candidate answered. `causes`: the kind of each wrong answer, by row, where its method can tell.

    `whole`: it was run on all rows of the training side; `writes`: it is the language model that answers.
    """

    name: str
    methods: tuple[str, ...]
    predictions: Mapping[str, Prediction]
    causes: Mapping[str, str] = field(default_factory=dict)
    whole: bool = True
    writes: bool = True


@dataclass(frozen=True)
class Ground:
    """All that is read. `answered` by candidate; `documents`: answers draw on a body of text that rows do not bring."""

    task: str
    metric: str
    rows: tuple[Row, ...]
    answered: Mapping[str, Answered]
    target: float | None = None
    documents: bool = False

    def shared(self, *names: str) -> list[Row]:
        """The held-out rows that all of these answered."""
        return [row for row in self.rows if all(row.id in self.answered[name].predictions for name in names)]

    def given(self, name: str, rows: Sequence[Row]) -> list[Prediction]:
        return [self.answered[name].predictions[row.id] for row in rows]

    def scores(self, name: str, rows: Sequence[Row]) -> Mapping[str, Score]:
        from executors.metrics import score

        return score(self.task, rows, self.given(name, rows))[1]

    @property
    def grounded(self) -> bool:
        """Whether rows bring the passage that their answer stands in."""
        return any(row.input.context for row in self.rows)


@dataclass(frozen=True)
class Finding:
    """Whether a cause is there: found, ruled out, or open (None); and why, with the figures."""

    there: bool | None
    why: Text = field(default_factory=dict)


OPEN = Finding(None)


# -- the score of plain prompting --------------------------------------------------------------------------


def prompt_score(ground: Ground) -> tuple[str, Score] | None:
    """(metric, score) of plain prompting on [0, 1], where the metric has its place there; of numbers R², clipped."""
    rows = ground.shared(PROMPT) if PROMPT in ground.answered else []
    if not rows:
        return None
    metric = "r2" if ground.task == "regression" else ground.metric
    return metric, _clipped(ground.scores(PROMPT, rows)[metric])


def _clipped(found: Score) -> Score:
    value, low, high = (min(1.0, max(0.0, end)) for end in (found.value, found.low, found.high))
    return Score(value, low, high, found.n)


def reaches(ground: Ground, found: Score) -> bool | None:
    """Whether a score is at the target: True or False where all of its interval is on one side, else None.

    None also without a target, and for numbers: a target of 0 to 1 says nothing of an error.
    """
    if ground.target is None or ground.task == "regression":
        return None
    return True if found.low >= ground.target else False if found.high < ground.target else None


# -- what is wrong -----------------------------------------------------------------------------------------


def facts_missing(ground: Ground) -> Finding:
    """Whether the model lacks facts that a text would supply."""
    sorted_ = sort(ground)
    found = sorted_.finding("facts") if sorted_ else OPEN
    if found.there is not None or PROMPT not in ground.answered:
        return found
    pairs = [(name, PROMPT) for name in LOOKING_UP if name in ground.answered]
    return _experiment(ground, pairs, "looked_up")


def behaviour_wrong(ground: Ground) -> Finding:
    """Whether its answers are wrong for another reason than a missing fact."""
    sorted_ = sort(ground)
    found = sorted_.finding("behaviour") if sorted_ else OPEN
    if found.there is not None:
        return found
    return _experiment(ground, _taught(ground), "taught")


def _taught(ground: Ground) -> list[tuple[str, str]]:
    """Each candidate that learnt from labelled rows, with the one that did all the same without."""
    pairs = []
    for name, one in ground.answered.items():
        untaught = "+".join(method for method in one.methods if not learns([method])) or PROMPT
        if learns(one.methods) and untaught in ground.answered:
            pairs.append((name, untaught))
    return pairs


def _experiment(ground: Ground, pairs: Sequence[tuple[str, str]], key: str) -> Finding:
    """Pairs of (with the cure, without it), on the rows that both answered."""
    from executors.metrics.compare import better, holm, mean_difference, p_value, row_values, span

    tried = []
    for one, other in pairs:
        rows = ground.shared(one, other)
        if len(rows) < LEAST:
            continue
        values = [
            better(row_values(ground.task, ground.metric, rows, ground.given(name, rows)), ground.metric)
            for name in (one, other)
        ]
        tried.append((one, other, values[0] - values[1], SMALL * span(ground.metric, rows)))
    if not tried:
        return OPEN
    gains = [mean_difference(gap) for _, _, gap, _ in tried]
    adjusted = holm([p_value(gap) for _, _, gap, _ in tried])
    best = max(range(len(tried)), key=lambda n: gains[n].value)
    told = _told_experiment(tried[best][0], tried[best][1], gains[best], adjusted[best])
    if any(p < LEVEL and gain.value > 0 for p, gain in zip(adjusted, gains, strict=True)):
        return Finding(True, text(f"revision.{key}", **told))
    small = all(gain.high < least for gain, (_, _, _, least) in zip(gains, tried, strict=True))
    if small and all(ground.answered[one].whole for one, _, _, _ in tried):
        return Finding(False, text(f"revision.{key}_in_vain", **told))
    return Finding(None, text(f"revision.{key}_open", **told))


def _told_experiment(one: str, other: str, gain: Score, p: float) -> dict[str, object]:
    return {
        "one": _name(one),
        "other": _name(other),
        "gain": formats.score(gain.value),
        "low": formats.score(gain.low),
        "high": formats.score(gain.high),
        "n": gain.n,
        "p": f"{p:.2g}",
    }


def _name(name: str) -> Text:
    return {lang: method_name(name, lang) for lang in LANGUAGES}


# -- wrong answers, sorted -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sorted:
    """The wrong answers whose cause can be told, `known` of `wrong`; an answer can have both causes.

    `how`: by what a candidate did that `looked` up (`by`), by passages `given` in the rows, or only by their `form`.
    `excludes`: whether this can rule a cause out.
    """

    wrong: int
    known: int
    facts: int
    behaviour: int
    how: str
    by: str = ""
    excludes: bool = True

    def finding(self, cause: str) -> Finding:
        from executors.metrics import wilson

        count = self.facts if cause == "facts" else self.behaviour
        if not self.known or (self.how == "form" and cause == "facts"):
            return OPEN
        share = wilson(count, self.known)
        there = True if share.low >= MATERIAL else False if self.excludes and share.high < MATERIAL else None
        percents = {
            name: {lang: formats.percent(value, lang) for lang in LANGUAGES}
            for name, value in (("low", share.low), ("high", share.high), ("least", MATERIAL))
        }
        by = _name(self.by) if self.by else ""
        why = text(f"revision.{cause}_{self.how}", count=count, known=self.known, wrong=self.wrong, by=by, **percents)
        return Finding(there, why)


def sort(ground: Ground) -> Sorted | None:
    """The wrong answers of plain prompting by cause; None where the task has no right and wrong, or rows are too few.

    An answer is right as of the triage (token F1 of one half, exact where nearly right is wrong). One that is wrong but
    holds the target's words has the wrong form: behaviour. Any other is sorted by what became of the row once its text
    was before the model. Where rows bring passages, it always was; those whose passage holds no target stay unsorted.
    Without plain prompting the wrong answers of the candidate that looked up are sorted, which rules nothing out.
    """
    from executors.retriever.triage import JUDGED

    by = next((name for name in LOOKING_UP if name in ground.answered), "")
    first = PROMPT if PROMPT in ground.answered else by
    if ground.task not in JUDGED or not first:
        return None
    rows = ground.shared(first, *([by] if by else []))
    if len(rows) < LEAST:
        return None
    marks = dict(zip((row.id for row in rows), _marks(ground, first, rows), strict=True))
    looked = dict(zip((row.id for row in rows), _marks(ground, by, rows), strict=True)) if by else {}
    causes = [_causes(ground, row, marks[row.id], looked.get(row.id), by) for row in rows if marks[row.id] != "right"]
    known = [cause for cause in causes if cause]
    facts, behaviour = (sum(name in cause for cause in known) for name in ("facts", "behaviour"))
    how = "given" if ground.grounded else "looked" if by else "form"
    if how == "form":  # of all wrong answers, as nothing more is known of any
        return Sorted(len(causes), len(causes), 0, behaviour, how, excludes=False)
    return Sorted(len(causes), len(known), facts, behaviour, how, by, excludes=first == PROMPT)


def _marks(ground: Ground, name: str, rows: Sequence[Row]) -> list[str]:
    """right | form | wrong, of each row."""
    from executors.metrics import EXACT_TASKS
    from executors.metrics.texts import text_figures
    from executors.retriever.triage import RIGHT

    answers = ground.given(name, rows)
    figures = text_figures(ground.task, rows, answers)
    right = figures[:, 1] >= 1 if ground.task in EXACT_TASKS else figures[:, 0] >= RIGHT
    held = figures[:, 2] >= 1
    return [
        "wrong" if answer.abstained else "right" if is_right else "form" if has else "wrong"
        for answer, is_right, has in zip(answers, right, held, strict=True)
    ]


def _causes(ground: Ground, row: Row, mark: str, looked: str | None, by: str) -> frozenset[str]:
    """What is wrong with one wrong answer; empty where nothing tells."""
    if mark == "form":
        return frozenset({"behaviour"})
    if ground.grounded:
        from executors.retriever.evaluation import holds

        return frozenset({"behaviour"}) if holds(row.input.context, row.targets) else frozenset()
    if looked is None:
        return frozenset()
    if looked == "right":
        return frozenset({"facts"})
    if looked == "form":
        return frozenset({"facts", "behaviour"})
    supplied = ground.answered[by].causes.get(row.id) not in UNSUPPLIED
    return frozenset({"behaviour" if supplied else "facts"})


# -- what the model can do already ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Competence:
    """The level by the point estimate, and all levels that its interval reaches into."""

    level: str
    possible: tuple[str, ...]
    why: Text


def base_competence(ground: Ground) -> Competence | None:
    """How well the model does untrained; None where nothing can be told."""
    if PROMPT not in ground.answered or FLOOR not in ground.answered:
        return None
    rows = ground.shared(PROMPT, FLOOR)
    if len(rows) < LEAST:
        return None
    metric = "r2" if ground.task == "regression" else ground.metric
    score, floor = (_clipped(ground.scores(name, rows)[metric]) for name in (PROMPT, FLOOR))
    if reaches(ground, score):
        told = {"score": formats.score(score.value), "low": formats.score(score.low)}
        return Competence(
            "high", ("high",), text("revision.competent", target=formats.score(ground.target or 0), **told)
        )
    if ground.documents and ground.task not in LABELLED and not ground.grounded:
        return _reading(ground, metric)
    if ground.task not in CLOSED:
        return _towards_target(ground, score, floor)
    return _competence(ground.task, score, floor)


def _competence(task: str, score: Score, floor: Score) -> Competence | None:
    level, why = competence(task, score, floor, needs_documents=False)
    return Competence(level, _possible(score, floor.value, 1.0), why) if level else None


def _possible(score: Score, floor: float, top: float) -> tuple[str, ...]:
    """The levels from that of the lower end to that of the upper."""
    ends = ((end - floor) / max(top - floor, 1e-9) for end in (score.low, score.high))
    first, last = (0 if gain < LOW else 2 if gain >= HIGH else 1 for gain in ends)
    return LEVELS[first : last + 1]


def _towards_target(ground: Ground, score: Score, floor: Score) -> Competence | None:
    """Of open text: a perfect answer stays far below 1 beside one reference, so the way is that to the target."""
    if ground.target is None or ground.target <= floor.value:
        return None
    gain = (score.value - floor.value) / (ground.target - floor.value)
    level = "low" if gain < LOW else "high" if gain >= HIGH else "medium"
    figures = {
        name: {lang: formats.percent(value, lang) for lang in LANGUAGES}
        for name, value in (("share", max(gain, 0.0)), ("limit", LOW), ("enough", HIGH))
    }
    told = {name: formats.score(value) for name, value in (("score", score.value), ("floor", floor.value))}
    why = text("revision.towards_target", target=formats.score(ground.target), **told, **figures)
    return Competence(level, _possible(score, floor.value, ground.target), why)


def _reading(ground: Ground, metric: str) -> Competence | None:
    """Where answers stand in documents: from the rows whose passage was before the model."""
    by = next((name for name in LOOKING_UP if name in ground.answered and ground.answered[name].writes), "")
    if not by or ground.task not in CLOSED:
        return None
    causes = ground.answered[by].causes
    rows = [row for row in ground.shared(by, FLOOR) if causes.get(row.id) not in UNSUPPLIED]
    if len(rows) < LEAST:
        return None
    score, floor = (_clipped(ground.scores(name, rows)[metric]) for name in (by, FLOOR))
    found = _competence(ground.task, score, floor)
    if found is None:
        return None
    return Competence(found.level, found.possible, text("revision.reading", n=len(rows), by=_name(by), why=found.why))
