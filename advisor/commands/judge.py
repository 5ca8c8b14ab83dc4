"""`advisor judge`: a run's answers graded by a language model, and how far that one agrees with people."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from advisor import runs
from advisor.commands.report import write_reports
from advisor.commands.run import read_plan_of
from advisor.commands.shared import console, lang_option, language, load_decision
from advisor.endpoints import Asked, check_use, disclosure, forecast, parse_limits
from advisor.progress import Progress
from advisor.texts import say
from executors.base import Plan, Prediction, Problem, Row, UserError, write_atomic

if TYPE_CHECKING:
    from executors.judging import JudgeParams, JudgeRecord

SHEET = "to_label.csv"
SAID = 60  # tokens of a reply, in the mean
EPILOG = """\b
Examples:
  advisor judge last --model deepseek:deepseek-flash --max-cost 0.20
  advisor judge last --model vllm:MODEL@http://gpu1:8000/v1 --form pairwise    against the references, in both orders
  advisor judge last --sheet 30                                                a table for people to label
  advisor judge last --labels runs/ID/judge/to_label.csv                       how far the judge agrees with them
"""


@click.command("judge", epilog=EPILOG)
@click.argument("run", default="last")
@click.option("--model", help="The judge: PROVIDER:MODEL (default: that of the last call).")
@click.option("--form", help="rubric: 1 to 5, the default; pairwise: better or worse than the reference.")
@click.option("--criterion", help="What makes an answer good, in a sentence (default: by the task).")
@click.option("--rows", type=click.IntRange(1), metavar="N", help="Grade so many answers at most.")
@click.option(
    "--labels", type=click.Path(dir_okay=False), help="What people say of some answers: a table of id, label."
)
@click.option("--sheet", type=click.IntRange(1), metavar="N", help="Write so many answers down for labelling, and end.")
@click.option("--max-cost", type=float, metavar="USD", help="The most that all judging of this run may cost.")
@click.option("--endpoint", "limits", multiple=True, metavar="NAME=VALUE", help="How it is asked, e.g. timeout=30.")
@click.option("--json", "as_json", is_flag=True, help="Print judge.json and nothing else.")
@lang_option
def command(
    run: str,
    model: str | None,
    form: str | None,
    criterion: str | None,
    rows: int | None,
    labels: str | None,
    sheet: int | None,
    max_cost: float | None,
    limits: tuple[str, ...],
    as_json: bool,
    lang: str | None,
) -> None:
    """Let a language model behind an endpoint grade the answers of RUN, beside the scores that need no judge.

    It decides nothing. Without labels of people nothing tells how far it can be trusted: have 30 or more answers
    labelled (--sheet), then give the table (--labels). Replies are paid for once; repeat the command to go on.
    """
    from executors.data.drawing import draw
    from executors.judging import FOLDER, JudgeParams, check, judge, read_judged, read_labels
    from executors.models.endpoint import read_limits

    folder, tongue, screen = runs.find_run(run), language(lang), console(stderr=True)
    plan, answered, predictions = _answers(folder)
    given = {"model": model, "form": form, "criterion": criterion, "rows": rows}
    earlier = read_judged(folder)
    named = {name: value for name, value in given.items() if value is not None}
    params = replace(earlier.params if earlier else JudgeParams(""), **named)  # type: ignore[arg-type]
    if sheet:
        path = _write_sheet(folder / FOLDER / SHEET, draw(answered, sheet, plan.seed, plan.task), predictions)
        click.echo(say("judge.sheet", tongue, path=path, run=_named(folder), scale=_scale(params.form)))
        return
    check(plan.task, params)
    if (decided := _decided(folder)) is not None:
        check_use(load_decision(decided), "prompt", params.model)
    asked = draw(answered, params.rows, plan.seed, plan.task)
    bounds = parse_limits(limits, max_cost)
    people = earlier.labels if earlier and earlier.params.form == params.form else {}
    people = read_labels(Path(labels), params.form, [row.id for row in asked]) if labels else people
    if earlier is None or earlier.params != params:
        _announce(replace(plan, model=params.model, endpoint=bounds), asked, predictions, params, tongue)
    asked_how = [*(("--labels", labels) if labels else ()), *(part for one in limits for part in ("--endpoint", one))]
    again = shlex.join(["advisor", "judge", _named(folder), *_options(params), *asked_how])
    try:
        with Progress(tongue, screen) as progress:
            record = judge(folder, plan, asked, predictions, params, read_limits(bounds), people, again, progress)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(say("judge.kept", tongue, again=again)) from None
    _show(folder, record, tongue, as_json)


def _answers(folder: Path) -> tuple[Plan, list[Row], Mapping[str, Prediction]]:
    """The run's plan, the rows it has answered, and its answers. Raises `UserError` where it has none."""
    from executors.data import load_dataset
    from executors.run import read_predictions

    plan, predictions = read_plan_of(folder) or _raced(folder), read_predictions(folder / "predictions.jsonl")
    if plan is None or not predictions:
        hint = _answered(folder)
        zh = Problem(f"{folder.name}：还没有回答可供评审", hint)
        raise UserError(f"{folder.name}: there are no answers to judge yet", hint, zh)
    data = load_dataset(replace(plan.data, rows=0, scored=0), plan.task, plan.seed)
    return plan, [row for row in (*data.train, *data.test) if row.id in predictions], predictions


