"""Why answers of a run are wrong, in the terminal: the causes and their commands. The answers are in the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor.report.triage import Record, causes, kind_name
from advisor.screen import bullets
from advisor.texts import say

if TYPE_CHECKING:
    from rich.console import Console


def show_causes(record: Record | None, lang: str, console: Console) -> None:
    """Nothing where the method cannot tell, or nothing is wrong."""
    if not record or not record["wrong"]:
        return
    title = say("triage.screen", lang, wrong=record["wrong"], rows=record["rows"])
    told = [f"{count} × {kind_name(kind, lang)}: {command}" for kind, count, command in causes(record)]
    bullets(console, title, told)
