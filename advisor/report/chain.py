"""The report's section on a chain: its stages with their scores, and what each part brings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from advisor import formats, words
from advisor.report.blocks import Block, Cell, Prose, Table
from advisor.texts import say
from executors.base import Problem, UserError

Record = Mapping[str, Any]
RECORD = "chain.json"  # as `executors.chain` writes it


def read_chain_record(folder: Path) -> Record | None:
    """The record of a chain; None in the folder of any other run. Raises `UserError` where it is damaged."""
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        read: Record = json.loads(path.read_text(encoding="utf-8"))
        if not all({"name", "executor", "status", "metric", "score", "seconds"} <= set(one) for one in read["stages"]):
            raise KeyError("stages")
        return {**read, "contributions": list(read["contributions"])}
    except (ValueError, KeyError, TypeError) as error:
        again = f"advisor run {folder.name}"
        zh = Problem(f"无法读取 {path}：{error}", f"删除它后重新运行：{again}")
        raise UserError(f"{path} cannot be read: {error}", f"delete it and run it again: {again}", zh) from error


def section(record: Record | None, lang: str) -> list[Block]:
    """Nothing for a run that is no chain."""
    if not record:
        return []
    done = [stage for stage in record["stages"] if stage["status"] == "done"]
    blocks: list[Block] = []
    if record["contributions"]:
        blocks += [Prose(say("chain.lead", lang), "lead"), _brings(record["contributions"], lang)]
    if len(done) < len(record["stages"]):
        told = say("chain.unfinished", lang, done=len(done), count=len(record["stages"]))
        blocks += [Prose(told, "warn"), Prose(say("report.resume", lang))]
    return [*blocks, _stages(record["stages"], lang)]


def verdict(one: Record) -> str:
    """``helps``, ``hurts`` or ``open``: whether the interval of a part's difference keeps to one side of zero."""
    from advisor.report.page import higher_is_better

    low, high = one["difference"]["low"], one["difference"]["high"]
    if not higher_is_better(one["metric"]):
        low, high = -high, -low
    return "helps" if low > 0 else "hurts" if high < 0 else "open"


def told_difference(one: Record) -> str:
    """``+0.120 [0.050, 0.190]``."""
    found = one["difference"]
    return f"{signed(found['value'])} [{signed(found['low'])}, {signed(found['high'])}]"


def signed(value: float) -> str:
    """A difference with its sign."""
    return f"+{formats.score(value)}" if value > 0 else formats.score(value).replace("-", "−")


def _brings(contributions: Sequence[Record], lang: str) -> Table:
    head = tuple(say(f"chain.{name}", lang) for name in ("part", "with_it", "without_it", "difference", "says"))
    tones = {"helps": "good", "hurts": "bad", "open": "warn"}
    rows = tuple(
        (
            Cell(words.method_name(one["method"], lang), tone="strong"),
            Cell(formats.score(one["value"]), note=words.label("metric", one["metric"], lang)),
            Cell(formats.score(one["value_without"]), note=say("chain.by", lang, stage=one["stage"])),
            Cell(told_difference(one)),
            Cell(say(f"chain.{verdict(one)}", lang), tone=tones[verdict(one)]),
        )
        for one in contributions
    )
    return Table(say("chain.brings", lang), head, rows)


def _stages(stages: Sequence[Record], lang: str) -> Table:
    head = tuple(say(key, lang) for key in ("chain.name", "chain.did", "report.score", "report.interval", "chain.took"))
    return Table(say("chain.stages", lang), head, tuple(_stage(one, lang) for one in stages))


def _stage(one: Record, lang: str) -> tuple[Cell, ...]:
    score = one["score"]
    figure = formats.score(score["value"]) if score else words.label("status", one["status"], lang) or "–"
    ends = f"{formats.score(score['low'])} – {formats.score(score['high'])}" if score else "–"
    took = formats.seconds(one["seconds"], None, lang) if one["seconds"] is not None else "–"
    metric = words.label("metric", one["metric"], lang) if score else ""
    named = Cell(one["name"], tone="strong", code=True)
    return named, Cell(words.method_name(one["executor"], lang)), Cell(figure, note=metric), Cell(ends), Cell(took)
