"""Regression: mean absolute error, mean squared error, R²; and the number that an answer is read as."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from executors.base import Prediction, Row, Score
from executors.data.numbers import find_numbers, parse_number
from executors.metrics.intervals import Floats, bootstrap, wilson


def regression(rows: Sequence[Row], predictions: Sequence[Prediction]) -> dict[str, Score]:
    values, unread = read_values(rows, predictions)
    scores = {}
    for name, statistic in (("mae", _mean_error), ("mse", _squared_error), ("r2", _r2)):
        low, high = bootstrap(values, statistic)
        scores[name] = Score(float(statistic(values[None])[0]), low, high, len(rows))
    missed = int(unread.sum())
    return {**scores, "unparsed": wilson(missed, len(rows))} if missed else scores


def read_values(rows: Sequence[Row], predictions: Sequence[Prediction]) -> tuple[Floats, Floats]:
    """(target and answer [n, 2], whether no number was read from an answer [n])."""
    targets = np.array([float(row.target) for row in rows])
    read = [read_number(p.text) for p in predictions]
    answers = np.array([_worst(t, targets) if r is None else r for t, r in zip(targets, read, strict=True)])
    return np.stack([targets, answers], axis=1), np.array([float(r is None) for r in read])


def read_number(text: str) -> float | None:
    """The number an answer is, or the only one in it; None where it has none or several."""
    value = parse_number(text)
    found = find_numbers(text) if value is None else [value]
    return found[0] if len(found) == 1 else None


def _worst(target: float, targets: Floats) -> float:
    """What an answer without a number counts as: the end of the targets' range that is farther away."""
    low, high = float(targets.min()), float(targets.max())
    if low == high:
        return target + max(1.0, abs(target))
    return high if high - target > target - low else low


def _mean_error(values: Floats) -> Floats:
    errors: Floats = np.abs(values[..., 0] - values[..., 1]).mean(axis=1)
    return errors


def _squared_error(values: Floats) -> Floats:
    errors: Floats = ((values[..., 0] - values[..., 1]) ** 2).mean(axis=1)
    return errors


def _r2(values: Floats) -> Floats:
    """1 − squared error / squared deviation from the mean; of equal targets 1 where all are right, else 0."""
    targets = values[..., 0]
    error = ((targets - values[..., 1]) ** 2).sum(axis=1)
    spread = ((targets - targets.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    flat = np.ptp(targets, axis=1) == 0  # rounding can leave a spread above 0
    found: Floats = np.where(flat, (error == 0).astype(float), 1 - error / np.where(flat, 1, spread))
    return found
