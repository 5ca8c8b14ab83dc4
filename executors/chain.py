"""Hybrids: chains of plans, each stage a run of its own in a folder of its own, later ones built on earlier ones.

A stage names an earlier one as its model (`Plan.model`) or as the run whose index it takes (`RUN_PARAMS`). What a stage
brings is the chain against the chain without it: the last stage's answers against those of the stage that stands for
the rest, on the same held-out rows, paired. The chain's own folder ends as a run like any other: the last stage's
artifact and answers lie in it.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from executors.base import (
    SCHEMA_VERSION,
    Plan,
    Problem,
    Reporter,
    Result,
    Score,
    Text,
    UserError,
    silent,
    to_dict,
    write_json,
)
from executors.run import RUN_PARAMS, TRIAGE, check_plan, fingerprint, read_predictions, read_result, run_plan

RECORD = "chain.json"
LINKED = (".safetensors",)  # written once and never changed: shared with the stage, where the disk can


@dataclass(frozen=True)
class Stage:
    """One plan of a chain. `name` is its folder in the chain's, and what later stages call it by."""

    name: str
    plan: Plan


@dataclass(frozen=True)
class Without:
    """The chain without `method`: what `stage` answers."""

    method: str
    stage: str


@dataclass(frozen=True)
class Chain:
    """Stages in the order they run. `final` answers; stages after it only stand for the chain without a part."""

    methods: tuple[str, ...]
    stages: tuple[Stage, ...]
    final: str
    without: tuple[Without, ...] = ()
    reasons: Mapping[str, Text] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def name(self) -> str:
        """The chain as it is asked for, e.g. ``rag+peft``."""
        return "+".join(self.methods)

    @property
    def last(self) -> Stage:
        """The stage that answers."""
        return next(stage for stage in self.stages if stage.name == self.final)

    @property
    def main(self) -> tuple[Stage, ...]:
        """The stages of the chain itself."""
        return self.stages[: [stage.name for stage in self.stages].index(self.final) + 1]


@dataclass(frozen=True)
class Contribution:
    """What a part of a chain brings: the score with and without it, and the mean paired difference of the rows.

    `difference` is with less without, in the metric's own direction.
    """

    method: str
    stage: str
    metric: str
    value: float
    value_without: float
    difference: Score


# -- references ----------------------------------------------------------------------------------------


def named_in(plan: Plan) -> dict[str, str]:
    """What in a plan may name an earlier stage: the model and the parameters of `RUN_PARAMS`, by name."""
    params = {name: str(plan.params[name]) for name in RUN_PARAMS if plan.params.get(name)}
    return {"model": plan.model, **{f"params.{name}": value for name, value in params.items()}}


def bound(stage: Stage, chain: Chain, folder: Path) -> Plan:
    """The stage's plan with the folders of the stages that it names."""
    places = {earlier.name: str(folder / earlier.name) for earlier in chain.stages}
    params = {
        name: places.get(str(value), value) if name in RUN_PARAMS else value
        for name, value in stage.plan.params.items()
    }
    return replace(stage.plan, model=places.get(stage.plan.model, stage.plan.model), params=params)


def unbound(stage: Stage, chain: Chain) -> Plan:
    """The stage's plan as it can be looked at before anything has run: earlier stages' models are their bases."""
    plans = {earlier.name: earlier.plan for earlier in chain.stages}
    model = stage.plan.model
    for _ in chain.stages:  # no longer way than there are stages, even where they name each other in a ring
        model = plans[model].model if model in plans else model
    given = stage.plan.params.items()
    params = {name: value for name, value in given if name not in RUN_PARAMS or str(value) not in plans}
    return replace(stage.plan, model=model, params=params)


def check_chain(chain: Chain) -> list[Problem]:
    """Every problem that can be seen without work, each with the name of its stage."""
    problems = _structure(chain)
    if problems:
        return problems
    return [
        Problem(
            f"{stage.name}: {found.message}",
            found.hint,
            Problem(f"{stage.name}：{found.told('zh').message}", found.told("zh").hint),
        )
        for stage in chain.stages
        for found in check_plan(unbound(stage, chain))
    ]


def _structure(chain: Chain) -> list[Problem]:
    """Faults in how stages are called and call each other."""
    problems = []
    names = [stage.name for stage in chain.stages]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(Problem(f"stages: '{name}' is there twice", "", Problem(f"stages：“{name}”出现两次")))
    for called, entry in [(chain.final, "final"), *((w.stage, f"without.{w.method}") for w in chain.without)]:
        if called not in names:
            zh = Problem(f"{entry}：没有名为“{called}”的阶段", f"阶段：{'、'.join(names)}")
            problems.append(Problem(f"{entry}: no stage is called '{called}'", f"stages: {', '.join(names)}", zh))
    for n, stage in enumerate(chain.stages):
        later = {entry: called for entry, called in named_in(stage.plan).items() if called in names[n:]}
        for entry, called in later.items():
            zh = Problem(f"{stage.name}：{entry} 引用了尚未运行的阶段“{called}”", "只能引用前面的阶段")
            told = f"{stage.name}: {entry} names '{called}', which has not run by then"
            problems.append(Problem(told, "name a stage before it", zh))
    return problems


def chain_stamp(chain: Chain) -> str:
    """A hash of what the outcome depends on, see `run.fingerprint`."""
    stamps = [fingerprint(unbound(stage, chain)) for stage in chain.stages]
    links = [sorted(named_in(stage.plan).items()) for stage in chain.stages]
    plain = [stamps, links, [stage.name for stage in chain.stages], chain.final, to_dict(chain.without)]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


# -- the work ------------------------------------------------------------------------------------------


