"""Preference pairs: to one input an answer that is better and one that is worse.

Covered: columns or keys `prompt`, `chosen` and `rejected`, the answers as texts or as lists of messages (which may
repeat the prompt), conversations beside them, and Alpaca's ``"output": [better, worse]``; see `shapes`. Not covered:
more than two answers, and ratings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from executors.base import DataSpec, Input, Problem, Row, Text, UserError
from executors.data.columns import recognise_columns
from executors.data.reading import Table, read_table
from executors.data.splits import Key, columns_of_test, input_key, load_dataset, parse_row


@dataclass(frozen=True)
class Pair:
    """One comparison. Neither answer is empty, and they differ."""

    id: str
    input: Input
    chosen: str
    rejected: str


@dataclass(frozen=True)
class Pairs:
    """The two sides of a file's pairs. `removed` counts what was left out: empty_text, empty_label, empty_rejected,
    same_answer, duplicate, leak."""

    train: tuple[Pair, ...]
    test: tuple[Pair, ...]
    columns: Mapping[str, str]
    removed: Mapping[str, int]
    notes: tuple[Text, ...]


def load_pairs(spec: DataSpec, seed: int, task: str = "generation") -> Pairs:
    """Read, clean and split pairs: an input's pairs are on the side where `load_dataset` has that input.

    So no pair to train on shares its input with a row that is scored. Raises `UserError` for what makes them unusable.
    """
    dataset = load_dataset(spec, task, seed)
    held_out = {input_key(row) for row in dataset.test}
    table = read_table(Path(spec.path))
    columns, _ = recognise_columns(table, spec.columns, task, needs=("text", "label"))
    removed = Counter[str]()
    found = _read(table, columns, task, removed)
    if spec.test is None:
        train, test = _sides(found, held_out)
    else:
        test_table = read_table(Path(spec.test))
        train, beyond = _sides(found, held_out)
        removed["leak"] += len(beyond)
        test = _read(test_table, columns_of_test(test_table, table, columns), task, removed)
    if not train:
        raise _nothing(table, removed)
    counts = {reason: n for reason, n in removed.items() if n}
    return Pairs(tuple(train), tuple(test), columns, counts, _notes(counts))


def _sides(pairs: Sequence[Pair], held_out: set[Key]) -> tuple[list[Pair], list[Pair]]:
    keys = [input_key(Row(pair.id, pair.input)) for pair in pairs]
    train = [pair for key, pair in zip(keys, pairs, strict=True) if key not in held_out]
    return train, [pair for key, pair in zip(keys, pairs, strict=True) if key in held_out]


def _read(table: Table, columns: Mapping[str, str], task: str, removed: Counter[str]) -> list[Pair]:
    """The usable pairs of a table; what is not usable is counted in `removed`."""
    if "rejected" not in columns:
        raise _no_rejected(table)
    pairs: dict[tuple[Key, str, str], Pair] = {}
    for line, cells in zip(table.lines, table.rows, strict=True):
        pair = parse_pair(f"{table.path.name}:{line}", cells, columns, task)
        if isinstance(pair, str):
            removed[pair] += 1
            continue
        key = (input_key(Row(pair.id, pair.input)), pair.chosen, pair.rejected)
        removed["duplicate"] += key in pairs
        pairs.setdefault(key, pair)
    return list(pairs.values())


def parse_pair(name: str, cells: Mapping[str, str], columns: Mapping[str, str], task: str) -> Pair | str:
    """A pair, or why it cannot be used."""
    row = parse_row(name, cells, columns, task)
    if isinstance(row, str):
        return row
    rejected = cells[columns["rejected"]].strip()
    if not rejected:
        return "empty_rejected"
    if rejected == row.target:
        return "same_answer"
    return Pair(name, row.input, row.target, rejected)


def _no_rejected(table: Table) -> UserError:
    listed = ", ".join(table.columns)
    return UserError(
        f"{table.path.name}: no column recognised as the worse answer of a pair",
        f"say which it is: --columns rejected=NAME (columns: {listed})",
        Problem(
            f"{table.path.name}：没有认出哪一列是偏好对中较差的回答",
            f"请指定：--columns rejected=列名（现有的列：{listed}）",
        ),
    )


def _nothing(table: Table, removed: Mapping[str, int]) -> UserError:
    why = ", ".join(f"{count} {reason}" for reason, count in removed.items() if count)
    return UserError(
        f"{table.path.name}: no pair is left to train on ({why or 'all are held out'})",
        "look at the columns: --columns text=NAME,label=NAME,rejected=NAME",
        Problem(
            f"{table.path.name}：没有可用于训练的偏好对（{why or '全部被留出'}）",
            "请检查列：--columns text=列名,label=列名,rejected=列名",
        ),
    )


REASONS = {
    "empty_text": ("as their prompt is empty", "因提示为空"),
    "empty_label": ("as their chosen answer is empty", "因较好的回答为空"),
    "empty_rejected": ("as their rejected answer is empty", "因较差的回答为空"),
    "same_answer": ("as both answers are the same", "因两个回答相同"),
    "duplicate": ("as the same pair stands above them", "因与前面的偏好对重复"),
    "leak": ("as their prompt is in the test rows", "因提示出现在测试数据中"),
}


def _notes(removed: Mapping[str, int]) -> tuple[Text, ...]:
    return tuple(
        {"en": f"{removed[reason]:,} pairs left out, {en}", "zh": f"{removed[reason]:,} 个偏好对{zh}被忽略"}
        for reason, (en, zh) in REASONS.items()
        if removed.get(reason)
    )
