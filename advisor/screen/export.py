"""An export in the terminal: where it lies, how it compares with its run, how it is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor.screen import block, grid, styled
from advisor.texts import say

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from executors.export import Exported
    from executors.export.parity import Parity


def show_export(found: Exported, lang: str, console: Console) -> None:
    """The files, then the comparison that let them pass."""
    console.print(styled(say("export.written", lang, folder=found.folder), "bold"), soft_wrap=True)
    for name in found.files:
        console.print(styled(f"  {name}", "dim"))
    block(console, say("export.compared", lang), _table(found, lang))
    any_of = next(iter(found.parity.values()))
    fixed = any_of.prompts - found.own_prompts
    own = say("export.prompts" if found.own_prompts else "export.fixed_only", lang, own=found.own_prompts, fixed=fixed)
    end = f"{found.fingerprint.end_token} ({found.fingerprint.end_id})"
    for line in (own, say("export.tokens", lang, end=end), say("export.card", lang, folder=found.folder)):
        console.print(styled(f"  {line}", "dim"), soft_wrap=True)


def _table(found: Exported, lang: str) -> Table:
    table = grid(tuple(say(f"export.{name}", lang) for name in ("what", "logit", "allowed", "likeliest", "text")))
    for name, parity in found.parity.items():
        cells = (f"{parity.logit:.2g}", _bound(parity), f"{parity.share:.1%}", f"{parity.same_text} / {parity.prompts}")
        table.add_row(say(f"export.{name}", lang), *cells)
    return table


def _bound(parity: Parity) -> str:
    return f"≤ {parity.bound.logit:g}" if parity.bound.logit is not None else "–"
