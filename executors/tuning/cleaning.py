"""What of a job's rows is trained on and what is watched: no row that nearly stands on the held-out side, each turn of
a conversation, and every doubtful or missing row on record.

For every method that changes weights. Rows come without what cannot be used and without exact repetitions, see
`data.splits`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from executors.base import Input, Job, Row, Text
from executors.data.development import COMPARED, development_notes, split_development
from executors.data.left_out import LeftOut, of_row
from executors.data.near import near_groups
from executors.data.shapes import transcript
from executors.messages import TEXT_TASKS
from executors.tuning.params import TuningParams, development_rows

Leaks = Callable[[Sequence[Row]], frozenset[str]]
"""Ids of the rows that (nearly) equal a held-out one."""

MOST = 0.5  # share of the rows that may be left out for nearly equalling a held-out one


@dataclass(frozen=True)
class Sides:
    """Rows to train on and rows to watch, each turn of a conversation as a row; `left_out`: those that are not among
    them, and those that are but look doubtful."""

    train: tuple[Row, ...]
    development: tuple[Row, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[Text, ...]


def training_sides(job: Job, params: TuningParams) -> Sides:
    """The two sides of a job's rows, in their order. Those of the last job are kept, for a training asks several times
    (to train, to compare before and after, for every trial of a search), and 10,000 rows take seconds to compare."""
    drops, leaks = params.near_duplicates == "drop", params.near_leaks == "keep"
    return _sides(tuple(job.rows), job.leaks, job.plan.seed, job.plan.task, drops, leaks, params.development)


@functools.lru_cache(maxsize=1)
def _sides(
    rows: tuple[Row, ...], leaks_of: Leaks, seed: int, task: str, drops: bool, keeps_leaks: bool, share: float
) -> Sides:
    near = near_groups(rows) if len(rows) <= COMPARED else None
    kept, doubtful = _near_duplicates(rows, near, drops)
    held = development_rows(TuningParams(development=share), len(kept))
    train, development = split_development(kept, held, seed, task, near if len(kept) == len(rows) else None)
    answers = task in TEXT_TASKS  # of a conversation that is to be classified, only the last is the target
    turned = [each_turn(side) if answers else side for side in (train, development)]
    sides, leaks = _without_leaks(turned[0], turned[1], leaks_of, task, 0.0 if keeps_leaks else MOST)
    notes = (
        *watched_note(len(sides[1]), len(sides[0]) + len(sides[1])),
        *(_turns_note(kept, sum(map(len, turned))) if answers else ()),
        *_leak_note(leaks, sum(map(len, turned))),
        *(_near_note(doubtful, len(rows)) if near is not None else _uncompared_note(len(rows))),
        *development_notes(sides[0], sides[1], task),
    )
    return Sides(tuple(sides[0]), tuple(sides[1]), (*leaks, *doubtful), notes)


# -- conversations -------------------------------------------------------------------------------------


def each_turn(rows: Sequence[Row]) -> list[Row]:
    """The rows, before each conversation its earlier answers as rows of their own: all begin with the same turns, which
    the shared layout of `batches` computes once. The id of the n-th answer ends in ``#n``; the last keeps the row's."""
    return [one for row in rows for one in (*_earlier_answers(row), row)]


def _earlier_answers(row: Row) -> list[Row]:
    turns = row.input.turns
    found: list[Row] = []
    for place, (role, content) in enumerate(turns):
        if role == "assistant" and place and turns[place - 1][0] == "user":
            given = Input(transcript(turns[:place]), row.input.context, turns[:place])
            found.append(replace(row, id=f"{row.id}#{len(found) + 1}", input=given, targets=(content,)))
    return [one for one in found if one.target.strip()]


def _turns_note(rows: Sequence[Row], answers: int) -> tuple[Text, ...]:
    conversations = sum(row.input.is_multi_turn for row in rows)
    if not conversations:
        return ()
    return (
        {
            "en": f"{conversations:,} of {len(rows):,} rows are conversations of several turns: every answer in them "
            f"is trained on ({answers:,} in all); scored is the last one",
            "zh": f"{len(rows):,} 行中有 {conversations:,} 行是多轮对话：其中每一轮回答都参与训练"
            f"（共 {answers:,} 条）；评分只看最后一轮",
        },
    )


# -- leaks and near-duplicates -------------------------------------------------------------------------


