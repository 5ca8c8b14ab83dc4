"""Perplexity: how surprised a language model is by the right answers, e to the mean nats a token (Jelinek, 1977).

Of the first target of each row, the token that ends it included, given the prompt. Depends on how a tokenizer cuts, so
that models of different tokenizers cannot be compared by it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from executors.base import Score
from executors.metrics.intervals import Floats, bootstrap

MOST = 50.0  # nats a token, beyond which the figure means nothing


def perplexity(costs: Sequence[tuple[float, int]]) -> Score:
    """Of (nats, tokens) of each row; the interval is of resampled rows."""
    values = np.array(costs, dtype=float)  # [n, 2]
    low, high = bootstrap(values, _perplexity)
    return Score(float(_perplexity(values[None])[0]), low, high, len(values))


def _perplexity(values: Floats) -> Floats:
    """[b] of values [b, n, 2]."""
    nats, tokens = values[..., 0].sum(axis=1), values[..., 1].sum(axis=1)
    found: Floats = np.exp(np.minimum(nats / tokens, MOST))
    return found
