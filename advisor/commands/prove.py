"""`advisor prove`: race the candidates on held-out rows, and take the recommendation up again by what came of it."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from advisor import runs
from advisor.commands.shared import (
    console,
    input_options,
    lang_option,
    language,
    load_decision,
    merge_inputs,
    parse_columns,
)
from advisor.decision import Decision, Inputs
from advisor.endpoints import disclosure, parse_limits
from advisor.facts import Facts
from advisor.texts import say
from executors.base import Problem, Text, UserError

if TYPE_CHECKING:
    from advisor.prove.asked import Asked
    from advisor.prove.records import Race
    from advisor.prove.until import Climb

WHY_NOT: dict[str, Text] = {  # what --until does not go with
    "metric": {"en": "the ladder is scored by the task's own metric", "zh": "阶梯按任务自身的指标评分"},
    "target": {"en": "the score that it names is the target", "zh": "它给出的分数就是目标"},
    "margin": {"en": "it ends at the first rung that reaches the score", "zh": "达到分数的第一步即结束，不作比较"},
}
MARGIN = 0.02  # as of `advisor.prove.race`, which help does not import
EPILOG = """\b
Examples:
  advisor prove last                                race what is viable, on the rows held out
  advisor prove --data rows.csv --docs handbook     with nothing asked before
  advisor prove last --minutes 20 --margin 0.01     a larger budget, a smaller difference that counts
  advisor prove last --until 0.85                   one step of the ladder after another, until it is reached
  advisor prove last --json | jq .choice
"""


@click.command("prove", epilog=EPILOG)
@click.argument("run", required=False)
@click.option("--until", type=float, metavar="SCORE", help="Run the ladder step by step until this score is reached.")
@click.option("--target", type=float, metavar="SCORE", help="The cheapest candidate at or above it is chosen.")
@click.option(
    "--margin", type=float, default=MARGIN, show_default=True, help="What a cheaper one may lie below the best."
)
@click.option("--metric", metavar="NAME", help="What decides (default: by the task, e.g. accuracy), e.g. macro_f1.")
@click.option("--minutes", type=float, help="Budget (default: a quarter of what all candidates would take to the end).")
@click.option("--seed", type=int, default=0, help="Seed of the split and of every random choice (default 0).")
@click.option("--max-cost", type=float, metavar="USD", help="The most an endpoint may cost in all.")
@click.option("--endpoint", "limits", multiple=True, metavar="NAME=VALUE", help="How it is asked, e.g. timeout=30.")
@click.option("--json", "as_json", is_flag=True, help="Print race.json and nothing else.")
@input_options
@lang_option
def command(
    run: str | None,
    until: float | None,
    target: float | None,
    margin: float,
    metric: str | None,
    minutes: float | None,
    seed: int,
    max_cost: float | None,
    limits: tuple[str, ...],
    as_json: bool,
    lang: str | None,
    columns: str | None,
    **given: str | None,
) -> None:
    """Race the viable methods and the floor on the same held-out rows, and say which to take and why.

    RUN is a run with a recommendation (default `last`); without one, --data is enough. Repeat the command after an
    interruption: it goes on where it was. The report then shows the decision before and after.
    """
    from advisor.prove.asked import Asked

    tongue = language(lang)
    _check(margin, target, until, minutes, metric)
    said = {"--until": until, "--target": target, "--margin": None if margin == MARGIN else margin, "--metric": metric,
            "--minutes": minutes, "--seed": seed or None, "--max-cost": max_cost, "--endpoint": limits or None,
            "--lang": lang}  # fmt: skip
    inputs = Inputs(columns=parse_columns(columns), **given)
    options = {name: value for name, value in said.items() if value is not None}
    asked = Asked(options, inputs if run is None and inputs.data else None)
    bounds = parse_limits(limits, max_cost)
    folder, decision = _decision(run, inputs, asked, tongue)
    asked.record(folder)
    if until is not None:
        from advisor.prove.until import run_until

        with _kept("until.kept", asked.again(folder.name), tongue):
            climb = run_until(folder, decision, until, minutes, tongue, as_json=as_json, seed=seed, endpoint=bounds)
        _climbed(folder, climb, tongue, as_json)
        return
    from advisor.prove.race import Options

    wanted = target if metric else _target(target, decision)  # what was said before was of the task's own metric
    how = Options(margin, wanted, 60 * minutes if minutes else None, seed, metric or "")
    with _kept("race.kept", asked.again(folder.name), tongue):
        found = _race(folder, decision, how, bounds, tongue)
    _finish(folder, decision, found, tongue, as_json)


@contextlib.contextmanager
def _kept(told: str, again: str, lang: str) -> Iterator[None]:
    """Where it is broken off: what is kept, and the command that goes on, with all that was asked for."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(say(told, lang, again=again)) from None


