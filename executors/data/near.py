"""Held-out texts that are nearly the same as a training text: they make a score look better than it is.

Two texts are compared by the character trigrams they have in common (Jaccard's coefficient, 1901), without case,
punctuation and spacing, in any script, by their first `CHARACTERS`. Every pair is found that reaches the threshold:
two sets that alike share one of their rarest members (prefix filtering, Bayardo et al. 2007), so few pairs need a
count. Not covered: paraphrases, which share few trigrams.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from executors.base import Event, Job, Reporter, Row, Text, silent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]
    Floats = NDArray[np.float64]

THRESHOLD = 0.8  # of the trigrams of two texts together, the share they have in common
HELD_OUT = 2000  # rows compared at most for a profile: drawn, where there are more
TRAIN = 20_000
SHOWN = 5
CHARACTERS = 1000  # of a text that are compared
FEATURES = 1 << 20  # hashed trigrams
BLOCK = 2_000_000  # pairs looked at together
RAREST = 0.4  # of a text's trigrams, those by which pairs are chosen; above 1 - THRESHOLD
COUNTED = 10_000_000  # trigrams laid side by side when pairs are counted: about 250 MB
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
    closest: dict[int, Pair] = {}
    for block in near_pairs([text for _, text in held_out], [text for _, text in against]):
        for a, b, value in zip(*(part.tolist() for part in block), strict=True):
            similarity = round(value, 3)
            if a not in closest or similarity > closest[a].similarity:
                (test_at, test_text), (train_at, train_text) = held_out[a], against[b]
                closest[a] = Pair(test_at, test_text, train_at, train_text, similarity)
    pairs = sorted((closest[a] for a in sorted(closest)), key=lambda pair: -pair.similarity)
    total = len(train) if of_train is None else of_train
    return NearDuplicates(len(pairs), len(held_out), len(against), total, tuple(pairs[:SHOWN]))


# -- rows ----------------------------------------------------------------------------------------------


def find_leaks(rows: Sequence[Row], held_out: Sequence[Row], report: Reporter = silent) -> frozenset[str]:
    """The ids of those `rows` that equal or nearly equal a held-out row.

    They do by their text. Where both rows bring a passage, these must be alike as well: a question may be asked of
    many passages, and an instruction always is. A passage that two rows share makes no leak by itself.
    """
    known, asked = _by_text(rows), _by_text(held_out)
    near = _alike(list(known), list(asked), report)
    passages = {row.input.context for text in near for row in known[text]} - {""}
    near_passages = _alike(list(passages), list({row.input.context for row in held_out} - {""}), report)
    found: set[str] = set()
    for text, others in near.items():
        given = {row.input.context for other in others for row in asked[other]}
        for row in known[text]:
            here = row.input.context
            if not here or "" in given or not given.isdisjoint(near_passages.get(here, ())):
                found.add(row.id)
    return frozenset(found)


def near_groups(rows: Sequence[Row]) -> list[int]:
    """The number of each row's group: near-duplicates by their text, and theirs, are of one group, among those that
    bring the same passage: one question of many passages makes no duplicates."""
    import numpy as np

    numbers: dict[str, int] = {}
    passage = np.array([numbers.setdefault(row.input.context, len(numbers)) for row in rows])
    texts = [row.input.text for row in rows]
    pairs = ((left, right) for left, right, _ in near_pairs(texts, texts))
    same = ((left[passage[left] == passage[right]], right[passage[left] == passage[right]]) for left, right in pairs)
    return join(len(rows), same)


def join(count: int, pairs: Iterable[tuple[Integers, Integers]]) -> list[int]:
    """The number of the group of each of `count` things; those of a pair, and what they are linked to, are in one."""
    import numpy as np
    from scipy.sparse import coo_matrix  # type: ignore[import-untyped]
    from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

    group = np.arange(count)
    for left, right in pairs:
        edges = coo_matrix((np.ones(len(left), dtype=bool), (group[left], group[right])), shape=(count, count))
        group = connected_components(edges, directed=False)[1][group]
    return [int(number) for number in group]


def find_twins(rows: Sequence[Row]) -> dict[str, frozenset[str]]:
    """For each of `rows` that equals or nearly equals another by its text, the ids of those others."""
    known = _by_text(rows)
    near = _alike(list(known), list(known), silent)
    alike = {text: [row.id for other in {text, *others} for row in known[other]] for text, others in near.items()}
    found = {row.id: frozenset(ids) - {row.id} for text, ids in alike.items() for row in known[text]}
    return {name: others for name, others in found.items() if others}


def _by_text(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by their text, without case and spacing: what is the same is compared once."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[" ".join(row.input.text.casefold().split())].append(row)
    return dict(found)


def _alike(texts: Sequence[str], others: Sequence[str], report: Reporter) -> dict[str, list[str]]:
    """For each text that has any, those of `others` that equal or nearly equal it."""
    known = set(others)
    found = {text: [text] for text in texts if text in known}  # marks alone have no trigrams
    for rows, columns, _ in near_pairs(texts, others, report):
        for a, b in zip(rows.tolist(), columns.tolist(), strict=True):
            found.setdefault(texts[a], []).append(others[b])
    return found


# -- pairs of texts ------------------------------------------------------------------------------------


def near_pairs(
    texts: Sequence[str], others: Sequence[str], report: Reporter = silent
) -> Iterator[tuple[Integers, Integers, Floats]]:
    """The pairs that reach `THRESHOLD`: places in `texts`, places in `others`, similarities.

    In blocks of `texts`, whose memory is bounded; in each by the places. Measured on 2 cores: 10,000 × 3,000 texts of
    a sentence take a second, of a thousand characters eight.
    """
    import numpy as np

    if not texts or not others:
        return
    left, right = _trigrams(texts, others)
    sizes, other_sizes = np.diff(left.indptr), np.diff(right.indptr)
    rarest, other_rarest = _prefixes(left), _prefixes(right)
    beyond, other_beyond = sizes - np.diff(rarest.indptr), other_sizes - np.diff(other_rarest.indptr)
    across, block = other_rarest.T.tocsc(), max(1, BLOCK // len(others))
    for start in range(0, len(texts), block):
        shared = (rarest[start : start + block] @ across).tocoo()
        rows, columns = shared.row + start, shared.col
        needed = (sizes[rows] + other_sizes[columns]) * (THRESHOLD / (1 + THRESHOLD))
        likely = shared.data + np.maximum(beyond[rows], other_beyond[columns]) >= needed - 1e-3
        rows, columns, needed = rows[likely], columns[likely], needed[likely]
        common = _count_common(left, right, rows, columns)
        near = np.flatnonzero(common >= needed - 1e-3)
        near = near[np.lexsort((columns[near], rows[near]))]
        rows, columns, common = rows[near], columns[near], common[near]
        report(Event("compare", min(start + block, len(texts)), len(texts)))
        yield rows, columns, common / (sizes[rows] + other_sizes[columns] - common)


def _trigrams(texts: Sequence[str], others: Sequence[str]) -> tuple[Any, Any]:
    """The trigrams of each text as two sparse matrices, 1 where it has one; the rarest trigrams come first."""
    import numpy as np
    from sklearn.feature_extraction.text import HashingVectorizer

    vectoriser = HashingVectorizer(
        analyzer="char",
        ngram_range=(3, 3),
        preprocessor=normalise,
        n_features=FEATURES,
        binary=True,
        norm=None,
        alternate_sign=False,
        dtype=np.float32,
    )
    sides = vectoriser.transform(texts), vectoriser.transform(others)
    counts = sum(np.bincount(side.indices, minlength=FEATURES) for side in sides)
    rank = np.empty(FEATURES, dtype=np.int32)
    rank[np.argsort(counts, kind="stable")] = np.arange(FEATURES, dtype=np.int32)
    ranked = [type(side)((side.data, rank[side.indices], side.indptr), shape=side.shape) for side in sides]
    for side in ranked:
        side.sort_indices()
    return ranked[0], ranked[1]


def _prefixes(sets: Any) -> Any:
    """The rarest members of each set.

    Of two sets with n and m members, p and q of them here and c of these shared, at most c + max(n - p, m - q) are
    common: the shared members up to the last but commoner of both prefixes stand in both, the others in one suffix.
    """
    import numpy as np

    sizes = np.diff(sets.indptr)
    kept = np.ceil(sizes * RAREST).astype(sizes.dtype)
    places = np.arange(sets.nnz) - np.repeat(sets.indptr[:-1], sizes)
    rarest = places < np.repeat(kept, sizes)
    starts = np.concatenate([[0], np.cumsum(kept)])
    return type(sets)((sets.data[rarest], sets.indices[rarest], starts), shape=sets.shape)


def _count_common(left: Any, right: Any, rows: Integers, columns: Integers) -> Any:
    """How many trigrams each pair has in common, in chunks of bounded memory."""
    import numpy as np

    if not len(rows):
        return np.zeros(0)
    chunk = max(1, COUNTED // max(1, int(np.diff(left.indptr).max()) + int(np.diff(right.indptr).max())))
    parts = [
        np.asarray(left[rows[n : n + chunk]].multiply(right[columns[n : n + chunk]]).sum(axis=1)).ravel()
        for n in range(0, len(rows), chunk)
    ]
    return np.concatenate(parts)


def normalise(text: str) -> str:
    """A text without case, punctuation and spacing, a blank on each side so that short ones have trigrams too."""
    words = MARKS.sub(" ", text[:CHARACTERS].casefold()).strip()
    return f" {words} "


def refuse_leaks(job: Job, rows: Sequence[Row]) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """(rows that may be shown, rows that may not as they equal or nearly equal a held-out row), both in order."""
    leaking = job.leaks(rows)
    kept = tuple(row for row in rows if row.id not in leaking)
    return kept, tuple(row for row in rows if row.id in leaking)


def leak_notes(refused: Sequence[Row]) -> tuple[Text, ...]:
    """What a reader of the score must know of the rows `refuse_leaks` kept back; nothing where there are none."""
    if not refused:
        return ()
    count = len(refused)
    rows = (
        "1 training row equals or nearly equals a held-out row and is"
        if count == 1
        else (f"{count:,} training rows equal or nearly equal a held-out row and are")
    )
    return (
        {
            "en": f"{rows} never shown as a demonstration",
            "zh": f"有 {count:,} 行训练数据与留出数据相同或几乎相同，不会用作示例",
        },
    )
