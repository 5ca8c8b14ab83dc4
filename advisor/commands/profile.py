"""`advisor profile`: what can be measured instead of asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advisor.commands.shared import console, input_options, lang_option, language, parse_columns
from advisor.decision import Inputs
from advisor.texts import say
from executors.base import Problem, Reporter, Text, UserError, to_dict

if TYPE_CHECKING:
    from advisor.profile.examine import Examination
    from executors.tuning.rows import PreparedRows
    from executors.tuning.xray import Xray

EPILOG = """\b
Examples:
  advisor profile                                              this machine
  advisor profile --data rows.csv --docs handbook              rows, labels, documents, lengths
  advisor profile --data rows.csv --model qwen2.5-0.5b-instruct --measure
                                                               and try the model on held-out rows
  advisor profile --data rows.csv --model deepseek:deepseek-flash --measure --max-cost 0.10
  advisor profile --data rows.csv --model smollm2-135m-instruct --xray
                                                               which tokens a training is trained on
  advisor profile --data rows.csv --save a.yaml                keep the facts for: advisor ask --answers a.yaml
  advisor profile --data rows.csv --json | jq .rows.balance    for scripts
"""


@click.command("profile", epilog=EPILOG)
@input_options
@click.option("--measure", "trials", is_flag=True, help="Also run the model: baseline score, competence, domain.")
@click.option("--max-cost", type=float, metavar="USD", help="The most that --measure may cost at an endpoint.")
@click.option("--endpoint", "limits", multiple=True, metavar="NAME=VALUE", help="How it is asked, e.g. timeout=30.")
@click.option("--xray", is_flag=True, help="Also look at the rows token by token, as a training sees them.")
@click.option("--save", metavar="FILE", help="Write the facts as an answers file for `advisor ask`.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@lang_option
def command(
    trials: bool,
    max_cost: float | None,
    limits: tuple[str, ...],
    xray: bool,
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
    if xray:
        from advisor.profile.xray import check_xray

        check_xray(inputs)
    bounds, screen = parse_limits(limits, max_cost), console(stderr=True)

    def announce(told: Text) -> None:
        screen.print(told[tongue], markup=False)

    try:
        with Progress(tongue, screen) as progress:
            found = examine(inputs, trials, progress, announce, endpoint=bounds)
            looked = _look_through(inputs, found, progress) if xray else None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(*([say("profile.interrupted", tongue)] if trials else [])) from None
    if save:
        from advisor.answers import write_answers

        write_answers(Path(save), found.facts)
    if as_json:
        shown = {"xray": _record(looked[0])} if looked else {}
        click.echo(json.dumps({**to_dict(found), **shown}, ensure_ascii=False, indent=2))
        _refuse_nothing(looked)
        return
    from advisor.profile.screen import show_profile

    show_profile(found, tongue, console())
    if looked:
        from advisor.profile.xray_screen import show_xray

        show_xray(looked[0], tongue, console())
        _refuse_nothing(looked)
    console().print(say("profile.next", tongue, command=_next(save, inputs)), markup=False, soft_wrap=True)


def _look_through(inputs: Inputs, found: Examination, progress: Reporter) -> tuple[Xray, PreparedRows]:
    from advisor.profile.xray import look_through

    assert found.data is not None
    return look_through(inputs, found.data.task, progress)


def _record(found: Xray) -> dict[str, Any]:
    from executors.tuning.xray import xray_record

    return xray_record(found)


def _refuse_nothing(looked: tuple[Xray, PreparedRows] | None) -> None:
    """A training set with nothing to train on is shown first, and then refused as the training would."""
    if looked:
        from executors.tuning.rows import refuse_nothing

        refuse_nothing(looked[1])


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
