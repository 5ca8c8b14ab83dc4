"""`advisor run`: execute the chosen method."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
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
from advisor.decision import Decision
from advisor.endpoints import disclosure, parse_limits
from advisor.progress import Progress
from advisor.texts import say
from executors.base import Plan, Result, Text, UserError

EPILOG = """\b
Examples:
  advisor run last                                  run what was recommended
  advisor run last --data rows.csv --docs handbook  with data given now
  advisor run last --method peft --set epochs=5     another method, in a run of its own
  advisor run runs/20261121-1201-ab12/plan.yaml     a plan you have edited
  advisor run last --model deepseek:deepseek-flash --max-cost 0.50
  advisor run last --model ollama:qwen3:8b --endpoint timeout=300
"""


@click.command("run", epilog=EPILOG)
@click.argument("run", default="last")
@click.option(
    "--method",
    help="Run this method instead (in a new run where this one is taken).",
)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Set a parameter of the method.")
@click.option("--seed", type=int, help="Seed of the split and of every random choice (default 0).")
@click.option("--max-cost", type=float, metavar="USD", help="The most an endpoint's model may cost in all.")
@click.option("--endpoint", "limits", multiple=True, metavar="NAME=VALUE", help="How it is asked, e.g. timeout=30.")
@click.option("--dry-run", is_flag=True, help="Write and show the plan and its estimate; run nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print result.json and nothing else.")
@input_options
@lang_option
def command(
    run: str,
    method: str | None,
    settings: tuple[str, ...],
    seed: int | None,
    max_cost: float | None,
    limits: tuple[str, ...],
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
    folder, decision = _find(run)
    changed = bool(method or settings or seed is not None or columns or any(given.values()))
    asked, bounds = parse_settings(settings), parse_limits(limits, max_cost)
    by_file = run.endswith((".yaml", ".yml"))
    begun = read_plan_of(folder) if folder and not by_file and not changed else None
    if begun:  # go on with what was begun here, whatever it was
        plan = begun
    elif decision:
        from advisor.plan import make_plan

        inputs = merge_inputs(decision.inputs, columns=parse_columns(columns), **given)
        decision = dataclasses.replace(decision, inputs=inputs)
        plan = make_plan(decision, inputs, method, asked, bounds)
    else:
        plan = _plan_of_file(str(folder / "plan.yaml") if folder and not by_file else run, method, columns, given)
    params, endpoint = {**plan.params, **asked}, {**plan.endpoint, **bounds}
    plan = dataclasses.replace(plan, params=params, endpoint=endpoint, seed=plan.seed if seed is None else seed)
    _check(plan)  # before anything is written: a refused plan leaves earlier records as they are
    execute(_place(folder, plan, decision), plan, language(lang), dry_run=dry_run, as_json=as_json)


def _find(run: str) -> tuple[Path | None, Decision | None]:
    """The run's folder and decision; no decision in a run of a plan's file, neither for a file that lies by itself."""
    if not run.endswith((".yaml", ".yml")):
        folder = runs.find_run(run)
        bare = (folder / "plan.yaml").is_file() and not (folder / "decision.json").is_file()
        return folder, None if bare else load_decision(folder)
    own = Path(run).parent
    return (own if (own / "decision.json").is_file() else None), None


def _plan_of_file(run: str, method: str | None, columns: str | None, given: dict[str, str | None]) -> Plan:
    from advisor.plan import read_plan

    named = [f"--{name}" for name, value in {"method": method, "columns": columns, **given}.items() if value]
    if named:
        raise UserError(f"{', '.join(named)} cannot be given with a plan's file", f"edit {run}, it says all of it")
    return read_plan(Path(run))


def _place(folder: Path | None, plan: Plan, decision: Decision | None) -> Path:
    """Where to work. One run, one plan, one result: another plan than the finished one gets a run of its own.

    One that asks an endpoint goes on where it was begun, wherever that is: its answers are paid for.
    """
    if folder is None or _is_taken(folder, plan):
        source, folder = folder, _paid_for(plan) or runs.new_run()
        has_decision = source is not None and (source / "decision.json").is_file()
        decision = decision or (load_decision(source) if source and has_decision else None)
        decision = dataclasses.replace(decision, run=folder.name) if decision else None
    if decision:
        save_decision(folder, decision)
    return folder


def _paid_for(plan: Plan) -> Path | None:
    """The latest run of this very plan, where it has asked an endpoint."""
    from executors.models.endpoint import LEDGER
    from executors.run import fingerprint, read_stamp

    paid = [folder for folder in runs.all_runs() if (folder / LEDGER).is_file()]
    stamp = fingerprint(plan) if paid else ""
    return next((folder for folder in reversed(paid) if read_stamp(folder) == stamp), None)


def _is_taken(folder: Path, plan: Plan) -> bool:
    """Whether the folder holds another method's work, or a finished artifact of another plan or of other data."""
    from executors.run import fingerprint, read_stamp

    before = read_plan_of(folder)
    if before and before.executor != plan.executor:
        return True
    return (folder / "artifact").is_dir() and read_stamp(folder) != fingerprint(plan)


