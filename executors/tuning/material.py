"""What a training works through: items, how a batch is made of them, and its loss. Each method makes its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from executors.base import Text

if TYPE_CHECKING:
    from torch import Tensor

Loss = Callable[..., "Tensor"]
"""``loss(outputs, labels, num_items_in_batch=None)``: the mean over an optimizer step's trained tokens (or rows).

A step can be several passes: `num_items_in_batch` are the labels of all of them other than -100, and the loss of one is
its sum divided by them.
"""


class Batcher(Protocol):
    """Makes the tensors of one pass: what the model takes, and `labels`.

    May have ``parts(rows, most)``: how the rows of a step are divided into passes of `most` rows at most.
    """

    tokens: int  # seen so far, for the speed that is shown

    def __call__(self, items: Sequence[Sequence[Any]]) -> dict[str, Tensor]:
        """`items` holds the rows of one pass: those of a step are planned before, see `batches.plan_steps`."""


@dataclass(frozen=True)
class Material:
    """`rows` are trained on, `watched` ones are held out of the training side to watch the loss on. An item's length is
    its tokens. `notes`: what a reader of the score must know, e.g. rows that were cut or left out. `divisible`: whether
    the loss is a sum over rows, so that a batch may be computed in parts; not where rows are compared with each other.
    """

    rows: Sequence[Sized]
    watched: Sequence[Sized]
    collator: Batcher
    loss: Loss
    notes: tuple[Text, ...] = ()
    divisible: bool = True
