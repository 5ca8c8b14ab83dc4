"""What can be set about a training, its defaults and the reasons for them, and how many steps follow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

from executors.base import Problem, UserError, parse_params

T = TypeVar("T", bound="TuningParams")

Variant = Literal[
    "lora", "rslora", "dora", "qlora", "ia3", "prompt_tuning", "prefix_tuning", "bottleneck_adapters"
]  # the names of knowledge/methods/peft.yaml


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
    near_duplicates: Literal["keep", "drop"] = "keep"  # training rows that nearly equal an earlier one; listed anyway
    near_leaks: Literal["drop", "keep"] = "drop"  # those that nearly equal a held-out row; kept to compare with others
    checkpoint_steps: int = 25  # optimizer steps between checkpoints: what a kill loses at most
    compare: int = 32  # development rows answered before and after the training, at most; see `aftermath`; 0: none
    forgetting: bool = True  # whether a general set is looked at before and after, see `forgetting`
    replay: float = 0.0  # share of the rows trained on that are general ones, see `replay`
    optimizer: Literal["adamw", "sgd"] = "adamw"
    patience: int = 3  # evaluations without a lower development loss before it stops; 0: never, the last weights stay
    checkpointing: bool = False  # activations are computed again instead of kept: less memory, a third more time
    launch: Literal["", "torchrun", "accelerate"] = ""  # what starts several processes; see `launch`
    processes: int = 1  # each with a share of every step's rows
    shard: bool = False  # and with a part of the model's weights instead of all (FSDP2); see `shards`

    @property
    def rate_share(self) -> float:
        """The learning rate where none is given, as a share of what new weights beside the model's take."""
        return 1.0


@dataclass(frozen=True)
class AnsweringParams(TuningParams):
    """Training on prompts and answers. With `passages` the prompts are those of a RAG's reader, see `grounded`."""

    passages: int = 0  # found in the documents, in each training prompt; 0: the rows alone
    gold: float = 0.8  # share of the rows whose answer was not found that get its passage put in; see `grounded`
    absent: float = 0.0  # share of all rows whose passage is taken out, and which are taught to say that it is missing
    retriever: str = ""  # a finished rag run, whose index and way to search are used; else the defaults of rag
    search: Literal["none", "trials", "range"] = "none"  # how rate, rank and epochs are chosen, see `search`
    search_minutes: float = 0.0  # for trials; above 0 it asks for them


@dataclass(frozen=True)
class PeftParams(AnsweringParams):
    """Added weights, LoRA's on all linear layers first of all. No dropout by default: it costs a quarter of the speed.

    `rank`, `alpha` and `dropout` are LoRA's and its relatives', `virtual_tokens` the soft prompts', `bottleneck` the
    width of bottleneck adapters.
    """

    variant: Variant = "lora"
    rank: int = 16
    alpha: int | None = None  # None: twice the rank
    dropout: float = 0.0
    virtual_tokens: int = 20
    bottleneck: int = 64

    @property
    def rate_share(self) -> float:
        """Other kinds of new weights take other rates than LoRA's."""
        return VARIANT_RATE[self.variant]


@dataclass(frozen=True)
class FullParams(AnsweringParams):
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
SGD_RATE = 200  # times AdamW's: LoRA, 20 steps on XQuAD ended at a loss of 1.08 by AdamW, .76 by this; 40 x: 1.44,
# 1,000 x: 1.85 and rising
FULL_RATE = {  # shares of LoRA's rate: a pre-trained start takes a tenth of what random weights or new adapters do,
    "all": 0.1,
    "first_frozen": 0.4,  # and more where less is moved: on the demo's requests .80, and .75 with all layers;
    "last": 1.0,  # .47 at a tenth, .69 at two fifths, .75 at LoRA's own
    "scratch": 1.0,
}


