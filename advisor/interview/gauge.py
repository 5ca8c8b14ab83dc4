"""Measures what the user points at, while the interview goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from advisor.decision import Inputs
from advisor.facts import Facts
from executors.base import Text, UserError

MACHINE = ("gpu_memory_gb", "gpu_count")


class Gauge(Protocol):
    """What the interview needs measured. Every method raises `UserError` for what cannot be read."""

    def columns(self, data: str) -> tuple[str, ...]:
        """The columns of a file whose roles cannot be told from their names; empty where they can."""

    def measure(self, inputs: Inputs, known: Facts) -> tuple[Facts, tuple[Text, ...]]:
        """The facts of these inputs beside what is known, and what to know about them. Nothing about the machine."""

    def machine(self) -> Facts:
        """The facts of this machine."""


class Profiler:
    """`advisor.profile`, imported on use. The machine is looked at once."""

    def __init__(self) -> None:
        self._machine: Facts | None = None

    def columns(self, data: str) -> tuple[str, ...]:
        from executors.data import read_table, recognise_columns

        table = read_table(Path(data))
        try:
            recognise_columns(table, {})
        except UserError:
            return table.columns
        return ()

    def measure(self, inputs: Inputs, known: Facts) -> tuple[Facts, tuple[Text, ...]]:
        from advisor.profile import measure

        profile = measure(inputs, Facts({name: fact for name, fact in known.items() if fact.origin == "asked"}))
        return profile.facts.without(*MACHINE), profile.warnings

    def machine(self) -> Facts:
        from advisor.profile.machine import machine_facts, measure_machine

        if self._machine is None:
            self._machine = machine_facts(measure_machine())
        return self._machine
