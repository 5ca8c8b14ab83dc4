"""What prompts begin with, computed once and kept from one call to the next (key/value caches).

Covered: one model, the last few beginnings (an ensemble's prompts take turns): where a new one goes on from one of
them, or has part of it, only what is new is computed. Weights that have changed since make all void. What is taken up
again equals what is computed anew up to rounding, as with any cache of this kind.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from executors.models.device import prepare_torch
from executors.models.packing import branch

KEPT_BYTES = 2 * 1024**3  # of all caches together; the oldest go first
KEPT_MOST = 16
WORTH_KEEPING = 8  # tokens; less in common is not taken up


@dataclass(frozen=True)
class Kept:
    """A beginning and its cache."""

    ids: tuple[int, ...]
    cache: Any


class KeptPrefixes:
    """The caches of the last beginnings of a model's prompts. Call under `torch.inference_mode`."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._kept: list[Kept] = []  # the last used at the end
        self._weights = 0
        self.computed = 0  # tokens, over all calls

    def of(self, ids: list[int]) -> Any:
        """The cache of exactly these tokens, at least one. Belongs to this object: copy it before a pass adds to it."""
        weights = _version(self._model)
        if weights != self._weights:
            self._kept, self._weights = [], weights
        same, nearest = max(((_in_common(k.ids, ids), n) for n, k in enumerate(self._kept)), default=(0, -1))
        if same < WORTH_KEEPING:
            return self._keep(Kept(tuple(ids), self._continued(None, ids)))
        found = self._kept[nearest]
        if same == len(found.ids) or same > len(found.ids) - WORTH_KEEPING:
            del self._kept[nearest]  # it is replaced by what goes on from it
        if same == len(found.ids) == len(ids):
            return self._keep(found)
        cache = branch(found.cache)
        if same < len(found.ids):
            cache.crop(same - len(found.ids))  # minus what goes: a length to keep is refused
        return self._keep(Kept(tuple(ids), self._continued(cache, ids[same:])))

    def _keep(self, kept: Kept) -> Any:
        self._kept.append(kept)
        while len(self._kept) > KEPT_MOST or sum(_bytes(k.cache) for k in self._kept) > KEPT_BYTES:
            del self._kept[0]
        return kept.cache

    def _continued(self, cache: Any, ids: list[int]) -> Any:
        if not ids:
            return cache
        torch = prepare_torch()
        given = torch.tensor([ids], device=self._model.device)
        self.computed += len(ids)
        return self._model(input_ids=given, past_key_values=cache, use_cache=True, logits_to_keep=1).past_key_values


def _in_common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many leading tokens two sequences share."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _version(model: Any) -> int:
    """A number that grows with every change of a weight in place, as an optimizer makes them."""
    return sum(parameter._version for parameter in model.parameters())


def _bytes(cache: Any) -> int:
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
