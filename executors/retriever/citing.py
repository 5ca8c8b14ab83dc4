"""Citations: which passages an answer rests on, checked, and how much of it stands in them.

A model that writes is asked for marks such as [1]. They are read out of its text, and only those of passages that it
was shown count. An answer without marks is attributed to the passages that hold most of its words. Support is the share
of an answer's content words that stand in the passages it cites: 1 for a quotation. It shows what was made up, not
whether the passage means what the answer says: that is for a person to judge.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from executors.base import Passage
from executors.retriever.lexical import terms

MARK = re.compile(
    r"\s*[\[【［]\s*(?:passage\s+|段落\s*)?(\d{1,2}(?:\s*[,，、;；]\s*\d{1,2})*)\s*[\]】］]", re.IGNORECASE
)
MOST = 3  # passages that an answer without marks is attributed to
LEAST = 0.25  # share of the answer's words that a passage must add to be cited for them
EMPTY = frozenset(
    re.findall(
        r"\w+",
        "a an the of in on at to for and or but is are was were be been being by with from as that which who it its "
        "this these those has have had not no do does did can will would should may there their they you your we our "
        "i if so 的 了 是 在 和 与 或 有 为 及 也 都 就 而 之 其",
    )
)
"""Words that say nothing by themselves."""


@dataclass(frozen=True)
class Marked:
    """A text without its marks. `numbers`: the shown passages they name, each once, in order; `refused`: marks of
    passages that were not shown."""

    text: str
    numbers: tuple[int, ...]
    refused: int


def read_marks(text: str, shown: int) -> Marked:
    """The marks of passages 1 to `shown` in a text."""
    named = [int(number) for mark in MARK.finditer(text) for number in re.findall(r"\d+", mark[1])]
    numbers = tuple(dict.fromkeys(n for n in named if 1 <= n <= shown))
    return Marked(MARK.sub("", text).strip(), numbers, sum(not 1 <= n <= shown for n in named))


def attribute(text: str, passages: Sequence[Passage]) -> tuple[int, ...]:
    """Numbers, from 1 and ascending, of the passages that hold most of the text's content words; () where none does.

    The first passage that holds most of them, then others that add a fair share of what is missing.
    """
    left = content(text)
    least = LEAST * len(left)
    there = [_words(passage) for passage in passages]
    cited: list[int] = []
    while left and len(cited) < MOST and there:
        adds = [len(left & words) for words in there]
        best = adds.index(max(adds))
        if not adds[best] or (cited and adds[best] < least):
            break
        cited.append(best + 1)
        left -= there[best]
    return tuple(sorted(cited))


def support(text: str, passages: Sequence[Passage], cited: Collection[int]) -> float:
    """The share, 0 to 1, of a text's content words that stand in the passages it cites; 0 for a text without words."""
    words = content(text)
    there = set[str]().union(*(_words(passages[number - 1]) for number in cited))
    return len(words & there) / len(words) if words else 0.0


def content(text: str) -> set[str]:
    """The terms of a text that say something by themselves; all of them where none does."""
    found = set(terms(text))
    return found - EMPTY or found


def _words(passage: Passage) -> set[str]:
    return set(terms(f"{passage.heading}\n{passage.text}"))
