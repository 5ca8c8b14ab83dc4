"""What a terminal shows of two decisions side by side. `compare` finds the difference; here it is laid out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from advisor import formats, words
from advisor.cards import load_cards
from advisor.decision import Decision, Rung, Step
from advisor.facts import Fact
from advisor.revisit.compare import CostChange, Difference, FactChange, Parting, VerdictChange, nearest, step
from advisor.screen import STYLES, block, bullets, grid, styled
from advisor.texts import say

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text as Line

FIGURES = ("memory", "hours", "usd", "per_1000")


def show_difference(difference: Difference, heads: tuple[str, str], lang: str, console: Console) -> None:
    """All that differs but the facts, under the two columns' `heads`; nothing where nothing does."""
    _recommendations(difference, heads, lang, console)
    if difference.parting:
        _parting(difference.parting, heads, lang, console)
    _verdicts(difference.verdicts, lang, console)
    _costs(difference.costs, heads, lang, console)
    _ladder(difference, lang, console)
    bullets(console, say("compare.warned", lang), [warning[lang] for warning in difference.warned])
    bullets(console, say("compare.settled", lang), [warning[lang] for warning in difference.settled])


def show_nearest(after: Decision, facts: Iterable[str], lang: str, console: Console) -> None:
    """What else would have to become of these facts for the methods to change."""
    told = []
    for fact in facts:
        flips = [flip.text[lang] for flip in nearest(after, fact)]
        told += flips or [say("compare.no_threshold", lang, fact=words.fact_name(fact, lang))]
    bullets(console, say("compare.nearest", lang), told)


def fact_told(change: FactChange, lang: str) -> str:
    """``Labelled examples: 420 → 1,310``, saying what is assumed."""
    before, after = _value(change.fact, change.before, lang), _value(change.fact, change.after, lang)
    if change.before and change.before.origin != "assumed" and change.after and change.after.origin == "assumed":
        after = say("compare.forgotten", lang, value=words.value_text(change.fact, change.after.value, lang))
    return say("compare.fact", lang, fact=words.fact_name(change.fact, lang), before=before, after=after)


def by_the_user(change: FactChange) -> bool:
    """Whether somebody said or measured it, before or after; else it is an assumption that followed another fact."""
    return any(fact is not None and fact.origin != "assumed" for fact in (change.before, change.after))


def _value(name: str, fact: Fact | None, lang: str) -> str:
    if fact is None:
        return say("compare.meaningless", lang)
    value = words.value_text(name, fact.value, lang)
    return say("compare.assumed", lang, value=value) if fact.origin == "assumed" else value


def _recommendations(difference: Difference, heads: tuple[str, str], lang: str, console: Console) -> None:
    table = grid(("", *heads))
    style = "green" if difference.stands else "bold yellow"
    methods = (words.methods_name(named, lang) for named in difference.methods)
    table.add_row(styled(say("compare.recommendation", lang)), *(styled(named, style) for named in methods))
    for name, one, other in form_changes(difference, lang):
        table.add_row(styled(name), styled(one), styled(other))
    levels = (formats.percent(sure.level, lang) for sure in difference.confidence)
    table.add_row(styled(say("compare.sure", lang)), *map(styled, levels))
    console.print()
    console.print(table)


def form_changes(difference: Difference, lang: str) -> Iterable[tuple[str, str, str]]:
    """Each method's form on both sides, where it is not the same."""
    before, after = difference.forms
    for method in dict.fromkeys((*before, *after)):
        pair = [form_name(method, forms.get(method, ""), lang) for forms in (before, after)]
        if pair[0] != pair[1]:
            yield say("compare.form", lang, method=words.method_name(method, lang)), pair[0], pair[1]


def form_name(method: str, form: str, lang: str) -> str:
    """A form of a method as its card is titled; a dash where there is none."""
    variant = load_cards()[method].variants.get(form)
    return variant.title[lang] if variant else form or "–"


def _parting(parting: Parting, heads: tuple[str, str], lang: str, console: Console) -> None:
    table = grid()
    for head, taken in zip(heads, (parting.before, parting.after), strict=True):
        table.add_row(styled(head, "dim"), _branch(taken, lang))
    question = say("compare.parting_step", lang, number=parting.shared + 1, question=parting.before.text[lang])
    block(console, say("compare.parting", lang), _stack(styled(question), table))


def _branch(taken: Step, lang: str) -> Line:
    line = styled(taken.answer[lang], "bold")
    line.append(f"\n{taken.why[lang]}", style="not bold")
    if taken.facts:
        named = say("word.comma", lang).join(words.fact_name(name, lang) for name in taken.facts)
        line.append(f"\n{say('compare.settled_by', lang, facts=named)}", style="not bold dim")
    return line


def _stack(*parts: Any) -> Any:
    from rich.console import Group

    return Group(*parts)


def _verdicts(changes: Iterable[VerdictChange], lang: str, console: Console) -> None:
    table = grid()
    for change in changes:
        table.add_row(styled(words.method_name(change.method, lang), "bold"), _verdict(change, lang))
    if table.row_count:
        block(console, say("compare.verdicts", lang), table)


def _verdict(change: VerdictChange, lang: str) -> Line:
    before, after = change.before, change.after
    line = styled("")
    for ranked in (before, after) if before.verdict != after.verdict else (after,):
        line.append(" → " if line else "")
        line.append(words.label("verdict", ranked.verdict, lang), style=STYLES[ranked.verdict])
    if after.why != before.why:
        line.append(f"\n{after.why[lang]}")
    if before.sum != after.sum:
        line.append(
            "".join(f"\n{mark} {total}" for mark, total in (("–", before.sum), ("+", after.sum)) if total), "dim"
        )
    return line


def _costs(changes: Iterable[CostChange], heads: tuple[str, str], lang: str, console: Console) -> None:
    table = grid(("", *(say(f"report.quote_{name}", lang) for name in FIGURES)))
    for change in changes:
        quotes = [words.quote_figures(quote, lang) if quote else None for quote in (change.before, change.after)]
        name = styled(words.method_name(change.method, lang), "bold")
        if None in quotes:  # a method that is open on one side only
            name.append(f"\n{say('compare.only', lang, when=heads[quotes.index(None) - 1])}", style="not bold dim")
        table.add_row(name, *(_cell([quote[figure] for quote in quotes if quote], lang) for figure in FIGURES))
    if table.row_count:
        block(console, say("compare.costs", lang), table)


def _cell(figures: Sequence[str], lang: str) -> Line:
    """One figure, or both where they differ."""
    if len({*figures}) == 1:
        return styled(figures[0], "dim")
    return styled(say("compare.arrow", lang, before=figures[0], after=figures[1]))


def _ladder(difference: Difference, lang: str, console: Console) -> None:
    """The new steps; those that were there before in one line."""
    old = {step(rung) for rung in difference.ladder[0]}
    table = grid()
    for n, rung in enumerate(difference.ladder[1], 1):
        told = styled(rung.text[lang], "dim") if step(rung) in old else _rung(rung, lang)
        table.add_row(styled(str(n), "dim"), told)
    if table.row_count:
        block(console, say("compare.ladder", lang), table)


def _rung(rung: Rung, lang: str) -> Line:
    """A step with its gate, its cost and its command."""
    line = styled(rung.text[lang])
    line.append(f"\n{rung.gate[lang]}", style="not bold")
    line.append(f"\n{say('compare.cost', lang, cost=rung.cost[lang])}", style="dim")
    line.append(f"\n$ {rung.command}", style="cyan")
    return line
