"""A prompt in the terminal: its messages with the parts in colour, its tokens by part, and its price."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from advisor import formats
from advisor.hardware import Figure, is_stale, stale_after_days
from advisor.quote.requests import RequestPrice, price_head, price_rows
from advisor.quote.show import rate_text
from advisor.rendered import Rendered, request_tokens
from advisor.screen import block, grid, styled
from advisor.texts import say

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text as Line

COLOURS = {  # of the parts, in the messages and in the table alike
    "template": "dim",
    "instruction": "magenta",
    "demonstrations": "cyan",
    "passages": "yellow",
    "input": "bold green",
    "answer": "dim",
}


def show_prompt(rendered: Rendered, run: str, lang: str, console: Console) -> None:
    """Messages, tokens, price; in this order, so that what is read last stands at the prompt of the shell."""
    _head(rendered, run, lang, console)
    _messages(rendered, lang, console)
    block(console, say("prompt.tokens", lang), _tokens(rendered, lang))
    for line in _fit(rendered, lang):
        console.print(styled(f"  {line}", "dim"))
    _price(rendered, lang, console)
    _arithmetic(rendered, lang, console)


def _head(rendered: Rendered, run: str, lang: str, console: Console) -> None:
    title = say("prompt.title_text", lang, run=run)
    if rendered.row is not None:
        title = say("prompt.title_row", lang, run=run, row=rendered.row, id=rendered.id)
    console.print(styled(title, "bold"))
    right = " | ".join(rendered.targets)
    if rendered.answer is not None:
        console.print(styled(say("prompt.answers", lang, answer=rendered.answer, right=right), "dim"))
    elif right:
        console.print(styled(say("prompt.right", lang, right=right), "dim"))
    if rendered.ensemble > 1:
        console.print(styled(say("prompt.ensemble", lang, count=rendered.ensemble), "yellow"))


def _messages(rendered: Rendered, lang: str, console: Console) -> None:
    last = len(rendered.messages) - 1
    for n, message in enumerate(rendered.messages):
        role = say(f"prompt.role_{message['role']}", lang)
        console.print(styled(f"\n[{role}]", "dim"))
        console.print(_content(message["content"], n, last, rendered), soft_wrap=not console.is_terminal)


def _content(content: str, place: int, last: int, rendered: Rendered) -> Line:
    """One message, coloured by its part; the last one is the passages and the input."""
    if place == 0:
        return styled(content, COLOURS["instruction"])
    if place < last:
        return styled(content, COLOURS["demonstrations"])
    passages = next((part.text for part in rendered.parts if part.name == "passages"), "")
    line = styled(passages, COLOURS["passages"])
    line.append(content[len(passages) :], style=COLOURS["input"])
    return line


def _tokens(rendered: Rendered, lang: str) -> Table:
    head = tuple(say(f"prompt.{name}", lang) for name in ("part", "count", "share", "repeats"))
    table = grid(head)
    for part in rendered.parts:
        name = say(f"prompt.part_{part.name}", lang, count=rendered.shown)
        repeats = "" if part.name == "answer" else say("prompt.same" if part.static else "prompt.differs", lang)
        figures = (f"{part.tokens:,}", _share(part.tokens, rendered.window))
        table.add_row(styled(name, COLOURS[part.name]), *map(styled, figures), styled(repeats, "dim"))
    total = sum(part.tokens for part in rendered.parts)
    table.add_row(
        styled(say("prompt.total", lang), "bold"), styled(f"{total:,}", "bold"), _share(total, rendered.window)
    )
    for column in table.columns[1:3]:
        column.justify = "right"
    return table


def _share(tokens: int, window: int) -> str:
    """A share of the window, to a tenth of a percent: of large windows most parts are under one."""
    share = 100 * tokens / window
    return "<0.1%" if 0 < share < 0.05 else f"{share:.1f}%"


def _fit(rendered: Rendered, lang: str) -> list[str]:
    """The window, and what had to be dropped."""
    free = rendered.window - sum(part.tokens for part in rendered.parts)
    told = [say("prompt.window", lang, model=rendered.model, window=f"{rendered.window:,}", free=f"{max(free, 0):,}")]
    if rendered.estimated:
        told.append(say("prompt.estimated", lang))
    missing = rendered.wanted - rendered.shown
    if missing > 0:
        told.append(say("prompt.left_out", lang, missing=missing, wanted=rendered.wanted))
    if rendered.cut:
        told.append(say("prompt.cut", lang))
    return told if missing > 0 or rendered.cut else [*told, say("prompt.all_fit", lang)]


def _price(rendered: Rendered, lang: str, console: Console) -> None:
    table = grid(price_head(lang))
    for row in price_rows(rendered.prices, lang):
        table.add_row(*map(styled, row))
    block(console, say("prompt.price_own" if rendered.own_price else "prompt.price_others", lang), table)
    static, varying, answer = (f"{tokens:,}" for tokens in request_tokens(rendered.parts, rendered.retrieved))
    told = [say("prompt.price_basis", lang, static=static, varying=varying, answer=answer), rate_text(lang)]
    old = [price.model for price in rendered.prices if _is_old(price)]
    told += [say("prompt.price_stale", lang, models=", ".join(old), days=stale_after_days())] if old else []
    told += [say("prompt.price_retrieved", lang)] if rendered.retrieved else []
    for line in told:
        console.print(styled(f"  {line}", "dim"))


def _is_old(price: RequestPrice) -> bool:
    """Whether a price of the list is too old to be relied on; the user's own figures bear no day."""
    figure = Figure(price.model, price.as_of, (price.source,))
    return bool(price.source) and is_stale(figure, datetime.date.today())


def _arithmetic(rendered: Rendered, lang: str, console: Console) -> None:
    work = rendered.arithmetic
    if work is None:
        return
    each, kept, times = f"{work.each:.2g}", f"{work.kept:.2g}", formats.number(work.times)
    told = say("prompt.flops_told", lang, each=_power(each), kept=_power(kept), times=times)
    block(console, say("prompt.flops", lang), styled(told))


def _power(number: str) -> str:
    """``1.2e+15`` as ``1.2·10^15``."""
    digits, _, exponent = number.partition("e")
    return f"{digits}·10^{int(exponent)}" if exponent else digits
