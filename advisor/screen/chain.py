"""A chain in the terminal: its stages, and what each part brings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor import formats, words
from advisor.report.chain import Record, told_difference, verdict
from advisor.screen import block, grid, styled
from advisor.texts import say

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {"helps": "green", "hurts": "red", "open": "yellow"}


def show_chain(record: Record, lang: str, console: Console) -> None:
    """Every stage with its score, then each part with the difference that it makes."""
    table = grid()
    for one in record["stages"]:
        score = one["score"]
        metric = words.label("metric", one["metric"], lang)
        told = f"{metric} {formats.score(score['value'])}" if score else words.label("status", one["status"], lang)
        took = formats.seconds(one["seconds"], None, lang) if one["seconds"] is not None else ""
        name = words.method_name(one["executor"], lang)
        table.add_row(styled(one["name"], "bold"), styled(name), styled(told), styled(took, "dim"))
    block(console, say("chain.stages", lang), table)
    parts = grid()
    for one in record["contributions"]:
        said, part = say(f"chain.{verdict(one)}", lang), words.method_name(one["method"], lang)
        parts.add_row(styled(part, "bold"), styled(told_difference(one)), styled(said, STYLES[verdict(one)]))
    if parts.row_count:
        block(console, say("chain.brings", lang), parts)
