"""How long the training of a language model takes, and what is looked at before and after it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from advisor.hardware import Range, Rig
from advisor.quote import serving_seconds
from advisor.quote.duration import START, step_seconds, training_seconds
from advisor.quote.memory import training_memory
from advisor.quote.shape import Shape
from advisor.quote.tuned import SEARCHED
from advisor.quote.workload import Workload, with_settings
from advisor.work import LOADED, TURN_TOKENS, Rows, add, answers, instruction, over, params_of, shape_of, times
from advisor.work_heads import SIDES, stopping
from executors.base import Plan, to_dict

if TYPE_CHECKING:
    from executors.tuning.params import TuningParams

PASSAGE_TOKENS = 96  # of one that stands in a training prompt, as documents are cut by default
GENERAL = (60, 50.0, 10.0)  # items of the general set, tokens to read and to write of each
PERPLEXED = 0.2  # of a corpus: the texts held out, read before and after
PAIR = 2  # sequences of a preference pair


def tuned(plan: Plan, rows: Rows, rig: Rig) -> Range:
    """The training, the finished model opened anew and its answers."""
    shared, own = instruction(rows), rows.input_tokens + TURN_TOKENS
    answered = answers(plan, rows, rig, shared=shared, own=own)
    compared = times(rows.train, SIDES)
    return add(compared, trained(plan, rows, rig), looked(plan, rows, rig), answered, LOADED)


def preferred(plan: Plan, rows: Rows, rig: Rig) -> Range:
    """Pairs: both answers read as the model began, trained on, and read again where they were held out; the chosen
    answers alone before them where that is asked."""
    params, shape = params_of(plan), shape_of(plan)
    _, work = training(plan, rows)
    text = 2 * shape.body * work.length * PAIR
    read = over((text * rows.train, text * (rows.train + 2 * rows.test)), rig)
    first = trained(plan, rows, rig) if params.sft_first else (0.0, 0.0)
    shared, own = instruction(rows), rows.input_tokens + TURN_TOKENS
    answered = answers(plan, rows, rig, shared=shared, own=own)
    return add(trained(plan, rows, rig, PAIR), first, read, looked(plan, rows, rig), answered, LOADED)


def read_on(plan: Plan, rows: Rows, rig: Rig) -> Range:
    """Windows of the documents, all of whose tokens are trained on, then the held-out rows answered."""
    params, shape = params_of(plan), shape_of(plan)
    tokens = rows.document_tokens / max(1 - params.replay, 0.1)
    windows = replace(rows, train=max(1, round(tokens / params.max_length)), labels=0, alike=1.0)
    whole = replace(windows, input_tokens=0.0, answer_tokens=float(params.max_length))
    perplexed = over((2 * shape.parameters * PERPLEXED * rows.document_tokens,) * 2, rig)
    answered = answers(plan, rows, rig, shared=instruction(rows), own=rows.input_tokens + TURN_TOKENS)
    return add(trained(plan, whole, rig), perplexed, looked(plan, rows, rig), answered, LOADED)


# -- the training itself -------------------------------------------------------------------------------


def trained(plan: Plan, rows: Rows, rig: Rig, factor: float = 1) -> Range:
    """A search where one is asked for, and the training alone, without the start of the program. The least where it
    ends early, as the development loss no longer falls. `factor`: sequences a row stands for."""
    shape, work = training(plan, rows)
    method = _arithmetic(plan)
    peak = training_memory(shape, method, work, rig.kind, factor).range
    params = params_of(plan)
    steps = stopping(params, round(work.rows - work.watched), bool(work.watched))
    low, high = (training_seconds(shape, method, work, rig, count, peak, factor) for count in steps)
    spent = low[0] - START[0], high[2] - START[2]
    return add(searched(params, shape, method, work, rig), spent)


def training(plan: Plan, rows: Rows) -> tuple[Shape, Workload]:
    """The model that is trained, and the work."""
    found = getattr(params_of(plan), "passages", 0) * PASSAGE_TOKENS
    known = Workload(
        rows.train,
        rows.input_tokens + found,
        rows.answer_tokens,
        instruction(rows) + TURN_TOKENS,
        passage_tokens=rows.passage_tokens,
        alike=1.0 if found else rows.alike,
    )
    return shape_of(plan), with_settings(known, to_dict(params_of(plan)))


def _arithmetic(plan: Plan) -> str:
    """The method whose arithmetic it is: reading on with low-rank updates is LoRA's."""
    return "peft" if getattr(params_of(plan), "weights", "all") == "low_rank" else plan.executor


def searched(params: Any, shape: Shape, method: str, work: Workload, rig: Rig) -> Range:
    """Choosing rate, rank and epochs, see `executors.tuning.search`: trials take the time they are given, and a few
    steps before; one that has begun is ended, so that the shortest can exceed it. A rising rate takes its steps."""
    from executors.tuning.search import PROBE, RANGE_ITEMS, searches
    from executors.tuning.trials import MOST, RANGE_STEPS, SHORTEST

    asked = searches(params)
    if asked == "none":
        return (0.0, 0.0)
    low, _, high = step_seconds(shape, method, work, rig)
    if asked == "range":
        looked_at = 1 + RANGE_ITEMS / (3 * params.batch_size)
        return LOADED[0] + RANGE_STEPS / 2 * looked_at * low, LOADED[1] + RANGE_STEPS * looked_at * high
    budget = 60 * params.search_minutes
    steps = work.steps()
    first = LOADED[0] + PROBE * low, LOADED[1] + PROBE * high
    shortest = LOADED[0] + min(SHORTEST, steps) * low, LOADED[1] + min(SHORTEST, steps) * high
    longest = MOST * (LOADED[1] + steps * high)  # all trials, each as long as the training
    least, _, most = (share * min(budget, longest) for share in SEARCHED)
    return add(first, (max(shortest[0], least), max(shortest[1], most)))


def looked(plan: Plan, rows: Rows, rig: Rig) -> Range:
    """What is looked at before and after, see `executors.tuning.aftermath`: some rows answered, their right answers
    read, and a general set."""
    params, n = params_of(plan), shape_of(plan).parameters
    asked = _asked(plan, params, rows)
    shared, own = instruction(rows), rows.input_tokens + TURN_TOKENS
    answered = answers(plan, replace(rows, test=asked), rig, shared=shared, own=own) if asked else (0.0, 0.0)
    read = over((2 * n * asked * (shared + own + rows.answer_tokens),) * 2, rig)
    general = serving_seconds(n, *GENERAL, rig) if params.forgetting else (0.0, 0.0)
    return times(2, add(answered, read, general))


def _asked(plan: Plan, params: TuningParams, rows: Rows) -> int:
    """Rows that are answered before and after: within bounds of what they have to read and to write."""
    from executors.messages import answer_tokens
    from executors.tuning.aftermath import LEAST, READ, TRAINED, WRITTEN
    from executors.tuning.params import development_rows

    if not params.compare or getattr(params, "passages", False):
        return 0
    watched = development_rows(params, rows.train)
    most = min(params.compare, watched or TRAINED)
    written = 0.0 if plan.task == "classification" else min(answer_tokens(plan.task), 8 + 3 * rows.answer_tokens)
    room = min(READ / max(rows.input_tokens, 1), WRITTEN / written if written else READ)
    return min(most, max(LEAST, int(room)), rows.train)
