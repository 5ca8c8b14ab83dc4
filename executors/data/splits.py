"""Rows to train on and rows to score on: cleaned, split once, and kept apart.

A text (with its passage) is on one side only: rows that share it are held out together, and where a test file is
given, training rows that stand in it are removed. A test file's own rows are left as published, unless they lack
a text or a target. Nothing here depends on anything but the files, the task and the seed.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from executors.base import DataSpec, Input, Problem, Row, Text, UserError, did_you_mean
from executors.data.columns import is_worked_on, parse_targets, recognise_columns
from executors.data.drawing import draw
from executors.data.left_out import SHOWN, LeftOut, count_removed, of_row
from executors.data.numbers import parse_number
from executors.data.reading import Table, read_table
from executors.data.shapes import Transcript

FOLDS_BELOW = 100  # held-out rows below which folds are offered: they score every row
FOLDS = 5  # offered
LEAST = 10  # usable rows from which some are set apart; below, neither side would mean anything
FEW_HELD_OUT = 30  # held-out rows below which the interval is too wide to tell methods apart
NAMED_CLASSES = 5  # classes named in a note
DRAFTED = "drafted"  # the column that marks pairs which nobody has confirmed
YES = frozenset({"true", "1", "yes", "是"})

Key = bytes  # a digest: of a million long texts, the normalised copies would not fit beside them


@dataclass(frozen=True)
class Dataset:
    """The two sides of a file's rows. `labels` are those of `train`, sorted; empty where the task is no classification.

    `removed` counts what was left out: empty_text, empty_label, not_a_number, duplicate, leak, ragged. `drafted` counts
    the rows of `test` that nobody has confirmed (see `executors.retriever.drafting`). `left_out`: the rows behind the
    counts.
    """

    train: tuple[Row, ...]
    test: tuple[Row, ...]
    labels: tuple[str, ...]
    columns: Mapping[str, str]
    removed: dict[str, int]
    notes: tuple[Text, ...]
    drafted: int = 0
    left_out: tuple[LeftOut, ...] = ()


def load_dataset(spec: DataSpec, task: str, seed: int) -> Dataset:
    """Read, clean and split the rows of `spec`. Raises `UserError` for whatever makes them unusable.

    With `spec.folds` both sides are all rows, see `folds`.
    """
    table = read_table(Path(spec.path))
    columns, _ = recognise_columns(table, spec.columns, task)
    left = _ragged(table)
    rows = _without_duplicates(_rows(table, columns, task, left), left)
    _check_targets(rows, task, columns["label"])
    notes, scored = [*table.notes], table
    if spec.test is not None:
        test_table = read_table(Path(spec.test))
        test = _rows(test_table, columns_of_test(test_table, table, columns), task, left)
        train = _without_leak(rows, test, spec.test, left)
        notes, scored = [*notes, *test_table.notes], test_table
        left += _ragged(test_table)
    else:
        train, test = (rows, rows) if spec.folds else _split(rows, spec.held_out, task, seed)
    train = draw(train, spec.rows, seed, task)
    _check_targets(train, task, columns["label"])  # again: what a test file took away may have been a class
    labels = tuple(sorted({row.target for row in train})) if task == "classification" else ()
    test, merged = (test, 0) if task in ("classification", "regression") else _merge_references(test)
    counts = count_removed(left)
    conflicting = _conflicting(train) if task in ("classification", "regression") else []
    left += [of_row(row, "conflict", kept=True) for row in conflicting]
    notes += [*_removal_notes(counts), *_conflict_note(conflicting if labels else ())]
    notes += _notes(spec, train, test, labels, merged)
    drafted = _count_drafted(scored, test)
    notes += _draft_note(drafted, len(test))
    return Dataset(tuple(train), tuple(test), labels, columns, counts, tuple(notes), drafted, tuple(left))


def read_inputs(path: Path, given: Mapping[str, str]) -> list[Input]:
    """The inputs in a file without targets, one a row, in order. Raises `UserError`, also where a text is empty."""
    table = read_table(path)
    if len(table.columns) == 1 and "text" not in given:
        given = {**given, "text": table.columns[0]}
    columns, _ = recognise_columns(table, given, needs=("text",))
    inputs = [_input(row, columns) for row in table.rows]
    empty = [str(line) for line, one in zip(table.lines, inputs, strict=True) if not one.text]
    if empty:
        shown = ", ".join(empty[:5]) + (", …" if len(empty) > 5 else "")
        raise UserError(
            f"{path}: {len(empty)} rows have no text in column '{columns['text']}' (lines {shown})",
            "fill or delete these rows, so that answers and rows stay side by side",
            Problem(
                f"{path}：有 {len(empty)} 行的“{columns['text']}”列没有文本（行号 {shown}）",
                "请补全或删除这些行，让回答与数据行一一对应",
            ),
        )
    return inputs


# -- rows ----------------------------------------------------------------------------------------------


def _input(row: Mapping[str, str], columns: Mapping[str, str]) -> Input:
    """What a row gives: its text and passage, or its turns. What an instruction is to work on is joined to it."""
    text, context = row[columns["text"]], row[columns["context"]].strip() if "context" in columns else ""
    turns = text.turns if isinstance(text, Transcript) else ()
    if context and is_worked_on(columns):
        text, context = f"{text.strip()}\n\n{context}", ""
        if turns:
            turns = (*turns[:-1], (turns[-1][0], f"{turns[-1][1].strip()}\n\n{row[columns['context']].strip()}"))
    return Input(text.strip(), context, turns)


def _rows(table: Table, columns: Mapping[str, str], task: str, left: list[LeftOut]) -> list[Row]:
    """The usable rows of a table; what is not usable goes into `left`."""
    rows, faults = [], []
    for line, cells in zip(table.lines, table.rows, strict=True):
        row = parse_row(f"{table.path.name}:{line}", cells, columns, task)
        if isinstance(row, str):
            faults.append(LeftOut(f"{table.path.name}:{line}", row, cells[columns["text"]].strip()[:SHOWN]))
        else:
            rows.append(row)
    counts = Counter(count_removed(faults))
    if not rows:
        raise _unusable(table, columns, counts)
    if counts["not_a_number"] > len(rows):
        raise _unusable(table, columns, Counter(not_a_number=counts["not_a_number"]))
    if task == "classification":
        _refuse_several_labels(table, columns, rows)
    left += faults
    return rows


def _ragged(table: Table) -> list[LeftOut]:
    return [LeftOut(f"{table.path.name}:{line}", "ragged") for line in table.ragged]


def parse_row(name: str, cells: Mapping[str, str], columns: Mapping[str, str], task: str) -> Row | str:
    """A row, or why it cannot be used."""
    given = _input(cells, columns)
    targets = parse_targets(cells[columns["label"]], columns["label"], task)
    if not given.text:
        return "empty_text"
    if not targets:
        return "empty_label"
    if task == "regression":
        value = parse_number(targets[0])
        if value is None:
            return "not_a_number"
        text = targets[0]
        targets = (text if text.isascii() and "," not in text else repr(value),)  # as float() reads it
    source = cells[columns["source"]].strip() if "source" in columns else ""
    return Row(name, given, targets, source)


def _count_drafted(table: Table, test: Sequence[Row]) -> int:
    """How many of these rows their table marks as drafts, in a column of that name."""
    if DRAFTED not in table.columns:
        return 0
    lines = zip(table.lines, table.rows, strict=True)
    marked = {f"{table.path.name}:{n}" for n, row in lines if row[DRAFTED].strip().casefold() in YES}
    return sum(row.id in marked for row in test)


def _draft_note(drafted: int, count: int) -> list[Text]:
    if not drafted:
        return []
    return [
        {
            "en": f"{drafted:,} of {count:,} rows to score on are drafts that nobody has confirmed: the scores say "
            f"little of real questions; correct them and set their column '{DRAFTED}' to false",
            "zh": f"{count:,} 行评分数据中有 {drafted:,} 行是未经人工确认的草稿：得分不足以反映真实问题；"
            f"请修改后把其“{DRAFTED}”列设为 false",
        }
    ]


def _unusable(table: Table, columns: Mapping[str, str], faults: Counter[str]) -> UserError:
    reason, count = faults.most_common(1)[0]
    label, name = columns["label"], table.path.name
    shown = next((row[label] for row in table.rows if row[label].strip()), "")[:40]
    en, zh = {
        "empty_text": (
            Problem(f"every text is empty (column '{columns['text']}')", "name another column: --columns text=NAME"),
            Problem(f"文本全是空的（列“{columns['text']}”）", "请指定其他列：--columns text=列名"),
        ),
        "empty_label": (
            Problem(
                f"the labels are absent: column '{label}' is empty in every row",
                "label some rows first, or name another column: --columns label=NAME",
            ),
            Problem(f"没有标签：“{label}”列每一行都是空的", "请先标注一些数据，或指定其他列：--columns label=列名"),
        ),
        "not_a_number": (
            Problem(
                f"{count} of {len(table.rows)} targets in column '{label}' are no numbers (e.g. {shown!r})",
                "name a column of numbers: --columns label=NAME; or choose classification as the task",
            ),
            Problem(
                f"“{label}”列的 {len(table.rows)} 个目标中有 {count} 个不是数字（例如 {shown!r}）",
                "请指定数字列：--columns label=列名；或把任务改为分类",
            ),
        ),
    }[reason]
    listed = ", ".join(table.columns)
    return UserError(
        f"{name}: {en.message}",
        f"{en.hint} (columns: {listed})",
        Problem(f"{name}：{zh.message}", f"{zh.hint}（现有的列：{listed}）"),
    )


def _refuse_several_labels(table: Table, columns: Mapping[str, str], rows: Sequence[Row]) -> None:
    several = [row for row in rows if len(row.targets) > 1]
    if several:
        shown = ", ".join(several[0].targets[:3])
        raise UserError(
            f"{table.path.name}: {len(several)} rows have several labels in column '{columns['label']}' "
            f"(e.g. {shown}): a classification has one a row",
            "keep one label a row, or make it a yes/no question a label",
            Problem(
                f"{table.path.name}：有 {len(several)} 行在“{columns['label']}”列有多个标签（例如 {shown}）："
                "分类任务每行只能有一个",
                "请每行只保留一个标签，或为每个标签各做一个是非判断",
            ),
        )


def input_key(row: Row) -> Key:
    """What makes two rows the same input: text and passage, without case and spacing."""
    parts = (" ".join(part.casefold().split()) for part in (row.input.text, row.input.context))
    return hashlib.blake2b("\0".join(parts).encode(errors="surrogatepass"), digest_size=16).digest()


def _without_duplicates(rows: Sequence[Row], left: list[LeftOut]) -> list[Row]:
    """The first of rows with the same input and the same targets."""
    seen: dict[tuple[Key, tuple[str, ...]], Row] = {}
    for row in rows:
        first = seen.setdefault((input_key(row), row.targets), row)
        if first is not row:
            left.append(of_row(row, "duplicate", like=first.id))
    return list(seen.values())


# -- two sides -----------------------------------------------------------------------------------------


def columns_of_test(test: Table, train: Table, columns: Mapping[str, str]) -> dict[str, str]:
    """The same columns in the test file; only a source or a worse answer may be missing. Raises `UserError` naming all
    that are."""
    optional = ("source", "rejected")
    missing = [name for role, name in columns.items() if name not in test.columns and role not in optional]
    if missing:
        raise UserError.of([_not_in_test(name, test, train) for name in missing])
    return {role: name for role, name in columns.items() if name in test.columns}


def _not_in_test(name: str, test: Table, train: Table) -> Problem:
    here, there, listed = test.path.name, train.path.name, ", ".join(test.columns)
    return Problem(
        f"{here}: no column '{name}', which {there} has{did_you_mean(name, test.columns)}",
        f"columns of {here}: {listed}; rename them as in {there}",
        Problem(
            f"{here}：缺少 {there} 中的列“{name}”{did_you_mean(name, test.columns, 'zh')}",
            f"{here} 的列：{listed}；请改成与 {there} 相同的列名",
        ),
    )


def _without_leak(rows: Sequence[Row], test: Sequence[Row], path: str, left: list[LeftOut]) -> list[Row]:
    """Training rows whose input is not among the test rows."""
    held_out = {input_key(row): row.id for row in test}
    twins = [held_out.get(input_key(row), "") for row in rows]
    train = [row for row, twin in zip(rows, twins, strict=True) if not twin]
    left += [of_row(row, "leak", like=twin) for row, twin in zip(rows, twins, strict=True) if twin]
    if not train:
        raise UserError(
            f"all {len(rows)} training rows stand in the test file {path} as well: nothing is left to train on",
            "name a test file with other rows, or leave --test out and a share of the rows is held out",
            Problem(
                f"全部 {len(rows)} 行训练数据都出现在测试文件 {path} 中：没有可用于训练的数据",
                "请换一个数据不同的测试文件，或不给 --test，改为从数据中留出一部分",
            ),
        )
    return train


def _split(rows: Sequence[Row], share: float, task: str, seed: int) -> tuple[list[Row], list[Row]]:
    """Train and test, both in the file's order. Raises `UserError` where there is too little to set apart."""
    if not 0 < share < 1:
        raise UserError(
            f"held_out: must be above 0 and below 1, got {share}",
            "use 0.2, or name a test file with --test",
            Problem(f"held_out：必须大于 0 且小于 1，收到 {share}", "可用 0.2，或用 --test 给出测试文件"),
        )
    if len(rows) < LEAST:
        raise UserError(
            f"too few rows: {len(rows)} can be used, and {LEAST} are needed to set some apart for scoring",
            f"add {LEAST - len(rows)} rows or more, or name a test file with --test",
            Problem(
                f"数据太少：可用的只有 {len(rows)} 行，至少要 {LEAST} 行才能留出一部分用于评分",
                f"请再添加至少 {LEAST - len(rows)} 行，或用 --test 给出测试文件",
            ),
        )
    strata: dict[str, dict[Key, None]] = {}
    stratum_of: dict[Key, str] = {}
    for row in rows:
        stratum = stratum_of.setdefault(input_key(row), row.target if task == "classification" else "")
        strata.setdefault(stratum, {})[input_key(row)] = None
    held_out = _choose({name: list(keys) for name, keys in strata.items()}, share, seed)
    if not held_out:
        raise UserError(
            "too few rows: no class has two different texts, so none can be held out for scoring",
            f"add rows until the classes have at least 2 texts each ({2 * len(strata)} in all), or name a test file",
            Problem(
                "数据太少：没有一个类别有两条不同的文本，无法留出数据用于评分",
                f"请补充数据，使每个类别至少有 2 条文本（共 {2 * len(strata)} 条），或给出测试文件",
            ),
        )
    train = [row for row in rows if input_key(row) not in held_out]
    return train, [row for row in rows if input_key(row) in held_out]


