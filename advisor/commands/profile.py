"""`advisor profile`: what can be measured instead of asked."""

from __future__ import annotations

import json
from pathlib import Path

import click

from advisor.commands.shared import console, input_options, lang_option, language, parse_columns
from advisor.decision import Inputs
from advisor.texts import say
from executors.base import Problem, Text, UserError, to_dict

EPILOG = """\b
Examples:
  advisor profile                                              this machine
  advisor profile --data rows.csv --docs handbook              rows, labels, documents, lengths
  advisor profile --data rows.csv --model qwen2.5-0.5b-instruct --measure
                                                               and try the model on held-out rows
  advisor profile --data rows.csv --model deepseek:deepseek-flash --measure --max-cost 0.10
  advisor profile --data rows.csv --save a.yaml                keep the facts for: advisor ask --answers a.yaml
  advisor profile --data rows.csv --json | jq .rows.balance    for scripts
"""


@click.command("profile", epilog=EPILOG)
@input_options
@click.option("--measure", "trials", is_flag=True, help="Also run the model: baseline score, competence, domain.")
@click.option("--max-cost", type=float, metavar="USD", help="The most that --measure may cost at an endpoint.")
@click.option("--endpoint", "limits", multiple=True, metavar="NAME=VALUE", help="How it is asked, e.g. timeout=30.")
@click.option("--save", metavar="FILE", help="Write the facts as an answers file for `advisor ask`.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@lang_option
def command(
    trials: bool,
    max_cost: float | None,
    limits: tuple[str, ...],
    save: str | None,
    as_json: bool,
    lang: str | None,
    columns: str | None,
    **given: str | None,
) -> None:
    """Measure what need not be asked: rows, labels, documents, the model, this machine.

    Nothing is trained; weights are read, and fetched where they are missing, only with --measure.
    """
    from advisor.endpoints import parse_limits
    from advisor.profile.examine import examine
    from advisor.progress import Progress

    tongue = language(lang)
    inputs = Inputs(columns=parse_columns(columns), **given)
    _check_target(save)
    bounds, screen = parse_limits(limits, max_cost), console(stderr=True)

    def announce(told: Text) -> None:
        screen.print(told[tongue], markup=False)

    try:
        with Progress(tongue, screen) as progress:
            found = examine(inputs, trials, progress, announce, endpoint=bounds)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(*([say("profile.interrupted", tongue)] if trials else [])) from None
    if save:
        from advisor.answers import write_answers

        write_answers(Path(save), found.facts)
    if as_json:
        click.echo(json.dumps(to_dict(found), ensure_ascii=False, indent=2))
        return
    from advisor.profile.screen import show_profile

    show_profile(found, tongue, console())
    console().print(say("profile.next", tongue, command=_next(save, inputs)), markup=False, soft_wrap=True)


def _check_target(save: str | None) -> None:
    """Refuse before any work what could not be written after it."""
    if save and (Path(save).is_dir() or not Path(save).absolute().parent.is_dir()):
        zh = Problem(f"--save：无法写入 {save}", "请给出已有文件夹中的文件名，例如 answers.yaml")
        raise UserError(f"--save: cannot write {save}", "name a file in a folder that is there, e.g. answers.yaml", zh)


def _next(save: str | None, inputs: Inputs) -> str:
    """The command that goes on with the same inputs."""
    from advisor.interview import resume_command

    if save:
        return resume_command(Path(save), inputs)
    return resume_command(Path("-"), inputs).replace(" --answers -", "")
