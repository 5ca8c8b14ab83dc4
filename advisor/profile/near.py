"""Held-out texts that are nearly the same as a training text: they make a score look better than it is.

Two texts are compared by the character trigrams they have in common (Jaccard's coefficient, 1901), without case,
punctuation and spacing, in any script. Both sides are bounded, so all pairs are compared exactly; sketches such as
MinHash pay only beyond that. Not covered: paraphrases, which share few trigrams; the passages that rows bring.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

THRESHOLD = 0.8  # of the trigrams of two texts together, the share they have in common
HELD_OUT = 2000  # rows compared at most: drawn, where there are more
TRAIN = 20_000
SHOWN = 5
CHARACTERS = 1000  # of a text that are compared
FEATURES = 1 << 20  # hashed trigrams
BLOCK = 2_000_000  # pairs compared at once
MARKS = re.compile(r"[\W_]+")

Named = tuple[str, str]
"""(where the text stands, the text)"""


@dataclass(frozen=True)
class Pair:
    """A held-out text and the training text most like it."""

    test: str
    test_text: str
    train: str
    train_text: str
    similarity: float


@dataclass(frozen=True)
class NearDuplicates:
    """`found` of `compared` held-out texts have a near-duplicate among `against` training texts."""

    found: int
    compared: int
    against: int
    of_train: int  # training texts there are; more than `against` where some were drawn
    examples: tuple[Pair, ...]
    threshold: float = THRESHOLD

    @property
    def share(self) -> float:
        return self.found / self.compared if self.compared else 0.0


def find_near_duplicates(
    train: Sequence[Named], test: Sequence[Named], of_train: int | None = None, seed: int = 0
) -> NearDuplicates:
    """Compare every held-out text with every training text, or draws of both. The most alike come first."""
    rng = random.Random(seed)
    held_out = list(test) if len(test) <= HELD_OUT else rng.sample(list(test), HELD_OUT)
    against = list(train) if len(train) <= TRAIN else rng.sample(list(train), TRAIN)
    pairs = [pair for pair in _closest(against, held_out) if pair.similarity >= THRESHOLD] if against else []
    pairs.sort(key=lambda pair: -pair.similarity)
    total = len(train) if of_train is None else of_train
    return NearDuplicates(len(pairs), len(held_out), len(against), total, tuple(pairs[:SHOWN]))


def _closest(train: Sequence[Named], test: Sequence[Named]) -> list[Pair]:
    """For each held-out text the training text most like it."""
    import numpy as np
    from sklearn.feature_extraction.text import HashingVectorizer

    trigrams = HashingVectorizer(
        analyzer="char",
        ngram_range=(3, 3),
        preprocessor=normalise,
        n_features=FEATURES,
        binary=True,
        norm=None,
        alternate_sign=False,
        dtype=np.float32,
    )
    known = trigrams.transform([text for _, text in train])
    asked = trigrams.transform([text for _, text in test])
    known_sizes, asked_sizes = np.diff(known.indptr), np.diff(asked.indptr)
    across, pairs = known.T.tocsc(), []
    rows = max(1, BLOCK // len(train))
    for start in range(0, len(test), rows):
        common = (asked[start : start + rows] @ across).toarray()
        together = asked_sizes[start : start + rows, None] + known_sizes[None] - common
        alike = common / np.maximum(together, 1)
        for row, best in enumerate(alike.argmax(axis=1)):
            (asked_at, asked_text), (known_at, known_text) = test[start + row], train[best]
            similarity = round(float(alike[row, best]), 3)
            pairs.append(Pair(asked_at, asked_text, known_at, known_text, similarity))
    return pairs


def normalise(text: str) -> str:
    """A text without case, punctuation and spacing, a blank on each side so that short ones have trigrams too."""
    words = MARKS.sub(" ", text[:CHARACTERS].casefold()).strip()
    return f" {words} "