def _choose(strata: Mapping[str, list[Key]], share: float, seed: int) -> set[Key]:
    """The keys held out: `share` of them all, spread over the strata; every stratum keeps one to train on.

    Shares of a stratum are rounded down; what is then missing goes to those that lost most, one each.
    """
    wanted = max(1, round(share * sum(map(len, strata.values()))))
    quotas = {name: min(int(share * len(keys)), len(keys) - 1) for name, keys in strata.items()}
    lost = sorted(strata, key=lambda name: (quotas[name] - share * len(strata[name]), name))
    for name in lost[: max(0, wanted - sum(quotas.values()))]:
        quotas[name] = min(quotas[name] + 1, len(strata[name]) - 1)
    if not any(quotas.values()):
        quotas.update({name: 1 for name in lost if len(strata[name]) > 1})
    rng = random.Random(seed)
    return {key for name in sorted(strata) for key in rng.sample(strata[name], quotas[name])}


def _merge_references(test: Sequence[Row]) -> tuple[list[Row], int]:
    """Held-out rows with the same input as one, any of their targets being right; and by how many they are fewer."""
    merged: dict[Key, Row] = {}
    for row in test:
        first = merged.setdefault(input_key(row), row)
        if first is not row:
            merged[input_key(row)] = replace(first, targets=tuple(dict.fromkeys((*first.targets, *row.targets))))
    return list(merged.values()), len(test) - len(merged)


