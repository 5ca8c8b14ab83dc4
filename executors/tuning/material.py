"""What a training works through: items, how a batch is made of them, and its loss. Each method makes its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from executors.base import Text

if TYPE_CHECKING:
    from torch import Tensor

Loss = Callable[..., "Tensor"]
"""``loss(outputs, labels, num_items_in_batch=None)``: the mean over an optimizer step's trained tokens (or rows)."""


class Batcher(Protocol):
    """Makes the tensors of one batch: what the model takes, and `labels`."""

    tokens: int  # seen so far, for the speed that is shown

    def __call__(self, items: Sequence[Sequence[Any]]) -> dict[str, Tensor]:
        """`items` holds one batch: batches are planned before the training, see `batches.plan_steps`."""


@dataclass(frozen=True)
class Material:
    """`rows` are trained on, `watched` ones are held out of the training side to watch the loss on. An item's length is
    its tokens. `notes`: what a reader of the score must know, e.g. rows that were cut or left out."""

    rows: Sequence[Sized]
    watched: Sequence[Sized]
    collator: Batcher
    loss: Loss
    notes: tuple[Text, ...] = ()
