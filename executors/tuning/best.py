"""The best weights so far by the development loss, and when to stop because no better ones come.

Everything but the weights themselves is read from the trainer's history, which every checkpoint holds: a resumed
training knows what an uninterrupted one knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from executors.tuning.shards import part_like, whole

History = Sequence[Mapping[str, Any]]


def losses(history: History) -> list[tuple[int, float]]:
    """(step, development loss) of each evaluation."""
    return [(entry["step"], entry["eval_loss"]) for entry in history if "eval_loss" in entry]


def best_step(history: History) -> int | None:
    """The step with the lowest development loss, the first of equals; None where none was measured."""
    measured = losses(history)
    return min(measured, key=lambda pair: pair[1])[0] if measured else None


def is_over(history: History, patience: int) -> bool:
    """Whether the last `patience` evaluations brought no better loss."""
    steps = [step for step, _ in losses(history)]
    best = best_step(history)
    return best is not None and len(steps) - 1 - steps.index(best) >= patience


class BestWeights(TrainerCallback):  # type: ignore[misc]
    """Keeps what is trained as it was at the lowest development loss, in a file of `folder`, and stops after
    `patience` evaluations without a lower one."""

    def __init__(self, folder: Path, patience: int) -> None:
        self.folder, self.patience = folder, patience

    def on_evaluate(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if best_step(state.log_history) == state.global_step:
            self._keep(model, state.global_step, state.is_world_process_zero)
        if is_over(state.log_history, self.patience):
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Once a checkpoint knows of the best, those before it are not gone back to."""
        if state.is_world_process_zero:
            for file in self.folder.glob("best-*.safetensors"):
                if file != self._file(best_step(state.log_history) or 0):
                    file.unlink()

    def restore(self, model: Any, history: History) -> int | None:
        """Put the best weights back into `model`; the step they are of, None where that is the last anyway."""
        from safetensors.torch import load_file

        best = best_step(history)
        if best is None or best == max(entry["step"] for entry in history):
            return None
        kept = load_file(self._file(best), device="cpu")
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.data.copy_(part_like(kept[name], parameter))
        return best

    def _keep(self, model: Any, step: int, leads: bool) -> None:
        """The first process writes; of a model in shards the others have parts of what it writes."""
        from safetensors.torch import save_file

        trained = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                together = whole(parameter.detach())
                if leads:
                    trained[name] = together.cpu().contiguous()
        if not leads:
            return
        unfinished = self.folder / "best.tmp"
        save_file(trained, unfinished)
        unfinished.replace(self._file(step))

    def _file(self, step: int) -> Path:
        return self.folder / f"best-{step}.safetensors"
