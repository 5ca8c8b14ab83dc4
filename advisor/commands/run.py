"""`advisor run`: execute the chosen method."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from advisor.decision import Decision, Inputs
from advisor.endpoints import disclosure, parse_limits
from advisor.estimated import keep_estimate, read_error
from advisor.progress import Progress
from advisor.texts import say
from executors.base import Plan, Problem, Result, Text, UserError

if TYPE_CHECKING:
    from executors.chain import Chain

EPILOG = """\b
Examples:
  advisor run last                                  run what was recommended
  advisor run last --data rows.csv --docs handbook  with data given now
  advisor run last --method peft --set epochs=5     another method, in a run of its own
  advisor run last --method rag+peft                several as one chain, each part's share in it measured
  advisor run last --method full --from 20261121    go on tuning what that run has tuned
  advisor run runs/20261121-1201-ab12/plan.yaml     a plan you have edited
  advisor run last --model deepseek:deepseek-flash --max-cost 0.50
  advisor run last --model ollama:qwen3:8b --endpoint timeout=300
"""


@click.command("run", epilog=EPILOG)
@click.argument("run", default="last")
@click.option(
    "--method",
    help="Run this method, or several as one chain (rag+peft), instead (in a new run where this one is taken).",
)
@click.option("--from", "start", metavar="RUN", help="Go on from the model that a finished run has tuned.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Set a parameter of the method.")
@click.option("--seed", type=int, help="Seed of the split and of every random choice (default 0).")
@click.option("--folds", type=int, metavar="K", help="Score every row, in K trainings and one more (for small sets).")
@click.option("--launch", type=click.Choice(["torchrun", "accelerate"]), help="Train in several processes.")
@click.option("--processes", type=int, metavar="N", help="How many, with --launch: one a GPU, or of the CPU's cores.")
@click.option("--shard", is_flag=True, help="With --launch: a part of the model in each (FSDP2), not a copy (DDP).")
@click.option("--max-cost", type=float, metavar="USD", help="The most an endpoint's model may cost in all.")
@click.option("--endpoint", "limits", multiple=True, metavar="NAME=VALUE", help="How it is asked, e.g. timeout=30.")
@click.option("--dry-run", is_flag=True, help="Write and show the plan and its estimate; run nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print result.json and nothing else.")
@input_options
@lang_option
def command(
    run: str,
    method: str | None,
    start: str | None,
    settings: tuple[str, ...],
    seed: int | None,
    folds: int | None,
    launch: str | None,
    processes: int | None,
    shard: bool,
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
    launched = {"launch": launch, "processes": processes, "shard": "true" if shard else None}
    settings += tuple(f"{name}={value}" for name, value in launched.items() if value)
    given = {**given, "model": _model_named(given.get("model"), start)}
    changed = bool(method or settings or seed is not None or folds is not None or columns or any(given.values()))
    asked, bounds = parse_settings(settings), parse_limits(limits, max_cost)
    by_file = run.endswith((".yaml", ".yml"))
    begun = read_begun(folder) if folder and not by_file and not changed else None
    if begun:  # go on with what was begun here, whatever it was
        plan = begun
    elif decision:
        inputs = merge_inputs(decision.inputs, columns=parse_columns(columns), **given)
        decision = dataclasses.replace(decision, inputs=inputs)
        plan = _make(decision, inputs, method, asked, bounds)
    else:
        plan = _plan_of_file(str(folder / "plan.yaml") if folder and not by_file else run, method, columns, given)
    plan = _folded(_amended(plan, asked, bounds, seed), folds)
    _check(plan)  # before anything is written: a refused plan leaves earlier records as they are
    execute(_place(folder, plan, decision), plan, language(lang), dry_run=dry_run, as_json=as_json)


def _model_named(model: str | None, start: str | None) -> str | None:
    """The model to use: as named, where that is no run's id; or what the run `start` has tuned."""
    if start is None:
        return str(runs.root() / model) if model and _is_run(model) else model
    if model:
        zh = Problem("--model 和 --from 同时给出", "只给出其中之一：--from 用所给运行微调出的模型")
        raise UserError("both --model and --from were given", "give one: --from names the model a run has tuned", zh)
    folder = runs.find_run(start)
    from executors.models.tuned import run_faults

    faults = run_faults(str(folder))
    if faults:
        raise UserError.of(faults)
    return str(folder)


