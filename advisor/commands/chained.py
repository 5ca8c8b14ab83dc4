"""What `advisor run` does with a chain: each stage a run of its own, and one page over all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advisor.commands.report import write_reports
from advisor.commands.shared import console, load_decision, save_decision
from advisor.progress import Progress
from advisor.texts import say
from executors.base import Plan, Result, UserError

if TYPE_CHECKING:
    from executors.chain import Chain, Stage


def execute_chain(
    folder: Path, chain: Chain, lang: str, *, dry_run: bool = False, as_json: bool = False
) -> Result | None:
    """Run every stage in a folder of its own, the floor once, and say what came of it and what each part brings."""
    screen = console(stderr=True)
    begin(folder, chain, lang, screen)
    if dry_run:
        return None
    result, floor = carry_out(folder, chain, lang, screen)
    page = write_reports(folder, lang) if (folder / "decision.json").is_file() else None
    if as_json:
        click.echo((folder / "result.json").read_text(encoding="utf-8").rstrip())
        return result
    from advisor.report.chain import read_chain_record
    from advisor.screen import show_result
    from advisor.screen.chain import show_chain

    show_result(result, floor, lang, console())
    record = read_chain_record(folder)
    assert record is not None  # `finish` wrote it
    show_chain(record, lang, console())
    console().print(say("command.done", lang, run=folder.name, page=page or folder / "result.json"), markup=False)
    if "rag" in chain.methods:
        console().print(say("command.done_docs", lang, run=folder.name), markup=False)
    return result


def begin(folder: Path, chain: Chain, lang: str, screen: Any) -> None:
    """Write a chain into its folder and show it."""
    from advisor.chains import write_chain

    write_chain(folder / "plan.yaml", chain)
    show_chain_plan(chain, folder, lang, screen)


def carry_out(folder: Path, chain: Chain, lang: str, screen: Any, again: str = "") -> tuple[Result, Result]:
    """Run every stage of a chain that was begun, and the floor once; the chain's result and the floor's.

    `again`: the command that goes on, else `advisor run` with the folder.
    """
    from executors.chain import finish

    done = 0
    try:
        floor = _floor(chain, folder, lang, screen)
        for number, stage in enumerate(chain.stages, 1):
            told = say("chain.stage", lang, number=number, count=len(chain.stages), name=stage.name)
            screen.print(told, style="bold", markup=False)
            _run_stage(chain, stage, folder, lang, screen, again or f"advisor run {folder.name}")
            done += 1
    except KeyboardInterrupt:
        told = say("chain.kept", lang, done=done, count=len(chain.stages), run=folder.name)
        raise KeyboardInterrupt(told) from None
    return finish(chain, folder), floor


def _floor(chain: Chain, folder: Path, lang: str, screen: Any) -> Result:
    """The baseline on the same rows, which every stage is shown beside."""
    from advisor.commands.run import floor_of
    from executors.chain import unbound
    from executors.run import run_plan

    with Progress(lang, screen) as progress:
        return run_plan(floor_of(unbound(chain.last, chain)), folder / "floor", progress)


def _run_stage(chain: Chain, stage: Stage, folder: Path, lang: str, screen: Any, again: str) -> None:
    """One stage as a run of its own: plan, result, report."""
    from advisor.estimate import estimate_plan
    from advisor.estimated import keep_estimate
    from advisor.plan import write_plan
    from executors.chain import bound, run_stage

    at = folder / stage.name
    at.mkdir(parents=True, exist_ok=True)
    plan = bound(stage, chain, folder)
    write_plan(at / "plan.yaml", plan)
    keep_estimate(at, estimate_plan(plan))
    with Progress(lang, screen) as progress:
        run_stage(chain, stage, folder, progress, again)
    (at / "floor").mkdir(exist_ok=True)
    (at / "floor" / "result.json").write_bytes((folder / "floor" / "result.json").read_bytes())
    if (folder / "decision.json").is_file():
        save_decision(at, dataclasses.replace(load_decision(folder), run=str(at)))
        write_reports(at, lang)


def show_chain_plan(chain: Chain, folder: Path, lang: str, screen: Any) -> None:
    """The stages, what in each is not as usual and why, and about how long all of it takes."""
    from advisor.estimate import estimate_all
    from executors.chain import unbound

    count, task = len(chain.stages), chain.last.plan.task
    screen.print(say("chain.plan", lang, name=chain.name, task=task, count=count, run=folder.name), markup=False)
    told: set[tuple[str, str]] = set()  # what several stages have in common is said once
    for stage in chain.stages:
        reasons = {name: reason[lang] for name, reason in stage.plan.reasons.items()}
        screen.print(f"  {stage.name}: {reasons.pop('executor', '')}", markup=False)
        for name, reason in reasons.items():
            if (name, reason) not in told:
                screen.print(f"    {name}: {reason}", style="dim", markup=False)
        told |= set(reasons.items())
    extra = count - len(chain.main)
    if extra:
        screen.print(f"  {say('chain.more', lang, count=extra)}", markup=False)
    if estimate := estimate_all([unbound(stage, chain) for stage in chain.stages]):
        screen.print(f"  {estimate[lang]}", markup=False)


def check(chain: Chain) -> None:
    """Raises `UserError` with every problem of the chain that can be seen without work."""
    from executors.chain import check_chain

    problems = check_chain(chain)
    if problems:
        raise UserError.of(problems)


def is_taken(folder: Path, begun: Plan | Chain | None, chain: Chain) -> bool:
    """Whether the folder holds other work than this chain's."""
    from executors.chain import Chain, chain_stamp

    if begun is None:
        return (folder / "artifact").is_dir()
    if not isinstance(begun, Chain) or begun.name != chain.name:
        return True
    worked = any((folder / stage.name / "artifact").is_dir() for stage in begun.stages)
    return worked and chain_stamp(begun) != chain_stamp(chain)


def amended(chain: Chain, settings: Mapping[str, Any], endpoint: Mapping[str, Any], seed: int | None) -> Chain:
    """The chain with settings, limits of an endpoint and a seed put over it, each at the stages it is for."""
    from advisor.chains import own_settings

    def change(plan: Plan) -> Plan:
        params = {**plan.params, **own_settings(plan.executor, settings)}
        given = {**plan.endpoint, **endpoint}
        return dataclasses.replace(plan, params=params, endpoint=given, seed=plan.seed if seed is None else seed)

    stages = tuple(dataclasses.replace(stage, plan=change(stage.plan)) for stage in chain.stages)
    return dataclasses.replace(chain, stages=stages)
