"""What can be set about a training, its defaults and the reasons for them, and how many steps follow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from executors.base import Problem, UserError, parse_params

T = TypeVar("T", bound="TuningParams")


@dataclass(frozen=True)
class TuningParams:
    """What LoRA and full fine-tuning have in common."""

    epochs: float = 3.0  # passes over the training rows, at least; see min_steps
    min_steps: int = 100  # optimizer steps, at least: fewer leave a small data set untrained
    learning_rate: float | None = None  # None: by the method and the model's size
    batch_size: int = 8  # rows an optimizer step
    max_length: int = 1024  # tokens a row; longer inputs are cut, and counted
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = 0.06  # share of the steps in which the rate rises
    weight_decay: float = 0.0
    development: float = 0.1  # share of the rows held out to watch the loss on, where there are 50 or more
    checkpoint_steps: int = 25  # optimizer steps between checkpoints: what a kill loses at most


@dataclass(frozen=True)
class PeftParams(TuningParams):
    """LoRA on all linear layers. No dropout by default: it costs a quarter of the speed."""

    rank: int = 16
    alpha: int | None = None  # None: twice the rank
    dropout: float = 0.0


@dataclass(frozen=True)
class FullParams(TuningParams):
    """The model's own weights: all of them, a part of the layers, or all from random ones."""

    checkpoint_steps: int = 50  # each holds the whole model, and twice what of it is trained
    layers: Literal["all", "last", "first_frozen", "scratch"] = "all"
    trained_layers: int | None = None  # with "last"; None: a quarter of the layers
    frozen_layers: int | None = None  # with "first_frozen"; None: half of the layers


def read_params(kind: type[T], given: Mapping[str, Any]) -> T:
    """The parameters, or `UserError` with every fault in them."""
    params, problems = parse_params(kind, given)
    if params is None:
        raise UserError.of(problems)
    return params


DEVELOPMENT_FROM = 50  # rows
DEVELOPMENT_MOST = 200  # rows
SMALL = 1_000_000_000  # parameters; below, a rate 2.5 times higher was better on held-out rows
LORA_RATE = 2e-4
FULL_RATE = {  # shares of LoRA's rate: a pre-trained start takes a tenth of what random weights or new adapters do,
    "all": 0.1,
    "first_frozen": 0.4,  # and more where less is moved: on the demo's requests .80, and .75 with all layers;
    "last": 1.0,  # .47 at a tenth, .69 at two fifths, .75 at LoRA's own
    "scratch": 1.0,
}


LAST_SHARE = 0.25  # of the layers, where `trained_layers` is not given
FROZEN_SHARE = 0.5  # of the layers, where `frozen_layers` is not given


def rate_of(params: TuningParams, model_parameters: int) -> float:
    """The learning rate: as given, else by the model's size and by how much of what it has learnt is moved."""
    if params.learning_rate is not None:
        return params.learning_rate
    rate = LORA_RATE * (2.5 if model_parameters < SMALL else 1)
    return rate * FULL_RATE[params.layers] if isinstance(params, FullParams) else rate


def check_params(params: TuningParams) -> list[Problem]:
    """Every value out of its range."""
    shares = ("warmup", "development") + (("dropout",) if isinstance(params, PeftParams) else ())
    problems = [
        Problem(f"params.{name}: must be from 0 to below 1, got {getattr(params, name)}")
        for name in shares
        if not 0 <= getattr(params, name) < 1
    ]
    above_zero = ["epochs", "batch_size", "checkpoint_steps"]
    above_zero += ["learning_rate"] if params.learning_rate is not None else []
    if isinstance(params, PeftParams):
        above_zero += ["rank"] + (["alpha"] if params.alpha is not None else [])
    problems += [
        Problem(f"params.{name}: must be above 0, got {getattr(params, name)}")
        for name in above_zero
        if not 0 < getattr(params, name) < math.inf
    ]
    problems += [
        Problem(f"params.{name}: must not be negative, got {getattr(params, name)}")
        for name in ("min_steps", "weight_decay")
        if getattr(params, name) < 0
    ]
    if params.max_length < 16:
        problems.append(Problem(f"params.max_length: must be 16 tokens or more, got {params.max_length}"))
    return problems + (_check_layers(params) if isinstance(params, FullParams) else [])


def _check_layers(params: FullParams) -> list[Problem]:
    """Counts of layers: above zero, and only beside the choice they belong to."""
    problems = []
    for name, choice in (("trained_layers", "last"), ("frozen_layers", "first_frozen")):
        count = getattr(params, name)
        if count is not None and count < 1:
            problems.append(Problem(f"params.{name}: must be 1 or more, got {count}"))
        if count is not None and params.layers != choice:
            problems.append(
                Problem(
                    f"params.{name}: given with layers={params.layers}, where it has no meaning",
                    f"params.layers={choice}",
                )
            )
    return problems


def development_rows(params: TuningParams, rows: int) -> int:
    """How many of `rows` rows are held out to watch the loss on; none where each is worth more as a training row."""
    if rows < DEVELOPMENT_FROM or not params.development:
        return 0
    return min(max(1, round(params.development * rows)), DEVELOPMENT_MOST)


def steps_an_epoch(params: TuningParams, rows: int) -> int:
    """Optimizer steps of one pass, where `rows` rows are given."""
    return math.ceil((rows - development_rows(params, rows)) / params.batch_size)


def count_steps(params: TuningParams, rows: int) -> int:
    """Optimizer steps where `rows` rows are given: `epochs` passes, or `min_steps` where that is more."""
    return max(math.ceil(params.epochs * steps_an_epoch(params, rows)), params.min_steps, 1)
