"""Short trainings compared, and a training whose rate rises: what to try next, when to end it, what to conclude.

Trials: the plan's own parameters first, then what a tree-structured Parzen estimator proposes (Bergstra et al., 2011;
by optuna), each judged by its lowest loss on the development rows; one that is behind the median of the others at the
same point is ended (Golovin et al., 2017). Range: one training whose rate rises from step to step until the loss does
(Smith, 2017). What is trained is the caller's own, see `Attempt`; each trial is written down, so that a search goes on.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from executors.base import Event, Reporter, to_dict
from executors.trials import append_line, whole_lines
from executors.tuning.params import LOW_RANK, AnsweringParams, PeftParams
from executors.tuning.watching import Diverged, Watcher

FACTOR = 5.0  # rates are looked for from a fifth of the plan's to five times it
RANK_FACTORS = (0.25, 0.5, 1.0, 2.0)  # of the plan's rank
EPOCH_FACTORS = (1 / 3, 2 / 3, 1.0, 5 / 3)  # of the plan's epochs, where trials are as long as the training itself
WANTED = 8  # trials that should fit the time: they are made as short as that takes,
SHORTEST = 20  # but no shorter than so many optimizer steps
MOST = 40  # trials
LOOKS = 4  # evaluations of a trial, at which it can be ended
STARTUP = 4  # trials drawn at random before there is something to learn from
DIVERGED = 1e3  # the loss of a training that diverged, to an estimator that must be told of it
RANGE_STEPS = 40
RANGE_FACTOR = 30.0  # the rate rises from so much below the plan's to so much above it
SAFETY = 3.0  # what a rising rate suggests is so much below the rate at which the loss was lowest
WORSE = 2.0  # times the lowest loss: the rate has risen enough
LINES = "trials.jsonl"

Attempt = Callable[[AnsweringParams, Path, Watcher], None]
"""``attempt(params, folder, watcher)``: train once from the start, with checkpoints in `folder`."""

Clock = Callable[[], float]
State = Literal["done", "pruned", "diverged"]


@dataclass(frozen=True)
class Shape:
    """What a first look at the training told: the rate it would have, its steps, the rows watched, and what it costs.

    `smallest` is the least dimension of the model's matrices, above which no rank can be."""

    rate: float
    steps: int
    watched: int
    setup_seconds: float
    step_seconds: float
    smallest: int


