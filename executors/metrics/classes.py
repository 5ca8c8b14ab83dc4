"""Classification: accuracy; precision, recall and F1 averaged over the classes; and each class by itself.

The classes are those that the held-out rows have. A class that is never answered has a precision of 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from executors.base import ClassScore, Prediction, Row, Score
from executors.metrics.intervals import RESAMPLES, Floats, wilson

MACRO = ("macro_f1", "macro_precision", "macro_recall")


def classification(rows: Sequence[Row], predictions: Sequence[Prediction]) -> dict[str, Score]:
    """Accuracy, and the macro averages of F1, precision and recall."""
    pairs = _pairs(rows, predictions)
    right = sum(target == text for target, text in pairs)
    return {"accuracy": wilson(right, len(rows)), **_macro(pairs)}


def class_scores(rows: Sequence[Row], predictions: Sequence[Prediction]) -> dict[str, ClassScore]:
    """Each class of the rows, by name: its rows, how often it was answered, precision, recall and F1."""
    pairs = _pairs(rows, predictions)
    hits = Counter(target for target, text in pairs if target == text)
    wanted, answered = Counter(target for target, _ in pairs), Counter(text for _, text in pairs)
    return {name: _class(hits[name], count, answered[name]) for name, count in sorted(wanted.items())}


def row_macro(name: str, rows: Sequence[Row], predictions: Sequence[Prediction]) -> Floats:
    """What each row adds to a macro average of the whole set, [n]: their mean is that figure.

    Each class's figure is a ratio of counts; a row's part in it is linear around what all rows give (influence
    function, Hampel 1974): for F1, 2·hits / (rows + answers), it is (2·hit − F1·(row + answer)) / (rows + answers).
    """
    pairs = _pairs(rows, predictions)
    n, labels = len(pairs), sorted({target for target, _ in pairs})
    wanted = np.array([[target == label for label in labels] for target, _ in pairs], dtype=float)  # [n, classes]
    answered = np.array([[text == label for label in labels] for _, text in pairs], dtype=float)
    tops = wanted * answered
    if name == "macro_f1":
        tops, below = 2 * tops, wanted + answered
    else:
        below = answered if name == "macro_precision" else wanted
    totals = np.maximum(below.sum(axis=0), 1)
    ratios = tops.sum(axis=0) / totals
    found: Floats = ratios.mean() + n * ((tops - ratios * below) / totals).mean(axis=1)
    return found


def _class(hits: int, rows: int, answered: int) -> ClassScore:
    precision = hits / answered if answered else 0.0
    return ClassScore(
        rows, answered, round(precision, 6), round(hits / rows, 6), round(2 * hits / (rows + answered), 6)
    )


def _pairs(rows: Sequence[Row], predictions: Sequence[Prediction]) -> list[tuple[str, str]]:
    """(target, answer) of every row."""
    return [(row.target, p.text.strip()) for row, p in zip(rows, predictions, strict=True)]


def _macro(pairs: Sequence[tuple[str, str]]) -> dict[str, Score]:
    """The macro averages; resampled through the counts of (target, answer) pairs."""
    counts = Counter(pairs)
    classes = {label: n for n, label in enumerate(sorted({target for target, _ in pairs}))}
    cells = np.zeros((3, len(counts), len(classes)))  # what a pair adds to: hits, rows of a class, answers of a class
    for n, (target, text) in enumerate(counts):
        cells[0, n, classes[target]] = target == text
        cells[1, n, classes[target]] = 1
        if text in classes:
            cells[2, n, classes[text]] = 1
    observed = np.array([list(counts.values())], dtype=float)
    values = _averages(observed, cells)[:, 0]
    if len(counts) == 1 or all(target == text for target, text in counts):  # no spread, see `intervals.mean_score`
        bounds = [wilson(value * len(pairs), len(pairs)) for value in values]
        low, high = np.array([b.low for b in bounds]), np.array([b.high for b in bounds])
    else:
        draws = np.random.default_rng(0).multinomial(len(pairs), observed[0] / len(pairs), RESAMPLES)
        low, high = np.percentile(_averages(draws.astype(float), cells), (2.5, 97.5), axis=1)
    return {name: Score(float(values[n]), float(low[n]), float(high[n]), len(pairs)) for n, name in enumerate(MACRO)}


def _averages(counts: Floats, cells: Floats) -> Floats:
    """Macro F1, precision and recall [3, b] of counts of pairs [b, k]; classes without rows in a resample are not part
    of its means."""
    hits, rows, answers = (counts @ cell for cell in cells)  # each [b, classes]
    present = rows > 0
    figures = (2 * hits / np.maximum(rows + answers, 1), hits / np.maximum(answers, 1), hits / np.maximum(rows, 1))
    means: Floats = np.stack([(figure * present).sum(axis=1) / present.sum(axis=1) for figure in figures])
    return means
