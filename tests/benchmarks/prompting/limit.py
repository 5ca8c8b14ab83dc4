"""The physical limit: the operations that a piece of work needs, over what this machine's matrix products reach."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

ROUNDS = 30


class Limit:
    """Operations of a decoder's forward passes, and the rate they are compared with."""

    def __init__(self, model: Any) -> None:
        config = model.config.get_text_config()
        self.hidden, self.inner = config.hidden_size, config.intermediate_size
        self.vocabulary, self.layers = config.vocab_size, config.num_hidden_layers
        self.device = model.device
        embeddings = model.get_input_embeddings().weight.numel()
        self.weights = sum(p.numel() for p in model.parameters()) - embeddings  # tied: the output's are the same
        self.rate = 0.0

    def measure(self) -> None:
        """Float32 operations a second of the model's own layers' product, the best seen so far."""
        import torch

        left, right = torch.randn(512, self.hidden), torch.randn(self.hidden, self.inner)
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            left @ right
            self.rate = max(self.rate, 2 * 512 * self.hidden * self.inner / (time.perf_counter() - begin))

    def operations(self, passes: Iterable[tuple[int, int, int]]) -> float:
        """Of passes of (tokens in the cache, new tokens, positions whose logits are wanted).

        2 a weight and token (Kaplan et al. 2020, §2.1), 4 a layer, channel and pair of tokens one of which sees the
        other, and the product with the vocabulary where logits are wanted.
        """
        total = 0.0
        for cached, new, logits in passes:
            pairs = new * cached + new * (new + 1) / 2
            total += 2 * self.weights * new + 4 * self.layers * self.hidden * pairs
            total += 2 * self.hidden * self.vocabulary * logits
        return total

    def share(self, operations: float, seconds: float) -> float:
        """Of the limit that was reached."""
        return operations / seconds / self.rate
