"""One pilot: a candidate's plan on a part of the rows, as a run of its own, with what it took.

A pilot of a share of a training takes that share of the rows and of the steps; one of a search that share of its time.
A pilot of the whole is the very run that `advisor run --method` makes, so its folder can be used as that.
"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import executors
from advisor.prove.candidates import Candidate, foretold
from advisor.prove.records import Pilot
from executors.base import Plan, Reporter, Result, UserError, parse_params, silent
from executors.energy import Meter

if TYPE_CHECKING:
    from executors.chain import Chain

TIMED = 21  # held-out rows answered one at a time, the first of which is not counted
LEAST_ROWS = 32  # of the training side that a pilot learns from, where there are as many
LEAST_STEPS = 10  # of a pilot of a training
LEVELS = ((1 / 16, 48), (1 / 4, 96))  # share of the work, held-out rows scored at most; each share is four times the
# one before, as in Hyperband (Li et al., 2018); a full run and all held-out rows come after
UNTOLD: Mapping[str, Any] = {"compare": 0, "forgetting": False}  # what a full training looks at and no score rests on
CRASH = "crash.txt"
BEGUN = "begun"  # how often a pilot was begun and not ended: a process that is killed leaves no other word
DEATHS = 2  # of the process while a pilot ran, from which it is not tried again

Price = Callable[[float], float | None]
"""USD for so many seconds of this machine; None where that is not known."""


@dataclass(frozen=True)
class Size:
    """How large a pilot is: `rows` of the training side, the share of the work, and held-out rows scored."""

    rows: int
    share: float
    scored: int

    @property
    def folder(self) -> str:
        """The pilot's folder within its candidate's; how many rows are scored makes no other one."""
        return "full" if self.share >= 1 else f"{100 * self.share:.0f}-percent"


def sizes(candidate: Candidate, train: int, test: int) -> list[Size]:
    """The pilots of a candidate, smallest first, a full run last.

    A share that leaves fewer than `LEAST_ROWS` rows is left out, but for the largest. What no share of the rows makes
    cheaper begins with fewer answers.
    """
    full = Size(train, 1.0, test)
    if not scales(candidate.plan):
        return list(dict.fromkeys([*(Size(train, 1.0, min(test, scored)) for _, scored in LEVELS), full]))
    telling = [level for level in LEVELS if level[0] * train >= LEAST_ROWS] or [LEVELS[-1]]
    rows = [min(train, max(round(share * train), LEAST_ROWS)) for share, _ in telling]
    return [*(Size(n, share, min(test, scored)) for n, (share, scored) in zip(rows, telling, strict=True)), full]


def scales(plan: Plan | Chain) -> bool:
    """Whether a share of a plan takes a share of its work: it trains in steps, searches for a time, or reads rows."""
    stages = [plan] if isinstance(plan, Plan) else [stage.plan for stage in plan.stages]
    return any(stage.executor == "probe" or set(_less(stage, 0.5)) - set(UNTOLD) for stage in stages)


def shrink(plan: Plan | Chain, size: Size) -> Plan | Chain:
    """The plan as a pilot of that size."""
    if isinstance(plan, Plan):
        return _shrunk(plan, size)
    stages = tuple(replace(stage, plan=_shrunk(stage.plan, size)) for stage in plan.stages)
    return replace(plan, stages=stages)


def _shrunk(plan: Plan, size: Size) -> Plan:
    if size.share >= 1:
        return replace(plan, data=replace(plan.data, scored=size.scored))
    params = {**plan.params, **_less(plan, size.share)}
    return replace(plan, data=replace(plan.data, rows=size.rows, scored=size.scored), params=params)


def _less(plan: Plan, share: float) -> dict[str, Any]:
    """The parameters that make less work of a plan: a share of its steps or seconds, and nothing only looked at."""
    kind = executors.method(plan.executor).Params
    settings, problems = parse_params(kind, plan.params)
    assert settings is not None, problems  # the plan was checked
    known = {one.name for one in dataclasses.fields(kind)}
    found: dict[str, Any] = {name: value for name, value in UNTOLD.items() if name in known}
    if "min_steps" in known:
        found["min_steps"] = max(LEAST_STEPS, round(settings.min_steps * share))
    for name in ("search_seconds", "search_minutes"):
        if getattr(settings, name, 0):
            found[name] = getattr(settings, name) * share
    return found


def foretold_pilot(candidate: Candidate, size: Size) -> float:
    """Seconds that a pilot is foretold to take, from its start."""
    return foretold(shrink(candidate.plan, size))


def run_pilot(
    candidate: Candidate,
    size: Size,
    place: Path,
    price: Price,
    earlier: Pilot | None,
    report: Reporter = silent,
    metric: str = "",
) -> Pilot:
    """Run it in `place`, the race's folder, where it goes on from what was done. A crash is recorded, not raised.

    `earlier`: the pilot of the same folder that was scored on fewer rows, if there is one. `metric`: what it is scored
    by, where not by the run's own.
    Raises `KeyboardInterrupt`, with the work kept.
    """
    name = f"{candidate.name}/{size.folder}"
    pilot = Pilot(candidate.name, size.rows, size.share, size.scored, name)
    folder = place / name
    folder.mkdir(parents=True, exist_ok=True)
    deaths = _deaths(folder)
    if deaths >= DEATHS:
        again = f"delete {folder / BEGUN} to try it again"
        return replace(
            pilot, error=f"the process was killed {deaths} times while it ran, e.g. for want of memory; {again}"
        )
    (folder / BEGUN).write_text(str(deaths + 1), encoding="utf-8")
    try:
        with Meter() as meter:
            result = _run(sharing_cap(shrink(candidate.plan, size), place, folder), folder, report)
    except UserError as error:
        return replace(
            pilot, error=" ".join(f"{error.message} ({error.hint})".split()) if error.hint else error.message
        )
    except Exception as error:  # noqa: BLE001 (whatever one candidate fails of, the others are still raced)
        (folder / CRASH).write_text(traceback.format_exc(), encoding="utf-8")
        return replace(pilot, error=" ".join(f"{type(error).__name__}: {error}".split()))
    finally:
        (folder / BEGUN).unlink(missing_ok=True)
    return _told(replace(pilot, metric=metric or result.metric), result, meter.joules, price, earlier)


def sharing_cap(plan: Plan | Chain, place: Path, folder: Path) -> Plan | Chain:
    """The plan for the run in `folder`, where all runs in `place` share what an endpoint may cost."""
    if isinstance(plan, Plan):
        return _sharing(plan, place, folder)
    stages = (replace(stage, plan=_sharing(stage.plan, place, folder / stage.name)) for stage in plan.stages)
    return replace(plan, stages=tuple(stages))


def _sharing(plan: Plan, place: Path, folder: Path) -> Plan:
    from executors.models.endpoint import share_cap

    return replace(plan, endpoint=share_cap(dict(plan.endpoint), place, folder))


def _deaths(folder: Path) -> int:
    path = folder / BEGUN
    return int(path.read_text(encoding="utf-8")) if path.is_file() else 0


def _run(plan: Plan | Chain, folder: Path, report: Reporter) -> Result:
    again = f"advisor prove {folder.parents[2].name}"
    if isinstance(plan, Plan):
        from executors.run import run_plan

        return run_plan(plan, folder, report, again, TIMED)
    from executors.chain import run_chain

    return run_chain(plan, folder, report, again, TIMED)


def _told(pilot: Pilot, result: Result, joules: float | None, price: Price, earlier: Pilot | None) -> Pilot:
    """The pilot with what came of it; time and energy are those of all its parts."""
    before: Mapping[str, float] = earlier.seconds if earlier else {}
    seconds = {name: round(spent + before.get(name, 0.0), 2) for name, spent in result.seconds.items()}
    spent = [one for one in (joules, earlier.joules if earlier else None) if one is not None]
    memory = [one for one in (result.peak_memory_mb, earlier.peak_memory_mb if earlier else None) if one]
    pilot = replace(pilot, scored=result.rows["test"], score=result.scores[pilot.metric])
    return replace(
        pilot,
        seconds=seconds,
        latency=result.latency,
        peak_memory_mb=max(memory) if memory else None,
        joules=sum(spent) if spent else None,
        usd_per_1000=_cost(result, seconds, pilot.scored, price),
    )


def _cost(result: Result, seconds: Mapping[str, float], answered: int, price: Price) -> float | None:
    """USD for 1,000 answers: what an endpoint asked for, its search included, else the machine's time."""
    if result.cost_usd is not None:
        return 1000 * result.cost_usd / answered
    return price(1000 * seconds.get("predict", 0.0) / answered)
