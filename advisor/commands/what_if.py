"""`advisor what-if`: the decision that other facts would have led to, beside the one that was made."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from advisor import runs
from advisor.answers import contradictions, read_answers
from advisor.commands.shared import console, lang_option, language, load_decision
from advisor.decision import Decision
from advisor.facts import Facts, load_vocabulary
from advisor.revisit.compare import Difference, differ, nearest
from advisor.texts import say
from executors.base import Problem, UserError, to_dict

if TYPE_CHECKING:
    from rich.console import Console

EPILOG = """\b
Examples:
  advisor what-if last labelled_examples=2000             would more labels change it?
  advisor what-if last knowledge_change=daily citations=required
  advisor what-if last gpu_memory_gb=unknown              as if nobody had said it
  advisor what-if last training_budget=medium --save      keep the changed answers as a run
"""
UNKNOWN = frozenset({"", "unknown", "?", "未知", "不知道"})


@click.command("what-if", epilog=EPILOG)
@click.argument("run")
@click.argument("changes", nargs=-1, metavar="FACT=VALUE...")
@click.option("--save", is_flag=True, help="Make a new run of the changed answers and print its id.")
@click.option("--json", "as_json", is_flag=True, help="Print the difference as JSON and nothing else.")
@lang_option
def command(run: str, changes: tuple[str, ...], save: bool, as_json: bool, lang: str | None) -> None:
    """Show what would be recommended if facts were others, beside what is recommended now.

    RUN is an id, a unique prefix of one, a folder, or `last`. Values are written as in an answers file;
    FACT=unknown makes a fact unknown, so that it is assumed again. The run itself is not changed.
    """
    from advisor.commands.ask import complete, record
    from advisor.revisit import known_facts, profile_warnings

    _require(run, changes)
    recorded = load_decision(runs.find_run(run))
    known, told = known_facts(recorded), profile_warnings(recorded)
    changed = apply(known, changes)
    before, after = (complete(facts, recorded.inputs, recorded.run, told) for facts in (known, changed))
    difference = differ(before, after)
    saved = record(changed, recorded.inputs, told)[1] if save else None
    if as_json:
        click.echo(json.dumps(_as_data(recorded, difference, after, saved), ensure_ascii=False, indent=2))
        return
    _show(recorded, difference, after, saved, changes, language(lang))


def _require(run: str, changes: tuple[str, ...]) -> None:
    if changes:
        return
    if "=" in run:
        example = f"advisor what-if last {run}"
        raise UserError("no run named", f"e.g. {example}", Problem("没有指明运行", f"例如 {example}"))
    example = f"advisor what-if {run} labelled_examples=2000"
    raise UserError(
        "nothing to change: no FACT=VALUE given",
        f"e.g. {example}",
        Problem("没有要改的内容：未给出“事实=值”", f"例如 {example}"),
    )


def apply(known: Facts, changes: tuple[str, ...]) -> Facts:
    """`known` with each ``fact=value`` put in as asked, and each ``fact=unknown`` taken out.

    Raises `UserError` with every fault at once, contradictions among the facts included.
    """
    problems: list[Problem] = []
    facts, seen = known, set()
    for name, equals, value in (change.partition("=") for change in changes):
        name = name.strip()
        if not equals:
            problems.append(_no_value(name))
        elif name in seen:
            zh = Problem(f"{name}：给出了两次", "请只给一个值")
            problems.append(Problem(f"{name}: given twice", "give one value for it", zh))
        elif name in load_vocabulary() and value.strip().casefold() in UNKNOWN:
            facts = facts.without(name)
        else:
            try:
                facts = facts.with_(*read_answers({name: value}).values())
            except UserError as error:
                problems.append(error.problem)
        seen.add(name)
    problems += contradictions(facts) if not problems else []
    if problems:
        raise UserError.of(problems)
    return facts


def _no_value(part: str) -> Problem:
    zh = Problem(f"“{part}”不是“事实=值”的形式", "例如 labelled_examples=2000")
    return Problem(f"'{part}' is not FACT=VALUE", "e.g. labelled_examples=2000", zh)


def _as_data(recorded: Decision, difference: Difference, after: Decision, saved: Decision | None) -> dict[str, Any]:
    return {
        "run": recorded.run,
        "stands": difference.stands,
        **to_dict(difference),
        "nearest": to_dict([flip for change in difference.facts for flip in nearest(after, change.fact)]),
        "decision": to_dict(saved or after),
        "saved": saved.run if saved else None,
    }


def _show(
    recorded: Decision,
    difference: Difference,
    after: Decision,
    saved: Decision | None,
    changes: tuple[str, ...],
    lang: str,
) -> None:
    from advisor.screen import bullets
    from advisor.screen.beside import by_the_user, fact_told, show_difference, show_nearest

    screen = console()
    _headline(recorded, difference, changes, lang, screen)
    if not difference.nothing:
        show_difference(difference, (say("compare.now", lang), say("compare.then", lang)), lang, screen)
    follow = [fact_told(change, lang) for change in difference.facts if not by_the_user(change)]
    bullets(screen, say("compare.follows", lang), follow)
    if difference.stands:
        show_nearest(after, [change.partition("=")[0].strip() for change in changes], lang, screen)
    closing = say("compare.saved", lang, run=saved.run) if saved else say("compare.unsaved", lang, run=recorded.run)
    screen.print(f"\n{closing}", markup=False)


def _headline(recorded: Decision, difference: Difference, changes: tuple[str, ...], lang: str, screen: Console) -> None:
    """What was changed, and whether the recommendation is another."""
    from advisor import words
    from advisor.screen.beside import by_the_user, fact_told

    told = [fact_told(change, lang) for change in difference.facts if by_the_user(change)]
    screen.print(
        say("compare.what_if", lang, changes=say("compare.and", lang).join(told or changes)), style="bold", markup=False
    )
    before_name, after_name = (words.methods_name(methods, lang) for methods in difference.methods)
    if {*recorded.methods} != {*difference.methods[0]}:
        was = words.methods_name(recorded.methods, lang)
        screen.print(say("compare.outdated", lang, run=recorded.run, before=was, after=before_name), markup=False)
    if difference.stands:
        screen.print(say("compare.stays", lang, methods=after_name), style="green", markup=False)
        if difference.nothing:
            screen.print(say("compare.nothing", lang), markup=False)
    else:
        screen.print(say("compare.changes", lang, before=before_name, after=after_name), style="yellow", markup=False)
