"""What a terminal shows of an X-ray: what is trained on, what looks wrong, and some rows with the trained part marked.

The trained part is green, the rest is dim; without colour it stands in brackets, ⟦ so ⟧.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from advisor import formats
from advisor.texts import say
from executors.tuning.xray import ShownRow, Xray, xray_faults

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text as Line

TRAINED, MASKED, FAULT = "bold green", "dim", "bold yellow"
BRACKETS = ("⟦", "⟧")
MOST = 700  # characters shown of a part that is only read
KEPT = 300  # of these, at each end


def show_xray(found: Xray, lang: str, console: Console) -> None:
    """The counts, the faults, and the rows as they are."""
    from advisor.screen import block, grid, styled

    table = grid()
    for name, value in _lines(found, lang):
        table.add_row(styled(name, "cyan"), styled(value, ""))
    block(console, say("xray.title", lang, model=found.model), table)
    faults = xray_faults(found)
    for fault in faults:
        console.print(styled(f"  ! {fault[lang]}", FAULT))
    if not faults:
        console.print(styled(f"  {say('xray.sound', lang)}", "green"))
    for number, row in enumerate(found.shown, 1):
        title = say("xray.row", lang, number=number, tokens=f"{row.tokens:,}", trained=f"{row.trained:,}")
        console.print(styled(f"\n{title}", "bold"))
        console.print(marked(row, lang, colour=bool(console.color_system) and not console.no_color))
    if found.shown:
        console.print(styled(f"\n{say('xray.legend', lang)}", "dim"))


def _lines(found: Xray, lang: str) -> Iterator[tuple[str, str]]:
    share = formats.percent(found.trained_share, lang)
    yield say("xray.rows", lang), say("xray.rows_value", lang, rows=f"{found.rows:,}", given=f"{found.given:,}")
    yield say("xray.trained", lang), f"{found.trained_tokens:,} ({share})"
    yield say("xray.masked", lang), f"{found.masked_tokens:,}"
    cut = say("xray.cut_value", lang, cut=f"{found.cut:,}", out=f"{found.too_long:,}", limit=f"{found.limit:,}")
    yield say("xray.cut", lang), cut
    yield say("xray.no_token", lang), f"{found.no_token:,}"
    yield say("xray.template", lang), say("word.yes" if found.template else "word.no", lang)
    stops = say("xray.stops" if found.stops else "xray.runs_on", lang)
    yield say("xray.end", lang), say("xray.end_value", lang, end=found.end, rows=f"{found.ended:,}", stops=stops)
    yield say("xray.begin", lang), f"{found.repeated_begin:,}"
    for key, counts in (("xray.removed", found.removed), ("xray.doubtful", found.doubtful)):
        for reason, count in counts.items():
            yield say(key, lang), f"{count:,} {say(f'xray.reason_{reason}', lang)}"


def marked(row: ShownRow, lang: str, colour: bool) -> Line:
    """A row with its trained part in another colour, or in brackets."""
    from rich.text import Text

    line = Text(overflow="fold")
    before, after = ("", "") if colour else BRACKETS
    for span in row.spans:
        if span.trained:
            line.append(f"{before}{span.text}{after}", style=TRAINED)
        else:
            line.append(_shortened(span.text, lang), style=MASKED)
    return line


def _shortened(text: str, lang: str) -> str:
    if len(text) <= MOST:
        return text
    left_out = say("xray.left_out", lang, count=f"{len(text) - 2 * KEPT:,}")
    return f"{text[:KEPT]} […{left_out}…] {text[-KEPT:]}"
