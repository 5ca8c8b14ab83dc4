"""BLEU and chrF of a whole set of texts, as the field reports them, by sacrebleu (Post, 2018); here from 0 to 1.

BLEU (Papineni et al., 2002) against all of a row's targets, smoothed where an order of n-grams has no hit; chrF
(Popović, 2015) against the best of them. Chinese is cut into characters by sacrebleu's `zh` tokenizer, other scripts
without spaces by `char`. Not covered: word segmentation by a dictionary (Japanese, Korean), which sacrebleu leaves to
MeCab.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from executors.base import Prediction, Row, Score
from executors.metrics.intervals import RESAMPLES, Floats, wilson

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric

KANA = re.compile(r"[\u3040-\u30ff]")
HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
HAN_SHARE = 0.2  # of the targets' signs, from which a set is read as one without spaces between words
BLOCK = 250  # resamples whose sums are made at once


def overlap(rows: Sequence[Row], predictions: Sequence[Prediction]) -> dict[str, Score]:
    """BLEU and chrF, with intervals by resampling the rows' counts of n-grams."""
    return {name: _scored(metric, *_texts(rows, predictions)) for name, metric in _metrics(rows).items()}


def row_overlap(name: str, rows: Sequence[Row], predictions: Sequence[Prediction]) -> Floats:
    """What each row adds to BLEU or chrF of the whole set, [n]: their mean is that figure.

    The figure, plus n - 1 times by how much it falls where the row is left out, centred (jackknife, Tukey 1958).
    """
    metric, n = _metrics(rows)[name], len(rows)
    of = _reader(metric)
    counts = np.array(metric._extract_corpus_statistics(*_texts(rows, predictions)))  # type: ignore[arg-type]
    total = counts.sum(axis=0)
    value = of(total)
    if n == 1:
        return np.array([value])
    without = np.array([of(total - own) for own in counts])
    found: Floats = value + (n - 1) * (without.mean() - without)
    return found


def _metrics(rows: Sequence[Row]) -> dict[str, Metric]:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    return {"bleu": BLEU(tokenize=tokenizer_for([row.target for row in rows]), force=True), "chrf": CHRF()}


def _texts(rows: Sequence[Row], predictions: Sequence[Prediction]) -> tuple[list[str], list[list[str | None]]]:
    """Answers, and targets as sacrebleu wants them: the first of every row, the second of every row, …"""
    most = max(len(row.targets) for row in rows)
    targets = [[row.targets[n] if n < len(row.targets) else None for row in rows] for n in range(most)]
    return [p.text.strip() for p in predictions], targets


def tokenizer_for(targets: Sequence[str]) -> str:
    """sacrebleu's tokenizer for the script that the targets are written in."""
    text = "".join(targets)
    if len(HAN.findall(text)) + len(KANA.findall(text)) < HAN_SHARE * max(len(text), 1):
        return "13a"
    return "char" if KANA.search(text) else "zh"


def _scored(metric: Metric, answers: Sequence[str], targets: Sequence[Sequence[str | None]]) -> Score:
    # A set's score is made of the sum of its rows' counts, so resamples need the counts alone; sacrebleu has no public
    # way to them. A test compares what comes of it with `corpus_score`.
    counts = np.array(metric._extract_corpus_statistics(answers, targets))  # type: ignore[arg-type]  # [n, counts]
    of = _reader(metric)
    value, n = of(counts.sum(axis=0)), len(answers)
    if (counts == counts[0]).all():  # nothing to resample, see `intervals.mean_score`
        return wilson(value * n, n)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(RESAMPLES // BLOCK):
        taken = rng.multinomial(n, np.full(n, 1 / n), BLOCK)  # how often a resample has each row
        found += [of(total) for total in taken @ counts]
    low, high = (float(end) for end in np.percentile(found, (2.5, 97.5)))
    if low == high:  # every answer is the target, whatever is resampled
        return wilson(value * n, n)
    return Score(value, min(value, low), max(value, high), n)


def _reader(metric: Metric) -> Callable[[np.ndarray], float]:
    def read(total: np.ndarray) -> float:
        return min(1.0, float(metric._compute_score_from_stats(total.tolist()).score) / 100)

    return read
