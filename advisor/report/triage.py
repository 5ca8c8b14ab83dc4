"""The report's section on wrong answers: how many of each cause, the command that addresses it, and the answers.

Covered: what any method leaves as `triage.json` (see `executors.retriever.triage` for the causes it can tell).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from advisor.report.blocks import Block, Cell, Fold, Prose, Table
from advisor.texts import say, section_texts
from executors.base import Problem, UserError

Record = Mapping[str, Any]
FIRST = 6  # answers shown before the fold
SHOWN = 100  # answers on the page at most; all are in the file
LONG = 160  # characters of an answer that are shown


def read_triage(folder: Path) -> Record | None:
    """What a run found of its wrong answers; None where its method cannot tell. Raises `UserError` where damaged."""
    from executors.run import TRIAGE

    path = folder / TRIAGE
    if not path.is_file():
        return None
    try:
        read: Record = json.loads(path.read_text(encoding="utf-8"))
        if not all({"kind", "why", "command", "answer", "targets", "question"} <= set(one) for one in read["failures"]):
            raise KeyError("failures")
        counts = {str(kind): int(n) for kind, n in read["counts"].items()}
        return {**read, "rows": int(read["rows"]), "wrong": int(read["wrong"]), "counts": counts}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        again = f"advisor run {folder.name}"
        zh = Problem(f"无法读取 {path}：{error}", f"请删除它和 result.json 后重新运行：{again}")
        hint = f"delete it and result.json, and run it again: {again}"
        raise UserError(f"{path} cannot be read: {error}", hint, zh) from error


def section(record: Record | None, lang: str) -> list[Block]:
    """The causes with their commands, and the answers, the later ones folded."""
    if record is None:
        return []
    if not record["wrong"]:
        return [Prose(say("triage.none", lang, rows=record["rows"]), "good")]
    blocks: list[Block] = [Prose(say("triage.lead", lang, wrong=record["wrong"], rows=record["rows"]), "lead")]
    blocks.append(_causes(record, lang))
    failures = sorted(record["failures"], key=lambda one: -record["counts"].get(one["kind"], 0))[:SHOWN]
    blocks.append(_answers(say("triage.answers", lang), failures[:FIRST], lang))
    if len(failures) > FIRST:
        rest = say("triage.rest", lang, count=len(failures) - FIRST)
        blocks.append(Fold(rest, _answers(rest, failures[FIRST:], lang)))
    return blocks


def kind_name(kind: str, lang: str) -> str:
    """A cause in words; its id where it has none: methods bring causes of their own."""
    return say(f"triage.kind_{kind}", lang) if f"kind_{kind}" in section_texts("triage") else kind


def causes(record: Record) -> list[tuple[str, int, str]]:
    """(cause, how many answers, the command that addresses most of them), the commonest cause first."""
    found = []
    for kind, count in sorted(record["counts"].items(), key=lambda pair: -pair[1]):
        commands = [one["command"] for one in record["failures"] if one["kind"] == kind]
        if count and commands:
            found.append((kind, count, max(dict.fromkeys(commands), key=commands.count)))
    return found


def _causes(record: Record, lang: str) -> Table:
    head = tuple(say(f"triage.{name}", lang) for name in ("cause", "count", "command"))
    rows = tuple(
        (Cell(kind_name(kind, lang), tone="strong"), Cell(str(count)), Cell(command, code=True))
        for kind, count, command in causes(record)
    )
    return Table(say("triage.causes", lang), head, rows)


def _answers(caption: str, failures: Sequence[Record], lang: str) -> Table:
    head = tuple(say(f"triage.{name}", lang) for name in ("question", "wanted", "answer", "cause"))
    return Table(caption, head, tuple(_answer(one, lang) for one in failures))


def _answer(one: Record, lang: str) -> tuple[Cell, ...]:
    wanted = say("word.or", lang).join(one["targets"])
    return (
        Cell(_cut(one["question"]), note=one.get("id", "")),
        Cell(_cut(wanted), note=one.get("source", "")),
        Cell(_cut(one["answer"]) or "–"),
        Cell(kind_name(one["kind"], lang), note=one["why"][lang]),
    )


def _cut(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= LONG else f"{plain[: LONG - 1]}…"
