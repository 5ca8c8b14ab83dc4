"""Quotes as a terminal shows them, in dollars or yuan."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from advisor import formats, words
from advisor.hardware import Range, exchange, is_stale, stale_after_days
from advisor.quote.record import Quote
from advisor.quote.situation import Situation
from advisor.texts import say
from executors.base import Text, to_dict

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

CURRENCIES = ("usd", "cny")
COLUMNS = ("memory", "hours", "usd", "per_1000", "break_even")


def show_quotes(
    quotes: Mapping[str, Quote], known: Situation, model: str | None, currency: str, lang: str, console: Console
) -> None:
    """A table of all methods, then each one's machine, formulas and assumptions; at last what is stale."""
    from rich.padding import Padding
    from rich.text import Text as Line

    shape = known.shape
    head = say(
        "quote.for_model",
        lang,
        model=model or say("quote.unnamed_model", lang),
        parameters=formats.compact(shape.parameters, lang),
        layers=f"{shape.layers:.0f}",
        rows=formats.number(known.work.rows),
    )
    console.print(Line(f"\n{say('quote.title', lang)}", style="bold"))
    console.print(Padding(Line(head, style="dim", overflow="fold"), (0, 0, 0, 2), expand=False))
    console.print(Padding(_table(quotes, currency, lang), (0, 0, 0, 2), expand=False))
    every = _common(quotes)
    _bullets([said[lang] for said in every], console)
    for quote in quotes.values():
        _details(quote, [said["en"] for said in every], lang, console)
    if currency == "cny":
        console.print(Line(f"\n{rate_text(lang)}", style="dim", overflow="fold"))


def money(ends: Range, currency: str, lang: str) -> str:
    """A range of money: dollars, or yuan at the rate of `prices.yaml`."""
    if currency == "usd":
        return formats.dollars(*ends, lang)
    if ends[1] <= 0:
        return say("quote.yuan", lang, value="0")
    rate, _ = exchange()
    low, high = (rate * end for end in ends)
    if high < formats.LEAST_USD:  # the smallest coin of both
        return say("unit.under", lang, value=say("quote.yuan", lang, value=f"{formats.LEAST_USD}"))
    return say("quote.yuan", lang, value=formats.span(low, high, money=True))


def rate_text(lang: str, today: datetime.date | None = None) -> str:
    """The exchange rate, its day, and whether it is too old to be relied on."""
    rate, figure = exchange()
    old = is_stale(figure, today or datetime.date.today())
    mark = say("quote.rate_stale", lang, days=stale_after_days()) if old else ""
    return say("quote.rate", lang, rate=f"{rate:g}", date=figure.as_of, stale=mark)


def _table(quotes: Mapping[str, Quote], currency: str, lang: str) -> Table:
    from rich.table import Table
    from rich.text import Text as Line

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", overflow="fold", min_width=16)
    for name in COLUMNS:
        table.add_column(say(f"report.quote_{name}", lang), overflow="fold")
    for method, quote in quotes.items():
        cells = _figures(quote, currency, lang)
        table.add_row(Line(words.method_name(method, lang), style="bold"), *(Line(c, overflow="fold") for c in cells))
    return table


def _figures(quote: Quote, currency: str, lang: str) -> tuple[str, ...]:
    figures = words.quote_figures(to_dict(quote), lang)
    memory, hours = figures["memory"], figures["hours"]
    if quote.train_point_hours:
        likely = formats.gigabytes(quote.memory_point_gb, quote.memory_point_gb, lang)
        memory += f"\n{say('quote.likely', lang, value=likely)}"
        hours += f"\n{say('quote.likely', lang, value=formats.hours(quote.train_point_hours, None, lang))}"
    costs = (money(ends, currency, lang) for ends in (quote.train_usd, quote.per_1000_usd))
    return memory, hours, *costs, figures["break_even"]


def _common(quotes: Mapping[str, Quote]) -> list[Text]:
    """The assumptions that all quotes but the floor's rest on, said once."""
    counted = [quote for quote in quotes.values() if quote.assumptions]
    if len(counted) < 2:
        return []
    others = [{said["en"] for said in quote.assumptions} for quote in counted[1:]]
    return [said for said in counted[0].assumptions if all(said["en"] in other for other in others)]


def _details(quote: Quote, known: Sequence[str], lang: str, console: Console) -> None:
    from rich.padding import Padding
    from rich.text import Text as Line

    colon = say("word.colon", lang)
    console.print(Line(f"\n{words.method_name(quote.method, lang)}{colon}{quote.hardware[lang]}", style="bold"))
    told = [quote.break_even.text[lang]] if quote.break_even else []
    _bullets([*told, *(said[lang] for said in quote.assumptions if said["en"] not in known)], console)
    for formula in quote.formula.split("; "):
        console.print(Padding(Line(formula, style="dim", overflow="fold"), (0, 0, 0, 2), expand=False))


def _bullets(lines: Sequence[str], console: Console) -> None:
    from rich.table import Table
    from rich.text import Text as Line

    table = Table.grid(padding=(0, 1, 0, 0))
    for line in lines:
        table.add_row(Line("  •"), Line(line, overflow="fold"))
    if lines:
        console.print(table)
