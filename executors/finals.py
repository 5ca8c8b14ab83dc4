"""Where the answer stands in what a model wrote: after its thoughts, after the last mark of a final answer.

Covered: ``Answer:``, ``the answer is``, ``答案：``, ``答案是``, ``答：``, GSM8K's ``####``, LaTeX's ``\\boxed{}``, and
thoughts between ``<think>`` and ``</think>``. Not covered: an answer that no mark announces, and a mark that stands
within an answer of several lines; there the answer begins after the last one.
"""

from __future__ import annotations

import re

MARK = re.compile(
    r"####"
    r"|\\boxed\s*\{"
    r"|(?:\bthe\s+)?(?:\b(?:final|correct)\s+)?\banswers?\b[*_`\s]*"
    r"(?:(?:is|are|(?:would|must|should|will)\s+be)\b|[:：=])(?:\s*[:：])?[*_`]*"
    r"|(?:最终)?答案[*_`\s]*(?:应该?)?(?:[是为]|[:：=])(?:\s*[:：])?[*_`]*"
    r"|答[:：]",
    re.IGNORECASE,
)


def without_thoughts(text: str) -> str:
    """What follows a model's thoughts; nothing of thoughts that never end."""
    return text.rpartition("</think>")[2].partition("<think>")[0]


def find_final(text: str) -> str | None:
    """What stands after the last mark that something follows, to the end of `text`; None where there is no such mark.

    After ``\\boxed{`` it ends with the brace.
    """
    found = find_mark(text)
    return found[1] if found else None


def find_mark(text: str) -> tuple[int, str] | None:
    """(where the mark begins in `text` without its thoughts, what `find_final` gives)."""
    spoken = without_thoughts(text)
    for mark in reversed(list(MARK.finditer(spoken))):
        after = spoken[mark.end() :]
        found = (_braced(after) if mark[0].endswith("{") else after).strip()
        if found:
            return mark.start(), found
    return None


def first_line(text: str) -> str:
    """The first line of `text` that is not empty."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _braced(text: str) -> str:
    """`text` up to the brace that closes one opened before it; all of it where none does."""
    depth = 1
    for n, ch in enumerate(text):
        depth += (ch == "{") - (ch == "}")
        if depth == 0:
            return text[:n]
    return text