# -- what is wrong with the targets, and what a reader must know -----------------------------------------


def _check_targets(rows: Iterable[Row], task: str, column: str) -> None:
    values = Counter(row.target for row in rows)
    if len(values) > 1 or task not in ("classification", "regression"):
        return
    what, what_zh = ("one class only", "一个类别") if task == "classification" else ("one number only", "一个数值")
    label = next(iter(values))
    raise UserError(
        f"{what}: each of the {values.total()} rows to train on has the label '{label}' (column '{column}')",
        "add rows with other labels, or name another column: --columns label=NAME",
        Problem(
            f"只有{what_zh}：{values.total()} 行训练数据的标签都是“{label}”（列“{column}”）",
            "请补充其他标签的数据，或指定其他列：--columns label=列名",
        ),
    )


def _removal_notes(removed: Mapping[str, int]) -> list[Text]:
    texts = {
        "empty_text": ("rows left out, as their text is empty", "行因文本为空被忽略"),
        "empty_label": ("rows left out, as their label is empty", "行因标签为空被忽略"),
        "not_a_number": ("rows left out, as their target is no number", "行因目标不是数字被忽略"),
        "duplicate": ("rows left out, as the same row stands above them", "行与前面的行重复，已忽略"),
        "leak": ("training rows left out, as their text is in the test rows", "行训练数据因文本出现在测试数据中被忽略"),
    }
    return [
        {"en": f"{removed[reason]:,} {en}", "zh": f"{removed[reason]:,} {zh}"}
        for reason, (en, zh) in texts.items()
        if removed.get(reason)
    ]


