"""What a race leaves: `race.json` in the run's folder `prove/`, and what everyone who shows or uses it reads.

Pure data. Covered: candidates, pilots, where each candidate stands, how they compare, what is chosen. What follows from
it stands elsewhere: `learning`, `failures`, `revision`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from executors.base import SCHEMA_VERSION, Problem, Score, Text, UserError

FOLDER = "prove"  # in the run's folder
FILE = "race.json"

State = Literal["waiting", "running", "raced", "finished", "stopped", "failed"]
"""`raced`: on a part of the rows, and the budget ended there; `finished`: as a full run; `stopped`: it cannot reach the
leader any more."""


@dataclass(frozen=True)
class Pilot:
    """One run of a candidate: on `rows` rows of the training side, scored on `scored` held-out ones.

    `seconds`: build and predict, of all attempts; `folder`: within the race's; `usd_per_1000`: what 1,000 answers cost
    at the speed measured, or were charged; `joules`: energy of build and predict, where the machine tells it.
    """

    candidate: str
    rows: int
    share: float  # of the training side, 0 to 1
    scored: int
    folder: str
    metric: str = ""
    score: Score | None = None  # None where it failed
    seconds: Mapping[str, float] = field(default_factory=dict)
    latency: Mapping[str, float] = field(default_factory=dict)  # p50, p95 in seconds, n
    peak_memory_mb: float | None = None
    joules: float | None = None
    usd_per_1000: float | None = None
    error: str = ""


@dataclass(frozen=True)
class Standing:
    """Where a candidate stands. `name` is its method, or a chain (``rag+peft``).

    `seconds_full`: what a full run is foretold to take, by what its pilots took where there are any; `saved`: seconds
    of it that were not spent. `at_full`: its score as a full run, measured or read from its curve.
    """

    name: str
    methods: tuple[str, ...]
    verdict: str  # recommended | viable | not_yet (it waits for labels) | floor
    state: State = "waiting"
    pilot: Pilot | None = None  # the latest that was scored
    at_full: Score | None = None
    seconds_full: float = 0.0
    saved: float = 0.0
    why: Text = field(default_factory=dict)  # of a state that is no finish: what stopped it, or what went wrong


@dataclass(frozen=True)
class Paired:
    """`one` against `other` on the same rows: the mean difference, positive where `one` is better, with its interval.

    `p` is two-sided, `adjusted` by Holm's step-down over all comparisons of the race. `rows_needed` to tell such a
    difference apart with 80 % power; None where it is told apart, or nothing differs.
    """

    one: str
    other: str
    difference: Score
    p: float
    adjusted: float
    rows_needed: int | None = None

    @property
    def told_apart(self) -> bool:
        return self.adjusted < 0.05


@dataclass(frozen=True)
class Choice:
    """What the race advises. `winner` is named only where every other candidate is told apart from it.

    `rule`: best | cheaper_equal | cheapest_at_target | floor | none (nothing was scored).
    """

    chosen: str
    best: str  # by the point estimate
    winner: str = ""
    rule: str = "best"
    why: Text = field(default_factory=dict)
    rows_needed: int | None = None  # to name a winner; None where one is named


@dataclass(frozen=True)
class Race:
    """All of it. Seconds: `budget` allowed, `spent` on pilots, `full` what all candidates run to the end would take."""

    task: str
    metric: str
    train: int
    test: int
    margin: float
    target: float | None
    budget: float
    spent: float
    full: float
    status: Literal["running", "done", "interrupted"]
    standings: tuple[Standing, ...]  # cheapest first
    pilots: tuple[Pilot, ...] = ()  # every one that was run, in that order
    pairs: tuple[Paired, ...] = ()
    choice: Choice | None = None
    notes: tuple[Text, ...] = ()
    created: str = ""  # ISO 8601, UTC
    foretold: Mapping[str, float] = field(default_factory=dict)  # seconds of each pilot that was weighed, by folder
    stamp: str = ""  # a hash of what the race depends on: another one is another race
    schema_version: int = SCHEMA_VERSION

    def standing(self, name: str) -> Standing:
        return next(one for one in self.standings if one.name == name)


def read_race(folder: Path) -> Race | None:
    """The race of a run; None where none was begun. Raises `UserError` where the record is damaged."""
    path = folder / FOLDER / FILE
    if not path.is_file():
        return None
    try:
        return race_of(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        hint, hint_zh = (
            f"delete it and race again: advisor prove {folder.name}",
            f"删除后重新运行：advisor prove {folder.name}",
        )
        zh = Problem(f"无法读取 {path}：{error}", hint_zh)
        raise UserError(f"{path} cannot be read: {error}", hint, zh) from error


def race_of(raw: Mapping[str, Any]) -> Race:
    """The race that `to_dict` made plain. Raises `KeyError` or `TypeError` for anything else."""
    return Race(
        **{
            **raw,
            "standings": tuple(map(_standing, raw["standings"])),
            "pilots": tuple(map(_pilot, raw["pilots"])),
            "pairs": tuple(Paired(**{**one, "difference": Score(**one["difference"])}) for one in raw["pairs"]),
            "choice": Choice(**raw["choice"]) if raw["choice"] else None,
            "notes": tuple(raw["notes"]),
        }
    )


def _standing(raw: Mapping[str, Any]) -> Standing:
    pilot, at_full = raw["pilot"], raw["at_full"]
    read = {"pilot": _pilot(pilot) if pilot else None, "at_full": Score(**at_full) if at_full else None}
    return Standing(**{**raw, **read, "methods": tuple(raw["methods"])})


def _pilot(raw: Mapping[str, Any]) -> Pilot:
    return Pilot(**{**raw, "score": Score(**raw["score"]) if raw["score"] else None})
