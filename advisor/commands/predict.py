"""`advisor predict`: use what a run has built."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from advisor import runs
from advisor.commands.answering import news, open_run, spending_of
from advisor.commands.shared import console, lang_option, language, parse_columns
from advisor.progress import Progress
from advisor.screen.answer import as_text
from executors.base import Input, Prediction, UserError, to_dict

EPILOG = """\b
Examples:
  advisor predict last "where is my parcel?"
  advisor predict last --input new.csv --json > answers.jsonl
  echo "where is my parcel?" | advisor predict last
  advisor predict last --refresh "what does it cost?"       take in documents that changed, then answer
  advisor predict last --input new.csv --max-cost 0.20      of a run that asks an endpoint
"""


@click.command("predict", epilog=EPILOG)
@click.argument("run")
@click.argument("text", required=False)
@click.option("--input", "path", help="A file of rows to answer: CSV, TSV, JSONL, JSON or .xlsx.")
@click.option("--columns", help="Which column is what, e.g. text=body.")
@click.option("--refresh", is_flag=True, help="First take in the documents that changed since they were indexed.")
@click.option("--max-cost", type=float, metavar="USD", help="The most this call may cost, with an endpoint's model.")
@click.option("--endpoint", "limits", multiple=True, metavar="NAME=VALUE", help="How it is asked, e.g. timeout=30.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a row, with probabilities and sources.")
@lang_option
def command(
    run: str,
    text: str | None,
    path: str | None,
    columns: str | None,
    refresh: bool,
    max_cost: float | None,
    limits: tuple[str, ...],
    as_json: bool,
    lang: str | None,
) -> None:
    """Answer TEXT, every row of a file, or standard input line by line, with the artifact of RUN."""
    from executors.run import read_about

    folder = runs.find_run(run)
    read_about(folder)  # an unfinished run is said before the input is read
    inputs = _inputs(text, path, columns)
    tongue, screen = language(lang), console(stderr=True)
    again = f"advisor predict {folder.name}"
    with spending_of(folder, again, limits, max_cost) as spent:
        with Progress(tongue, screen) as progress:
            predictor, notes = open_run(folder, again, refresh, progress)
            predictions = predictor.predict(inputs, progress)
        for note in (*notes, *news(folder, predictor), *spent.notes.tell(spent)):
            screen.print(f"• {note[tongue]}", style="dim", markup=False)
    for given, prediction in zip(inputs, predictions, strict=True):
        click.echo(_as_json(given, prediction) if as_json else as_text(prediction, tongue))


def _inputs(text: str | None, path: str | None, columns: str | None) -> list[Input]:
    if text and path:
        raise UserError("both TEXT and --input were given", "give one of them")
    if path:
        from executors.data import read_inputs

        return read_inputs(Path(path), parse_columns(columns))
    if text is None and sys.stdin.isatty():
        raise UserError("nothing to answer", 'give a text, --input FILE, or pipe lines: advisor predict last "…"')
    lines = [text] if text is not None else sys.stdin.read().splitlines()
    inputs = [Input(line.strip()) for line in lines if line.strip()]
    if not inputs:
        raise UserError("nothing to answer: the text is empty", 'e.g. advisor predict last "where is my parcel?"')
    return inputs


def _as_json(given: Input, prediction: Prediction) -> str:
    return json.dumps({"input": given.text, **to_dict(prediction)}, ensure_ascii=False)