def _notes(spec: DataSpec, train: Sequence[Row], test: Sequence[Row], labels: Sequence[str], merged: int) -> list[Text]:
    notes: list[Text] = []
    if merged:
        notes.append(
            {
                "en": f"{merged:,} test rows repeat an input with another answer: each input is scored once, "
                "against all its answers",
                "zh": f"{merged:,} 行测试数据的输入重复但答案不同：每个输入只评分一次，与其所有答案比较",
            }
        )
    if labels:
        notes += _unseen_note(test, labels)
    notes += _folds_note(spec, len(train), len(test))
    if len(test) < FEW_HELD_OUT:
        notes.append(
            {
                "en": f"only {len(test)} rows to score on: the interval is wide, and small differences mean nothing",
                "zh": f"只有 {len(test)} 行用于评分：置信区间很宽，细微差别没有意义",
            }
        )
    return notes


def _conflicting(train: Sequence[Row]) -> list[Row]:
    """The rows whose input stands there with more than one target."""
    by_input: dict[Key, list[Row]] = {}
    for row in train:
        by_input.setdefault(input_key(row), []).append(row)
    groups = (rows for rows in by_input.values() if len({row.target for row in rows}) > 1)
    return [row for rows in groups for row in rows]


def _conflict_note(conflicting: Sequence[Row]) -> list[Text]:
    """Training texts that stand there with more than one label."""
    if not conflicting:
        return []
    example = conflicting[0]
    count = len({input_key(row) for row in conflicting})
    key = input_key(example)
    named = ", ".join(sorted({row.target for row in conflicting if input_key(row) == key}))
    return [
        {
            "en": f"{count:,} training texts have more than one label, e.g. {example.id} ({named}): no method can be "
            "right on both",
            "zh": f"{count:,} 条训练文本有多个不同的标签，例如 {example.id}（{named}）：任何方法都无法同时满足",
        }
    ]


