"""`advisor prompt trials`: the record of a search, for a prompt or for a way to retrieve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from advisor import runs
from advisor.commands.shared import console, lang_option, language
from executors.base import Problem, UserError

SEARCHED = ("prompt", "rag")  # methods that search for their parameters
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

    Of a run that retrieves (`rag`): every way to cut and search its documents.
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
    from executors.trials import RECORD, parse_record

    read_plan(folder, SEARCHED)
    record = read_record(folder, RECORD)
    if record is None:
        again = f"advisor run {folder.name} --set search_seconds=120"
        zh = Problem(f"{folder.name} 没有搜索过", f"进行搜索：{again}")
        raise UserError(
            f"{folder.name} has not searched: its parameters are those of its plan", f"to search: {again}", zh
        )
    try:
        parse_record(record)
    except (KeyError, TypeError) as error:
        raise broken(folder / "artifact" / RECORD, error) from error
    return record