def _is_run(name: str) -> bool:
    """Whether a run has this very id."""
    return Path(name).name == name and name not in (".", "..") and (runs.root() / name).is_dir()


def _make(
    decision: Decision, inputs: Inputs, method: str | None, settings: Mapping[str, Any], bounds: Mapping[str, Any]
) -> Plan | Chain:
    """The plan of one method, or the chain of several: those asked for as ``rag+peft``, else those recommended."""
    from advisor.plan import make_plan, stages_of

    parts = method.split("+") if method else stages_of(decision)
    if len(parts) < 2:
        return make_plan(decision, inputs, method, settings, bounds)
    from advisor.chains import make_chain

    return make_chain(decision, inputs, [part.strip() for part in parts], settings, bounds)


def _amended(
    plan: Plan | Chain, settings: Mapping[str, Any], bounds: Mapping[str, Any], seed: int | None
) -> Plan | Chain:
    """With what this call sets put over it."""
    if not isinstance(plan, Plan):
        from advisor.commands.chained import amended

        return amended(plan, settings, bounds, seed)
    params, endpoint = {**plan.params, **settings}, {**plan.endpoint, **bounds}
    return dataclasses.replace(plan, params=params, endpoint=endpoint, seed=plan.seed if seed is None else seed)


def _folded(plan: Plan | Chain, folds: int | None) -> Plan | Chain:
    """With a cross-validation of so many folds, or none for 0."""
    if folds is None:
        return plan
    if not isinstance(plan, Plan):
        zh = Problem("--folds：由多个方法组成的链不能做交叉验证", "用 --method 指定单个方法")
        raise UserError("--folds: a chain of methods cannot be cross-validated", "name one method: --method peft", zh)
    return dataclasses.replace(plan, data=dataclasses.replace(plan.data, folds=folds))


def _find(run: str) -> tuple[Path | None, Decision | None]:
    """The run's folder and decision; no decision in a run of a plan's file, neither for a file that lies by itself."""
    if not run.endswith((".yaml", ".yml")):
        folder = runs.find_run(run)
        bare = (folder / "plan.yaml").is_file() and not (folder / "decision.json").is_file()
        return folder, None if bare else load_decision(folder)
    own = Path(run).parent
    return (own if (own / "decision.json").is_file() else None), None


def _plan_of_file(run: str, method: str | None, columns: str | None, given: Mapping[str, str | None]) -> Plan | Chain:
    named = [f"--{name}" for name, value in {"method": method, "columns": columns, **given}.items() if value]
    if named:
        raise UserError(f"{', '.join(named)} cannot be given with a plan's file", f"edit {run}, it says all of it")
    return _read_file(Path(run))


def _read_file(path: Path) -> Plan | Chain:
    """What a plan's file holds. Raises `UserError` with every fault in it."""
    from advisor.plan import holds_chain, read_plan

    if not holds_chain(path):
        return read_plan(path)
    from advisor.chains import read_chain

    return read_chain(path)


def _place(folder: Path | None, plan: Plan | Chain, decision: Decision | None) -> Path:
    """Where to work. One run, one plan, one result: another plan than the finished one gets a run of its own.

    One that asks an endpoint goes on where it was begun, wherever that is: its answers are paid for.
    """
    if folder is None or _is_taken(folder, plan):
        paid = _paid_for(plan) if isinstance(plan, Plan) else None
        source, folder = folder, paid or runs.new_run()
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


def _is_taken(folder: Path, plan: Plan | Chain) -> bool:
    """Whether the folder holds another method's work, or a finished artifact of another plan or of other data."""
    before = read_begun(folder)
    if not isinstance(plan, Plan):
        from advisor.commands.chained import is_taken

        return is_taken(folder, before, plan)
    from executors.run import fingerprint, read_stamp

    if before and (not isinstance(before, Plan) or before.executor != plan.executor):
        return True
    return (folder / "artifact").is_dir() and read_stamp(folder) != fingerprint(plan)


