"""How long a head takes on texts that a model has read: a probe's, and a small encoder's that is tuned beneath it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from advisor.hardware import Range, Rig
from advisor.quote.shape import Shape, encoder_shape
from advisor.work import LOADED, MARKS, Rows, add, embedded, over, params_of, shape_of, times
from executors.base import Plan

if TYPE_CHECKING:
    from executors.tuning.encoder.params import EncoderParams

FIT_FLOPS = 1500  # a row, class and dimension, of one logistic fit: scikit-learn took 700 ns for 26 fits on vectors of
# 384 dimensions (210 to 3,000 rows, 2 to 77 classes) where the matrix rate was .09 TFLOP/s
FIT_SECONDS = (0.003, 0.02)  # of a fit, however small
FITTING = (0.1, 1.5)  # scikit-learn's start, and what is written
CHOSEN_BY = 26  # fits of a cross-validation: five folds, five strengths, and the one that is kept
SIDES = (0.2e-3, 1.0e-3)  # seconds a row, to look for near-duplicates and leaks: 4.5 s at 10,000 rows
LOOKS = 10  # at what is watched, after which a training that is as long as 20 has ended, as its loss no longer falls:
# small encoders of five draws of SST-2 (64 rows) ended at the fourth look, one on 168 requests of the demo at the fifth
TRAINED = 3  # a pass that trains all layers, in passes that only read: forward, and twice as much back
ADAPTED = 2  # back through frozen weights is half of that
LAYER_SAMPLE = 2000  # rows that a layer is chosen on, see `executors.layer_choice`
LAYER_READ = (0.3, 1.0)  # of a model's layers are below the best one


def fits(rows: float, shape: Shape, labels: int, count: int, rig: Rig) -> Range:
    """`count` logistic heads; of numbers (no labels) ridge, whose arithmetic is small."""
    flops = count * FIT_FLOPS * rows * labels * shape.width
    return add(times(count, FIT_SECONDS), over((flops, flops), rig))


def probe(plan: Plan, rows: Rows, rig: Rig) -> Range:
    """Every text read once, and a head; where a layer is read, the training texts twice where it is to be chosen."""
    params = params_of(plan)
    if params.model == "best":
        return _either(plan, rows, rig)
    if params.layer is not None or params.model == "language":
        return _on_layers(plan, params, rows, rig)
    read = embedded((rows.train + rows.test) * (rows.input_tokens + MARKS), rig, plan.embedder)
    count = 1 if params.c is not None else CHOSEN_BY
    return add(LOADED, FITTING, read, fits(rows.train, encoder_shape(plan.embedder), rows.labels, count, rig))


def _either(plan: Plan, rows: Rows, rig: Rig) -> Range:
    """Both read the training texts; which of them the head is fitted on and answers is not known."""
    known = {name: value for name, value in plan.params.items() if name != "model"}
    one, other = (replace(plan, params={**known, "model": name}) for name in ("encoder", "language"))
    learning = replace(rows, test=0)
    return (
        probe(one, rows, rig)[0] + probe(other, learning, rig)[0],
        probe(one, learning, rig)[1] + probe(other, rows, rig)[1],
    )


def _on_layers(plan: Plan, params: Any, rows: Rows, rig: Rig) -> Range:
    shape = shape_of(plan) if params.model == "language" else encoder_shape(plan.embedder)
    text = 2 * shape.body * (rows.input_tokens + MARKS)  # FLOPs, through all layers
    once = over((text * (rows.train + rows.test),) * 2, rig)
    head = fits(rows.train, shape, rows.labels, CHOSEN_BY, rig)
    if isinstance(params.layer, int):
        share = min((params.layer + 1) / shape.layers, 1.0)
        return add(LOADED, FITTING, times(share, once), head)
    sampled = min(rows.train, LAYER_SAMPLE)
    all_layers = over((text * sampled,) * 2, rig)
    tried = fits(sampled, shape, rows.labels, round(params.folds * (shape.layers + 1)), rig)
    return add(LOADED, FITTING, all_layers, (LAYER_READ[0] * once[0], LAYER_READ[1] * once[1]), tried, head)


# -- encoders that are tuned ---------------------------------------------------------------------------


def encoder(plan: Plan, rows: Rows, rig: Rig, name: str) -> Range:
    """The encoder `name`: its rows compared, a head to begin from, the passes of its variant, the held-out rows."""
    from executors.tuning.encoder.params import read_encoder_params

    params = read_encoder_params(plan.executor, plan.params)
    variant = params.variant or _usual(rows)
    shape = encoder_shape(name)
    learnt = rows.train - _watched(params, rows)
    one = embedded(min(rows.input_tokens + MARKS, params.max_length), rig, name)
    texts = _texts(params, variant, rows, learnt)
    passes = _passes(params, variant, shape)
    count = CHOSEN_BY if variant == "setfit" else 1
    return add(
        LOADED,
        FITTING,
        times(rows.train, SIDES),
        (passes * texts[0] * one[0], passes * texts[1] * one[1]),
        times(learnt + rows.test, one),  # read for the head it begins from, and to answer
        fits(learnt, shape, rows.labels, count, rig),
        times(_reading(params, variant, shape) * learnt, one),
        _searched(params),
    )


def _usual(rows: Rows) -> str:
    from executors.tuning.encoder.params import CONTRASTIVE_BELOW

    return "setfit" if rows.labels and rows.train / rows.labels < CONTRASTIVE_BELOW else "head_and_all"


def _watched(params: EncoderParams, rows: Rows) -> int:
    """Rows held out to watch the loss on: none where classes are small, see `encoder.params.resolved`."""
    from executors.tuning.encoder.params import WATCHED_FROM
    from executors.tuning.params import development_rows

    few = bool(rows.labels) and rows.train / rows.labels < WATCHED_FROM
    return 0 if few else development_rows(params, rows.train)


def _texts(params: EncoderParams, variant: str, rows: Rows, learnt: int) -> Range:
    """Texts that are trained on, counted as often as they are: the least where the training ends early."""
    if variant == "setfit":
        return (params.contrast_epochs * learnt,) * 2
    steps = stopping(params, learnt, bool(_watched(params, rows)))
    a_step = min(params.batch_size, max(learnt, 1))
    return steps[0] * a_step, steps[1] * a_step


def stopping(params: Any, rows: int, watched: bool) -> tuple[int, int]:
    """Optimizer steps of a training on `rows` rows: fewest where nothing improves after the first look at what is
    watched, and most."""
    from executors.tuning.params import steps_for

    steps = steps_for(params, rows)
    if not watched or not params.patience:
        return steps, steps
    between = min(steps, max(math.ceil(rows / params.batch_size), steps // 20))  # two looks
    return min(steps, (params.patience + 1) * between), min(steps, max(LOOKS, params.patience + 1) * between)


def _passes(params: EncoderParams, variant: str, shape: Shape) -> float:
    """What a text costs that is trained on, in readings."""
    from executors.tuning.encoder.params import ADAPTERS
    from executors.tuning.params import FROZEN_SHARE, LAST_SHARE

    if variant in ADAPTERS:
        return ADAPTED
    if variant == "last_layers":
        moved = params.trained_layers / shape.layers if params.trained_layers else LAST_SHARE
    elif variant == "first_frozen":
        moved = 1 - (params.frozen_layers / shape.layers if params.frozen_layers else FROZEN_SHARE)
    else:
        return TRAINED
    return 1 + (TRAINED - 1) * min(max(moved, 0.0), 1.0)


def _reading(params: EncoderParams, variant: str, shape: Shape) -> float:
    """Readings of each text for continued pre-training, whose logits at every token are as wide as the vocabulary."""
    if variant != "continued":
        return 0.0
    return params.reading_epochs * TRAINED * (1 + shape.vocabulary * shape.width / shape.body)


def _searched(params: EncoderParams) -> Range:
    return (0.0, 0.0)