def _folds_note(spec: DataSpec, train: int, test: int) -> list[Text]:
    """Folds, where they were asked for; or that they would help."""
    if spec.folds:
        return [
            {
                "en": f"{spec.folds}-fold cross-validation: each of the {test:,} rows was scored once, by a model that "
                f"never saw it; what is kept for use was trained on all {train:,} rows, and is not one of those scored",
                "zh": f"{spec.folds} 折交叉验证：{test:,} 行数据各评分一次，评分的模型都没有见过该行；"
                f"最终保留的模型用全部 {train:,} 行训练，不是被评分的模型之一",
            }
        ]
    if spec.test is not None or test >= FOLDS_BELOW:
        return []
    return [
        {
            "en": f"every row can be scored instead of {test}: --folds {FOLDS} trains {FOLDS + 1} times, and narrows "
            "the interval",
            "zh": f"可以让每一行都参与评分，而不只是 {test} 行：--folds {FOLDS} 会训练 {FOLDS + 1} 次，使置信区间变窄",
        }
    ]


def _unseen_note(test: Sequence[Row], labels: Sequence[str]) -> list[Text]:
    unseen = Counter(row.target for row in test if row.target not in set(labels))
    if not unseen:
        return []
    named = ", ".join(sorted(unseen)[:NAMED_CLASSES]) + (", …" if len(unseen) > NAMED_CLASSES else "")
    return [
        {
            "en": f"{len(unseen)} classes of the test rows are not in training ({named}): their {unseen.total()} rows "
            "cannot be answered right",
            "zh": f"测试数据中有 {len(unseen)} 个类别未出现在训练数据中（{named}）：这 {unseen.total()} 行无法答对",
        }
    ]
