"""What a quote can measure without a model: the configuration's shape, and lengths of the user's rows in tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean

from advisor.decision import Inputs
from advisor.facts import Facts
from advisor.quote.shape import model_shape
from advisor.quote.situation import Given
from advisor.quote.workload import Workload, workload_of
from advisor.texts import text
from executors.base import UserError

COUNTED = 2000  # rows whose tokens are counted


def given_of(facts: Facts, inputs: Inputs) -> Given:
    """The shape and the lengths of a decision's inputs, as far as they can be had: what is wrong with inputs is told
    where they are measured for the decision, so that here they only count as unknown."""
    try:
        shape = model_shape(inputs.model) if inputs.model else None
    except UserError:
        shape = None
    try:
        work = measured_work(facts, inputs)
    except UserError:
        work = None
    return Given(shape=shape, work=work)


def measured_work(facts: Facts, inputs: Inputs, rows: int | None = None) -> Workload | None:
    """The workload with lengths counted on `inputs.data`: by the model's own tokenizer where it is here, else estimated
    from characters. None without such a file, or where it is too large to be read for this.

    Raises `UserError` for data that cannot be used.
    """
    from advisor.profile.data import data_spec, is_large

    task = facts.value("task")
    if not inputs.data or task is None or not Path(inputs.data).is_file() or is_large(inputs):
        return None
    from advisor.profile.lengths import find_counter
    from executors.base import Plan
    from executors.data import load_dataset

    data = load_dataset(data_spec(inputs), str(task), 0)
    counter, counted = find_counter(inputs.model or Plan.model), data.train[:COUNTED]
    asked = fmean(counter.count([f"{row.input.context}\n{row.input.text}".strip() for row in counted]))
    answer = max(fmean(counter.count([row.target for row in counted])), 1.0)
    told = text("quote.tokens_measured", path=inputs.data, input=f"{asked:.0f}", output=f"{answer:.0f}")
    work = workload_of(facts, rows or int(facts.value("labelled_examples") or len(data.train)))
    passages = [row.input.context for row in counted if row.input.context]
    alike = len(counted) / len(set(passages)) if len(passages) == len(counted) else 1.0
    return replace(
        work,
        input_tokens=asked,
        answer_tokens=answer,
        held_out=float(len(data.test)),
        passage_tokens=fmean(counter.count(passages)) if alike > 1 else 0.0,
        alike=alike,
        about=(told,),
    )
