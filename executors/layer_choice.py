"""A probe on one layer of a model: which layer, by cross-validation on the training rows, and its head.

Features are standardised, for a language model's layers have a few dimensions that dwarf all others; the scaling is
folded into the head. Every layer's vectors come of one pass over each text.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from executors.base import Event, Job, Reporter
from executors.layers import Floats, LayerEmbedder, open_layers
from executors.probe import (
    ALPHAS,
    Head,
    ProbeParams,
    ProbePredictor,
    embed_kept,
    fit_logistic,
    fit_ridge,
    input_text,
    text_notes,
)
from executors.targets import numbers

SAMPLE = 2000  # rows the layer is chosen on, at most
SMALLEST = 1e-6  # spread below which a dimension says nothing


@dataclass(frozen=True)
class Scaling:
    """Mean and spread of each dimension over the training rows, such that scaled vectors have a length of about 1."""

    mean: Floats  # [d]
    spread: Floats  # [d]

    @classmethod
    def of(cls, vectors: Floats) -> Scaling:
        spread = vectors.std(axis=0)
        spread = np.where(spread > SMALLEST, spread, np.inf) * math.sqrt(vectors.shape[1])
        return cls(vectors.mean(axis=0), spread.astype(np.float32))

    def __call__(self, vectors: Floats) -> Floats:
        scaled: Floats = (vectors - self.mean) / self.spread
        return scaled

    def folded(self, head: Head) -> Head:
        """The head that gives for raw vectors what `head` gives for scaled ones."""
        weights: Floats = head.weights / self.spread
        return Head(weights, np.asarray(head.bias - weights @ self.mean, np.float32))


def build_on_layers(job: Job, params: ProbeParams) -> ProbePredictor:
    """The probe on the layer that is asked for, or on the best one. Raises `UserError` for a layer beyond the last."""
    name = job.plan.model if params.model == "language" else job.plan.embedder
    embedder = open_layers(name, params.model, params.pooling, job.report)
    texts = [input_text(row.input) for row in job.rows]
    targets = [row.target for row in job.rows]
    values = numbers(job.rows) if job.plan.task == "regression" else None
    layer, about = _layer(job, params, embedder, texts, targets, values)
    vectors = embed_kept(embedder.at(layer), texts, job.folder, job.report)
    job.report(Event("fit"))
    scaling = Scaling.of(vectors)
    notes = text_notes(embedder, texts, targets if values is None else ())
    if values is not None:
        head, chosen = fit_ridge(scaling(vectors), values, params.alpha)
        span = (float(values.min()), float(values.max()))
        return ProbePredictor(embedder, scaling.folded(head), (), span, {**chosen, **about}, notes)
    head, chosen = fit_logistic(scaling(vectors), targets, job.labels, params.c, params.folds, job.plan.seed)
    return ProbePredictor(embedder, scaling.folded(head), job.labels, about={**chosen, **about}, notes=notes)


def _layer(
    job: Job,
    params: ProbeParams,
    embedder: LayerEmbedder,
    texts: Sequence[str],
    targets: Sequence[str],
    values: NDArray[np.float64] | None,
) -> tuple[int, dict[str, Any]]:
    """The layer, and how it was chosen."""
    if isinstance(params.layer, int):
        return params.layer, {"layer": params.layer, "layer_by": "given"}
    rows = sorted(random.Random(job.plan.seed).sample(range(len(texts)), min(len(texts), SAMPLE)))
    flat = embed_kept(embedder, [texts[row] for row in rows], job.folder, job.report)
    features = flat.reshape(len(rows), embedder.depth, embedder.dimension)
    losses = layer_losses(features, _wanted(job, [targets[row] for row in rows]) if values is None else values[rows],
                          job.report)  # fmt: skip
    best = int(np.argmin(losses))
    shown = {str(layer): round(float(loss), 4) for layer, loss in enumerate(losses)}
    return best, {"layer": best, "layer_by": "cross-validation", "layers": {"by": "squared error", "values": shown}}


def _wanted(job: Job, targets: Sequence[str]) -> Floats:
    """One column a class, 1 where a row is of it and 0 elsewhere: what a ridge is fitted to, [n, classes]."""
    place = {label: n for n, label in enumerate(job.labels)}
    found: Floats = np.eye(len(place), dtype=np.float32)[[place[target] for target in targets]]
    return found


def layer_losses(features: Floats, wanted: NDArray[Any], report: Reporter) -> NDArray[np.float64]:
    """The squared error of ridge on each layer, [depth], each row left out in turn, which has a closed form.

    `features`: [n, depth, d]; `wanted`: [n] numbers, or [n, classes]. For classes as well: on SST-2 (64 rows, five
    draws) it chose layers of mean accuracy .790, the log loss of a logistic head held out in five folds .788, and took
    a tenth of the time; of 25 classes that took three minutes.
    """
    from sklearn.linear_model import RidgeCV

    losses = np.zeros(features.shape[1])
    for layer in range(len(losses)):
        vectors = Scaling.of(features[:, layer])(features[:, layer])
        losses[layer] = -RidgeCV(alphas=ALPHAS).fit(vectors, wanted).best_score_
        report(Event("fit", layer + 1, len(losses)))
    return losses
