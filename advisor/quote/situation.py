"""What quotes are made from: the facts, and what stands in for unknown ones; and the machine a job would run on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from advisor.facts import Facts
from advisor.hardware import USABLE, Rig, own_accelerator, reference_cpu, rent
from advisor.quote.figures import gigabytes
from advisor.quote.memory import Kind
from advisor.quote.shape import Shape, typical
from advisor.quote.workload import ROWS_UNKNOWN, Workload, workload_of
from advisor.texts import text
from executors.base import Text

if TYPE_CHECKING:
    from executors.tuning.timing import Timing

REFERENCE_PARAMETERS = 8e9
SAME_SIZE = 0.02  # difference of two counts of one model's parameters, at most
CPU_AT_MOST = 1.5e9  # parameters; a larger model on a CPU is possible and useless
CPU_MEMORY_GB = 32.0

Chosen = tuple[Rig, Text, tuple[Text, ...]]
"""A machine, its name, and why it is this one."""


@dataclass(frozen=True)
class Given:
    """What a caller knows beyond the facts: each replaces what would be assumed.

    `rig` is the machine the quote is for, this one as it was measured or one that was named; `timings` are of real
    steps on this machine, by method.
    """

    shape: Shape | None = None
    work: Workload | None = None
    rig: Rig | None = None
    timings: Mapping[str, Timing] = field(default_factory=dict)


@dataclass(frozen=True)
class Situation:
    """The facts a quote is made from, with what stands in for unknown ones; the texts tell of it."""

    facts: Facts
    shape: Shape
    work: Workload
    rig: Rig | None
    timings: Mapping[str, Timing]
    about_model: tuple[Text, ...]
    about_rows: tuple[Text, ...]

    @property
    def parameters(self) -> float:
        return self.shape.parameters

    def number(self, fact: str) -> float | None:
        value = self.facts.value(fact)
        return None if value is None else float(value)


def situation(facts: Facts, given: Given | None = None) -> Situation:
    """What is known of the facts, with `given` over it."""
    given = given or Given()
    shape, about_model = _shape(facts, given.shape)
    known = given.work is not None or facts.value("labelled_examples")
    return Situation(
        facts=facts,
        shape=shape,
        work=given.work or workload_of(facts),
        rig=given.rig,
        timings=given.timings,
        about_model=about_model,
        about_rows=() if known else (text("quote.rows_assumed", rows=f"{ROWS_UNKNOWN:,}"),),
    )


def _shape(facts: Facts, measured: Shape | None) -> tuple[Shape, tuple[Text, ...]]:
    """The model's shape and where it is from: `measured`, unless the facts speak of a model of another size."""
    said = facts.value("model_parameters")
    if measured and (not said or abs(float(said) / measured.parameters - 1) < SAME_SIZE):
        source = measured.source
        return measured, (text("quote.shape_measured", path=source) if source else text("quote.shape_typical"),)
    return typical(float(said or REFERENCE_PARAMETERS)), () if said else (text("quote.model_assumed"),)


def rig_for(known: Situation, needed: Callable[[Kind], float]) -> Chosen:
    """The machine a job of `needed(kind)` GB would run on: the one that was given or is the user's, where it fits."""
    if known.rig and known.rig.kind == "gpu":
        return _given_accelerator(known, known.rig, needed("gpu"))
    memory, count = known.number("gpu_memory_gb"), int(known.number("gpu_count") or 1)
    if memory and known.rig is None:
        own = own_accelerator(memory, count)
        if needed("gpu") <= memory * count * USABLE:
            return own, text("quote.own", gb=f"{memory:g}", name=own.name), (text("quote.as_if_rented"),)
        return _another(known, needed("gpu"), "too_small", have=f"{count} × {memory:g}")
    if (memory == 0 or known.rig) and known.parameters <= CPU_AT_MOST:
        cpu, named = _cpu(known)
        if needed("cpu") <= (cpu.memory_gb if known.rig else CPU_MEMORY_GB):
            return cpu, text("quote.cpu", cores=cpu.cores), (named,)
    return _another(known, needed("gpu"), "no_gpu" if memory == 0 or known.rig else "gpu_unknown")


def _cpu(known: Situation) -> tuple[Rig, Text]:
    if known.rig:
        slow, fast = (f"{rate * 1000:.0f}" for rate in known.rig.peak_tflops)
        key = "quote.cpu_measured" if slow == fast else "quote.cpu_measured_busy"
        return known.rig, text(key, gflops=slow, idle=fast)
    return reference_cpu(), text("quote.cpu_reference")


def _given_accelerator(known: Situation, rig: Rig, needed: float) -> Chosen:
    """As many of the named accelerator as hold the job; as the user's own where it is this machine's."""
    count = max(rig.count, math.ceil(needed / (rig.memory_gb * USABLE)))
    if not rig.rented and count > rig.count:
        return _another(known, needed, "too_small", have=f"{rig.count} × {rig.memory_gb:g}")
    rig = replace(rig, count=count)
    name = f"{count} × {rig.name}" if count > 1 else rig.name
    if rig.rented:
        place = "on_premises" if known.facts.value("privacy") == "on_premises" else "rented"
        return rig, text(f"quote.{place}", name=name), ()
    return rig, text("quote.own", gb=f"{rig.memory_gb:g}", name=name), (text("quote.as_if_rented"),)


def _another(known: Situation, needed: float, why: str, **values: str) -> Chosen:
    """A rented machine that holds the job; one of the user's own where the data may not leave the premises."""
    rig = rent(needed)
    if known.facts.value("privacy") == "on_premises":
        told = text("quote.to_be_had", needed=gigabytes(needed), name=rig.name)
        return replace(rig, rented=False), text("quote.on_premises", name=rig.name), (told,)
    told = text(f"quote.{why}", needed=gigabytes(needed), name=rig.name, **values)
    return rig, text("quote.rented", name=rig.name), (told,)