def _check(plan: Plan) -> None:
    from executors.run import check_plan

    problems = check_plan(plan)
    if problems:
        raise UserError.of(problems)


def read_plan_of(folder: Path) -> Plan | None:
    from advisor.plan import read_plan

    return read_plan(folder / "plan.yaml") if (folder / "plan.yaml").is_file() else None


def execute(folder: Path, plan: Plan, lang: str, *, dry_run: bool = False, as_json: bool = False) -> Result | None:
    """Run a plan and its floor in `folder`, saying what will happen, how long it takes, and what came of it."""
    from advisor.plan import write_plan
    from executors.run import run_plan

    _check(plan)
    plan = dataclasses.replace(plan, reasons={**plan.reasons, **_disclosed(plan)})
    write_plan(folder / "plan.yaml", plan)
    screen = console(stderr=True)
    try:
        show_plan(plan, folder, lang, screen)
        if dry_run:
            return None
        with Progress(lang, screen) as progress:
            result = run_plan(plan, folder, progress)
            floor = result if plan.executor == "baseline" else run_plan(floor_of(plan), folder / "floor", progress)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(say("command.kept", lang, run=folder.name)) from None
    page = write_reports(folder, lang) if (folder / "decision.json").is_file() else None
    if as_json:
        click.echo((folder / "result.json").read_text(encoding="utf-8").rstrip())
        return result
    from advisor.report.triage import read_triage
    from advisor.screen import show_result
    from advisor.screen.triage import show_causes

    show_result(result, floor, lang, console())
    show_causes(read_triage(folder), lang, console())
    console().print(say("command.done", lang, run=folder.name, page=page or folder / "result.json"), markup=False)
    if plan.executor == "rag":
        console().print(say("command.done_docs", lang, run=folder.name), markup=False)
    return result


def show_plan(plan: Plan, folder: Path, lang: str, screen: Any) -> None:
    """What will be run, each value with its reason, and about how long it takes."""
    from advisor.estimate import estimate_text

    screen.print(say("command.plan", lang, method=plan.executor, task=plan.task, run=folder.name), markup=False)
    for name, reason in plan.reasons.items():
        screen.print(f"  {name}: {reason[lang]}", markup=False)
    screen.print(f"  {estimate_text(plan)[lang]}", markup=False)


def _disclosed(plan: Plan) -> Mapping[str, Text]:
    """Where rows go, also for a plan that was written by hand."""
    from advisor.plan import TEXT_MODELS

    return disclosure(plan.model) if plan.executor in TEXT_MODELS else {}


def floor_of(plan: Plan) -> Plan:
    """The baseline on the same rows: the floor of every comparison."""
    return dataclasses.replace(plan, executor="baseline", params={}, endpoint={}, docs=None, reasons={})
