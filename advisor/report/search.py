"""The report's section on a search, for a prompt or for a way to retrieve: what was chosen, on which rows, every trial.

The scores are of development rows, taken from the training side, and the best of many on them: they tell candidates
apart and promise nothing of held-out rows. Covered: records of `executors.trials`, read as they lie in the artifact.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from advisor import formats, words
from advisor.report.blocks import Block, Bullets, Cell, Fold, Prose, Table
from advisor.texts import say
from executors.base import Problem, UserError

Record = Mapping[str, Any]
FIRST = 8  # trials shown before the fold
SECTIONS = {  # of the texts, by what was searched for
    "prompt": "search",
    "retrieval": "retrieval",
    "training": "trained",
    "learning_rate": "rising",
}
IN_WORDS: Mapping[str, tuple[object, ...]] = {  # values of parameters that have words of their own
    "selection": ("random", "balanced", "nearest", "nearest_balanced", "diverse"),
    "order": ("shuffled", "nearest_last", "nearest_first"),
    "calibration": ("training", "contextual", "none"),
    "candidates": ("all", "shown"),
    "answers": ("written", "extracted"),
    "search": ("hybrid", "dense", "lexical"),
    "fusion": ("scores", "ranks"),
}
WITH_VALUE = (
    *("wording", "order_seed", "neighbours", "temperature"),
    *("chunk_tokens", "overlap", "k", "dense_weight", "lexical_weight"),
    *("rank", "epochs"),
)
FLAGS = ("last_label", "one_label", "collapse", "cut", "pruned", "diverged")
STEPS = ("training", "learning_rate")  # searches whose trials have optimizer steps where others have tokens


def read_search(folder: Path) -> Record | None:
    """The record of the search in a run's folder; None where there was none. Raises `UserError` for a damaged one."""
    from executors.trials import RECORD, parse_record

    path = folder / "artifact" / RECORD
    if not path.is_file():
        return None
    try:
        read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        parse_record(read)
    except (ValueError, KeyError, TypeError) as error:
        again = f"advisor run {folder.name}"
        zh = Problem(f"无法读取 {path}：{error}", f"删除 artifact 后重新运行：{again}")
        raise UserError(
            f"{path} cannot be read: {error}", f"delete the artifact and run it again: {again}", zh
        ) from error
    return read


def section(record: Record | None, lang: str) -> list[Block]:
    """What was compared, what came of it, what the guards found, and the trials; the later ones folded."""
    if record is None:
        return []
    best = Prose(_say("chosen", record, lang, prompt=describe(record["chosen"], lang, subject(record))))
    blocks: list[Block] = [Prose(_lead(record, lang), "lead"), best, *_members(record, lang)]
    blocks += [_scores(record, lang), *_doubts(record, lang)]
    trials = sorted(record["trials"], key=lambda trial: (-trial["rung"], _rank(trial, record)))
    metric = words.label("metric", record["metric"], lang)
    blocks.append(Prose(_say("trials_lead", record, lang)))
    blocks.append(_trials(say("search.trials", lang), trials[:FIRST], metric, record, lang))
    if len(trials) > FIRST:
        rest = say("search.rest", lang, count=len(trials) - FIRST)
        blocks.append(Fold(rest, _trials(rest, trials[FIRST:], metric, record, lang)))
    return blocks


def _say(name: str, record: Record, lang: str, **values: object) -> str:
    """A text in the words of what was searched for."""
    return say(f"{SECTIONS[subject(record)]}.{name}", lang, **values)


def subject(record: Record | None) -> str:
    """What was searched for: prompt, retrieval, or nothing."""
    return str(record.get("subject", "prompt")) if record else ""


def _lead(record: Record, lang: str) -> str:
    return _say(
        "lead",
        record,
        lang,
        tried=sum(trial["rung"] == 0 for trial in record["trials"]),
        prompts=record["candidates"],
        rows=record["development_rows"],
        training=record["training_rows"],
        seconds=formats.seconds(record["seconds"], None, lang),
        stopped=say(f"search.{record['stopped']}", lang, budget=formats.seconds(record["budget_seconds"], None, lang)),
    )


