"""Labels read from what a model wrote, for models that cannot tell how likely a label is.

Covered: the label alone in any dress (case, quotes, punctuation, underscores, a first line), within a sentence, cut
short or inflected, misspelt; labels of which one holds another; scripts with spaces between words, Chinese, Japanese.
Not covered: negation ("not positive" reads as positive), translations and synonyms, word borders at vowel signs.
"""

from __future__ import annotations

import difflib
import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from executors.finals import first_line, without_thoughts
from executors.metrics import CHARACTERWISE

NEAR = 0.85  # least difflib ratio of a misspelt label
SHORTEST, SHORTEST_CJK = 3, 2  # characters from which on a beginning tells something: "no" begins "normal" by chance
INFLECTED = 1.5  # times a label's length that a word beginning with it may have
JOINTS = re.compile(r"(?:\s|_|(?<=[^\W_])[-‐-―](?=[^\W_]))+")  # between words; a model may write any other
EDGES = " \t\"'`*.,;:!?()[]“”‘’。，；：！？（）【】「」《》"
SPACED = rf"[^\W{CHARACTERWISE.pattern[1:-1]}]"  # a letter or digit of a script that sets spaces between words


@dataclass(frozen=True)
class Match:
    """The label an answer names, and how it was found."""

    label: str
    how: Literal["exact", "within", "begins", "near"]


def match_label(text: str, labels: Sequence[str]) -> Match | None:
    """The one label that `text` names; None where it names none, or several with equal right.

    In this order: the text or its first line is a label; exactly one label stands in the text as whole words (as
    characters where a script sets no spaces; of labels within each other the longest at its place; one Latin letter
    in its own case only); the first line is how one label only begins, or a label with an ending; one label is
    nearest to it by difflib's ratio, at least `NEAR`, with the same digits.
    """
    known = _known(tuple(labels))
    spoken = without_thoughts(text).strip()
    line = first_line(spoken)
    if label := known.named(spoken) or known.named(line):
        return Match(label, "exact")
    if found := known.within(spoken):
        return Match(found[0], "within") if len(found) == 1 else None
    if label := known.begun(bare(line)):
        return Match(label, "begins")
    label = known.near(bare(line))
    return Match(label, "near") if label else None


def joined(text: str) -> str:
    """A text without width, its words one space apart."""
    return JOINTS.sub(" ", unicodedata.normalize("NFKC", text)).strip()


def plain(text: str) -> str:
    """`joined` without case."""
    return joined(text).casefold()


def trimmed(text: str) -> str:
    """`plain` without the marks around it."""
    return plain(text).strip(EDGES)


def bare(text: str) -> str:
    """`plain` without any marks."""
    letters = (ch if ch.isalnum() else "" if ch in "'’" else " " for ch in plain(text))
    return " ".join("".join(letters).split())


FORMS: tuple[Callable[[str], str], ...] = (str.strip, plain, trimmed, bare)  # the stricter first


class _Labels:
    """The labels of a task, prepared once. Where two are alike under a form, that form names neither."""

    def __init__(self, labels: Sequence[str]) -> None:
        named = [label for label in dict.fromkeys(labels) if label.strip()]
        self.tables = [_unique((form(label), label) for label in named) for form in FORMS]
        self.sought = [(plain(label), label) for label in named]
        self.bare = self.tables[-1]

    def named(self, said: str) -> str | None:
        """The label that `said` is."""
        pairs = zip(FORMS, self.tables, strict=True)
        return next((table[key] for form, table in pairs if (key := form(said)) in table), None)

    def within(self, text: str) -> list[str]:
        """The labels that stand in `text`, those aside that are part of a longer one at the same place."""
        folded, cased = plain(text), joined(text)
        spans: list[tuple[int, int, str]] = []
        for key, label in self.sought:
            if key in folded:  # by far the quickest test, and most labels fail it
                letter = len(key) == 1 and key.isascii() and key.isalpha()
                pattern, place = (_whole(joined(label)), cased) if letter else (_whole(key), folded)
                spans += [(*match.span(), label) for match in re.finditer(pattern, place)]
        outer = [
            label
            for start, end, label in spans
            if not any(s <= start and end <= e and e - s > end - start for s, e, _ in spans)
        ]
        return list(dict.fromkeys(outer))

    def begun(self, answer: str) -> str | None:
        """The only label that begins with `answer`, else the longest that `answer` is with an ending."""
        if len(answer) < _least(answer):
            return None
        begun = [label for key, label in self.bare.items() if key.startswith(answer)]
        if len(begun) == 1:
            return begun[0]
        inflected = [
            key
            for key in self.bare
            if answer.startswith(key) and len(key) >= _least(key) and len(answer) <= INFLECTED * len(key)
        ]
        return self.bare[max(inflected, key=len)] if inflected else None

    def near(self, answer: str) -> str | None:
        """The label whose spelling is nearest; none where two are equally near."""
        keys = [key for key in self.bare if re.findall(r"\d+", key) == re.findall(r"\d+", answer)]
        best = difflib.get_close_matches(answer, keys, n=2, cutoff=NEAR)
        ratios = [difflib.SequenceMatcher(None, key, answer).ratio() for key in best]
        return self.bare[best[0]] if len(best) == 1 or (best and ratios[0] > ratios[1]) else None


@functools.lru_cache(maxsize=8)
def _known(labels: tuple[str, ...]) -> _Labels:
    return _Labels(labels)


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Keys that are not empty and name one label only."""
    pairs = list(pairs)
    counts = Counter(key for key, _ in pairs)
    return {key: label for key, label in pairs if key and counts[key] == 1}


def _least(text: str) -> int:
    return SHORTEST_CJK if CHARACTERWISE.search(text) else SHORTEST


def _whole(words: str) -> str:
    """The pattern of `words` that are not part of a longer word or number."""
    before = rf"(?<!{SPACED})" if re.match(SPACED, words) else ""
    after = rf"(?!{SPACED})" if re.search(rf"{SPACED}$", words) else ""
    if words[0].isdigit():
        before += r"(?<!\d\.)(?<![+\-−])"
    if words[-1].isdigit():
        after += r"(?!\.\d)"
    return before + re.escape(words) + after