def _without_leaks(
    train: Sequence[Row], development: Sequence[Row], leaks_of: Leaks, task: str, most: float
) -> tuple[tuple[list[Row], list[Row]], list[LeftOut]]:
    """Both sides without rows that nearly equal a held-out one; those that are all their class has are kept.

    So are all where more than the share `most` of the rows do: then it is how the data is made (one template, other
    numbers), and few would stay.
    """
    every = [*train, *development]
    leaking = leaks_of(every)
    if len(leaking) > most * len(every):
        return (list(train), list(development)), [of_row(r, "near_leak", kept=True) for r in every if r.id in leaking]
    learnt = {row.target for row in train if row.id not in leaking}
    last = {r.id for r in train if r.target not in learnt} if task == "classification" else set()
    leaks = [of_row(r, "near_leak", kept=r.id in last) for r in every if r.id in leaking]
    kept = [row for row in train if row.id not in leaking or row.id in last]
    return (kept, [row for row in development if row.id not in leaking]), leaks


def _leak_note(leaks: Sequence[LeftOut], of: int) -> tuple[Text, ...]:
    if not leaks:
        return ()
    count, kept = len(leaks), sum(one.kept for one in leaks)
    if kept == count:
        return (
            {
                "en": f"{count:,} of {of:,} training rows nearly equal a held-out row, and were trained on all the "
                "same: the score is better than on rows that are not like these",
                "zh": f"{of:,} 行训练数据中有 {count:,} 行与留出数据几乎相同，但仍参与训练："
                "得分会高于在其他数据上的效果",
            },
        )
    some = f"; {kept:,} more were, being all that their class has" if kept else ""
    some_zh = f"；另有 {kept:,} 行是所属类别仅有的数据，仍参与训练" if kept else ""
    return (
        {
            "en": f"{count - kept:,} of {of:,} training rows nearly equal a held-out row and were not trained on{some}",
            "zh": f"{of:,} 行训练数据中有 {count - kept:,} 行与留出数据几乎相同，未参与训练{some_zh}",
        },
    )


def _near_duplicates(rows: Sequence[Row], group: Sequence[int] | None, drop: bool) -> tuple[list[Row], list[LeftOut]]:
    """(the rows, those that nearly equal an earlier one with the same answer); with `drop` the latter are left out.

    `group`: as `near_groups` has it, None where the rows are too many to be compared.
    """
    if group is None:
        return list(rows), []
    first: dict[tuple[int, str], str] = {}
    found = []
    for row, number in zip(rows, group, strict=True):
        leader = first.setdefault((number, row.target.casefold()), row.id)
        if leader != row.id:
            found.append(of_row(row, "near_duplicate", kept=not drop, like=leader))
    gone = {one.id for one in found if not one.kept}
    return [row for row in rows if row.id not in gone], found


def _near_note(doubtful: Sequence[LeftOut], rows: int) -> tuple[Text, ...]:
    if not doubtful:
        return ()
    count = len(doubtful)
    if doubtful[0].kept:
        en = f"{count:,} of {rows:,} training rows nearly equal another one and were kept; params.near_duplicates=drop "
        zh = f"{rows:,} 行训练数据中有 {count:,} 行与其他行几乎相同，已保留；params.near_duplicates=drop 可去掉它们"
        return ({"en": f"{en}leaves one of each", "zh": zh},)
    return (
        {
            "en": f"{count:,} of {rows:,} training rows nearly equal another one and were left out",
            "zh": f"{rows:,} 行训练数据中有 {count:,} 行与其他行几乎相同，已去掉",
        },
    )


def _uncompared_note(rows: int) -> tuple[Text, ...]:
    return (
        {
            "en": f"{rows:,} training rows are too many to compare each with every other (up to {COMPARED:,} are): "
            "rows that nearly equal another one are neither listed nor left out",
            "zh": f"训练数据有 {rows:,} 行，超过逐对比较的上限 {COMPARED:,} 行：近似重复的行既未列出也未去掉",
        },
    )


def watched_note(watched: int, rows: int) -> tuple[Text, ...]:
    if not watched:
        return ()
    return (
        {
            "en": f"{watched} of {rows} training rows were held out to watch the loss on, and not trained on",
            "zh": f"{rows} 条训练数据中留出 {watched} 条用于观察损失，未参与训练",
        },
    )