def _members(record: Record, lang: str) -> list[Block]:
    """The prompts whose label probabilities are averaged with the chosen one's."""
    members = tuple(describe(changes, lang) for changes in record["members"])
    if not members:
        return []
    return [Prose(say("search.members", lang, size=len(members) + 1), "label"), Bullets(members)]


def _scores(record: Record, lang: str) -> Table:
    """The chosen prompt beside the plan's own and what needs no model, all on the same development rows."""
    metric = words.label("metric", record["metric"], lang)
    found = [("score", record["score"]), ("plain", record["plain"]), ("floor", record["floor"])]
    rows = [
        (Cell(_say(f"of_{name}", record, lang)), Cell(formats.score(value), tone="strong" if name == "score" else ""))
        for name, value in found
        if value is not None
    ]
    if record["chance"]:
        rows.append((Cell(say("search.of_chance", lang)), Cell(formats.score(record["chance"]))))
    head = (_say("compared", record, lang), metric)
    return Table(say("search.scores", lang, rows=record["development_rows"]), head, tuple(rows))


def _doubts(record: Record, lang: str) -> list[Block]:
    blocks: list[Block] = [Prose(_say("flattered", record, lang))]
    floor = record["floor"]
    if floor is not None and (floor >= record["score"]) == record["higher_is_better"]:
        blocks.append(Prose(say("search.floor_wins", lang, floor=formats.score(floor)), "warn"))
    guards = tuple(dict.fromkeys(told[lang] for told in record["guards"]))
    return [*blocks, Prose(say("search.guards", lang), "label"), Bullets(guards)] if guards else blocks


def _rank(trial: Record, record: Record) -> tuple[bool, float, float]:
    """Best first, as the search ranks: what fell into a trap last."""
    score = trial["score"] if record["higher_is_better"] else -trial["score"]
    return (bool(set(trial["flags"]) - {"cut"}), -score, -trial["tie"])


def _trials(caption: str, trials: Sequence[Record], metric: str, record: Record, lang: str) -> Table:
    names = ("round", "rows", "steps" if subject(record) in STEPS else "tokens", "time")
    head = (_say("compared", record, lang), metric, *(say(f"search.{name}", lang) for name in names))
    return Table(caption, head, tuple(_trial(trial, subject(record), lang) for trial in trials))


def _trial(trial: Record, sought: str, lang: str) -> tuple[Cell, ...]:
    flags = [say(f"search.flag_{flag}", lang) if flag in FLAGS else flag for flag in trial["flags"]]
    return (
        Cell(describe(trial["changes"], lang, sought), note=say("word.comma", lang).join(flags)),
        Cell(formats.score(trial["score"]), tone="strong" if trial["kept"] else ""),
        Cell(str(trial["rung"] + 1)),
        Cell(str(trial["rows"])),
        Cell(f"{trial['tokens']:,.0f}"),
        Cell(formats.seconds(trial["seconds"], None, lang)),
    )


def describe(changes: Mapping[str, Any], lang: str, sought: str = "prompt") -> str:
    """A candidate in words, by its parameters that differ from the plan's."""
    told = [_told(name, value, lang) for name, value in changes.items() if not _implied(name, changes)]
    return " · ".join(told) or say(f"{SECTIONS[sought]}.own", lang)


def _implied(name: str, changes: Mapping[str, Any]) -> bool:
    """Whether a parameter says nothing beside the others: labels of shown demonstrations are never calibrated."""
    return (name == "calibration" and changes.get("candidates") == "shown") or name == "search_seconds"


def _told(name: str, value: Any, lang: str) -> str:
    if name == "shots":
        return say("search.shots", lang, count=value) if value else say("search.no_shots", lang)
    if name == "rerank" and not value:
        return say("search.no_rerank", lang)
    if value in IN_WORDS.get(name, ()):
        return say(f"search.{name}_{value}", lang)
    if name == "learning_rate":
        return say("search.learning_rate", lang, value=f"{value:.2g}")
    if name in WITH_VALUE:
        return say(f"search.{name}", lang, value=value)
    return f"`{name}={json.dumps(value, ensure_ascii=False)}`"
