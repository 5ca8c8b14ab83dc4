"""transformers.Trainer with steps of our own: a batch in as many passes as memory and layout ask for.

A step's rows are known before (see `batches.plan_steps`), and so is how many tokens it trains on, so that the passes'
losses add up to the batch's: how many passes there are changes the result by rounding only. Where memory runs out the
step is undone and done again in passes of half as many rows. Of several processes each takes its share of the passes.
Imported on use only, for it needs torch and transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerControl

from executors.base import Problem, Text, UserError
from executors.models.memory import free_memory, is_out_of_memory
from executors.tuning.material import Material
from executors.tuning.rows import IGNORED
from executors.tuning.shards import in_shards, share_out

if TYPE_CHECKING:
    from torch import Tensor

R = TypeVar("R")


class RowLimit:
    """The most rows of a pass. It begins with the batch, and is halved where memory runs out."""

    def __init__(self, batch_size: int, max_length: int, divisible: bool) -> None:
        """`divisible`: whether a batch may be divided: not where its rows are compared with each other."""
        self.most = self.batch_size = batch_size
        self.max_length, self.divisible = max_length, divisible

    def within(self, work: Callable[[int], R], undo: Callable[[], None]) -> R:
        """`work(most)`; where it runs out of memory, undone and with half as many rows, down to one.

        Raises `UserError` where one row is too many.
        """
        while True:
            try:
                return work(self.most)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.most == 1 or not self.divisible:
                    raise self._exhausted() from error
            undo()
            free_memory()
            self.most = max(1, self.most // 2)

    def _exhausted(self) -> UserError:
        rows = "one row" if self.most == 1 else f"batches of {self.most} rows"
        smaller = f"params.max_length={max(16, self.max_length // 2)}"
        smaller_zh = smaller
        if not self.divisible:
            half = f"params.batch_size={max(1, self.most // 2)}"
            smaller = f"{half} (this method cannot divide a batch), or {smaller}"
            smaller_zh = f"{half}（该方法不能拆分批次）或 {smaller_zh}"
        return UserError(
            f"out of memory in training with {rows} of up to {self.max_length} tokens at a time",
            f"params.checkpointing=true needs less of it; then {smaller}, or name a smaller model; what was trained "
            "up to the last checkpoint is kept",
            Problem(
                f"训练时内存不足：一次 {self.most} 条数据，每条最多 {self.max_length} 个词元",
                f"params.checkpointing=true 可减少内存；其次 {smaller_zh}，或指定更小的模型；最后一个检查点之前的训练"
                "结果已保留",
            ),
        )

    def notes(self) -> tuple[Text, ...]:
        """What was halved, in words; empty where nothing was."""
        if self.most == self.batch_size:
            return ()
        size, most = self.batch_size, self.most
        return (
            {
                "en": f"memory did not hold {size} rows at a time: each step's {size} rows were computed in passes of "
                f"at most {most}, which adds up to the same step",
                "zh": f"内存放不下一次 {size} 条数据：每一步的 {size} 条数据改为每次最多 {most} 条分批计算，"
                "累加后与原来的一步相同",
            },
        )


class StepTrainer(Trainer):  # type: ignore[misc]
    """A `Trainer` whose data set holds whole optimizer steps: `train_dataset[n]` are the rows of step n."""

    def __init__(self, material: Material, limit: RowLimit, **settings: Any) -> None:
        super().__init__(**settings)
        self.material, self.limit = material, limit

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        if in_shards():
            share_out(self.accelerator)
            self.is_fsdp_enabled = True

    def get_train_dataloader(self) -> Any:
        """Every process sees each step whole; accelerate's own way would give it other steps."""
        return DataLoader(self.train_dataset, batch_size=1, collate_fn=_the_only)

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: the trainer would look for tensors in our rows."""
        return 0

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward passes of one step's rows; the mean loss over what they train on."""
        model.train()
        if self.accelerator.num_processes > 1:
            return self._shared_step(model, inputs)
        return self.limit.within(lambda most: self._step(model, inputs, most), model.zero_grad)

    def _step(self, model: Any, rows: Sequence[Any], most: int) -> Tensor:
        batches = self._passes(rows, most)
        return self._passed(model, [(batch, 1.0) for batch in batches], sum(map(_count, batches)))

    def _shared_step(self, model: Any, rows: Sequence[Any]) -> Tensor:
        """This process's share of the step. The wrapped model averages gradients over processes, and the trainer
        losses, so both are multiplied by their number."""
        processes, own = self.accelerator.num_processes, self.accelerator.process_index
        batches = self._passes(rows, -(-len(rows) // processes))
        mine = [(batch, float(processes)) for batch in batches[own::processes]]
        # gradients are exchanged by all or none, and shards gathered: who has no rows for it takes part with nothing
        together = -(-len(batches) // processes) if self.is_fsdp_enabled else 1
        idle = [(batches[0], 0.0)] * (together - len(mine))
        return self._passed(model, [*mine, *idle], sum(map(_count, batches)))

    def _passed(self, model: Any, passes: Sequence[tuple[dict[str, Any], float]], total: int) -> Tensor:
        """The loss of passes that count with a weight each, whose gradients are added up."""
        told = torch.zeros((), device=self.args.device)
        for n, (batch, weight) in enumerate(passes, 1):
            with self._exchanging(model, n == len(passes)):
                with self.compute_loss_context_manager():
                    loss = self._loss(model, batch, total) * weight
                self.accelerator.backward(loss)
            told += loss.detach()
        return told

    def _exchanging(self, model: Any, last: bool) -> AbstractContextManager[Any]:
        """Gradients go to the other processes after the last pass, once for all of them; those of a model in shards
        after each, for no process has room for all."""
        alone = last or self.accelerator.num_processes == 1 or self.is_fsdp_enabled
        return nullcontext() if alone else self.accelerator.no_sync(model)

    def _loss(self, model: Any, batch: dict[str, Any], total: int) -> Tensor:
        inputs = self._prepare_inputs(dict(batch))
        labels = inputs.pop("labels")
        return self.material.loss(model(**inputs), labels, num_items_in_batch=total)

    def _passes(self, rows: Sequence[Any], most: int) -> list[dict[str, Any]]:
        """The tensors of each pass."""
        collator = self.material.collator
        if not self.material.divisible:
            return [collator([rows])]
        parts = getattr(collator, "parts", _in_turn)
        return [collator([part]) for part in parts(rows, most)]

    def evaluate(self, *arguments: Any, **settings: Any) -> dict[str, float]:
        """The mean loss over everything the watched rows would train on. Each process does all of it."""
        self.model.eval()
        total, loss = 0, 0.0
        with torch.no_grad():
            for rows in self.eval_dataset:
                value, count = self._within(partial(self._watched, rows))
                total, loss = total + count, loss + value * count
        metrics = {"eval_loss": loss / max(total, 1)}
        self.log(metrics)
        self.control: TrainerControl = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _within(self, work: Callable[[int], R]) -> R:
        """`work` within the limit, which is not lowered where other processes would go on with more passes than this
        one has gathered shards for."""
        if self.is_fsdp_enabled and self.accelerator.num_processes > 1:
            return work(self.limit.most)
        return self.limit.within(work, _nothing)

    def _watched(self, rows: Sequence[Any], most: int) -> tuple[float, int]:
        batches = self._passes(rows, most)
        total = sum(map(_count, batches))
        with self.compute_loss_context_manager():
            return sum(float(self._loss(self.model, batch, total)) for batch in batches), total


def _count(batch: dict[str, Any]) -> int:
    """Trained tokens of a batch (or rows, where each has one label)."""
    return int((batch["labels"] != IGNORED).sum())


def _in_turn(rows: Sequence[Any], most: int) -> list[Sequence[Any]]:
    """Rows in passes of `most`, for collators that have no way of their own."""
    return [rows[start : start + most] for start in range(0, len(rows), most)]


def _the_only(items: list[Any]) -> Any:
    return items[0]


def _nothing() -> None:
    """Nothing to undo: no gradients were added up."""
