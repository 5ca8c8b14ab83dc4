"""The record of a search in the terminal: the blocks of the report's section, drawn for a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor.report.blocks import Block, Bullets, Cell, Fold, Prose, Table
from advisor.report.search import SECTIONS, Record, section, subject
from advisor.screen import block, bullets, grid, styled
from advisor.texts import say

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text as Line

TONES = {"lead": "", "warn": "yellow", "good": "green", "bad": "red", "strong": "bold green", "label": "bold"}


def show_trials(record: Record, run: str, lang: str, console: Console, every: bool) -> None:
    """What was compared, chosen and noticed, and the trials: the first of them, or `every` one."""
    console.print(styled(say(f"{SECTIONS[subject(record)]}.trials_title", lang, run=run), "bold"))
    blocks = section(record, lang)
    for n, shown in enumerate(blocks):
        titled = blocks[n - 1] if n else None
        _show(shown, titled, lang, console, every)


def _show(shown: Block, before: Block | None, lang: str, console: Console, every: bool) -> None:
    if isinstance(shown, Prose) and shown.tone != "label":  # a label is the title of the bullets that follow
        if isinstance(before, Bullets | Table):
            console.print()
        console.print(styled(shown.text, TONES.get(shown.tone, "")))
    elif isinstance(shown, Bullets):
        bullets(console, before.text if isinstance(before, Prose) else "", shown.items)
    elif isinstance(shown, Table):
        told = isinstance(before, Prose) and before.text.startswith(shown.caption)
        _table(shown, console, "" if told else shown.caption)
    elif isinstance(shown, Fold) and every:
        _table(shown.table, console, shown.title)
    elif isinstance(shown, Fold):
        console.print(styled(f"  {say('prompt.trials_more', lang, count=len(shown.table.rows))}", "dim"))


def _table(shown: Table, console: Console, title: str) -> None:
    from rich.padding import Padding

    table = grid(shown.head)
    for row in shown.rows:
        table.add_row(*map(_cell, row))
    for column in table.columns[1:]:
        column.justify = "right"
    if title:
        block(console, title, table)
    else:
        console.print(Padding(table, (0, 0, 0, 2), expand=False))


def _cell(cell: Cell) -> Line:
    line = styled(cell.text, TONES.get(cell.tone, ""))
    if cell.note:
        line.append(f"\n{cell.note}", style="yellow")
    return line
