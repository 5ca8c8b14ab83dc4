"""How many tokens texts have, counted with the model's own tokenizer where it is on this machine.

The tokenizer's file is read directly, so that neither torch nor the model is loaded; nothing is ever fetched for it.
Not covered: tokenizers that exist only as a SentencePiece model (`tokenizer.model`); tokens are then estimated from
characters, and said to be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from advisor.profile.language import count_tokens
from executors.base import UserError

FRAME = 64  # tokens that an instruction and a chat template put around an input, about
BATCH = 512  # texts encoded at once

Count = Callable[[Sequence[str]], list[float]]
"""Tokens of each text."""


@dataclass(frozen=True)
class Counter:
    """A way to count tokens. `name` is the model whose tokenizer counts, empty where tokens are estimated."""

    count: Count
    name: str = ""


@dataclass(frozen=True)
class Spread:
    """Tokens: the middle, what 95 of 100 stay within, and the most."""

    median: int
    p95: int
    longest: int


@dataclass(frozen=True)
class Lengths:
    """Tokens of inputs (with their passages) and answers against a model's window.

    `beyond` is the share of the rows looked at that do not fit with `FRAME`, None where the window is not known.
    """

    counted_by: str
    rows: int  # looked at
    inputs: Spread
    answers: Spread
    window: int | None
    beyond: float | None


def find_counter(model: str) -> Counter:
    """The tokenizer of `model` (alias, hub id or folder) if it is on this machine, else the estimate by characters."""
    file = _tokenizer_file(model)
    if file is None:
        return Counter(lambda texts: [count_tokens(text) for text in texts])
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count(texts: Sequence[str]) -> list[float]:
        found: list[float] = []
        for start in range(0, len(texts), BATCH):
            batch = tokenizer.encode_batch_fast(list(texts[start : start + BATCH]), add_special_tokens=False)
            found += [len(encoded.ids) for encoded in batch]
        return found

    return Counter(count, model)


def _tokenizer_file(model: str) -> Path | None:
    from executors.models.catalogue import local_folder
    from executors.models.fetch import locate

    try:
        folder = local_folder(model) or locate(model)
    except UserError:  # a folder that is no whole model
        return None
    file = folder / "tokenizer.json" if folder else None
    return file if file and file.is_file() else None


def spread(tokens: Sequence[float]) -> Spread:
    """Percentiles by nearest rank, so that each is the length of a text that is there. `tokens` is not empty."""
    ordered = sorted(tokens)
    ranks = (math.ceil(share * len(ordered)) - 1 for share in (0.5, 0.95, 1.0))
    return Spread(*(math.ceil(ordered[rank]) for rank in ranks))


def share_beyond(inputs: Sequence[float], answers: Sequence[float], window: int | None) -> float | None:
    """The share of rows whose input, answer and frame together exceed the window."""
    if not window or not inputs:
        return None
    return sum(i + a + FRAME > window for i, a in zip(inputs, answers, strict=True)) / len(inputs)
