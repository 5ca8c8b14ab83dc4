"""What the figures of speed share: one model, prompts of turns, the clock, and the peer's place."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from statistics import mean, stdev
from typing import Any

from executors.models import LocalModel, load_language_model
from tests.benchmarks.harness import Figure
from tests.benchmarks.prompting.limit import Limit

MODEL = "smollm2-135m-instruct"
COMMAND = "python -m tests.benchmarks.bench_prompting --only "

Chat = list[dict[str, str]]
Row = Mapping[str, str]


@cache
def load() -> tuple[LocalModel, Limit]:
    model = load_language_model(MODEL)
    assert isinstance(model, LocalModel)
    return model, Limit(model.model)


def turns(instruction: str, demonstrations: Sequence[Row], text: str) -> Chat:
    """A chat: the instruction, demonstrations as turns, then the text."""
    messages = [{"role": "system", "content": instruction}]
    for row in demonstrations:
        messages += [{"role": "user", "content": row["text"]}, {"role": "assistant", "content": row["label"]}]
    return [*messages, {"role": "user", "content": text}]


def fresh(model: LocalModel) -> LocalModel:
    """The same weights without what was kept of earlier prompts."""
    return LocalModel(model.model, model.tokenizer, model.name)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds, what it gave)."""
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


def common(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens that all prompts begin with."""
    first, last = min(prompts), max(prompts)
    return next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(map(len, prompts)) - 1)


def times_faster(theirs: Sequence[float], ours: float) -> tuple[float, tuple[float, float]]:
    """How many times our seconds go into the mean of theirs, with the 95 % interval of that mean."""
    air = 1.96 * stdev(theirs) / len(theirs) ** 0.5
    return mean(theirs) / ours, ((mean(theirs) - air) / ours, (mean(theirs) + air) / ours)


def against(limit: Limit, name: str, needed: float, seconds: float, count: int, about: dict[str, str]) -> list[Figure]:
    """What a row took, what it needs, and which share of the limit that is."""
    return [
        Figure(f"{name}: seconds a row", seconds / count, n=count, **about),
        Figure(f"{name}: GFLOP needed a row", needed / count / 1e9, n=count, **about),
        Figure(f"{name}: share of the limit", limit.share(needed, seconds), n=count, **about),
    ]
