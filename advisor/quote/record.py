"""What a quote says: pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from advisor.hardware import Figure, Range
from executors.base import Text

FORMULA_SOURCES = (
    "https://arxiv.org/abs/2001.08361",
    "https://arxiv.org/abs/1910.02054",
    "https://arxiv.org/abs/2205.05198",
)


@dataclass(frozen=True)
class BreakEven:
    """From how many requests on a tuned model has paid for its training, beside one that is only prompted.

    Ranges are (low, high); an end of None is never reached. `days` where the requests a day are known.
    `always_on` are the requests a day from which on a rented machine that never stops is cheaper than the provider.
    """

    against: str
    requests: tuple[float | None, float | None]
    days: tuple[float | None, float | None] | None
    always_on: Range | None
    saving_per_1000_usd: Range
    text: Text

    @property
    def never(self) -> bool:
        return self.requests == (None, None)


@dataclass(frozen=True)
class Quote:
    """What a method costs. Every range is (low, high); `memory_point_gb` and `train_point_hours` are the likely values.

    `memory_gb` is the peak while training or building, with the answering of held-out rows; `serve_memory_gb` while
    answering (0 where a provider does it); `train_hours` on `hardware`; `per_1000_usd` and `per_1000_hours` are for a
    thousand answers. `memory_parts` are the likely GB of each part.
    """

    method: str
    memory_gb: Range
    serve_memory_gb: Range
    train_hours: Range
    train_usd: Range
    per_1000_usd: Range
    per_1000_hours: Range
    hardware: Text
    formula: str
    assumptions: tuple[Text, ...]
    sources: tuple[str, ...]  # of the formulas
    prices: tuple[Figure, ...] = ()
    stale: bool = False  # one of the prices is too old to be relied on
    memory_point_gb: float = 0.0
    train_point_hours: float = 0.0
    memory_parts: Mapping[str, float] = field(default_factory=dict)
    provider: bool = False  # answers are bought by the token
    steps_timed: int = 0  # real optimizer steps that narrowed it
    break_even: BreakEven | None = None
