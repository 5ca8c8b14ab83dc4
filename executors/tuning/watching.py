"""Looking at a training from outside, step by step: what a search needs to end one early, or to raise its rate."""

from __future__ import annotations

from executors.base import UserError


class Watcher:
    """Told of every evaluation, and asked for the learning rate of every step. What it raises ends the training."""

    every: int = 1  # optimizer steps between two evaluations

    def look(self, step: int, loss: float) -> None:
        """The loss on the watched items after `step` optimizer steps."""

    def rate(self, step: int) -> float | None:
        """The learning rate of optimizer step `step`, counted from 0; None: as the schedule has it."""
        return None


class Diverged(UserError):
    """A training whose loss is no number any more."""
