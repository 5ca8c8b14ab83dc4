"""Where an answer comes from: the model's own marks where it was asked for them, else shared words.

A mark names a document by its number in the prompt; of that document the section is taken that shares most with answer
and question. Words count by how few sections have them (inverse document frequency), so that "the" supports nothing.
Shared words are evidence, not proof: a section can have every word of an answer and say the opposite.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from executors.base import Passage
from executors.retriever.documents import Document
from executors.retriever.lexical import terms
from executors.retriever.splitting import sections

MOST = 3  # sections named for an answer
NEAR = 0.6  # of the best section's support: what has less is not named beside it
MARK = re.compile(r"\[(\d{1,4})\]")
MARKS_AT_END = re.compile(r"(?:\s*\[\d{1,4}\])+(?=\s*[.。]?\s*$)")


@dataclass(frozen=True)
class Attribution:
    """The sections an answer rests on, best first. `by`: marks, overlap of words, or the question's words alone."""

    passages: tuple[Passage, ...]
    by: str  # marks | overlap | question


class Sections:
    """The sections of some documents, compared by their words."""

    def __init__(self, documents: Sequence[Document]) -> None:
        found = [(n, d.path, section) for n, d in enumerate(documents, 1) for section in sections(d)]
        self.passages = [Passage(s.text, path, s.heading, page=s.page, row=s.row) for _, path, s in found]
        self._numbers = [n for n, _, _ in found]
        self._terms = [frozenset(terms(f"{p.heading}\n{p.text}")) for p in self.passages]
        have = Counter(term for there in self._terms for term in there)
        self._weights = {term: math.log((1 + len(self.passages)) / count) for term, count in have.items()}

    def attribute(self, question: str, answer: str, marks: Sequence[int] = ()) -> Attribution:
        """At most `MOST` sections that support `answer`; marks that name no document are passed over."""
        asked, said = set(terms(question)), set(terms(answer))
        supports = [self._share(said, there) for there in self._terms]
        scores = [(s + self._share(asked, there)) / 2 for s, there in zip(supports, self._terms, strict=True)]
        order = sorted(range(len(scores)), key=lambda i: -scores[i])
        firsts = [next((i for i in order if self._numbers[i] == n), None) for n in marks]
        named = [i for i in firsts if i is not None]
        if named:
            return Attribution(self._passages(named[:MOST], scores), "marks")
        near = [i for i in order[:MOST] if scores[i] >= NEAR * scores[order[0]] and scores[i] > 0]
        by = "overlap" if any(supports[i] > 0 for i in near) else "question"
        return Attribution(self._passages(near, scores), by)

    def _passages(self, chosen: Iterable[int], scores: Sequence[float]) -> tuple[Passage, ...]:
        return tuple(replace(self.passages[i], score=round(scores[i], 4)) for i in chosen)

    def _share(self, wanted: set[str], there: frozenset[str]) -> float:
        """How much of the weight of the words `wanted` a section has, 0 to 1. Unknown words weigh as the rarest."""
        rarest = math.log(1 + len(self.passages))
        total = sum(self._weights.get(term, rarest) for term in wanted)
        return sum(self._weights[term] for term in wanted & there) / total if total else 0.0


def read_marks(answer: str, documents: int) -> tuple[str, list[int]]:
    """The answer without valid marks at its end, and the numbers it names, each once, in order.

    Marks inside a sentence stay where they are; a number that no document has is no mark.
    """
    numbers = [int(n) for n in MARK.findall(answer) if 1 <= int(n) <= documents]
    at_end = MARKS_AT_END.search(answer)
    if at_end and all(1 <= int(n) <= documents for n in MARK.findall(at_end[0])):
        answer = answer[: at_end.start()] + answer[at_end.end() :]
    return answer.strip(), list(dict.fromkeys(numbers))
