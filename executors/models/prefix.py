"""What prompts begin with, computed once and kept from one call to the next (key/value cache).

Covered: one model, one beginning at a time: where the next one goes on from it, or has less of it, only what is new is
computed. Weights that have changed since make it void. Not covered: several beginnings at once, as servers keep them.
What is taken up again equals what is computed anew up to rounding, as with any cache of this kind.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from executors.models.device import prepare_torch

KEPT_BYTES = 2 * 1024**3  # a cache that is larger is dropped after its call
WORTH_KEEPING = 8  # tokens; less in common is not taken up


class KeptPrefix:
    """The cache of the last beginning of a model's prompts. Call under `torch.inference_mode`."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._ids: list[int] = []
        self._cache: Any = None
        self._weights = 0
        self.computed = 0  # tokens, over all calls

    def of(self, ids: list[int]) -> Any:
        """The cache of exactly these tokens, at least one. Belongs to this object: copy it before a pass adds to it."""
        weights = _version(self._model)
        same = self._in_common(ids) if weights == self._weights else 0
        cache = self._cache if same else None
        self._ids, self._cache, self._weights = [], None, weights  # whatever stops the pass leaves nothing half done
        if cache is not None:
            cache.crop(same - cache.get_seq_length())  # minus what goes: a length to keep is refused
        if same < len(ids):
            cache = self._continued(cache, ids[same:])
        if _bytes(cache) <= KEPT_BYTES:
            self._ids, self._cache = list(ids), cache
        return cache

    def _in_common(self, ids: Sequence[int]) -> int:
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(self._ids, ids, strict=False)))
        return same if same >= WORTH_KEEPING else 0

    def _continued(self, cache: Any, ids: list[int]) -> Any:
        torch = prepare_torch()
        given = torch.tensor([ids], device=self._model.device)
        self.computed += len(ids)
        return self._model(input_ids=given, past_key_values=cache, use_cache=True, logits_to_keep=1).past_key_values


def _version(model: Any) -> int:
    """A number that grows with every change of a weight in place, as an optimizer makes them."""
    return sum(parameter._version for parameter in model.parameters())


def _bytes(cache: Any) -> int:
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
