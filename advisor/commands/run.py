"""`advisor run`: execute the chosen method."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from advisor import runs
from advisor.commands.report import write_reports
from advisor.commands.shared import (
    console,
    input_options,
    lang_option,
    language,
    load_decision,
    merge_inputs,
    parse_columns,
    parse_settings,
    save_decision,
)
from advisor.progress import Progress
from advisor.texts import say
from executors.base import Plan, Result, UserError

EPILOG = """\b
Examples:
  advisor run last                                  run what was recommended
  advisor run last --data rows.csv --docs handbook  with data given now
  advisor run last --method peft --set epochs=5     another method, in a run of its own
  advisor run runs/20261121-1201-ab12/plan.yaml     a plan you have edited
"""


@click.command("run", epilog=EPILOG)
@click.argument("run", default="last")
@click.option("--method", help="Run this method instead of the recommended one, in a new run.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Set a parameter of the method.")
@click.option("--seed", type=int, help="Seed of the split and of every random choice (default 0).")
@click.option("--dry-run", is_flag=True, help="Write and show the plan and its estimate; run nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print result.json and nothing else.")
@input_options
@lang_option
def command(
    run: str,
    method: str | None,
    settings: tuple[str, ...],
    seed: int | None,
    dry_run: bool,
    as_json: bool,
    lang: str | None,
    columns: str | None,
    **given: str | None,
) -> None:
    """Execute the recommended method, score it and the floor on the same held-out rows, and write the report.

    RUN is a run's id, a unique prefix, a folder, `last`, or a `plan.yaml`. Repeat the command after an
    interruption: it goes on where it was.
    """
    tongue = language(lang)
    folder, plan = _prepare(run, method, parse_columns(columns), given)
    params = {**plan.params, **parse_settings(settings)}
    plan = dataclasses.replace(plan, params=params, seed=plan.seed if seed is None else seed)
    execute(folder, plan, tongue, dry_run=dry_run, as_json=as_json)


def _prepare(run: str, method: str | None, columns: dict[str, str], given: dict[str, str | None]) -> tuple[Path, Plan]:
    """The folder to work in and the plan to work by, from a run or from a plan's file."""
    from advisor.plan import make_plan, read_plan

    if run.endswith((".yaml", ".yml")):
        plan = read_plan(Path(run))
        own = Path(run).parent
        folder = own if (own / "decision.json").is_file() and read_plan_of(own) == plan else runs.new_run()
        return folder, plan
    folder = runs.find_run(run)
    decision = load_decision(folder)
    inputs = merge_inputs(decision.inputs, columns=columns, **given)
    plan = make_plan(decision, inputs, method)
    before = read_plan_of(folder)
    if before and before.executor != plan.executor:  # one run, one plan, one result: another method gets its own
        sibling = runs.new_run()
        decision = dataclasses.replace(decision, run=sibling.name)
        folder = sibling
    save_decision(folder, dataclasses.replace(decision, inputs=inputs))
    return folder, plan


def read_plan_of(folder: Path) -> Plan | None:
    from advisor.plan import read_plan

    return read_plan(folder / "plan.yaml") if (folder / "plan.yaml").is_file() else None


def execute(folder: Path, plan: Plan, lang: str, *, dry_run: bool = False, as_json: bool = False) -> Result | None:
    """Run a plan and its floor in `folder`, saying what will happen, how long it takes, and what came of it."""
    from advisor.plan import write_plan
    from executors.run import check_plan, run_plan

    problems = check_plan(plan)
    if problems:
        raise UserError.of(problems)
    write_plan(folder / "plan.yaml", plan)
    screen = console(stderr=True)
    show_plan(plan, folder, lang, screen)
    if dry_run:
        return None
    try:
        with Progress(lang, screen) as progress:
            result = run_plan(plan, folder, progress)
            floor = result if plan.executor == "baseline" else run_plan(floor_of(plan), folder / "floor", progress)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(say("command.kept", lang, run=folder.name)) from None
    page = write_reports(folder, lang) if (folder / "decision.json").is_file() else None
    if as_json:
        click.echo((folder / "result.json").read_text(encoding="utf-8").rstrip())
        return result
    from advisor.screen import show_result

    show_result(result, floor, lang, console())
    console().print(say("command.done", lang, run=folder.name, page=page or folder / "result.json"), markup=False)
    return result


def show_plan(plan: Plan, folder: Path, lang: str, screen: Any) -> None:
    """What will be run, each value with its reason, and about how long it takes."""
    from advisor.estimate import estimate_text

    screen.print(say("command.plan", lang, method=plan.executor, task=plan.task, run=folder.name), markup=False)
    for name, reason in plan.reasons.items():
        screen.print(f"  {name}: {reason[lang]}", markup=False)
    screen.print(f"  {estimate_text(plan)[lang]}", markup=False)


def floor_of(plan: Plan) -> Plan:
    """The baseline on the same rows: the floor of every comparison."""
    return dataclasses.replace(plan, executor="baseline", params={}, docs=None, reasons={})
