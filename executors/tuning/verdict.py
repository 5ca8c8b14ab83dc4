"""Over-fitting, under-fitting or fine: read off the curves of a training's loss, by stated rules.

- Hardly learnt: the loss fell by less than `LEARNT` of what it was at the start. It under-fits: a higher rate.
- Rising: the last development loss is `RISEN` above the lowest, which came earlier. It over-fits.
- Falling: over the last third of the steps the development loss still fell by `FALLING`. It under-fits: more steps.
- Otherwise it is fine. Without development rows only the first can be told.

The thresholds are conventions, chosen so that the noise between two looks at some dozen development rows stays below
them. What is fine for the loss can still be wrong for the task: the scores decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

LEARNT = 0.05  # share of the first loss
RISEN = 0.03  # share of the lowest development loss
FALLING = 0.05  # share of the development loss at two thirds of the steps
ENDS = 0.1  # share of the logged steps that are averaged at either end of the training loss

Kind = Literal["hardly", "rising", "falling", "fine", "unwatched"]
Point = tuple[int, float]
"""(optimizer step, loss in nats)."""


@dataclass(frozen=True)
class Verdict:
    """What the curves show. Losses in nats; `lowest` and `last` are of the development rows, or None without them."""

    kind: Kind
    steps: int
    first_loss: float
    last_loss: float
    lowest: Point | None = None
    last: Point | None = None

    @property
    def fit(self) -> str:
        """over | under | fine | unknown."""
        named = {"rising": "over", "hardly": "under", "falling": "under", "fine": "fine"}
        return named.get(self.kind, "unknown")


def curve(log: Sequence[Mapping[str, float]], name: str) -> list[Point]:
    """The points of one loss of a training's log: `loss` or `dev_loss`."""
    return [(int(entry["step"]), float(entry[name])) for entry in log if name in entry]


def judge(log: Sequence[Mapping[str, float]]) -> Verdict | None:
    """The verdict on a training's log; None where it is too short to tell anything."""
    trained, watched = curve(log, "loss"), curve(log, "dev_loss")
    if len(trained) < 2:
        return None
    first, last = ends(trained)
    steps = max(trained[-1][0], watched[-1][0] if watched else 0)
    if len(watched) < 2:
        return Verdict("hardly" if _hardly([(first, last)]) else "unwatched", steps, first, last)
    lowest, end = min(watched, key=lambda point: point[1]), watched[-1]
    kind: Kind = "fine"
    if _hardly([(first, last), (watched[0][1], lowest[1])]):
        kind = "hardly"
    elif end[1] >= (1 + RISEN) * lowest[1]:
        kind = "rising"
    elif _falls(watched, steps):
        kind = "falling"
    return Verdict(kind, steps, first, last, lowest, end)


def ends(trained: Sequence[Point]) -> tuple[float, float]:
    """The training loss at the start and at the end, each the mean over a tenth of the points, as single ones vary."""
    size = max(1, round(ENDS * len(trained)))
    return fmean(loss for _, loss in trained[:size]), fmean(loss for _, loss in trained[-size:])


def _hardly(falls: Sequence[tuple[float, float]]) -> bool:
    """Whether none of the falls, (from, to) each, is worth the name."""
    return all(start - end < LEARNT * start for start, end in falls)


def _falls(watched: Sequence[Point], steps: int) -> bool:
    """Whether the last third of the steps still lowered the development loss."""
    before = [loss for step, loss in watched if step <= steps * 2 / 3] or [watched[0][1]]
    return before[-1] - watched[-1][1] >= FALLING * before[-1]
