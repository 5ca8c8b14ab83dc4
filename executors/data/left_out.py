"""Rows that were left out, or are doubtful and were kept: each with its reason, in a file beside a run's result.

Reasons of a cleaning: ragged, empty_text, empty_label, not_a_number, duplicate, leak. Of a training: near_leak,
no_token, too_long. Of rows that stay: conflict, cut, near_duplicate.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from executors.base import Row, write_atomic

FILE = "removed.jsonl"
SHOWN = 500  # characters of a text that are written


@dataclass(frozen=True)
class LeftOut:
    """A row by its id (file and line), and why it is here. `kept`: it is used all the same. `like`: the id of another
    row that explains it."""

    id: str
    reason: str
    text: str = ""
    kept: bool = False
    like: str = ""


def of_row(row: Row, reason: str, kept: bool = False, like: str = "") -> LeftOut:
    return LeftOut(row.id, reason, row.input.text[:SHOWN], kept, like)


def count_removed(found: Iterable[LeftOut]) -> dict[str, int]:
    """Rows that are not used, by reason."""
    return dict(Counter(one.reason for one in found if not one.kept))


def write_left_out(path: Path, found: Sequence[LeftOut]) -> None:
    """One JSON object a line; without any, no file."""
    if found:
        write_atomic(path, "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in found))
    else:
        path.unlink(missing_ok=True)


def read_left_out(path: Path) -> list[LeftOut]:
    """What was written; nothing where there is no file."""
    if not path.is_file():
        return []
    return [LeftOut(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
