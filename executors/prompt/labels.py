"""From how likely a model finds each label to an answer with probabilities: priors taken off, nearness added.

Covered: batch and contextual calibration (subtracting a label's mean log-probability), the vote of retrieved
demonstrations, ties. Not covered: asking the model (see `predictor`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from executors.base import Prediction
from executors.prompt.demonstrations import Neighbour

SHARPNESS = 0.05  # cosines are divided by it before they are compared: of 0.80 and 0.75, the first counts e-fold
LEAST = 1e-9  # the share of a label that no demonstration bears, for its logarithm's sake


@dataclass(frozen=True)
class LabelScores:
    """What is known of one input: the candidates, each one's log-probability, and its share of the nearest rows."""

    labels: tuple[str, ...]
    values: tuple[float, ...]
    votes: Mapping[str, float]

    def read(self, offsets: Mapping[str, float], neighbours: float) -> Prediction:
        """The likeliest label; probabilities over the candidates sum to one. A tie goes to the first label."""
        own = log_softmax(self.values)
        shares = softmax(
            [
                value - offsets.get(label, 0.0) + neighbours * math.log(self.votes.get(label, 0.0) + LEAST)
                for label, value in zip(self.labels, own, strict=True)
            ]
        )
        scores = {label: round(p, 6) for label, p in zip(self.labels, shares, strict=True)}
        best = self.labels[shares.index(max(shares))]
        return Prediction(best, score=scores[best], scores=scores)


def votes(shown: Sequence[Neighbour]) -> dict[str, float]:
    """Each label's share of exp(cosine / `SHARPNESS`) over the demonstrations shown; sums to one."""
    weights: dict[str, float] = {}
    for neighbour in shown:
        weight = math.exp(neighbour.similarity / SHARPNESS)
        weights[neighbour.row.target] = weights.get(neighbour.row.target, 0.0) + weight
    total = sum(weights.values())
    return {label: weight / total for label, weight in weights.items()}


def prior(scores: Sequence[LabelScores]) -> dict[str, float]:
    """Mean log-probability of each label over inputs that all had the same candidates."""
    rows = [log_softmax(row.values) for row in scores]
    means = [round(sum(column) / len(rows), 6) for column in zip(*rows, strict=True)]
    return dict(zip(scores[0].labels, means, strict=True)) if rows else {}


def average(answers: Sequence[Prediction]) -> Prediction:
    """One answer of several with the same labels: the geometric mean of their probabilities, normalised."""
    labels = list(answers[0].scores)
    means = [sum(math.log(max(a.scores[label], LEAST)) for a in answers) / len(answers) for label in labels]
    return LabelScores(tuple(labels), tuple(means), {}).read({}, 0.0)


def is_tied(prediction: Prediction) -> bool:
    """Whether two labels share the highest probability."""
    ranked = sorted(prediction.scores.values(), reverse=True)
    return len(ranked) > 1 and ranked[0] == ranked[1]


def log_softmax(values: Sequence[float]) -> list[float]:
    """Logarithms of the shares that `values`, themselves logarithms, have in their sum."""
    highest = max(values)
    total = highest + math.log(sum(math.exp(v - highest) for v in values))
    return [v - total for v in values]


def softmax(values: Sequence[float]) -> list[float]:
    """The shares themselves."""
    return [math.exp(v) for v in log_softmax(values)]