VARIANT_RATE: Mapping[Variant, float] = {  # shares of LoRA's rate. Measured: loss on 30 held-out requests of the demo
    "lora": 1.0,  # after 30 steps of 4 on SmolLM2-135M; LoRA at its own rate .52
    "qlora": 1.0,
    "dora": 1.0,
    "rslora": 0.5,  # .47: at these ranks the same updates, scaled up fourfold
    "ia3": 50.0,  # .55 at 20 times, .45 at 50, .48 at 100: few weights, each near one, that have far to go
    "prompt_tuning": 60.0,  # .85 to .89 from 20 to 800 times: slow at any rate (.69 after 55 steps)
    "prefix_tuning": 80.0,  # .67 at 20 times, .54 at 80, .57 at 200
    "bottleneck_adapters": 2.0,  # .41, and no better (.40) at 6 times
}
LOW_RANK: tuple[Variant, ...] = ("lora", "rslora", "dora", "qlora")
SOFT: tuple[Variant, ...] = ("prompt_tuning", "prefix_tuning")
VARIANT_SETTINGS: Mapping[str, tuple[Variant, ...]] = {  # which variants a setting belongs to
    "rank": LOW_RANK,
    "alpha": LOW_RANK,
    "dropout": LOW_RANK,
    "virtual_tokens": SOFT,
    "bottleneck": ("bottleneck_adapters",),
}


LAST_SHARE = 0.25  # of the layers, where `trained_layers` is not given
FROZEN_SHARE = 0.5  # of the layers, where `frozen_layers` is not given


def rate_of(params: TuningParams, model_parameters: int) -> float:
    """The learning rate: as given, else by the model's size and by how much of what it has learnt is moved."""
    if params.learning_rate is not None:
        return params.learning_rate
    rate = LORA_RATE * (2.5 if model_parameters < SMALL else 1) * (SGD_RATE if params.optimizer == "sgd" else 1)
    return rate * (FULL_RATE[params.layers] if isinstance(params, FullParams) else params.rate_share)


def check_params(params: TuningParams) -> list[Problem]:
    """Every value out of its range."""
    shares = ("warmup", "development", "replay") + (("dropout",) if isinstance(params, PeftParams) else ())
    problems = [
        Problem(f"params.{name}: must be from 0 to below 1, got {getattr(params, name)}")
        for name in shares
        if not 0 <= getattr(params, name) < 1
    ]
    above_zero = ["epochs", "batch_size", "checkpoint_steps"]
    above_zero += ["learning_rate"] if params.learning_rate is not None else []
    if isinstance(params, PeftParams):
        above_zero += ["rank", "virtual_tokens", "bottleneck"] + (["alpha"] if params.alpha is not None else [])
    problems += [
        Problem(f"params.{name}: must be above 0, got {getattr(params, name)}")
        for name in above_zero
        if not 0 < getattr(params, name) < math.inf
    ]
    problems += [
        Problem(f"params.{name}: must not be negative, got {getattr(params, name)}")
        for name in ("min_steps", "weight_decay", "patience", "compare", "search_minutes")
        if getattr(params, name, 0) < 0
    ]
    if params.max_length < 16:
        problems.append(Problem(f"params.max_length: must be 16 tokens or more, got {params.max_length}"))
    problems += _check_variant(params) if isinstance(params, PeftParams) else []
    return problems + (_check_layers(params) if isinstance(params, FullParams) else [])


def _check_variant(params: PeftParams) -> list[Problem]:
    """Settings that are given with a variant which has no such thing."""
    defaults = {field.name: field.default for field in fields(PeftParams)}
    problems = []
    for name, variants in VARIANT_SETTINGS.items():
        value = getattr(params, name)
        if value != defaults[name] and params.variant not in variants:
            problems.append(
                Problem(
                    f"params.{name}: {value} given with variant={params.variant}, which has none",
                    f"leave it out, or params.variant={variants[0]}",
                    Problem(
                        f"params.{name}：在 variant={params.variant} 下给出了 {value}，该变体没有这一项",
                        f"请去掉，或使用 params.variant={variants[0]}",
                    ),
                )
            )
    if params.variant in SOFT and params.checkpointing:
        problems.append(
            Problem(
                f"params.checkpointing: not with variant={params.variant}: recomputed layers have no virtual tokens",
                "leave it out; a lower params.batch_size saves memory as well",
                Problem(
                    f"params.checkpointing：不能与 variant={params.variant} 同用：重新计算的层里没有虚拟词元",
                    "请去掉；减小 params.batch_size 同样节省内存",
                ),
            )
        )
    return problems


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


def steps_for(params: TuningParams, rows: int) -> int:
    """Optimizer steps where `rows` rows are trained on: `epochs` passes, or `min_steps` where that is more."""
    return max(math.ceil(params.epochs * math.ceil(rows / params.batch_size)), params.min_steps, 1)


def count_steps(params: TuningParams, rows: int) -> int:
    """Optimizer steps where `rows` rows are given: `epochs` passes, or `min_steps` where that is more."""
    return max(math.ceil(params.epochs * steps_an_epoch(params, rows)), params.min_steps, 1)
