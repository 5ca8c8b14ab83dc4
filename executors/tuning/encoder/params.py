"""What can be set about the tuning of an encoder, the defaults and the reasons for them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from executors.base import Problem
from executors.tuning.params import FullParams, PeftParams, TuningParams, check_params, read_params
from executors.tuning.params import Variant as PeftVariant

ADAPTERS: tuple[str, ...] = get_args(PeftVariant)
Variant = Literal["setfit", "head_and_all", "last_layers", "first_frozen", "scratch", "continued"] | PeftVariant

CONTRASTIVE_BELOW = 8  # rows a class, see `chosen_variant`
WATCHED_FROM = 20  # rows a class; below, each is worth more as a training row than in a curve
RATES: Mapping[str, float] = {
    "head_and_all": 1e-4,
    "setfit": 1e-4,
    "continued": 1e-4,
    "first_frozen": 2e-4,
    "last_layers": 3e-4,
    "scratch": 1e-3,
}
ADAPTER_RATE = 1e-3
NO_CONTRAST = Problem(
    "params.variant: setfit compares classes, and a regression has none",
    "params.variant=head_and_all",
    Problem("params.variant：setfit 比较的是类别，回归任务没有类别", "params.variant=head_and_all"),
)
NO_QLORA = Problem(
    "params.variant: qlora keeps a model of billions of parameters in 4 bits; an encoder has little to save",
    "params.variant=lora trains the same matrices in full precision",
    Problem(
        "params.variant：qlora 用于以 4 比特保存数十亿参数的模型；编码器没有多少内存可省",
        "params.variant=lora 以完整精度训练同样的矩阵",
    ),
)


@dataclass(frozen=True)
class EncoderParams(TuningParams):
    """`variant` None: by the rows a class, see `chosen_variant`. `learning_rate` None: by the variant, see `RATES`."""

    variant: Variant | None = None
    min_steps: int = 150
    batch_size: int = 32
    max_length: int = 256  # tokens a text; also bounded by the encoder's own window
    weight_decay: float = 0.01
    compare: int = 200  # development rows answered before and after, at most: all there are, as it costs little
    checkpoint_steps: int = 100  # each holds the whole encoder, and twice what of it is trained
    contrast_epochs: int = 6  # setfit: passes over the rows, drawn into groups anew each time
    contrast_rows: int = 64  # setfit: texts a step; every two of them are a pair
    group: int = 4  # setfit: texts of one class that stand together in a step
    temperature: float = 0.1  # setfit: of the similarities; lower heeds the hardest pairs more
    reading_epochs: int = 3  # continued: passes of masked reading before the labels
    masked: float = 0.15  # continued: share of the tokens that are hidden and guessed
    trained_layers: int | None = None  # last_layers; None: a quarter of the layers
    frozen_layers: int | None = None  # first_frozen; None: half of the layers
    rank: int = 16  # variants of PEFT, as in `PeftParams`
    alpha: int | None = None
    dropout: float = 0.0
    virtual_tokens: int = 16
    bottleneck: int = 32


def read_encoder_params(method: str, given: Mapping[str, Any]) -> EncoderParams:
    """The parameters as an encoder takes them: of its own method, or of `peft` and `full` with an encoder as model,
    whose given values keep their names. Raises `UserError` with every fault in them."""
    if method == "peft":
        read_params(PeftParams, given)
        return read_params(EncoderParams, {"variant": "lora", **_known(given)})
    if method == "full":
        layers = read_params(FullParams, given).layers
        names = {"all": "head_and_all", "last": "last_layers", "first_frozen": "first_frozen", "scratch": "scratch"}
        return read_params(EncoderParams, {**_known(given), "variant": names[layers]})
    return read_params(EncoderParams, given)


def _known(given: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(EncoderParams)}
    return {name: value for name, value in given.items() if name in names}


def check_encoder_params(params: EncoderParams) -> list[Problem]:
    """Every value out of its range, and every value that the variant has no use for."""
    least = {
        **{"contrast_epochs": 1, "contrast_rows": 4, "group": 2, "reading_epochs": 1, "rank": 1},
        **{"virtual_tokens": 1, "bottleneck": 1},
    }
    problems = [
        _range_problem(name, f"{bound} or more", f"应不小于 {bound}", getattr(params, name))
        for name, bound in least.items()
        if getattr(params, name) < bound
    ]
    if not 0 < params.masked < 1:
        problems.append(_range_problem("masked", "between 0 and 1", "应在 0 与 1 之间", params.masked))
    if not 0 <= params.dropout < 1:
        problems.append(_range_problem("dropout", "from 0 to below 1", "应不小于 0 且小于 1", params.dropout))
    if not 0 < params.temperature < math.inf:
        problems.append(_range_problem("temperature", "above 0", "应大于 0", params.temperature))
    if params.group > params.contrast_rows / 2:
        problems.append(
            _range_problem("group", "at most half of contrast_rows", "应不超过 contrast_rows 的一半", params.group)
        )
    foreign = [name for name in ("replay", "launch") if getattr(params, name)]
    problems += [
        Problem(
            f"params.{name}: an encoder's tuning has none",
            "leave it out",
            Problem(f"params.{name}：不适用于编码器的微调", "请去掉"),
        )
        for name in foreign
    ]
    return check_params(params) + problems + _misplaced(params) + ([NO_QLORA] if params.variant == "qlora" else [])


def _range_problem(name: str, rule: str, rule_zh: str, value: object) -> Problem:
    return Problem(
        f"params.{name}: must be {rule}, got {value}", zh=Problem(f"params.{name}：{rule_zh}，给出的是 {value}")
    )


def _misplaced(params: EncoderParams) -> list[Problem]:
    """Counts of layers: above zero, and only beside the variant they belong to."""
    problems = []
    for name, variant in (("trained_layers", "last_layers"), ("frozen_layers", "first_frozen")):
        count = getattr(params, name)
        if count is not None and count < 1:
            problems.append(_range_problem(name, "1 or more", "应不小于 1", count))
        if count is not None and params.variant != variant:
            problems.append(
                Problem(
                    f"params.{name}: given with variant={params.variant}, where it has no meaning",
                    f"params.variant={variant}",
                    Problem(f"params.{name}：在 variant={params.variant} 时没有意义"),
                )
            )
    return problems


def chosen_variant(params: EncoderParams, task: str, targets: Sequence[str]) -> Variant:
    """The variant as given, else contrastive below `CONTRASTIVE_BELOW` rows a class (pairs make much of few labels),
    and the plain head from there on and for numbers, which are not equal or unequal.

    Below 8 by SetFit's own findings. At 10 a class (Banking77, all-MiniLM-L6-v2, one draw, 500 to 770 rows of the
    training file that were not drawn) a plain head that begins as a probe had .860 to .864, contrast .856, the frozen
    encoder .858: too near to tell apart, and pairs cost more time.
    """
    if params.variant is not None:
        return params.variant
    if task == "regression" or rows_a_class(targets) >= CONTRASTIVE_BELOW:
        return "head_and_all"
    return "setfit"


def rows_a_class(targets: Sequence[str]) -> float:
    """Rows of the median class."""
    sizes = sorted(Counter(targets).values())
    return sizes[len(sizes) // 2] if sizes else 0


def resolved(params: EncoderParams, variant: Variant, task: str, targets: Sequence[str]) -> EncoderParams:
    """`params` with every choice made that depends on the rows: variant, rate, and whether rows are held out."""
    rate = params.learning_rate or RATES.get(variant, ADAPTER_RATE)
    few = task != "regression" and rows_a_class(targets) < WATCHED_FROM
    return replace(params, variant=variant, learning_rate=rate, development=0.0 if few else params.development)