def run_chain(chain: Chain, folder: Path, report: Reporter = silent, again: str = "", timed: int = 0) -> Result:
    """Run every stage in its folder within `folder`; what is done is not done again. The chain's result.

    `again` and `timed`: as of `run_plan`, the latter for the stage that answers. Raises `UserError` as that does, and
    `KeyboardInterrupt` with all stages that were done kept.
    """
    problems = check_chain(chain)
    if problems:
        raise UserError.of(problems)
    for stage in chain.stages:
        run_stage(chain, stage, folder, report, again, timed if stage.name == chain.final else 0)
    return finish(chain, folder)


def run_stage(
    chain: Chain, stage: Stage, folder: Path, report: Reporter = silent, again: str = "", timed: int = 0
) -> Result:
    """Run one stage, those before it being done. One that is broken off leaves word of it in the chain's folder."""
    try:
        result = run_plan(bound(stage, chain, folder), folder / stage.name, report, again, timed)
    except BaseException:
        broken = read_result(folder / stage.name)
        if broken is not None and broken.status != "done" and not (folder / "artifact").is_dir():
            write_json(folder / "result.json", replace(broken, executor=chain.name))
        raise
    gc.collect()  # else the next stage's model comes beside this one's
    write_json(folder / RECORD, record(chain, folder))
    return result


def finish(chain: Chain, folder: Path) -> Result:
    """Make of the stages, all of them done, one run that answers as the last stage does; its result."""
    write_json(folder / RECORD, {**record(chain, folder), "contributions": to_dict(contributions(chain, folder))})
    return _adopt(chain, folder)


def record(chain: Chain, folder: Path) -> dict[str, Any]:
    """Stages with their scores, as plain data; what each part brings is told once all are done, see `finish`."""
    results = {stage.name: read_result(folder / stage.name) for stage in chain.stages}
    done = all(result is not None and result.status == "done" for result in results.values())
    return {
        "schema_version": SCHEMA_VERSION,
        "methods": list(chain.methods),
        "final": chain.final,
        "status": "done" if done else "interrupted",
        "stages": [_described(stage, results[stage.name]) for stage in chain.stages],
        "contributions": [],
    }


def _described(stage: Stage, result: Result | None) -> dict[str, Any]:
    score = result.scores.get(result.metric) if result else None
    return {
        "name": stage.name,
        "executor": stage.plan.executor,
        "model": stage.plan.model,
        "status": result.status if result else "",
        "metric": result.metric if result else "",
        "score": to_dict(score),
        "seconds": sum(result.seconds.values()) if result else None,
    }


def _adopt(chain: Chain, folder: Path) -> Result:
    """Make the chain's folder a run that answers as its last stage does."""
    last = folder / chain.final
    _take_artifact(last / "artifact", folder / "artifact")
    for name in ("predictions.jsonl", TRIAGE, "removed.jsonl"):
        (folder / name).unlink(missing_ok=True)
        if (last / name).is_file():
            shutil.copy2(last / name, folder / name)
    result = _result(chain, folder)
    write_json(folder / "result.json", result)
    (folder / "stamp").write_text(chain_stamp(chain), encoding="utf-8")
    return result


def _take_artifact(given: Path, place: Path) -> None:
    """A copy of the last stage's artifact; one that is there already is kept, for its index may have been kept up."""
    about = "about.json"
    if (place / about).is_file() and (place / about).read_bytes() == (given / about).read_bytes():
        return
    unfinished = place.with_name(f"{place.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(given, unfinished, copy_function=_link_or_copy)
    shutil.rmtree(place, ignore_errors=True)
    unfinished.rename(place)


def _link_or_copy(source: str, target: str) -> None:
    if source.endswith(LINKED):
        try:
            os.link(source, target)
            return
        except OSError:  # another disk, or one without links
            pass
    shutil.copy2(source, target)


def _result(chain: Chain, folder: Path) -> Result:
    """The last stage's result as the chain's: of all its methods, with the time and cost of all its own stages."""
    results = {stage.name: _read_done(folder / stage.name) for stage in chain.main}
    last = results[chain.final]
    built = sum(sum(r.seconds.values()) for name, r in results.items() if name != chain.final)
    costs = [r.cost_usd for r in results.values() if r.cost_usd is not None]
    return replace(
        last,
        executor=chain.name,
        seconds={**last.seconds, "build": round(last.seconds.get("build", 0.0) + built, 2)},
        params={f"{stage.name}.{name}": value for stage in chain.main for name, value in stage.plan.params.items()},
        cost_usd=sum(costs) if costs else None,
        started=results[chain.main[0].name].started,
    )


def _read_done(folder: Path) -> Result:
    result = read_result(folder)
    assert result is not None  # the stage has just run
    return result


# -- what each part brings -----------------------------------------------------------------------------


def contributions(chain: Chain, folder: Path) -> list[Contribution]:
    """The last stage against each stage that stands for the chain without a part, on the rows that both answered."""
    from executors.data import load_dataset
    from executors.metrics.compare import paired

    plan, last = chain.last.plan, _read_done(folder / chain.final)
    rows = load_dataset(plan.data, plan.task, plan.seed).test
    found = []
    for part in chain.without:
        other = _read_done(folder / part.stage)
        answers = [read_predictions(folder / name / "predictions.jsonl") for name in (chain.final, part.stage)]
        shared = [row for row in rows if all(row.id in given for given in answers)]
        if not shared or last.metric not in other.scores:
            continue
        own, without = ([given[row.id] for row in shared] for given in answers)
        difference = paired(plan.task, last.metric, shared, own, without)
        value, value_without = (result.scores[last.metric].value for result in (last, other))
        found.append(Contribution(part.method, part.stage, last.metric, value, value_without, difference))
    return found
