"""Passages in a prompt: as many as the window holds, the best of them first and the second best last.

Models read the beginning and the end of a long prompt better than its middle (Liu et al. 2024, "Lost in the Middle").
Covered: the order, and its way back to the passages' own numbers. Not covered: shortening a passage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from executors.base import Passage


def packed(passages: Sequence[Passage], fits: Callable[[Sequence[Passage]], bool]) -> list[int]:
    """Indices of the passages (given best first) that fit together, in the order they are to be read.

    The worst are left out until the rest fits; empty where not even the best does.
    """
    count = len(passages)
    while count and not fits([passages[i] for i in outside_in(count)]):
        count -= 1
    return outside_in(count)


def outside_in(count: int) -> list[int]:
    """The ranks 0 to `count` - 1, the best first, the second best last, the worst in the middle."""
    return [*range(0, count, 2), *reversed(range(1, count, 2))]