def _raced(folder: Path) -> Plan | None:
    """The plan of a race's pilot, which is kept with what it made; None where nothing was finished here."""
    from advisor.plan import plan_of
    from executors.run import read_about

    return plan_of(read_about(folder)["plan"]) if (folder / "artifact" / "about.json").is_file() else None


def _answered(folder: Path) -> str:
    """The command that comes to answers: of a run whose race chose something, that pilot's have been given."""
    from advisor.prove.records import FOLDER, read_race

    race = read_race(folder)
    chosen = race.choice.chosen if race and race.choice else ""
    pilot = race.standing(chosen).pilot if race and chosen else None
    return f"advisor judge {folder / FOLDER / pilot.folder}" if pilot else f"advisor run {_named(folder)}"


def _decided(folder: Path) -> Path | None:
    """The run whose facts hold here: this one, or that of the race whose pilot this is."""
    return next((one for one in (folder, *folder.parents[:3]) if (one / "decision.json").is_file()), None)


def _named(folder: Path) -> str:
    """A run as a command names it: by its id, elsewhere by its folder."""
    return folder.name if folder.parent == runs.root() else str(folder)


def _options(params: JudgeParams) -> list[str]:
    named = (("--model", params.model), ("--form", params.form), ("--criterion", params.criterion))
    options = [part for name, value in named if value for part in (name, value)]
    return [*options, *(("--rows", str(params.rows)) if params.rows else ())]


def _announce(
    plan: Plan, rows: Sequence[Row], predictions: Mapping[str, Prediction], params: JudgeParams, lang: str
) -> None:
    """Say where the answers go and what it will cost, before anything is sent."""
    from executors.judging import requests
    from executors.judging.judge import MOST
    from executors.models.endpoint.tokens import estimate_chat

    chats = requests(plan.task, rows, predictions, params)
    tokens = sum(map(estimate_chat, chats)) / len(chats)
    told = [*disclosure(params.model).values(), forecast(plan, Asked(len(chats), tokens, 0, SAID, MOST))]
    for one in told:
        console(stderr=True).print(one[lang], markup=False)


def _write_sheet(path: Path, rows: Sequence[Row], predictions: Mapping[str, Prediction]) -> Path:
    """A table for people, without the judge's verdicts. Raises `UserError` where one lies there, perhaps filled in."""
    if path.exists():
        hint = f"rm {path}"
        raise UserError(f"{path} is already there", hint, Problem(f"{path} 已存在", hint))
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["id", "context", "input", "reference", "answer", "label"])
    for row in rows:
        given = (row.id, row.input.context, row.input.text, " / ".join(row.targets), predictions[row.id].text, "")
        table.writerow(given)
    path.parent.mkdir(exist_ok=True)
    write_atomic(path, f"\ufeff{out.getvalue()}")
    return path


def _scale(form: str) -> str:
    from executors.judging import FORMS

    return " | ".join(FORMS.get(form, ()))


def _show(folder: Path, record: JudgeRecord, lang: str, as_json: bool) -> None:
    from advisor.report.judged import lines
    from advisor.screen import bullets
    from executors.judging import FOLDER
    from executors.judging.judge import FILE

    if (folder / "decision.json").is_file():
        write_reports(folder, lang)
    if as_json:
        click.echo((folder / FOLDER / FILE).read_text(encoding="utf-8").rstrip())
        return
    told = [line for line, _ in lines(record, _named(folder), lang)]
    bullets(console(), say("judge.title", lang, model=record.params.model), told)
    for note in record.notes:
        console().print(f"• {note[lang]}", style="dim", markup=False)
