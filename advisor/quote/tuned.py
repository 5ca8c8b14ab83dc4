"""Quotes of the methods that train a language model: LoRA, full tuning, continued pre-training, preference tuning."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from advisor.hardware import USABLE, Range, Rig, reference_cpu
from advisor.quote.duration import BACKWARD, FORWARD, RECOMPUTED, training_seconds
from advisor.quote.figures import count, gigabytes, rounded, significant, speed, usd_of
from advisor.quote.memory import (
    ADAPTERS,
    Ends,
    Memory,
    answering_memory,
    state_bytes,
    trained_parameters,
    training_memory,
)
from advisor.quote.record import FORMULA_SOURCES, Quote
from advisor.quote.serving import self_hosted
from advisor.quote.situation import Chosen, Situation, rig_for
from advisor.quote.timed import foretold, remembered
from advisor.quote.workload import Workload
from advisor.texts import read_knowledge, text
from executors.base import Text

if TYPE_CHECKING:
    from executors.tuning.timing import Timing

DOMAIN_TOKENS_UNKNOWN = 100e6
SEARCHED = (0.8, 1.0, 1.1)  # of the minutes that a search is given
DOMAIN_LENGTH = 1024  # tokens that domain text is cut into


@dataclass(frozen=True)
class Tuning:
    """A training before its machine is known. `factor`: sequences a row stands for."""

    method: str
    work: Workload
    steps: int
    said: tuple[Text, ...]
    factor: float = 1
    on_rows: bool = True  # not on domain text


def peft(known: Situation) -> Quote:
    trained = trained_parameters(known.shape, "peft", known.work.training)
    nf4 = text("quote.nf4", gb=gigabytes(0.6 * known.parameters / 1e9))
    variant, rank = known.work.training.variant, known.work.training.rank
    added = text("quote.lora", rank=rank, trainable=count(trained))
    others = read_knowledge("methods/peft.yaml")["variants"].keys() - {"lora", "qlora"}
    if variant in others:
        added = text("quote.variant", name=_title(variant), trainable=count(trained))
    return _quote(known, Tuning("peft", known.work, known.work.steps(), (_about_steps(known.work), added, nf4)))


def _title(variant: str) -> Text:
    title: Text = read_knowledge("methods/peft.yaml")["variants"][variant]["title"]
    return title


def full(known: Situation) -> Quote:
    said = [_about_steps(known.work), text("quote.full")]
    share = known.work.training.layers_share(known.shape.layers)
    if share < 1:
        said.append(text("quote.layers", share=f"{share:.0%}"))
    return _quote(known, Tuning("full", known.work, known.work.steps(), tuple(said)))


def cpt(known: Situation) -> Quote:
    size = known.number("unlabelled_tokens")
    tokens = size or DOMAIN_TOKENS_UNKNOWN
    said = text("quote.cpt" if size else "quote.cpt_assumed", tokens=count(tokens))
    rows = max(tokens / DOMAIN_LENGTH, 1)
    work = replace(known.work, rows=rows, input_tokens=0, instruction_tokens=0, answer_tokens=DOMAIN_LENGTH, even=True)
    steps = max(round(rows / work.training.batch_size), 1)
    work = replace(work, training=replace(work.training, development=0.0, max_length=DOMAIN_LENGTH))
    return _quote(known, Tuning("cpt", work, steps, (said,), on_rows=False))


def preference(known: Situation) -> Quote:
    """DPO with LoRA: each pair is two answers, read by the model that learns and by the one it started as."""
    said = (_about_steps(known.work, epochs=1), text("quote.preference"))
    return _quote(known, Tuning("preference", known.work, known.work.steps(epochs=1), said, factor=2))


def timed_seconds(known: Situation, method: str, steps: int) -> Range:
    """About how long it takes to time `steps` steps here: said before it is done."""
    work = replace(known.work, training=replace(known.work.training, development=0.0))
    rig = known.rig or reference_cpu()
    memory = training_memory(known.shape, method, work, rig.kind)
    low, _, high = training_seconds(known.shape, method, work, rig, steps, memory.range)
    return low, high


def _quote(known: Situation, tuning: Tuning) -> Quote:
    """A method that trains a language model and then serves it itself."""
    rig, hardware, why = _machine(known, tuning)
    memory = training_memory(known.shape, tuning.method, tuning.work, rig.kind, tuning.factor)
    peak, seconds, timed = _figures(known, tuning, rig, memory)
    about_timing = (text("quote.timed", steps=timed.steps, device=timed.device),) if timed else ()
    about_rows = known.about_rows if tuning.on_rows else ()
    hours = rounded((seconds[0] / 3600, seconds[2] / 3600))
    serving = self_hosted(known, known.work.prompt_tokens)
    about_search = _about_search(tuning.work)
    about = (
        *known.about_model,
        *about_rows,
        *tuning.work.about,
        *why,
        *_about_size(tuning, rig, memory),
        *about_search,
    )
    return Quote(
        method=tuning.method,
        memory_gb=rounded((peak[0], peak[2])),
        serve_memory_gb=serving.memory,
        train_hours=hours,
        train_usd=usd_of(hours, rig),
        per_1000_usd=serving.usd,
        per_1000_hours=serving.hours,
        hardware=hardware,
        formula=f"{_memory_formula(known, tuning, rig)}; {_time_formula(known, tuning, rig)}; {serving.formula}",
        assumptions=(*about, *tuning.said, *about_timing, *serving.said),
        sources=FORMULA_SOURCES,
        prices=tuple(dict.fromkeys((*rig.prices, *serving.prices))),
        memory_point_gb=significant(peak[1]),
        train_point_hours=significant(seconds[1] / 3600),
        memory_parts={name: significant(part[1]) for name, part in memory.parts.items()},
        steps_timed=timed.steps if timed else 0,
    )


def _machine(known: Situation, tuning: Tuning) -> Chosen:
    return rig_for(
        known, lambda kind: training_memory(known.shape, tuning.method, tuning.work, kind, tuning.factor).range[0]
    )


def _figures(known: Situation, tuning: Tuning, rig: Rig, memory: Memory) -> tuple[Ends, Ends, Timing | None]:
    """Peak GB and seconds: as steps that were timed on such a machine foretell them, else by the formulas."""
    timing = known.timings.get(tuning.method)
    if timing and rig.kind == ("gpu" if timing.device.startswith("cuda") else "cpu"):
        told = foretold(timing, tuning.method, tuning.work, tuning.steps)
        return remembered(timing), _with_search(told, tuning.work), timing
    # the peak is of training, or of answering the held-out rows where that needs more
    answering = answering_memory(known.shape, tuning.work, rig.kind).ends
    low, likely, high = (max(pair) for pair in zip(memory.ends, answering, strict=True))
    found = training_seconds(known.shape, tuning.method, tuning.work, rig, tuning.steps, memory.range, tuning.factor)
    return (low, likely, high), _with_search(found, tuning.work), None


def _with_search(seconds: Ends, work: Workload) -> Ends:
    """The training and the search before it, which takes the minutes it is given, and may end the last trial after."""
    minutes = work.training.search_minutes
    low, likely, high = (one + share * 60 * minutes for one, share in zip(seconds, SEARCHED, strict=True))
    return low, likely, high


def _about_search(work: Workload) -> tuple[Text, ...]:
    minutes = work.training.search_minutes
    return (text("quote.searched", minutes=f"{minutes:g}"),) if minutes else ()


def _about_size(tuning: Tuning, rig: Rig, memory: Memory) -> tuple[Text, ...]:
    """That the batch as it is set does not fit, where only smaller ones do."""
    if memory.point <= rig.count * rig.memory_gb * USABLE:
        return ()
    have, batch = f"{rig.count * rig.memory_gb:g}", tuning.work.training.batch_size
    return (text("quote.tight", batch=batch, likely=gigabytes(memory.point), have=have),)


def _about_steps(work: Workload, epochs: float | None = None) -> Text:
    steps = work.steps(epochs)
    return text(
        "quote.training",
        rows=f"{work.rows:,.0f}",
        length=f"{work.length:.0f}",
        steps=f"{steps:,}",
        batch=work.training.batch_size,
        passes=f"{steps / work.steps_an_epoch:.2g}",
    )


# -- formulas ------------------------------------------------------------------------------------------


def _memory_formula(known: Situation, tuning: Tuning, rig: Rig) -> str:
    shape, training = known.shape, tuning.work.training
    trained = trained_parameters(shape, tuning.method, training)
    states = state_bytes(shape, tuning.method, trained, rig.kind)
    size = count(shape.parameters)
    if tuning.method in ADAPTERS:
        base = (states["weights"] - 4 * trained) / shape.parameters
        weights = f"{base:g} bytes × {size} + 16 bytes × {count(trained)} trained"
    elif trained < shape.parameters:
        weights = f"4 bytes × {size} + 12 bytes × {count(trained)} trained"
    else:
        weights = f"16 bytes × {size}"
    rows = tuning.factor * training.batch_size
    tokens, answers = tuning.work.computed(rows, tuning.work.length)[0], rows * tuning.work.length
    kept = f"activations of {tokens:,.0f} tokens in {shape.layers:.0f} layers"
    return f"memory = {weights} + {kept} + logits of {answers * tuning.work.trained_share:,.0f} tokens + libraries"


def _time_formula(known: Situation, tuning: Tuning, rig: Rig) -> str:
    work = tuning.work
    passes = FORWARD + BACKWARD[tuning.method] + (RECOMPUTED if work.training.checkpointing else 0)
    tokens = work.computed(tuning.factor * work.training.batch_size, work.length)[0]
    body = count(known.shape.body)
    return (
        f"time = {tuning.steps:,} steps × ({passes} × {body} × {tokens:,.0f} tokens ÷ ({speed(rig)}) + optimizer) "
        "+ start + checkpoints"
    )
