"""What an estimate counts: a run's rows and their tokens, and the seconds that reading and answering them takes.

Ranges are (low, high). Arithmetic is that of `advisor.quote.duration`; a machine's speed is its `Rig`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import executors
from advisor.hardware import Range, Rig
from advisor.quote import REFERENCE_PARAMETERS, serving_seconds
from advisor.quote.shape import Shape, encoder_shape, model_shape, typical
from advisor.quote.workload import LABEL_TOKENS
from executors.base import Plan, parse_params

TURN_TOKENS = 12  # a message's own marks in a chat template
INSTRUCTION_TOKENS = 40
MARKS = 2  # tokens around a text that an encoder reads
LOADED = (0.3, 3.0)  # seconds to open a model whose libraries are there: SmolLM2 took 1 to 3, MiniLM .3 to 2


@dataclass(frozen=True)
class Rows:
    """What a run will work through. Tokens are means, estimated."""

    train: int
    test: int
    input_tokens: float
    answer_tokens: float
    labels: int = 0
    document_tokens: int = 0
    grounded: bool = False  # rows bring a passage
    passage_tokens: float = 0.0  # of that passage, within the input,
    alike: float = 1.0  # which so many rows bring


def add(*ranges: Range) -> Range:
    """The sum of the low ends, and of the high ends."""
    return sum(low for low, _ in ranges), sum(high for _, high in ranges)


def times(factor: float, span: Range) -> Range:
    """Both ends, so many times."""
    return factor * span[0], factor * span[1]


def over(flops: Range, rig: Rig) -> Range:
    """Seconds of arithmetic."""
    slow, fast = rig.flops
    return flops[0] / fast, flops[1] / slow


def params_of(plan: Plan) -> Any:
    """The plan's parameters, with its method's defaults."""
    params, _ = parse_params(executors.method(plan.executor).Params, plan.params)
    return params


def shape_of(plan: Plan) -> Shape:
    """Of the plan's language model."""
    return model_shape(plan.model) or typical(REFERENCE_PARAMETERS)


def embedded(tokens: float, rig: Rig, name: str = Plan.embedder) -> Range:
    """Reading so many tokens with an encoder."""
    return over((2 * encoder_shape(name).body * tokens,) * 2, rig)


def instruction(rows: Rows) -> float:
    """Tokens of the instruction that all prompts begin with."""
    return INSTRUCTION_TOKENS + LABEL_TOKENS * rows.labels


def answers(plan: Plan, rows: Rows, rig: Rig, shared: float, own: float) -> Range:
    """Answering every test row: what all prompts share is read once; labels are scored, other answers generated."""
    shape = shape_of(plan)
    once = over((2 * shape.body * shared,) * 2, rig)
    if plan.task == "classification":
        named = LABEL_TOKENS * rows.labels  # as a tree, each after the row's own tokens
        flops = 2 * rows.test * ((own + named) * shape.body + named * shape.vocabulary * shape.width)
        return add(once, over((flops, flops), rig))
    return add(once, serving_seconds(shape.parameters, rows.test, own, max(rows.answer_tokens, 1), rig))