def _check(plan: Plan | Chain) -> None:
    if not isinstance(plan, Plan):
        from advisor.commands.chained import check

        return check(plan)
    from executors.run import check_plan

    problems = check_plan(plan)
    if problems:
        raise UserError.of(problems)


def read_plan_of(folder: Path) -> Plan | None:
    """The plan that answers in a run's folder, of a chain its last stage's; None where nothing was begun."""
    begun = read_begun(folder)
    if begun is None or isinstance(begun, Plan):
        return begun
    from executors.chain import bound

    return bound(begun.last, begun, folder)


def read_begun(folder: Path) -> Plan | Chain | None:
    """What was begun in a run's folder; None where nothing was."""
    return _read_file(folder / "plan.yaml") if (folder / "plan.yaml").is_file() else None


def execute(
    folder: Path, plan: Plan | Chain, lang: str, *, dry_run: bool = False, as_json: bool = False
) -> Result | None:
    """Run a plan and its floor in `folder`, saying what will happen, how long it takes, and what came of it."""
    if not isinstance(plan, Plan):
        from advisor.commands.chained import check, execute_chain

        check(plan)
        return execute_chain(folder, plan, lang, dry_run=dry_run, as_json=as_json)
    screen = console(stderr=True)
    plan = begin(folder, plan, lang, screen)
    if dry_run:
        return None
    result, floor = carry_out(folder, plan, lang, screen)
    page = write_reports(folder, lang) if (folder / "decision.json").is_file() else None
    if as_json:
        click.echo((folder / "result.json").read_text(encoding="utf-8").rstrip())
        return result
    from advisor.report.training import read_training
    from advisor.report.triage import read_triage
    from advisor.screen import show_result
    from advisor.screen.training import show_error, show_training
    from advisor.screen.triage import show_causes

    show_result(result, floor, lang, console())
    show_causes(read_triage(folder), lang, console())
    show_training(read_training(folder, result), lang, console())
    show_error(read_error(folder, result), lang, console())
    console().print(say("command.done", lang, run=folder.name, page=page or folder / "result.json"), markup=False)
    if plan.executor == "rag":
        console().print(say("command.done_docs", lang, run=folder.name), markup=False)
    return result


def begin(folder: Path, plan: Plan, lang: str, screen: Any) -> Plan:
    """Check a plan, write it into its folder and show it; the plan as it is written, saying where rows go."""
    from advisor.plan import write_plan

    _check(plan)
    plan = dataclasses.replace(plan, reasons={**plan.reasons, **_disclosed(plan)})
    write_plan(folder / "plan.yaml", plan)
    try:
        show_plan(plan, folder, lang, screen)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(say("command.kept", lang, run=folder.name)) from None
    return plan


def carry_out(folder: Path, plan: Plan, lang: str, screen: Any, again: str = "") -> tuple[Result, Result]:
    """Run a plan that was begun, and its floor in a folder of its own; both results. `again`: see `run_plan`."""
    from executors.run import run_plan

    try:
        with Progress(lang, screen) as progress:
            result = run_plan(plan, folder, progress, again)
            floor = result if plan.executor == "baseline" else run_plan(floor_of(plan), folder / "floor", progress)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(say("command.kept", lang, run=folder.name)) from None
    return result, floor


def show_plan(plan: Plan, folder: Path, lang: str, screen: Any) -> None:
    """What will be run, each value with its reason, and about how long it takes."""
    from advisor.estimate import estimate_plan

    screen.print(say("command.plan", lang, method=plan.executor, task=plan.task, run=folder.name), markup=False)
    for name, reason in plan.reasons.items():
        screen.print(f"  {name}: {reason[lang]}", markup=False)
    estimate = estimate_plan(plan)
    keep_estimate(folder, estimate)
    screen.print(f"  {estimate.told[lang]}", markup=False)


def _disclosed(plan: Plan) -> Mapping[str, Text]:
    """Where rows go, also for a plan that was written by hand."""
    from advisor.plan import TEXT_MODELS

    return disclosure(plan.model) if plan.executor in TEXT_MODELS else {}


def floor_of(plan: Plan) -> Plan:
    """The baseline on the same rows: the floor of every comparison."""
    return dataclasses.replace(plan, executor="baseline", params={}, endpoint={}, docs=None, reasons={})
