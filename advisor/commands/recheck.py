"""`advisor recheck`: whether a decision still stands, after its inputs are measured and today's prices read again."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advisor import runs
from advisor.commands.shared import console, lang_option, language, load_decision
from advisor.decision import Decision, methods_in_words
from advisor.progress import Progress
from advisor.revisit.compare import Difference, aged, differ
from advisor.texts import LANGUAGES, say, text
from executors.base import Text, UserError, to_dict

if TYPE_CHECKING:
    from advisor.revisit.remeasure import Remeasured

NO_LONGER = 3  # exit status under --exit-code
EPILOG = """\b
Examples:
  advisor recheck last                            have the data, documents or prices moved on?
  advisor recheck last --save                     keep what is measured now as a run of its own
  advisor recheck RUN --exit-code || mail -s "decide again" me    for cron: status 3 says that it no longer stands
"""


@click.command("recheck", epilog=EPILOG)
@click.argument("run", default="last")
@click.option("--save", is_flag=True, help="Make a new run of what is measured now and print its id.")
@click.option("--exit-code", is_flag=True, help=f"Exit with {NO_LONGER} where the decision no longer stands, else 0.")
@click.option("--json", "as_json", is_flag=True, help="Print what changed as JSON and nothing else.")
@lang_option
def command(run: str, save: bool, exit_code: bool, as_json: bool, lang: str | None) -> None:
    """Say whether a decision still stands.

    Measures the run's data, documents, model and machine again, reads today's prices and rules, and says what
    changed. RUN is an id, a unique prefix of one, a folder, or `last`. The run itself is not changed. Answers are kept
    as they were given; what had been measured is renewed.
    """
    from advisor.commands.ask import complete, record
    from advisor.revisit.remeasure import remeasure

    folder = runs.find_run(run)
    recorded = load_decision(folder)
    tongue = language(lang)
    with Progress(tongue, console(stderr=True)) as progress:
        found = remeasure(recorded, progress)
    after = complete(found.facts, recorded.inputs, recorded.run, found.warnings)
    difference = differ(recorded, after)
    notes = tuple(_notes(folder, recorded, after, found))
    saved = record(found.facts, recorded.inputs, found.warnings)[1] if save else None
    if as_json:
        data = _as_data(recorded, difference, notes, saved or after, saved)
        click.echo(json.dumps(data, ensure_ascii=False, indent=2))
    else:
        _show(recorded, difference, notes, saved, tongue)
    if exit_code and not difference.stands:
        click.get_current_context().exit(NO_LONGER)


# -- what changed beside the facts -------------------------------------------------------------------------


def _notes(folder: Path, recorded: Decision, after: Decision, found: Remeasured) -> Iterator[Text]:
    yield from found.lost
    yield from found.differing
    yield from _about_rules(recorded)
    for name, days in aged(after.quote, datetime.date.today()).items():
        yield text("compare.aged", name=name, age=days, limit=_limit())
    if found.kept and not found.lost:
        names = [in_words_of_fact(name) for name in found.kept]
        yield text("compare.not_again", facts=_listed(names))
    yield from _about_result(folder, recorded.run)


def _about_rules(recorded: Decision) -> Iterator[Text]:
    """What the rules, prices and formulas of today make of the very same facts."""
    from advisor.commands.ask import complete
    from advisor.revisit import known_facts

    again = differ(recorded, complete(known_facts(recorded), recorded.inputs, recorded.run))
    if not again.stands:
        before, after = (methods_in_words(methods) for methods in again.methods)
        yield text("compare.rules", before=before, after=after)
    for change in again.costs:
        if change.before and change.after:
            yield from _repriced(change.method, change.before, change.after)


def _repriced(method: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Text]:
    from advisor import words

    for figure in ("memory", "hours", "usd", "per_1000"):
        pair = [{lang: words.quote_figures(quote, lang)[figure] for lang in LANGUAGES} for quote in (before, after)]
        if pair[0] != pair[1]:
            name = text(f"report.quote_{figure}")
            yield text("compare.repriced", method=methods_in_words([method]), name=name, before=pair[0], after=pair[1])


def _about_result(folder: Path, run: str) -> Iterator[Text]:
    """Whether the run's scores are those of the rows and documents of today."""
    from advisor.commands.run import read_plan_of
    from executors.run import fingerprint, read_result, read_stamp

    result = read_result(folder)
    if result is None or result.status != "done":
        return
    try:
        plan = read_plan_of(folder)
    except UserError:  # edited into something that is no plan
        plan = None
    same = plan is not None and fingerprint(plan) == read_stamp(folder)
    yield text("compare.scored_same") if same else text("compare.scored_changed", run=run)


def in_words_of_fact(name: str) -> Text:
    from advisor import words

    return {lang: words.fact_name(name, lang) for lang in LANGUAGES}


def _listed(names: list[Text]) -> Text:
    return {lang: say("word.comma", lang).join(name[lang] for name in names) for lang in LANGUAGES}


def _limit() -> int:
    from advisor.hardware import stale_after_days

    return stale_after_days()


# -- output ------------------------------------------------------------------------------------------------


def _as_data(
    recorded: Decision, difference: Difference, notes: tuple[Text, ...], decision: Decision, saved: Decision | None
) -> dict[str, Any]:
    return {
        "run": recorded.run,
        "stands": difference.stands,
        "notes": to_dict(notes),
        **to_dict(difference),
        "decision": to_dict(decision),
        "saved": saved.run if saved else None,
    }


def _show(
    recorded: Decision, difference: Difference, notes: tuple[Text, ...], saved: Decision | None, lang: str
) -> None:
    from advisor import words
    from advisor.screen import bullets
    from advisor.screen.beside import by_the_user, fact_told, form_changes, show_difference

    screen, date = console(), recorded.created[:10]
    screen.print(say("compare.title", lang, run=recorded.run, date=date), style="bold", markup=False)
    before, after = (words.methods_name(methods, lang) for methods in difference.methods)
    if difference.stands:
        screen.print(say("compare.stands", lang, methods=after), style="green", markup=False)
        for method, one, other in form_changes(difference, lang):
            screen.print(say("compare.form_changed", lang, form=method, before=one, after=other), markup=False)
    else:
        screen.print(say("compare.falls", lang, before=before, after=after), style="bold yellow", markup=False)
    told = [fact_told(change, lang) for change in difference.facts if by_the_user(change)]
    told += [note[lang] for note in notes]
    bullets(screen, say("compare.changed", lang), told or [say("compare.unchanged", lang)])
    if not difference.stands:
        show_difference(difference, (say("compare.before", lang, date=date), say("compare.today", lang)), lang, screen)
    if saved:
        screen.print(f"\n{say('compare.saved', lang, run=saved.run)}", markup=False)
