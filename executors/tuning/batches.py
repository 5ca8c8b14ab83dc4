"""Token rows as tensors, so that no work is done twice: two layouts with the same loss.

Padded: a row a line, like lengths together. Shared: what the rows of a batch begin with (the instruction, the labels,
a passage) once, then each row's own part, which sees the beginning and itself only. In both the logits, the widest
tensor of all, are computed at the trained positions alone.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence, Sized
from typing import TYPE_CHECKING, Any, TypeVar

from executors.tuning.rows import IGNORED, TokenRow

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T", bound=Sized)

GAIN = 0.9  # the shared layout is used where it needs at most this share of the padded one's tokens
POOL = 50  # batches sorted by length together, at most
LONGEST = 4096  # tokens of the shared layout, whose mask grows with their square


class Collator:
    """A batch's tensors from its rows: what the model takes, and `labels`.

    ``labels[:, 1:]`` are the targets of the logits that are kept; its first column is a filler, so that counting
    trained tokens gives the same with and without the shift causal losses make.
    """

    def __init__(self, filler: int, shares: bool) -> None:
        """`filler`: the id padding has. `shares`: whether the model is right with a mask of our own."""
        self.filler, self.shares = filler, shares
        self.tokens = 0  # seen so far, as if every row stood alone

    def __call__(self, items: Sequence[Sequence[TokenRow]]) -> dict[str, Tensor]:
        """`items` holds one batch of rows: batches are made before, see `plan_steps`."""
        rows = [row for item in items for row in item]
        self.tokens += sum(map(len, rows))
        begin = common_beginning(rows) if self.shares else 0
        shared = begin + sum(len(row) - begin for row in rows)
        padded = len(rows) * max(map(len, rows))
        if begin and shared <= min(GAIN * padded, LONGEST):
            return shared_batch(rows, begin)
        return padded_batch(rows, self.filler)


def plan_steps(rows: Sequence[T], size: int, steps: int, seed: int) -> list[list[T]]:
    """The rows of each of `steps` optimizer steps, `size` at most: every row once an epoch, like lengths together.

    Made before training, so that a resumed one goes on with the very batches it would have had. (The trainer's own
    grouping by length draws an epoch's order from a random state that no longer exists when it is resumed within it.)
    """
    planned: list[list[T]] = []
    for epoch in itertools.count():
        if len(planned) >= steps:
            break
        planned += _epoch(rows, size, random.Random(f"{seed} {epoch}"))
    return planned[:steps]


def _epoch(rows: Sequence[T], size: int, chance: random.Random) -> list[list[T]]:
    """All rows in random order, sorted by length within pools of a quarter at most, so that batches still vary."""
    pool = size * min(max(1, len(rows) // (4 * size)), POOL)
    batches = []
    for chosen in _chunks(chance.sample(list(rows), len(rows)), pool):
        batches += _chunks(sorted(chosen, key=len), size)
    chance.shuffle(batches)
    return batches


def _chunks(rows: list[T], size: int) -> list[list[T]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def even_batches(rows: Sequence[T], size: int) -> list[list[T]]:
    """All rows once, sorted by length, in batches of almost one size: each weighs the same in a mean over batches."""
    return _chunks(sorted(rows, key=len), math.ceil(len(rows) / math.ceil(len(rows) / size)))


def common_beginning(rows: Sequence[TokenRow]) -> int:
    """How many leading prompt tokens all rows share, leaving each at least one of its own to predict from."""
    first, last = min(row.prompt for row in rows), max(row.prompt for row in rows)  # the extremes share least
    same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))
    return min(same, min(len(row.prompt) for row in rows) - 1)


def padded_batch(rows: Sequence[TokenRow], filler: int) -> dict[str, Tensor]:
    """One line a row, padded on the left, so that the answers stand together at the end."""
    import torch

    width = max(map(len, rows))
    trained = max(len(row.answer) for row in rows)
    pads = [width - len(row) for row in rows]
    ids = torch.tensor([[filler] * pad + list(row.tokens) for pad, row in zip(pads, rows, strict=True)])
    mask = torch.tensor([[0] * pad + [1] * (width - pad) for pad in pads])
    labels = [[IGNORED] * (trained + 1 - len(row.answer)) + list(row.answer) for row in rows]
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "position_ids": (mask.cumsum(-1) - 1).clamp(min=0),
        "logits_to_keep": torch.arange(width - trained - 1, width - 1),
        "labels": torch.tensor(labels),
    }


def shared_batch(rows: Sequence[TokenRow], begin: int) -> dict[str, Tensor]:
    """One line for all rows: the `begin` tokens they share, then what is each row's own."""
    import torch

    ids, positions, owner = list(rows[0].prompt[:begin]), list(range(begin)), [-1] * begin
    predictors: list[int] = []
    for number, row in enumerate(rows):
        predictors += range(len(ids) + len(row.prompt) - begin - 1, len(ids) + len(row) - begin - 1)
        ids += row.tokens[begin:]
        positions += range(begin, len(row))
        owner += [number] * (len(row) - begin)
    group, order = torch.tensor(owner), torch.arange(len(owner))
    seen = ((group[:, None] == group) | (group == -1)) & (order[:, None] >= order)
    labels = [IGNORED, *itertools.chain.from_iterable(row.answer for row in rows)]
    return {
        "input_ids": torch.tensor([ids]),
        "attention_mask": seen[None, None],
        "position_ids": torch.tensor([positions]),
        "logits_to_keep": torch.tensor(predictors),
        "labels": torch.tensor([labels]),
    }


def completion_loss(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Mean cross-entropy over the trained tokens, in nats; by `num_items_in_batch` where a step has several batches."""
    import torch

    logits = outputs["logits"].float().flatten(0, 1)
    total = torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum")
    count = (labels[:, 1:] != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
    return total / count
