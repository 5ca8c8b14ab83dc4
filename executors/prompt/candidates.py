"""Which prompts a search compares: wordings, demonstrations and their number, order and decoding, the likely first.

What the plan's parameters name is never varied. Labels' calibration and the weight of nearness are not here: they are
read from the same answers of the model and cost nothing more (see `search`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from executors.prompt.params import PromptParams
from executors.prompt.wording import wording_names

FEW_LABELS = 4  # up to which fixed demonstrations are compared in every way
MANY_LABELS = 24  # beyond which one demonstration of each label makes prompts long
RETRIEVE_FROM = 50  # training rows from which retrieved demonstrations are worth their price
SHOWN_FROM = 5  # labels from which on only those of the retrieved demonstrations are compared
SAMPLED = frozenset({"generation", "dialogue"})  # tasks whose texts may be drawn by chance
WARM = 0.7

CHOICE = frozenset({"shots", "selection", "order", "order_seed", "candidates"})  # of demonstrations

Change = dict[str, Any]


def candidates(
    base: PromptParams, given: frozenset[str], task: str, labels: int, rows: int, grounded: bool, scores: bool
) -> list[PromptParams]:
    """The prompts to compare, `base` first, each once. `rows` are those demonstrations may be taken from; `scores`:
    whether the model tells how likely a text is."""
    found = {_key(base): base}
    if base.demonstrations or (base.shots == 0 and "shots" in given):
        given |= CHOICE  # the user's own are shown whatever these say, and of none nothing can be chosen
    if base.calibration != "none" and "calibration" in given:
        given |= {"candidates"}  # those "shown" have no prior: the calibration that was asked for would be left out
    for change in _changes(task, labels, rows, grounded):
        allowed = {name: value for name, value in change.items() if name not in given}
        other = _without_idle(replace(base, **allowed), base)
        if (other.shots or 0) <= rows and (scores or other.answers == "written"):
            found.setdefault(_key(other), other)
    return list(found.values())


def _without_idle(other: PromptParams, base: PromptParams) -> PromptParams:
    """`other` but for differences from `base` that would not change its prompts."""
    if other.answers == "extracted":  # neither wording nor demonstrations have a part in it
        return replace(base, answers="extracted", shots=0)
    if not other.retrieves:
        other = replace(other, order=base.order, candidates=base.candidates)
    return other if other.shots != 0 else replace(other, selection=base.selection, order_seed=base.order_seed)


def _key(params: PromptParams) -> str:
    return repr(params)


def _changes(task: str, labels: int, rows: int, grounded: bool) -> Iterator[Change]:
    wordings = wording_names(task)
    if task == "classification":
        yield from _labelled(wordings, labels, rows)
    elif grounded:
        yield from _grounded(wordings, rows, task)
    else:
        yield from _written(wordings, rows)
    if task in SAMPLED:
        yield {"temperature": WARM}


def _labelled(wordings: Sequence[str], labels: int, rows: int) -> Iterator[Change]:
    """Retrieved demonstrations first: with many labels they are shorter and better than one of each."""
    near: Change = {"selection": "nearest", "candidates": "shown" if labels >= SHOWN_FROM else "all"}
    if rows >= RETRIEVE_FROM:
        for shots in (3, 2, 5):
            for wording in ("cued", "bare"):
                yield {**near, "shots": shots, "wording": wording}
        yield {**near, "shots": 4, "wording": "plain"}
        yield {**near, "shots": 4, "wording": "cued", "selection": "nearest_balanced"}
        yield {**near, "shots": 4, "wording": "cued", "selection": "diverse"}
        yield {**near, "shots": 4, "wording": "cued", "order": "nearest_first"}
    if labels <= FEW_LABELS:
        yield from _few_labels(wordings, labels)
    elif labels <= MANY_LABELS:
        for wording in reversed(wordings):
            yield {"shots": labels, "wording": wording}


def _few_labels(wordings: Sequence[str], labels: int) -> Iterator[Change]:
    """Fixed demonstrations, which are read once for all inputs, in several numbers, draws and orders."""
    few = max(4, labels)
    for shots in (2 * few, 4 * few, few):
        for order_seed in (0, 1, 2):
            for wording in reversed(wordings):
                yield {"shots": shots, "wording": wording, "order_seed": order_seed}
    for wording in wordings:
        yield {"shots": 0, "wording": wording}
    for shots in (16 * few, 32 * few):  # many-shot
        yield {"shots": shots, "wording": wordings[-1]}


def _grounded(wordings: Sequence[str], rows: int, task: str) -> Iterator[Change]:
    """Rows that bring a passage: a few demonstrations are already long."""
    if task == "question_answering":
        yield {"answers": "extracted"}
    for shots in (2, 0, 4, 1):
        for wording in reversed(wordings):
            yield {"shots": shots, "wording": wording}
    for order_seed in (1, 2):
        yield {"shots": 2, "wording": "cued", "order_seed": order_seed}
    if rows >= RETRIEVE_FROM:
        for shots in (2, 4):
            yield {"shots": shots, "selection": "nearest", "wording": "cued"}


def _written(wordings: Sequence[str], rows: int) -> Iterator[Change]:
    for shots in (4, 0, 8):
        for wording in wordings:
            yield {"shots": shots, "wording": wording}
    for wording in wordings:
        yield {"shots": 4, "wording": wording, "order_seed": 1}
        if rows >= RETRIEVE_FROM:
            yield {"shots": 4, "selection": "nearest", "wording": wording}
            yield {"shots": 4, "selection": "diverse", "wording": wording}
