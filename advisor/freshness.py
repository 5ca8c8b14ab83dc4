"""Whether what a run answers from is what its documents say today, in words; and bringing it up to date.

Covered: every method whose predictor can tell (`Follows`); of others nothing is known, so nothing is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from advisor.texts import LANGUAGES, say, text
from executors.base import Predictor, Problem, Reporter, Text, UserError

if TYPE_CHECKING:
    from executors.retriever.index import Change, Stale

NAMED = 4  # files of a kind that are named; the others are counted
KINDS = ("added", "updated", "deleted")


@runtime_checkable
class Follows(Protocol):
    """A predictor that answers from documents and can follow their changes."""

    def stale(self) -> Stale:
        """Files that changed since its index was written. Raises `UserError` where the documents are gone."""

    def refresh(self, report: Reporter) -> Change:
        """Bring the index up to date."""


def changed(change: Stale | Change) -> Text | None:
    """Which files are new, other or gone, the first few by name; None where none is."""
    kinds = [(kind, getattr(change, kind)) for kind in KINDS if getattr(change, kind)]
    if not kinds:
        return None
    told = [text(f"fresh.{kind}", files=_named(files)) for kind, files in kinds]
    return {lang: say("word.semicolon", lang).join(part[lang] for part in told) for lang in LANGUAGES}


def _named(files: Sequence[str]) -> Text:
    more = len(files) - NAMED
    listed = {lang: say("word.comma", lang).join(files[:NAMED]) for lang in LANGUAGES}
    return text("fresh.more", files=listed, more=more) if more > 0 else listed


def freshness_notes(predictor: Predictor, again: str, refresh: bool, report: Reporter) -> list[Text]:
    """What to tell before answers are given: which files changed since, or, with `refresh`, what was taken in.

    `again` is the command that takes them in. Raises `UserError` where `refresh` is asked of a method without an index.
    """
    if not isinstance(predictor, Follows):
        if refresh:
            raise UserError(
                "--refresh: this run answers from no index of documents, so there is nothing to bring up to date",
                "leave --refresh out; to take in new rows or documents: advisor run RUN",
                Problem(
                    "--refresh：该运行没有文档索引，无需更新",
                    "请去掉 --refresh；要采用新数据或新文档：advisor run 编号",
                ),
            )
        return []
    if refresh:
        return [_refreshed(predictor.refresh(report))]
    try:
        found = changed(predictor.stale())
    except UserError as error:  # the documents have moved: what was indexed of them answers on
        return [text("fresh.unknown", why={lang: error.told(lang).message for lang in LANGUAGES})]
    return [text("fresh.stale", files=found, command=again)] if found else []


def _refreshed(change: Change) -> Text:
    files = changed(change)
    return text("fresh.refreshed", files=files, embedded=change.embedded) if files else text("fresh.unchanged")
