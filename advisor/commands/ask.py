"""`advisor ask`, and `advisor` alone: from answers, or from questions, to a recommendation."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import click

from advisor import runs
from advisor.answers import read_answers, write_answers
from advisor.commands.shared import (
    answers_source,
    console,
    input_options,
    lang_option,
    language,
    parse_columns,
    save_decision,
)
from advisor.decision import Decision, Inputs, decide
from advisor.facts import Facts
from advisor.texts import say, text
from executors.base import Plan, Problem, Text, UserError

EPILOG = """\b
Examples:
  advisor ask --answers a.yaml                                  a recommendation
  advisor ask --answers a.yaml --data rows.csv --docs handbook  measure what can be measured
  advisor ask --answers a.yaml --json | jq .methods             for scripts
  advisor ask                                                   the interview, in a terminal
  advisor ask --answers runs/ID/answers.yaml --interview        go on with one that was left
  advisor ask --preset text-to-sql --interview                  start from a typical case, correct it
An answers file is a flat YAML mapping; every fact may be left out:
  training_budget: small
  labelled_examples: 800
  knowledge_change: weekly
"""


@click.command("ask", epilog=EPILOG)
@click.option("--answers", help="YAML file of what is known (- for standard input).")
@click.option("--preset", metavar="NAME", help="Start from a typical case (`advisor presets`); answers go over it.")
@click.option("--interview", "talk", is_flag=True, help="Ask in the terminal what the answers leave open.")
@click.option("--json", "as_json", is_flag=True, help="Print decision.json and nothing else.")
@input_options
@lang_option
def command(
    answers: str | None,
    preset: str | None,
    talk: bool,
    as_json: bool,
    lang: str | None,
    columns: str | None,
    **given: str | None,
) -> None:
    """Recommend how to adapt a model. What is not known is assumed, said, and lowers the confidence."""
    tongue = language(lang)
    inputs = Inputs(columns=parse_columns(columns), **given)
    facts = _start(preset, answers)
    if talk or (not facts and answers is None and sys.stdin.isatty() and not as_json):
        _interview(tongue, facts, inputs)
        return
    if not facts and answers is None and not any(given.values()):
        zh = Problem("没有任何已知信息", "请用 --answers 给出回答文件，或在终端中运行 `advisor` 来回答问题")
        raise UserError("nothing to go by", "give --answers FILE, or run `advisor` in a terminal to be asked", zh)
    folder, decision = recommend(facts, inputs, tongue)
    if as_json:
        click.echo((folder / "decision.json").read_text(encoding="utf-8").rstrip())
        return
    from advisor.screen import show_decision

    show_decision(decision, tongue, console())
    show_next(decision, tongue)
    if preset:
        count = len(Facts(decision.facts).presumed())
        console().print(say("presets.correct", tongue, preset=preset, count=count), markup=False)


def interview(context: click.Context) -> None:
    """`advisor` without a command: the interview in a terminal, help elsewhere."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        _interview(language(None), Facts(), Inputs())
    else:
        click.echo(context.get_help())


def recommend(facts: Facts, inputs: Inputs, lang: str) -> tuple[Path, Decision]:
    """Measure what can be measured, and record the decision as a new run."""
    warnings: tuple[Text, ...] = ()
    if inputs != Inputs():
        from advisor.profile import measure
        from advisor.progress import Progress

        with Progress(lang, console(stderr=True)) as progress:
            profile = measure(inputs, facts, progress)
        facts, warnings = merge(facts, profile.facts)
        warnings += profile.warnings
    return record(facts, inputs, warnings)


def record(facts: Facts, inputs: Inputs, warnings: tuple[Text, ...] = ()) -> tuple[Path, Decision]:
    """Decide, and write `answers.yaml` and `decision.json` into a new run."""
    folder = runs.new_run()
    decision = complete(facts, inputs, folder.name, warnings)
    write_answers(folder / "answers.yaml", facts)
    save_decision(folder, decision)
    return folder, decision


def merge(asked: Facts, measured: Facts) -> tuple[Facts, tuple[Text, ...]]:
    """What was measured over what was said; a difference is told, because one of the two is a mistake."""
    told = tuple(
        text("command.measured_differs", fact=name, asked=str(asked[name].value), measured=str(fact.value))
        for name, fact in measured.items()
        if name in asked and asked[name].origin == "asked" and asked[name].value != fact.value
    )
    return asked.with_(*measured.values()), told


def complete(facts: Facts, inputs: Inputs, run: str, warnings: tuple[Text, ...] = ()) -> Decision:
    """The decision with what it will cost."""
    from advisor.advice.ladder import priced, quoted
    from advisor.quote import quotes
    from advisor.quote.measured import given_of

    decision = decide(facts, run=run, inputs=inputs)
    open_methods = [ranked.method for ranked in decision.ranking if ranked.verdict in ("recommended", "viable")]
    found = quotes(facts, quoted(decision.ladder, open_methods), given=given_of(facts, inputs))
    return dataclasses.replace(
        decision,
        quote={method: found[method] for method in open_methods},
        ladder=priced(decision.ladder, decision.methods, found, decision.facts),
        warnings=(*warnings, *decision.warnings),
    )


def _start(preset: str | None, answers: str | None) -> Facts:
    """What is known at the start: a preset's assumptions, and the answers' file over them."""
    from advisor.presets import find_preset

    assumed = find_preset(preset).facts() if preset else Facts()
    return assumed.with_(*read_answers(answers_source(answers)).values()) if answers else assumed


def _interview(lang: str, facts: Facts, inputs: Inputs) -> None:
    """Ask, recommend, and run on request. Every answer is kept as soon as it is given."""
    from advisor.interview import TerminalAsker, offer_run, resume_command
    from advisor.interview import run as converse
    from advisor.screen import show_decision

    folder = runs.new_run()
    kept = folder / "answers.yaml"
    asker = TerminalAsker(lang)
    try:
        session = converse(lang, facts, inputs, asker, save=lambda known, _: write_answers(kept, known))
        if session.quit and not kept.is_file():
            raise KeyboardInterrupt
    finally:
        if not any(folder.iterdir()):  # left, or refused, before the first answer
            folder.rmdir()
    if session.quit:
        resume = f"{resume_command(kept, session.inputs)} --interview"
        raise KeyboardInterrupt(say("command.answers_kept", lang, path=kept, command=resume))
    folder.mkdir(exist_ok=True)
    write_answers(kept, session.facts)
    decision = complete(session.facts, session.inputs, folder.name, session.warnings)
    save_decision(folder, decision)
    show_decision(decision, lang, console())
    plan = show_next(decision, lang)
    if plan and offer_run(decision, lang, asker):
        from advisor.commands.run import execute

        execute(folder, plan, lang)


def show_next(decision: Decision, lang: str) -> Plan | None:
    """Say how to go on: run it, or what is still needed for that. The plan, where it can be run as it is."""
    from advisor.plan import make_plan

    try:
        plan, command = make_plan(decision, decision.inputs), f"advisor run {decision.run}"
    except UserError as needed:
        told = needed.told(lang)
        plan, command = None, told.hint or told.message
    prove = say("command.next_prove", lang, run=decision.run) if plan else ""
    console().print(prove + say("command.next", lang, run=decision.run, command=command), markup=False)
    return plan