def _climbed(folder: Path, climb: Climb, lang: str, as_json: bool) -> None:
    """Write the report of a climb, and say where it is and how the rung that reached the target is used."""
    from advisor.commands.report import write_reports
    from advisor.prove.until import FOLDER

    page = write_reports(folder, lang)
    if as_json:
        return
    use = ""
    if climb.status == "reached":
        use = shlex.join(["advisor", "predict", f"{folder}/{FOLDER}/{climb.rungs[-1].folder}"])
        use = say("until.use", lang, use=use)
    console().print(say("until.done", lang, run=folder.name, page=page, use=use), markup=False, soft_wrap=True)


def _check(margin: float, target: float | None, until: float | None, minutes: float | None, metric: str | None) -> None:
    """Raise `UserError` with every value that makes no sense."""
    problems = []
    if not 0 <= margin < 1:
        zh = Problem(f"--margin：应不小于 0 且小于 1，收到 {margin:g}", "例如 --margin 0.02")
        problems.append(Problem(f"--margin: from 0 to below 1, got {margin:g}", "e.g. --margin 0.02", zh))
    for name, value in (("target", target), ("until", until)):
        if value is not None and value <= 0:
            zh = Problem(f"--{name}：应大于 0，收到 {value:g}", f"例如 --{name} 0.85")
            problems.append(Problem(f"--{name}: must be above 0, got {value:g}", f"e.g. --{name} 0.85", zh))
    if minutes is not None and minutes <= 0:
        zh = Problem(f"--minutes：应大于 0，收到 {minutes:g}", "例如 --minutes 20")
        problems.append(Problem(f"--minutes: must be above 0, got {minutes:g}", "e.g. --minutes 20", zh))
    for name, given in (("metric", metric), ("target", target), ("margin", margin != MARGIN)):
        if until is not None and given:
            zh = Problem(f"--until 不能与 --{name} 同用：{WHY_NOT[name]['zh']}", "去掉其中一个")
            told = f"--{name} does not go with --until: {WHY_NOT[name]['en']}"
            problems.append(Problem(told, "leave one of them out", zh))
    if problems:
        raise UserError.of(problems)


def _decision(run: str | None, inputs: Inputs, asked: Asked, lang: str) -> tuple[Path, Decision]:
    """The run and its decision; of other inputs than it was made with, a decision and a run of their own."""
    from advisor.commands.ask import recommend

    if run is None and inputs.data:
        if (unfinished := asked.unfinished()) is None:
            return recommend(Facts(), inputs, lang)
        console(stderr=True).print(say("race.goes_on", lang, run=unfinished.name), markup=False)
        return unfinished, load_decision(unfinished)
    folder = runs.find_run(run or "last")
    decision = load_decision(folder)
    given = {name: getattr(inputs, name) for name in ("data", "test", "docs", "model", "embedder", "columns")}
    merged = merge_inputs(decision.inputs, **given)
    if not merged.data:
        zh = Problem("data：需要带正确答案的数据，候选方法要在上面评分", f"advisor prove {folder.name} --data 文件")
        told = "data: rows with their right answers are needed, to score the candidates on"
        raise UserError(told, f"advisor prove {folder.name} --data FILE", zh)
    if merged == decision.inputs:
        return folder, decision
    believed = Facts({name: fact for name, fact in decision.facts.items() if fact.origin == "asked"})
    return recommend(believed, merged, lang)


def _target(given: float | None, decision: Decision) -> float | None:
    """The score at which the work is done, where somebody has said it."""
    if given is not None:
        return given
    fact = decision.facts.get("target_score")
    return float(fact.value) if fact and fact.origin != "assumed" else None


def _race(folder: Path, decision: Decision, options: object, limits: object, lang: str) -> Race:
    """The race, shown while it runs."""
    from advisor.prove.race import Options, race
    from advisor.screen.prove import RaceTable

    assert isinstance(options, Options)
    for told in disclosure(decision.inputs.model or "").values():
        console(stderr=True).print(told[lang], markup=False)
    with RaceTable(lang, console(stderr=True)) as table:

        def shown(state: Race, running: str) -> None:
            table.running(running)
            table.show(state)

        return race(decision, folder, decision.inputs, options, table.report, shown, limits)  # type: ignore[arg-type]


def _finish(folder: Path, decision: Decision, found: Race, lang: str, as_json: bool) -> None:
    """Take the decision up again by what was measured, write the report, and show all of it."""
    from advisor.commands.report import write_reports
    from advisor.prove.candidates import FLOOR, run_command
    from advisor.prove.revision import revise
    from advisor.report.prove import read_proved, use_command
    from advisor.screen.prove import show_proved

    revise(decision, found, folder)
    page = write_reports(folder, lang)
    if as_json:
        from advisor.prove.records import FILE, FOLDER

        click.echo((folder / FOLDER / FILE).read_text(encoding="utf-8").rstrip())
        return
    proved = read_proved(folder)
    if proved is None:
        return
    show_proved(proved, lang, console())
    chosen, use = found.choice.chosen if found.choice else "", use_command(proved)
    key = "race.done_whole" if use else "race.done_floor" if chosen in ("", FLOOR) else "race.done"
    told = say(key, lang, run=folder.name, page=page, command=run_command(folder.name, chosen), use=use)
    console().print(told, markup=False, soft_wrap=True)
