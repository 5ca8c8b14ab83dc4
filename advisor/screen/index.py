"""What was done to an index, and what an audit of it found, in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from advisor.texts import say
from executors.base import Passage, Problem

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from executors.retriever.index import Audit, Change, Manifest

NAMED, NAMED_FIRST = 10, 0  # files of a kind that are named, others counted; in a new index all files are new
LEAST_SHOWN = 0.005  # a score that is not 0.00
SHOWN = 240  # characters of a passage that is found
MARKS = {"added": ("+", "green"), "updated": ("~", "yellow"), "deleted": ("-", "red"), "kept": ("!", "yellow")}
PARTS = ("passages", "vectors", "lexical")


def show_change(
    change: Change, counts: Mapping[str, int], title: str, lang: str, console: Console, *, first: bool = False
) -> None:
    """Every file that changed, those left out and why, and the counts. `first`: of a new index, files are counted."""
    from rich.text import Text

    console.print(Text(title, style="bold", overflow="fold"))
    for kind, (mark, style) in MARKS.items():
        files: Sequence[str] = getattr(change, kind)
        named, word = NAMED_FIRST if first else NAMED, say(f"index.{kind}", lang)
        for name in files[:named]:
            console.print(Text(f"  {mark} {name}  ({word})", style=style, overflow="fold"))
        if len(files) > named:
            key = "index.more" if named else "index.files"
            console.print(Text(f"  {mark} {say(key, lang, count=f'{len(files) - named:,}')}  ({word})", style=style))
    show_skipped(change.skipped, lang, console)
    if change.unchanged:
        count = say("index.files", lang, count=f"{len(change.unchanged):,}")
        console.print(Text(f"  = {count}  ({say('index.unchanged', lang)})", style="dim"))
    told = say(
        "index.counts",
        lang,
        passages=f"{change.passages:,}",
        embedded=f"{change.embedded:,}",
        parts=parts_told(counts, lang),
    )
    console.print(Text(f"  {told}", style="dim", overflow="fold"))


def show_found(passages: Sequence[Passage], lang: str, console: Console) -> None:
    """Passages by place, each with its score and its beginning."""
    from rich.text import Text

    if not passages:
        console.print(say("index.nothing", lang), style="yellow", markup=False)
    for number, passage in enumerate(passages, 1):
        score = f"  {passage.score:.2f}" if passage.score >= LEAST_SHOWN else ""  # BM25 of very few documents is near 0
        console.print(Text(f"[{number}] {passage.place}{score}", style="bold", overflow="fold"))
        text = " ".join(passage.text.split())
        shown = text if len(text) <= SHOWN else f"{text[:SHOWN].rstrip()}…"
        console.print(Text(f"    {shown}", overflow="fold"))


def show_skipped(skipped: Sequence[Problem], lang: str, console: Console) -> None:
    """Files that could not be read, each with its reason and, where there is one, its remedy."""
    from rich.text import Text

    for problem in skipped[:NAMED]:
        told = problem.told(lang)
        hint = f" → {told.hint}" if told.hint else ""
        line = f"  ! {told.message}{hint}  ({say('index.skipped', lang)})"
        console.print(Text(line, style="yellow", overflow="fold"))
    if len(skipped) > NAMED:
        more = say("index.more", lang, count=f"{len(skipped) - NAMED:,}")
        console.print(Text(f"  ! {more}  ({say('index.skipped', lang)})", style="yellow"))


def parts_told(counts: Mapping[str, int], lang: str) -> str:
    """How many passages each part of an index has."""
    known = [part for part in PARTS if part in counts]
    return " · ".join(say(f"index.part.{part}", lang, count=f"{counts[part]:,}") for part in known)


def show_audit(
    index: Path, manifest: Manifest, audit: Audit, fresh: str, problems: Sequence[Problem], lang: str, console: Console
) -> None:
    """What an index says of itself, what was compared, and everything that is wrong with it."""
    from rich.table import Table
    from rich.text import Text

    console.print(Text(str(index), style="bold", overflow="fold"))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in _rows(manifest, audit, fresh, lang):
        table.add_row(Text(f"  {name}", style="dim"), Text(value, overflow="fold"))
    console.print(table)
    for problem in problems:
        told = problem.told(lang)
        console.print(Text(f"  ✗ {told.message}", style="red", overflow="fold"))
        for line in filter(None, told.hint.split("\n")):
            console.print(Text(f"    → {line}", overflow="fold"))


def _rows(manifest: Manifest, audit: Audit, fresh: str, lang: str) -> list[tuple[str, str]]:
    made_by, vectors = manifest.embedder, manifest.vectors
    rows = []
    if audit:
        parts = parts_told(audit.counts, lang)
        passages, sources = f"{manifest.passages:,}", f"{manifest.sources:,}"
        told = say("index.checked.whole_value", lang, passages=passages, sources=sources, parts=parts)
        rows.append((say("index.checked.whole", lang), told))
    maker = say("index.checked.words", lang)
    if made_by:
        sha, dimension = made_by.sha256[:12], made_by.dimension
        maker = say("index.checked.made_value", lang, name=made_by.name, sha=sha, dimension=dimension)
    rows.append((say("index.checked.made", lang), maker))
    if vectors:
        reason, recall = vectors.reason[lang], f"{vectors.recall_at_10:.3f}"
        told = say("index.checked.vectors_value", lang, kind=vectors.kind, reason=reason, recall=recall)
        rows.append((say("index.checked.vectors", lang), told))
    chunk, overlap = manifest.splitter.chunk_tokens, manifest.splitter.overlap
    cut = say("index.checked.splitter_value", lang, chunk=chunk, overlap=overlap)
    rows += [(say("index.checked.splitter", lang), cut), (say("index.checked.docs", lang), fresh)]
    return [*rows, (say("index.checked.written", lang), manifest.written)]
