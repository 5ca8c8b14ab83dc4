"""`advisor quote`: memory, time and money of each method, before anything is run."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from advisor import runs
from advisor.commands.shared import (
    answers_source,
    console,
    input_options,
    lang_option,
    language,
    load_decision,
    merge_inputs,
    parse_columns,
    parse_settings,
)
from advisor.progress import Progress
from advisor.quote.asked import Asked, Basis
from advisor.quote.record import Quote
from advisor.texts import say

EPILOG = """\b
Examples:
  advisor quote                                     what the last run's methods cost
  advisor quote --model smollm2-135m-instruct --data rows.csv --method peft --method full
  advisor quote last --time                         narrowed by 20 real steps on this machine
  advisor quote --model qwen2.5-7b-instruct --gpu h100 --batch-size 4 --length 512 --currency cny
  advisor quote last --json | jq '.quotes.peft.memory_gb'
"""


@click.command("quote", epilog=EPILOG)
@click.argument("run", required=False)
@click.option("--answers", help="YAML file of what is known.")
@click.option(
    "--method", "methods", multiple=True, help="Quote this method (repeatable; default: all that are viable)."
)
@click.option("--gpu", help="Quote for this accelerator instead of this machine: h100, a100-80, l4, …")
@click.option("--batch-size", type=int, help="Rows an optimizer step.")
@click.option("--length", type=int, help="Tokens of a row; with --data, the most a row may have.")
@click.option("--rows", type=int, help="Rows to train on.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Another parameter of the method.")
@click.option("--time", "timing", is_flag=True, help="Time real steps here, which narrows LoRA and full tuning.")
@click.option("--steps", type=int, default=20, show_default=True, help="Optimizer steps to time.")
@click.option("--currency", type=click.Choice(["usd", "cny"]), help="Default: usd in English, cny in Chinese.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the quotes as JSON (in USD, with the rate) and nothing else."
)
@input_options
@lang_option
def command(
    run: str | None,
    answers: str | None,
    currency: str | None,
    as_json: bool,
    lang: str | None,
    columns: str | None,
    batch_size: int | None,
    settings: tuple[str, ...],
    **given: Any,
) -> None:
    """Say what each method needs in memory, time and money, as ranges with their formulas and assumptions.

    RUN is an id, a unique prefix, a folder, or `last` (the default where nothing else is given). Only a model's
    configuration is read: nothing is downloaded and no model is loaded, unless --time asks for real steps.
    """
    from advisor.quote import make_quotes
    from advisor.quote.asked import check, measure_basis
    from advisor.quote.show import show_quotes
    from advisor.quote.situation import situation

    tongue = language(lang)
    wishes = {name: given.pop(name) for name in ("methods", "gpu", "length", "rows", "timing", "steps")}
    params = {**parse_settings(settings), **({"batch_size": batch_size} if batch_size is not None else {})}
    asked = _asked(run, answers, wishes, columns=parse_columns(columns), **given)
    asked = dataclasses.replace(asked, params=params, **wishes)
    check(asked)
    with Progress(tongue, console(stderr=True)) as progress:
        basis = measure_basis(asked, progress)
    if asked.timing:
        basis = _timed(asked, basis, tongue)
    quotes = make_quotes(basis.facts, basis.methods, given=basis.given)
    if as_json:
        click.echo(json.dumps(_record(asked, basis, quotes), ensure_ascii=False, indent=2))
        return
    money = currency or ("cny" if tongue == "zh" else "usd")
    show_quotes(quotes, situation(basis.facts, basis.given), asked.inputs.model, money, tongue, console())


def _asked(run: str | None, answers: str | None, wishes: dict[str, Any], **given: Any) -> Asked:
    """The facts and inputs of the call: of a run that is named, or of answers and inputs."""
    from advisor.answers import read_answers
    from advisor.decision import Inputs
    from advisor.facts import Facts

    said = read_answers(answers_source(answers)) if answers else Facts()
    fresh = answers or any(given.values()) or wishes["methods"] or wishes["gpu"]
    if run is None and fresh:
        return Asked(facts=said, inputs=Inputs(**given))
    from advisor.commands.run import read_plan_of
    from advisor.revisit import known_facts

    folder = runs.find_run(run or "last")
    decision = load_decision(folder)
    inputs = merge_inputs(decision.inputs, **given)
    facts = known_facts(decision).with_(*said.values())
    return Asked(facts=facts, inputs=inputs, plan=read_plan_of(folder), folder=folder)


def _timed(asked: Asked, basis: Basis, lang: str) -> Basis:
    """The basis with what real steps took; said before, shown while, kept after."""
    from advisor import formats, words
    from advisor.quote.situation import situation
    from advisor.quote.timed import keep_timing
    from advisor.quote.tuned import timed_seconds
    from executors.tuning.timing import time_steps

    screen, found = console(stderr=True), dict(basis.given.timings)
    for method, plan in basis.plans.items():
        if method in found and found[method].steps >= asked.steps:
            continue
        name = words.method_name(method, lang)
        ends = timed_seconds(situation(basis.facts, basis.given), method, asked.steps)
        told = say("quote.timing", lang, steps=asked.steps, method=name, time=formats.seconds(*ends, lang))
        screen.print(told, markup=False)
        assert basis.given.work is not None
        with Progress(lang, screen) as progress:
            found[method] = time_steps(plan, asked.steps, round(basis.given.work.answer_tokens), progress)
        if asked.folder:
            keep_timing(asked.folder, plan, found[method])
        step, peak = formats.seconds(found[method].pace, None, lang), f"{found[method].peak_gb:.2f}"
        told = say("quote.timed_result", lang, method=name, step=step, peak=peak, device=found[method].device)
        screen.print(told, markup=False)
    return dataclasses.replace(basis, given=dataclasses.replace(basis.given, timings=found))


def _record(asked: Asked, basis: Basis, quotes: dict[str, Quote]) -> dict[str, Any]:
    import datetime

    from advisor.hardware import exchange, is_stale
    from advisor.quote.situation import situation
    from executors.base import to_dict

    rate, figure = exchange()
    known = situation(basis.facts, basis.given)
    return {
        "schema_version": 1,
        "run": asked.folder.name if asked.folder else None,
        "model": asked.inputs.model,
        "shape": to_dict(known.shape),
        "workload": to_dict(known.work),
        "quotes": to_dict(quotes),
        "timings": to_dict(basis.given.timings),
        "exchange": {
            "usd_cny": rate,
            "as_of": figure.as_of,
            "stale": is_stale(figure, datetime.date.today()),
            "sources": list(figure.sources),
        },
    }
