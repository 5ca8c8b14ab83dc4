"""Reading: from retrieved passages to an answer.

Two readers that copy, and so cite the passage they copy from. `extract`: the answer is the words of
the passages that the model finds most likely as the answer to this question, compared with how likely they are as an
answer to any question (domain-conditional PMI, Holtzman et al. 2021): small models read far better than they write.
`quote`: the best sentence as it stands, for languages the model does not speak. Not covered here: answers that the
model writes, see `predictor`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from executors.base import Input, Passage
from executors.messages import chat
from executors.models import Embedder, LanguageModel
from executors.models.embed import Role
from executors.retriever.lexical import overlap, terms
from executors.retriever.splitting import sentences

WORDS = 6  # of the longest answer that is extracted
ANY_QUESTION = "What is this about?"
PRIOR = 0.4  # weight of the likelihood under any question; this and REPEATED chosen on training questions only
REPEATED = 3.0  # taken off for words the question already has
INNER = re.compile(r" \| |; | \(|\) |(?<=\w): ")  # what no answer reaches across
EDGES = frozenset(
    re.findall(
        r"\w+",
        "a an the of in on at to for and or but is are was were be been by with from as that which who whom it its "
        "this these those has have had not than then so if when while also",
    )
)
OPENERS = frozenset({"the", "at", "not", "by", "in", "from"})  # edges that an answer may begin with


@dataclass(frozen=True)
class Sentence:
    """One sentence of a passage, with the one before it, which often says what a pronoun stands for."""

    text: str
    before: str
    heading: str
    number: int  # of its passage, from 1

    @property
    def headed(self) -> str:
        return f"{self.heading}\n{self.text}"


@dataclass(frozen=True)
class Reading:
    """An answer in the words of a passage. `number`: of that passage, from 1; 0 where there was none to read."""

    text: str
    number: int = 0


class Reader:
    """Finds the sentences that answer a question, and the words in them that are the answer."""

    def __init__(self, model: LanguageModel | None, embedder: Embedder | None) -> None:
        """`model` is needed to extract; without `embedder` sentences are compared by their words."""
        self._model, self._embedder = model, embedder
        self._vectors: dict[tuple[Role, str], NDArray[np.float32]] = {}

    def quote(self, question: str, passages: Sequence[Passage]) -> Reading:
        """The best sentence of the passages; empty without passages."""
        ranked = self.rank(question, passages)
        return Reading(ranked[0][0].text, ranked[0][0].number) if ranked else Reading("")

    def extract(self, question: str, passages: Sequence[Passage]) -> Reading:
        """The words of the best sentence most likely to be the answer; all of it where no words could be one.

        One sentence is read closely: reading the second as well took twice as long and answered no better.
        """
        ranked = self.rank(question, passages)
        if not ranked:
            return Reading("")
        sentence = ranked[0][0]
        spans = answer_spans(sentence.text)
        if not spans:
            return Reading(sentence.text, sentence.number)
        likelihoods = self._likelihoods(question, sentence, spans)
        return Reading(spans[likelihoods.index(max(likelihoods))], sentence.number)

    def _likelihoods(self, question: str, sentence: Sentence, spans: Sequence[str]) -> list[float]:
        assert self._model is not None
        shown = [Passage(f"{sentence.before} {sentence.text}".strip(), "", sentence.heading)]
        chats = [chat("question_answering", (), Input(asked), (), shown) for asked in (question, ANY_QUESTION)]
        here, anywhere = self._model.score(chats, spans)
        known = set(terms(question))
        repeated = [_share(terms(span), known) for span in spans]
        return [h - PRIOR * a - REPEATED * r for h, a, r in zip(here, anywhere, repeated, strict=True)]

    def rank(self, question: str, passages: Sequence[Passage]) -> list[tuple[Sentence, float]]:
        """The sentences of the passages with their nearness to the question, nearest first."""
        first: dict[tuple[str, str, str], Sentence] = {}  # passages of one section overlap
        for number, passage in enumerate(passages, 1):
            for sentence in passage_sentences(passage, number):
                first.setdefault((sentence.text, sentence.before, sentence.heading), sentence)
        found = list(first.values())
        near = np.array([overlap(question, s.headed) for s in found], dtype=np.float64)
        if self._embedder is not None and found:
            asked = self._embedded([question], "query")[0]
            near += self._embedded([s.text for s in found]) @ asked + self._embedded([s.headed for s in found]) @ asked
        order = np.argsort(-near, kind="stable")
        return [(found[i], float(near[i])) for i in order]

    def _embedded(self, texts: Sequence[str], role: Role = "document") -> NDArray[np.float32]:
        assert self._embedder is not None
        new = list(dict.fromkeys(text for text in texts if (role, text) not in self._vectors))
        if new:
            vectors = self._embedder.embed(new, role=role)
            self._vectors.update(((role, text), vector) for text, vector in zip(new, vectors, strict=True))
        return np.stack([self._vectors[role, text] for text in texts])


def passage_sentences(passage: Passage, number: int) -> list[Sentence]:
    """The sentences of one passage in order."""
    texts = sentences(passage.text)
    return [Sentence(text, texts[n - 1] if n else "", passage.heading, number) for n, text in enumerate(texts)]


def answer_spans(sentence: str) -> list[str]:
    """Runs of up to `WORDS` words of a sentence that could be an answer, in order, each once."""
    found: dict[str, None] = {}
    for part in INNER.split(sentence):
        words = part.split()
        for start in range(len(words)):
            for end in range(start + 1, min(len(words), start + WORDS) + 1):
                if _is_answer(words[start:end]):
                    found.setdefault(" ".join(words[start:end]).strip(" .,;:!?\"'()|"))
                if words[end - 1][-1] in ",;:.":
                    break  # no answer reaches across
    return [span for span in found if span]


def _is_answer(words: Sequence[str]) -> bool:
    first, last = (re.sub(r"\W", "", word).lower() for word in (words[0], words[-1]))
    if not last or last in EDGES:
        return False
    return first not in EDGES or (first in OPENERS and len(words) > 1)


def _share(words: Sequence[str], known: set[str]) -> float:
    return sum(word in known for word in words) / len(words) if words else 0.0
