"""What the guards of a search for a prompt find.

The label-order trap: with some demonstrations and orders a model answers with the last label it saw, or with
one label whatever is asked (Lu et al. 2022; Zhao et al. 2021). The collapse: beyond what a model was trained to read,
more demonstrations bring accuracy down to chance. Either is found on the development rows, kept out of the choice,
and told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from executors.base import Row, Text
from executors.trials import Trial

SAME = 0.9  # share of the answers that are one label, from which on it is a trap ...
OFTEN = 0.7  # ... where at most this share of the rows has it
ERRORS = 2.0  # standard errors by which fewer demonstrations must beat chance, before more of them count as collapsed
READINGS = frozenset({"calibration", "neighbours"})  # ways to read the same answers
SPREAD = 0.10  # of the score, by which orders of demonstrations must differ to be told


@dataclass(frozen=True)
class Seen:
    """What a guard looks at: the answers, the rows, the label of the last demonstration (empty: they vary)."""

    answers: Sequence[str]
    rows: Sequence[Row]
    last: str = ""
    cut: float = 0.0  # share of rows that were asked with fewer demonstrations
    labels: Sequence[str] = field(default_factory=tuple)


def trap_flags(seen: Seen) -> tuple[str, ...]:
    """The label-order trap, and demonstrations that did not fit."""
    flags = ["cut"] if seen.cut > 0.5 else []
    if len(seen.labels) > 1 and seen.answers:
        n = len(seen.answers)
        answer, count = Counter(seen.answers).most_common(1)[0]
        share = sum(row.target == answer for row in seen.rows) / n
        if count / n >= SAME and share <= OFTEN:
            flags.append("last_label" if answer == seen.last else "one_label")
    return tuple(flags)


def mark_collapse(trials: Sequence[Trial], chance: float) -> list[Trial]:
    """The trials of one round, flagged where they fell to chance and fewer of the demonstrations had not."""
    marked = []
    for trial in trials:
        fewer = [
            other
            for other in trials
            if _but_shots(other) == _but_shots(trial) and 0 < _shots(other) < _shots(trial) and other.rows == trial.rows
        ]
        error = (max(chance * (1 - chance), 1e-4) / max(trial.rows, 1)) ** 0.5
        fell = trial.score <= chance and any(other.score > chance + ERRORS * error for other in fewer)
        marked.append(replace(trial, flags=(*trial.flags, "collapse")) if fell else trial)
    return marked


def _shots(trial: Trial) -> int:
    return int(trial.changes.get("shots") or 0)


def _but_shots(trial: Trial) -> dict[str, Any]:
    return {name: value for name, value in trial.changes.items() if name != "shots" and name not in READINGS}


FOUND: Mapping[str, Text] = {
    "last_label": {
        "en": "{n} of the prompts tried fell into the label-order trap: they answered with the label of the last "
        "demonstration; {chosen}",
        "zh": "试过的提示中有 {n} 个落入标签顺序陷阱：总是回答最后一个示例的标签；{chosen}",
    },
    "one_label": {
        "en": "{n} of the prompts tried answered with one label whatever was asked; {chosen}",
        "zh": "试过的提示中有 {n} 个无论问什么都回答同一个标签；{chosen}",
    },
    "cut": {
        "en": "{n} of the prompts tried did not fit the window with all their demonstrations",
        "zh": "试过的提示中有 {n} 个在窗口内放不下全部示例",
    },
}


CHOSEN: Mapping[bool, Text] = {
    False: {"en": "none of them was chosen", "zh": "均未选用"},
    True: {
        "en": "the chosen prompt is one of them, for want of a better one",
        "zh": "选用的提示也在其中，因为没有更好的",
    },
}


def guard_notes(trials: Sequence[Trial], metric: str, chosen: Mapping[str, Any]) -> tuple[Text, ...]:
    """What the guards found, in words. `chosen` are the changes of the prompt that was chosen."""
    last = list({_identity(trial): trial for trial in trials}.values())
    counts = {flag: sum(flag in trial.flags for trial in last) for flag in FOUND}
    own = {flag for trial in last if trial.changes == chosen for flag in trial.flags}
    notes = [
        {lang: told.format(n=counts[flag], chosen=CHOSEN[flag in own][lang]) for lang, told in FOUND[flag].items()}
        for flag in FOUND
        if counts[flag]
    ]
    notes += [_collapse_note(trial, metric) for trial in last if "collapse" in trial.flags]
    return (*notes, *_order_notes(trials, metric))


def _collapse_note(trial: Trial, metric: str) -> dict[str, str]:
    shots, tokens, score = _shots(trial), f"{trial.tokens:,.0f}", f"{trial.score:.3f}"
    return {
        "en": f"with {shots} demonstrations ({tokens} tokens) {metric} fell to chance ({score}): "
        "more than this model can use",
        "zh": f"示例增至 {shots} 个（{tokens} token）时，{metric} 降到随机水平（{score}）：已超出该模型的能力",
    }


def _order_notes(trials: Sequence[Trial], metric: str) -> list[Text]:
    """How far the same number of demonstrations, drawn and ordered otherwise, moves the score."""
    groups: dict[tuple[Any, ...], list[float]] = {}
    for trial in trials:
        rest = tuple(sorted((k, repr(v)) for k, v in trial.changes.items() if k != "order_seed"))
        groups.setdefault((trial.rung, trial.rows, rest), []).append(trial.score)
    widest = max((max(scores) - min(scores) for scores in groups.values() if len(scores) > 1), default=0.0)
    if widest < SPREAD:
        return []
    scores = next(s for s in groups.values() if len(s) > 1 and max(s) - min(s) == widest)
    low, high = f"{min(scores):.2f}", f"{max(scores):.2f}"
    return [
        {
            "en": f"other demonstrations in another order move {metric} from {low} to {high} with the same template",
            "zh": f"模板不变，仅换一组示例和顺序，{metric} 就在 {low} 与 {high} 之间变动",
        }
    ]


def _identity(trial: Trial) -> str:
    return repr(sorted((k, repr(v)) for k, v in trial.changes.items()))