@dataclass(frozen=True)
class Space:
    """Where is looked: rates between two ends; ranks and epochs of a list, none where they are not searched."""

    rates: tuple[float, float]
    ranks: tuple[int, ...] = ()
    epochs: tuple[float, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """One trial. `looks` are its losses on the development rows, in order."""

    values: Mapping[str, float]
    looks: tuple[float, ...]
    state: State
    seconds: float
    steps: int

    @property
    def loss(self) -> float:
        """Its lowest loss; infinite where it has none that counts."""
        return min(self.looks, default=math.inf) if self.state == "done" else math.inf


class Pruned(Exception):
    """A trial is ended: it is behind the median of the others at this point."""


# -- trials --------------------------------------------------------------------------------------------


def trial_steps(params: AnsweringParams, shape: Shape, budget: float) -> int:
    """Optimizer steps of a trial: so many that `WANTED` of them fit `budget` seconds, and no more than the training."""
    looked = LOOKS * shape.watched / (3 * params.batch_size)  # a row is evaluated in a third of its training's time
    affordable = int((budget / WANTED - shape.setup_seconds) / max(shape.step_seconds, 1e-9) - looked)
    return min(shape.steps, max(SHORTEST, affordable))


def space_of(params: AnsweringParams, shape: Shape, steps: int) -> Space:
    """What is searched. More epochs are better by nature where a trial is shorter than the training: not then."""
    ranks: tuple[int, ...] = ()
    if isinstance(params, PeftParams) and params.variant in LOW_RANK and params.alpha is None:
        tried = {max(1, round(params.rank * factor)) for factor in RANK_FACTORS}
        ranks = tuple(sorted(rank for rank in tried if rank <= shape.smallest))
    whole = steps == shape.steps and steps > params.min_steps
    epochs = tuple(round(params.epochs * factor, 2) for factor in EPOCH_FACTORS) if whole else ()
    return Space((shape.rate / FACTOR, shape.rate * FACTOR), ranks, epochs)


def run_trials(
    attempt: Attempt,
    params: AnsweringParams,
    shape: Shape,
    folder: Path,
    seed: int,
    report: Reporter,
    clock: Clock = time.perf_counter,
) -> tuple[list[Outcome], str]:
    """All trials, those of an earlier call included, and why it ended: "finished", or "budget"."""
    budget = params.search_minutes * 60
    steps = trial_steps(params, shape, budget)
    space = space_of(params, shape, steps)
    found = _read(folder / LINES)
    while len(found) < MOST:
        spent = sum(one.seconds for one in found)
        report(Event("search", min(spent, budget), budget))
        typical = max((one.seconds for one in found if one.state == "done"), default=0.0)
        if found and spent + typical / 2 > budget:
            return found, "budget"
        planned = steps if not space.epochs else None
        found.append(_try(attempt, params, shape, space, planned, folder, seed, found, clock))
        append_line(folder / LINES, to_dict(found[-1]))
    return found, "finished"


def _read(path: Path) -> list[Outcome]:
    read = [json.loads(line) for line in whole_lines(path)]
    return [Outcome(**{**line, "looks": tuple(line["looks"])}) for line in read]


def _try(
    attempt: Attempt,
    params: AnsweringParams,
    shape: Shape,
    space: Space,
    steps: int | None,
    folder: Path,
    seed: int,
    before: Sequence[Outcome],
    clock: Clock,
) -> Outcome:
    """One trial. `steps`: as many, or None for as many as its epochs take."""
    _study, asked = _ask(space, shape, params, seed, before)
    values = dict(asked.params)
    length = steps or max(math.ceil(shape.steps * values["epochs"] / params.epochs), params.min_steps)
    trial = replace(params, **values, patience=0, checkpoint_steps=max(length, params.checkpoint_steps))
    if steps:
        trial = of_length(trial, steps)
    place, judge, began = folder / str(len(before)), _Judge(asked, length), clock()
    state: State = "done"
    try:
        attempt(trial, place, judge)
    except Pruned:
        state = "pruned"
    except Diverged:
        state = "diverged"
    shutil.rmtree(place, ignore_errors=True)
    return Outcome(values, tuple(judge.losses), state, round(clock() - began, 3), length)


def of_length(params: AnsweringParams, steps: int) -> AnsweringParams:
    """The same training with so many optimizer steps; its schedule runs its whole course in them."""
    return replace(params, epochs=1e-9, min_steps=steps)


class _Judge(Watcher):
    """Keeps a trial's losses, and ends it where it is behind."""

    def __init__(self, trial: Any, steps: int) -> None:
        self.trial, self.losses = trial, list[float]()
        self.every = max(1, steps // LOOKS)

    def look(self, step: int, loss: float) -> None:
        self.losses.append(loss)
        self.trial.report(loss, len(self.losses))
        if self.trial.should_prune():
            raise Pruned


def _ask(space: Space, shape: Shape, params: AnsweringParams, seed: int, before: Sequence[Outcome]) -> tuple[Any, Any]:
    """A study that knows the trials before, and the next one. The same trials give the same next one."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    kinds: dict[str, Any] = {"learning_rate": optuna.distributions.FloatDistribution(*space.rates, log=True)}
    if space.ranks:
        kinds["rank"] = optuna.distributions.CategoricalDistribution(space.ranks)
    if space.epochs:
        kinds["epochs"] = optuna.distributions.CategoricalDistribution(space.epochs)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=1000 * seed + len(before), n_startup_trials=STARTUP),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=1),
    )
    for one in before:
        study.add_trial(_known(one, kinds))
    if not before:
        own = {"learning_rate": shape.rate, "rank": getattr(params, "rank", None), "epochs": params.epochs}
        study.enqueue_trial({name: own[name] for name in kinds})
    return study, study.ask(kinds)


def _known(one: Outcome, kinds: Mapping[str, Any]) -> Any:
    import optuna

    states = optuna.trial.TrialState
    return optuna.trial.create_trial(
        params=dict(one.values),
        distributions=dict(kinds),
        value={"done": min(one.looks, default=DIVERGED), "diverged": DIVERGED}.get(one.state),
        state=states.PRUNED if one.state == "pruned" else states.COMPLETE,
        intermediate_values=dict(enumerate(one.looks, 1)),
    )


# -- a rising rate -------------------------------------------------------------------------------------


class Rising(Watcher):
    """Raises the rate by the same factor from step to step, and ends the training where the loss has risen enough."""

    def __init__(self, rate: float) -> None:
        """`rate`: in the middle of what is tried."""
        growth = math.exp(2 * math.log(RANGE_FACTOR) / (RANGE_STEPS - 1))
        self.rates: list[float] = [rate / RANGE_FACTOR * growth**step for step in range(RANGE_STEPS)]
        self.losses: list[float] = []

    def rate(self, step: int) -> float | None:
        return self.rates[min(step, RANGE_STEPS - 1)]

    def look(self, step: int, loss: float) -> None:
        self.losses.append(loss)
        if loss > WORSE * min(self.losses):
            raise Pruned


def run_range(attempt: Attempt, params: AnsweringParams, shape: Shape, folder: Path) -> list[tuple[float, float]]:
    """(rate, loss after a step with it), as far as the rate could rise. What has diverged is no point."""
    rising = Rising(shape.rate)
    trial = replace(of_length(params, RANGE_STEPS), schedule="constant", warmup=0.0, patience=0, checkpoint_steps=10**6)
    with contextlib.suppress(Pruned, Diverged):
        attempt(trial, folder / "range", rising)
    shutil.rmtree(folder / "range", ignore_errors=True)
    points = zip(rising.rates, rising.losses, strict=False)
    return [(rate, loss) for rate, loss in points if math.isfinite(loss)]


def suggested(points: Sequence[tuple[float, float]]) -> float | None:
    """The rate a rising one suggests: `SAFETY` below where the loss was lowest; None where it never fell."""
    if not points:
        return None
    lowest = min(range(len(points)), key=lambda place: points[place][1])
    return points[lowest][0] / SAFETY if lowest else None
