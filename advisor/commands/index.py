"""`advisor index`: make the index of a folder of documents, keep it like them, and prove that it is."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advisor.commands.shared import console, lang_option, language
from advisor.freshness import changed
from advisor.indexing import Given, Keeper, Target, counts_of, find_target, manifest_of, weights_problem
from advisor.progress import Progress
from advisor.screen.index import show_audit, show_change, show_found
from advisor.texts import say
from executors.base import Problem, UserError, to_dict

if TYPE_CHECKING:
    from rich.console import Console

    from executors.retriever.index import Audit, Manifest, Stale

EPILOG = """\b
Examples:
  advisor index handbook/                      make handbook.index, or bring it up to date
  advisor index handbook/ --check              is it whole, and what the documents say today?
  advisor index handbook/ --watch              follow the folder until Ctrl-C
  advisor index handbook/ --search "which port?"    the passages that are found for it
  advisor index last                           bring the index of a finished run up to date
  advisor index handbook/ --embedder bge-small-en-v1.5 --re-embed
  advisor index handbook/ --draft-questions 30 --out drafts.csv
  advisor index handbook/ --check --json || mail -s "look at the index" me     for cron
"""
FOUND = 5  # passages that --search shows
BROKEN, STALE = 1, 3  # exit statuses of --check; 3 is `recheck`'s "no longer" as well


@click.command("index", epilog=EPILOG)
@click.argument("target", metavar="DOCS|RUN|INDEX")
@click.option("--out", metavar="PATH", help="The index's folder (default: DOCS.index); of drafts, their file.")
@click.option("--embedder", help="Sentence encoder: alias, hub id or folder.")
@click.option("--chunk-tokens", type=int, help="Tokens of a passage, at most (default 96).")
@click.option("--overlap", type=int, help="Tokens repeated where a section is cut (default 24).")
@click.option("--re-embed", is_flag=True, help="Embed every passage anew; needed for another encoder.")
@click.option("--compact/--exact", default=None, help="Vectors in little memory, or found exactly where they fit.")
@click.option("--empty", is_flag=True, help="Let the index lose all its documents, should the folder have none.")
@click.option("--check", is_flag=True, help="Change nothing; say whether it is whole and fresh.")
@click.option("--watch", is_flag=True, help="Go on following the folder until Ctrl-C.")
@click.option("--search", "question", metavar="TEXT", help="Then show the passages that are found for TEXT.")
@click.option("--draft-questions", "drafts", type=int, metavar="N", help="Draft N questions for a person to correct.")
@click.option("--model", help="Language model that drafts: alias, hub id, folder, or PROVIDER:MODEL.")
@click.option("--max-cost", type=float, metavar="USD", help="The most drafting may cost, with an endpoint's model.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else; with --watch a line an update.")
@lang_option
def command(
    target: str,
    out: str | None,
    check: bool,
    watch: bool,
    question: str | None,
    drafts: int | None,
    model: str | None,
    max_cost: float | None,
    as_json: bool,
    lang: str | None,
    **given: Any,
) -> None:
    """Make the index of a folder of documents, or bring it up to date with them.

    Files are added, updated and deleted by the hash of their content; only new passages are embedded. A write that is
    cut short leaves the index as it was. RUN is a finished run of `rag` (id, unique prefix, folder, or `last`); INDEX
    an index by itself. What an index was made with stays until it is said otherwise.

    --check ends with status 0 where the index is whole and fresh, 3 where documents changed since, and 1 where
    something is wrong with it. --watch ends with 130, on Ctrl-C.
    """
    tongue = language(lang)
    _refuse_together(check=check, watch=watch, search=question, drafts=drafts, model=model, max_cost=max_cost, **given)
    if drafts is not None:
        from advisor.drafting import draft

        draft(find_target(target), drafts, out, model, max_cost, tongue, as_json)
        return
    found = find_target(target, out)
    if check:
        click.get_current_context().exit(_check(found, tongue, as_json))
    keeper = Keeper(found, Given(**given))
    try:
        _bring(keeper, tongue, as_json, aside=question is not None)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(say("index.stopped", tongue, index=found.index, command=found.again)) from None
    if question is not None:
        _search(found.index, question, tongue, as_json)
    if watch:
        _watch(keeper, f"{found.again} --watch", tongue, as_json)


def _refuse_together(**given: Any) -> None:
    """Raises `UserError` for options that mean nothing beside one another."""
    named = {name: f"--{name.replace('_', '-')}" for name in given} | {"drafts": "--draft-questions"}
    asked = [name for name, value in given.items() if value not in (None, False)]
    for first in ("check", "drafts", "watch"):
        allowed = {"drafts": {"model", "max_cost"}, "watch": set(asked) - {"search"}}.get(first, set())
        wrong = [named[name] for name in asked if name != first and name not in allowed]
        if first in asked and wrong:
            told = f"{named[first]} goes without {', '.join(wrong)}"
            zh = Problem(f"{named[first]} 不能与 {'、'.join(wrong)} 同时使用", "请去掉其一")
            raise UserError(told, "leave one of them out", zh)
    alone = [named[name] for name in ("model", "max_cost") if name in asked and given["drafts"] is None]
    if alone:
        zh = Problem(f"{'、'.join(alone)} 只用于 --draft-questions", "例如：--draft-questions 30 --out drafts.csv")
        hint = "e.g. --draft-questions 30 --out drafts.csv"
        raise UserError(f"{', '.join(alone)}: only for --draft-questions", hint, zh)


# -- making it, and keeping it -----------------------------------------------------------------------------


def _bring(keeper: Keeper, lang: str, as_json: bool, *, quietly: bool = False, aside: bool = False) -> None:
    """Take in what changed, and say it: on stderr where stdout is for what comes after (`aside`).

    `quietly`: say nothing where nothing changed.
    """
    screen, stale, first, anew = console(stderr=True), keeper.stale(), keeper.before is None, keeper.anew
    if not stale and not anew and not keeper.moved:
        if not quietly and not aside:
            _say_same(keeper, lang, as_json)
        return
    if estimate := keeper.estimate(stale):
        screen.print(f"• {estimate[lang]}", style="dim", markup=False)
    with Progress(lang, screen, transient=quietly) as progress:
        change = keeper.sync(progress)
    counts = counts_of(keeper.target.index)
    if as_json and not aside:
        data = {"index": str(keeper.target.index), "docs": str(keeper.docs), **to_dict(change), "counts": counts}
        click.echo(json.dumps(data, ensure_ascii=False, indent=None if quietly else 2))
        return
    title = "index.made" if first else "index.settled" if anew else "index.brought"
    told = say(title, lang, index=keeper.target.index)
    told = f"{datetime.datetime.now():%H:%M:%S}  {told}" if quietly else told
    show_change(change, counts, told, lang, console(stderr=aside), first=first)
    _remarks(keeper, lang, console(stderr=aside))


def _say_same(keeper: Keeper, lang: str, as_json: bool) -> None:
    from executors.retriever.index import Change

    if as_json:
        assert keeper.before is not None
        change = to_dict(Change(passages=keeper.before.passages))
        data = {
            "index": str(keeper.target.index),
            "docs": str(keeper.docs),
            **change,
            "counts": counts_of(keeper.target.index),
        }
        click.echo(json.dumps(data, ensure_ascii=False, indent=2))
    else:
        click.echo(say("index.same", lang, index=keeper.target.index, docs=keeper.docs))


def _remarks(keeper: Keeper, lang: str, screen: Console) -> None:
    """What to know of the index beside what changed."""
    if not keeper.embedder_name and keeper.language == "zh":
        from executors.base import Plan

        screen.print(f"  • {say('index.words_only', lang, name=Plan.embedder)}", style="dim", markup=False)
    if keeper.target.run:
        screen.print(f"  • {say('index.rescored', lang, run=keeper.target.run)}", style="dim", markup=False)


def _search(index: Path, question: str, lang: str, as_json: bool) -> None:
    """Show what is found for a question, best first, without a model reading it."""
    from executors.models import load_embedder
    from executors.retriever.index import open_index, read_manifest
    from executors.retriever.search import Searcher

    if not question.strip():
        zh = Problem("--search：文本为空", '例如 --search "哪个端口？"')
        raise UserError("--search: the text is empty", 'e.g. --search "which port?"', zh)
    made_by = read_manifest(index).embedder
    with Progress(lang, console(stderr=True), transient=True) as progress:
        embedder = load_embedder(made_by.name, progress) if made_by else None
        with open_index(index, embedder) as opened:
            (found,) = Searcher(opened, embedder).search([question], FOUND)
    if as_json:
        click.echo(json.dumps(to_dict(found), ensure_ascii=False, indent=2))
    else:
        show_found(found, lang, console())


def _watch(keeper: Keeper, again: str, lang: str, as_json: bool) -> None:
    """Follow the documents until Ctrl-C. A change that cannot be taken in is said, and the next one awaited."""
    from advisor.watching import follow

    screen = console(stderr=True)
    screen.print(say("index.watching", lang, docs=keeper.docs), style="dim", markup=False)
    try:
        for _ in follow(keeper.docs):
            if not keeper.docs.exists():
                gone = {
                    tongue: say("index.gone", tongue, docs=keeper.docs, index=keeper.target.index)
                    for tongue in ("en", "zh")
                }
                raise UserError(gone["en"], again, Problem(gone["zh"]))
            try:
                _bring(keeper, lang, as_json, quietly=True)
            except UserError as error:
                told = error.told(lang)
                screen.print(f"✗ {told.message}", style="red", markup=False)
                screen.print(f"  → {told.hint}", markup=False)
    except KeyboardInterrupt:
        passages = f"{keeper.before.passages:,}" if keeper.before else "0"
        kept = say("index.watched", lang, index=keeper.target.index, passages=passages, command=again)
        raise KeyboardInterrupt(kept) from None


# -- proving it ------------------------------------------------------------------------------------------


def _check(target: Target, lang: str, as_json: bool) -> int:
    """Audit an index and compare it with its documents by content; the exit status."""
    from executors.retriever.index import audit

    manifest = manifest_of(target.index)
    if manifest is None:
        zh = Problem(f"{target.index}：还没有索引")
        raise UserError(f"{target.index}: no index here yet", target.again, zh)
    found = audit(target.index)
    problems = [*found.problems]
    if manifest.embedder and (other := weights_problem(manifest, manifest.embedder.name, target.again)):
        problems.append(other)
    stale, lost = _stale(target, manifest)
    problems += [lost] if lost else []
    status = BROKEN if problems else STALE if stale else 0
    if as_json:
        _print_check(target, manifest, found, stale, problems, status)
        return status
    files = changed(stale) if stale else None
    fresh = say("index.checked.fresh", lang, docs=manifest.docs) if stale is not None else "–"
    show_audit(target.index, manifest, found, files[lang] if files else fresh, problems, lang, console())
    verdict = {0: "index.sound", STALE: "index.stale", BROKEN: "index.broken"}[status]
    style = {0: "green", STALE: "yellow", BROKEN: "red"}[status]
    told = say(verdict, lang, command=target.again) if status == STALE else say(verdict, lang)
    console().print(told, style=style, markup=False)
    return status


def _stale(target: Target, manifest: Manifest) -> tuple[Stale | None, Problem | None]:
    """What changed in the documents since, by content; None where they cannot be compared, and why."""
    from executors.retriever.index import stale

    try:
        return stale(target.index, Path(target.docs or manifest.docs), by_hash=True), None
    except UserError as error:
        return None, error.problem


def _print_check(
    target: Target, manifest: Manifest, found: Audit, stale: Stale | None, problems: list[Problem], status: int
) -> None:
    data = {
        "index": str(target.index),
        "whole": bool(found),
        "fresh": stale is not None and not stale,
        "status": status,
        "counts": found.counts,
        "stale": stale,
        "problems": problems,
        "manifest": manifest,
    }
    click.echo(json.dumps(to_dict(data), ensure_ascii=False, indent=2))
