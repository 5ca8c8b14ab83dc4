"""Decision: what is recommended and everything it rests on. Pure data and pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from advisor.facts import Fact, Value
from executors.base import SCHEMA_VERSION, Text

Verdict = Literal["recommended", "viable", "not_yet", "vetoed"]


@dataclass(frozen=True)
class Step:
    """One edge of the chart as it was walked: what was asked or tested, what held, and why that matters."""

    node: str
    text: Text  # the question or test
    answer: Text  # the branch taken, in words
    why: Text
    source: str  # an id of knowledge/sources.yaml
    strength: str  # strong | moderate | weak
    facts: tuple[str, ...]  # the facts this step looked at
    assumed: bool = False  # the branch rests on an assumed fact


@dataclass(frozen=True)
class Ranked:
    """One method's verdict. `sum` is the arithmetic of a veto; `missing` what a `not_yet` waits for."""

    method: str
    verdict: Verdict
    why: Text
    sum: str = ""
    missing: tuple[Text, ...] = ()
    source: str = ""


@dataclass(frozen=True)
class Flip:
    """One changed fact that changes the methods. For numbers `to` is the threshold, found by search."""

    fact: str
    now: Value | None
    to: Value
    methods: tuple[str, ...]
    text: Text


@dataclass(frozen=True)
class Rung:
    """One step of the way to the target: what to do, when to stop there, what it costs, and the command."""

    text: Text
    gate: Text
    cost: Text
    command: str


@dataclass(frozen=True)
class Confidence:
    """How sure the decision is, from 0 to 1, and the assumed facts that lower it (most telling first)."""

    level: float
    assumed: tuple[str, ...]
    find_out_first: str | None
    text: Text


@dataclass(frozen=True)
class Inputs:
    """What the user pointed at. Paths as given; None where nothing was."""

    data: str | None = None
    test: str | None = None
    docs: str | None = None
    model: str | None = None
    embedder: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """The recommendation. `methods` has one element for a pure method, more for a hybrid."""

    run: str
    methods: tuple[str, ...]
    variant: str  # which form of the method, e.g. few_shot, lora; empty where there is only one
    summary: Text
    path: tuple[Step, ...]
    ranking: tuple[Ranked, ...]
    vetoes: tuple[Ranked, ...]
    flips: tuple[Flip, ...]
    ladder: tuple[Rung, ...]
    confidence: Confidence
    facts: Mapping[str, Fact]
    warnings: tuple[Text, ...] = ()
    risks: tuple[Text, ...] = ()
    quote: Mapping[str, Any] = field(default_factory=dict)
    inputs: Inputs = field(default_factory=Inputs)
    sources: tuple[str, ...] = ()
    created: str = ""  # ISO 8601, UTC
    schema_version: int = SCHEMA_VERSION
