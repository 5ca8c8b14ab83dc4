"""The record of a search: every trial, what was chosen, and why. The same for prompts and for retrieval.

Standard library only, so that a report can read a record without the method that wrote it. What is searched, and how,
is the methods' own: see `executors.prompt.search` and `executors.retriever.chooser`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executors.base import Text, to_dict

RECORD = "search.json"  # in a run's artifact


@dataclass(frozen=True)
class Trial:
    """One candidate on the first `rows` development rows. `score` is the metric; `tie` decides between equals.

    `changes` are its parameters that differ from the plan's; `flags` of prompts: last_label, one_label, collapse, cut.
    """

    changes: Mapping[str, Any]
    rung: int
    rows: int
    score: float
    tie: float
    seconds: float  # of the work on these rows, in all rungs so far
    tokens: float  # of a prompt, or of the passages a reader is given, in the mean
    kept: bool = False
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class SearchRecord:
    """A search in full. `stopped`: "finished", or "budget" where the time was up first."""

    metric: str
    higher_is_better: bool
    development_rows: int
    training_rows: int
    chance: float
    budget_seconds: float
    seconds: float
    stopped: str
    candidates: int
    trials: tuple[Trial, ...]
    chosen: Mapping[str, Any]
    score: float
    plain: float | None  # of the plan's own parameters, on the same rows where it came so far
    floor: float | None  # of the answer of the nearest training row
    members: tuple[Mapping[str, Any], ...] = ()  # the prompts averaged with the chosen one
    guards: tuple[Text, ...] = ()
    subject: str = "prompt"  # or "retrieval"
    luck: float | None = None  # of retrieval: how often luck alone makes the best of the trials stand out as much
    schema_version: int = 1


def changes(params: Any, base: Any) -> dict[str, Any]:
    """The parameters (a dataclass) of one candidate that differ from the plan's."""
    here, before = to_dict(params), to_dict(base)
    return {name: value for name, value in here.items() if value != before[name]}


def parse_record(read: Mapping[str, Any]) -> SearchRecord:
    """A record as it was read from JSON. Raises `KeyError` or `TypeError` where it is not whole."""
    return SearchRecord(**{**read, "trials": tuple(Trial(**trial) for trial in read["trials"])})


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file; one that a kill cut off is dropped, from the file as well: the next would join it."""
    raw = path.read_bytes() if path.is_file() else b""
    whole = raw[: raw.rfind(b"\n") + 1]
    if whole != raw:
        with path.open("r+b") as out:
            out.truncate(len(whole))
    return whole.splitlines()


def append_line(path: Path, value: Any) -> None:
    """Add one value as a line of JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as out:
        out.write(json.dumps(value, ensure_ascii=False) + "\n")
