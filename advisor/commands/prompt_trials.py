"""`advisor prompt trials`: the record of the search for a prompt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from advisor import runs
from advisor.commands.shared import console, lang_option, language
from executors.base import Problem, UserError

EPILOG = """\b
Examples:
  advisor prompt trials last             the first trials of the last round
  advisor prompt trials last --all       every one
  advisor prompt trials last --json | jq .chosen
"""


@click.command("trials", epilog=EPILOG)
@click.argument("run", default="last")
@click.option("--all", "every", is_flag=True, help="Show every trial, not the first ones only.")
@click.option("--json", "as_json", is_flag=True, help="Print the record as it is kept.")
@lang_option
def command(run: str, every: bool, as_json: bool, lang: str | None) -> None:
    """Show every prompt that the search of RUN compared, what it chose, and what its guards found.

    The scores are of development rows taken from the training side; held-out rows take no part.
    """
    folder, tongue = runs.find_run(run), language(lang)
    record = _record(folder)
    if as_json:
        click.echo(json.dumps(record, ensure_ascii=False, indent=2))
        return
    from advisor.screen.trials import show_trials

    show_trials(record, folder.name, tongue, console(), every)


def _record(folder: Path) -> dict[str, Any]:
    from executors.prompt.opened import broken, read_plan, read_record
    from executors.prompt.predictor import RECORD
    from executors.prompt.record import SearchRecord, Trial

    read_plan(folder)
    record = read_record(folder, RECORD)
    if record is None:
        again = f"advisor run {folder.name} --set search_seconds=120"
        zh = Problem(f"{folder.name} 没有搜索过提示", f"进行搜索：{again}")
        raise UserError(f"{folder.name} has not searched for a prompt", f"to search: {again}", zh)
    try:
        SearchRecord(**{**record, "trials": tuple(Trial(**trial) for trial in record["trials"])})
    except (KeyError, TypeError) as error:
        raise broken(folder / "artifact" / RECORD, error) from error
    return record
