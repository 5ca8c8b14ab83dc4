"""Facts: what is known of a task, each with where it came from. The vocabulary is `knowledge/facts.yaml`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from executors.base import Text

Value = str | int | float | bool
Origin = Literal["asked", "measured", "assumed"]


@dataclass(frozen=True)
class Fact:
    """A value and the reason to believe it. `evidence` says what was measured, or why this was assumed."""

    id: str
    value: Value
    origin: Origin
    evidence: Text = field(default_factory=dict)


class Facts(Mapping[str, Fact]):
    """What is known. A fact that is not here is unknown: never zero, never false."""

    def __init__(self, facts: Mapping[str, Fact] | None = None) -> None:
        self._facts = dict(facts or {})

    def __getitem__(self, fact_id: str) -> Fact:
        return self._facts[fact_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)

    def value(self, fact_id: str) -> Value | None:
        """The value, or None where it is unknown."""
        fact = self._facts.get(fact_id)
        return None if fact is None else fact.value

    def with_(self, *facts: Fact) -> Facts:
        """These facts with some added or replaced."""
        return Facts({**self._facts, **{f.id: f for f in facts}})
