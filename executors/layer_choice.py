"""A probe on one layer of a model: which layer, by cross-validation on the training rows, and its head; and whether the
encoder's vectors or the language model's layers tell more of them.

Features are standardised, for a language model's layers have a few dimensions that dwarf all others; the scaling is
folded into the head. Every layer's vectors come of one pass over each text.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from executors.base import Event, Job, Reporter, silent
from executors.layers import Floats, Kind, LayerEmbedder, open_layers
from executors.probe import (
    ALPHAS,
    Head,
    OpenEmbedder,
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


def better_features(job: Job, params: ProbeParams, open_embedder: OpenEmbedder) -> tuple[ProbeParams, dict[str, Any]]:
    """The parameters with `model` decided by the squared error on rows left out in turn, and what it was decided by."""
    rows = _sampled(job)
    texts = [input_text(job.rows[row].input) for row in rows]
    encoder = open_embedder(job.plan.embedder, job.report)
    vectors = embed_kept(encoder, texts, job.folder, job.report)
    layers = open_layers(job.plan.model, "language", None, job.report)
    flat = embed_kept(layers, texts, job.folder, job.report)
    wanted = _wanted(job, rows)
    losses = {
        "encoder": layer_losses(vectors[:, None], wanted),
        "language": layer_losses(flat.reshape(len(rows), layers.depth, layers.dimension), wanted, job.report),
    }
    least = {name: round(float(found.min()), 4) for name, found in losses.items()}
    best: Kind = "encoder" if least["encoder"] <= least["language"] else "language"
    return replace(params, model=best), {"model": best, "models": {"by": "squared error", "values": least}}


def build_on_layers(job: Job, params: ProbeParams, compared: Mapping[str, Any]) -> ProbePredictor:
    """The probe on the layer that is asked for, or on the best one; `compared`: how the model was chosen, if it was.

    Raises `UserError` for a layer beyond the last.
    """
    kind: Kind = "language" if params.model == "language" else "encoder"
    name = job.plan.model if kind == "language" else job.plan.embedder
    embedder = open_layers(name, kind, params.pooling, job.report)
    texts = [input_text(row.input) for row in job.rows]
    targets = [row.target for row in job.rows]
    values = numbers(job.rows) if job.plan.task == "regression" else None
    layer, about = _layer(job, params, embedder, texts)
    about |= compared
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
) -> tuple[int, dict[str, Any]]:
    """The layer, and how it was chosen."""
    if isinstance(params.layer, int):
        return params.layer, {"layer": params.layer, "layer_by": "given"}
    rows = _sampled(job)
    flat = embed_kept(embedder, [texts[row] for row in rows], job.folder, job.report)
    features = flat.reshape(len(rows), embedder.depth, embedder.dimension)
    losses = layer_losses(features, _wanted(job, rows), job.report)
    best = int(np.argmin(losses))
    shown = {str(layer): round(float(loss), 4) for layer, loss in enumerate(losses)}
    return best, {"layer": best, "layer_by": "cross-validation", "layers": {"by": "squared error", "values": shown}}


def _sampled(job: Job) -> list[int]:
    """The rows that are chosen by."""
    return sorted(random.Random(job.plan.seed).sample(range(len(job.rows)), min(len(job.rows), SAMPLE)))


def _wanted(job: Job, rows: Sequence[int]) -> NDArray[Any]:
    """What a ridge is fitted to: numbers [n], or one column a class, 1 where a row is of it and 0 elsewhere."""
    if job.plan.task == "regression":
        return numbers(job.rows)[list(rows)]
    place = {label: n for n, label in enumerate(job.labels)}
    return np.eye(len(place), dtype=np.float32)[[place[job.rows[row].target] for row in rows]]


def layer_losses(features: Floats, wanted: NDArray[Any], report: Reporter = silent) -> NDArray[np.float64]:
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
