"""Demonstrations that the user wrote: read in full or refused, with every faulty row named.

Covered: all formats of `executors.data`; rows without text, without answer, with a label nobody knows, with more
cells than columns; rows that stand among the held-out ones. Nothing is left out silently, for a demonstration that is
missing is one the user believes the model was shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from executors.base import Job, Problem, Row, UserError, did_you_mean
from executors.data import Table, parse_row, read_table, recognise_columns

NAMED = 12  # known labels named in a hint

Lines = list[int]


def read_demonstrations(
    path: Path, task: str, columns: Mapping[str, str], labels: Sequence[str] = ()
) -> tuple[Row, ...]:
    """The rows in `path`, in its order. `labels` are the known ones of a classification; without any, all are taken.

    Raises one `UserError` that names the lines of all faulty rows, by fault.
    """
    table = read_table(path)
    names, _ = recognise_columns(table, columns, task)
    rows, faults, unknown = list[Row](), defaultdict[str, Lines](list), defaultdict[str, Lines](list)
    for line, cells in zip(table.lines, table.rows, strict=True):
        row = parse_row(f"{path.name}:{line}", cells, names, task)
        if isinstance(row, str):
            faults[row].append(line)
        elif task == "classification" and len(row.targets) > 1:
            faults["several_labels"].append(line)
        elif task == "classification" and labels and row.target not in labels:
            unknown[row.target].append(line)
        else:
            rows.append(row)
    faults["ragged"] += table.ragged
    problems = [_fault(reason, lines, table, names) for reason, lines in faults.items() if lines]
    problems += [_unknown(label, lines, path, labels) for label, lines in unknown.items()]
    if problems:
        raise UserError.of(problems)
    return tuple(rows)


def refuse_given_leaks(job: Job, rows: Sequence[Row]) -> None:
    """Raises `UserError` naming every one of the user's `rows` that equals or nearly equals a held-out row.

    Only ids are named: what the held-out rows say stays unknown to whoever writes the prompt.
    """
    leaking = job.leaks(rows)
    named = ", ".join(row.id for row in rows if row.id in leaking)
    if not named:
        return
    raise UserError(
        f"{len(leaking)} of {len(rows)} demonstrations equal or nearly equal a row held out for scoring: {named}",
        "replace or delete them: a model that is shown the answers scores better than it is",
        Problem(
            f"{len(rows)} 条示例中有 {len(leaking)} 条与留出的评分数据相同或几乎相同：{named}",
            "请替换或删除这些示例：让模型看到答案，得分会虚高",
        ),
    )


def _fault(reason: str, lines: Lines, table: Table, names: Mapping[str, str]) -> Problem:
    """What is wrong with the rows at `lines`, and what to do."""
    text, label = names["text"], names["label"]
    en, en_hint, zh, zh_hint = {
        "empty_text": (
            f"no text in column '{text}'", "write the text, or delete these rows",
            f"“{text}”列没有文本", "请补上文本，或删除这些行",
        ),
        "empty_label": (
            f"no label or answer in column '{label}'", "write what the model should answer, or delete these rows",
            f"“{label}”列没有标签或答案", "请写上模型应给出的回答，或删除这些行",
        ),
        "not_a_number": (
            f"no number in column '{label}'", "write a number, or delete these rows",
            f"“{label}”列不是数字", "请填写数字，或删除这些行",
        ),
        "several_labels": (
            f"several labels in column '{label}'", "keep one label a row",
            f"“{label}”列有多个标签", "请每行只保留一个标签",
        ),
        "ragged": (
            "more cells than there are column names", "put cells that contain the separator in quote marks",
            "单元格多于列名", "含分隔符的单元格要加引号",
        ),
    }[reason]  # fmt: skip
    return _at(lines, table.path, Problem(en, en_hint, Problem(zh, zh_hint)))


def _unknown(label: str, lines: Lines, path: Path, labels: Sequence[str]) -> Problem:
    shown, more = label[:60], ", …" if len(labels) > NAMED else ""
    known = ", ".join(labels[:NAMED]) + more
    en = f"unknown label '{shown}'{did_you_mean(label, labels)}"
    zh = f"未知的标签“{shown}”{did_you_mean(label, labels, 'zh')}"
    hints = f"known labels ({len(labels):,}): {known}", f"已知标签（{len(labels):,} 个）：{known}"
    return _at(lines, path, Problem(en, hints[0], Problem(zh, hints[1])))


def _at(lines: Lines, path: Path, fault: Problem) -> Problem:
    """`fault` with the file and the lines it stands in."""
    zh, where = fault.told("zh"), listed(lines)
    en_where = f"line {where}" if len(lines) == 1 else f"{len(lines):,} rows: lines {where}"
    zh_where = f"第 {where} 行" if len(lines) == 1 else f"共 {len(lines):,} 行：第 {where} 行"
    message = f"{path.name}: {fault.message} ({en_where})"
    return Problem(message, fault.hint, Problem(f"{path.name}：{zh.message}（{zh_where}）", zh.hint))


def listed(lines: Iterable[int]) -> str:
    """All line numbers, neighbours joined: ``2, 5–9``."""
    spans: list[list[int]] = []
    for line in sorted(lines):
        if spans and line == spans[-1][1] + 1:
            spans[-1][1] = line
        else:
            spans.append([line, line])
    return ", ".join(f"{first}–{last}" if last > first else str(first) for first, last in spans)
