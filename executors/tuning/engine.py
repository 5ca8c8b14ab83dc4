"""The training loop: transformers.Trainer, with our data path, checks, progress and way of stopping.

Imported on use only, for it needs torch and transformers. Covered: one process on one device. Several devices,
accumulation of gradients and quantised weights are not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from executors.base import Event, Reporter, UserError
from executors.models import Device
from executors.tuning.batches import even_batches, plan_steps
from executors.tuning.checkpoints import StopBetweenSteps, check_space, latest_checkpoint, mark_complete
from executors.tuning.material import Batcher, Material
from executors.tuning.params import TuningParams, count_steps, steps_an_epoch

LOGGED = 200  # points of the loss curve, at most


def train(
    model: Any,
    material: Material,
    params: TuningParams,
    device: Device,
    seed: int,
    folder: Path,
    report: Reporter,
) -> list[dict[str, float]]:
    """Train `model` in place on `material` and return its log: step, loss, learning_rate, and dev_loss on its watched
    items.

    `params.learning_rate` must be a number. Checkpoints go to `folder`, and a training that was interrupted goes on
    from the last whole one, with the same result. Raises `UserError`: loss not a number, out of memory, no disk
    space; `KeyboardInterrupt` once an interrupted training is saved.
    """
    rows, watched = material.rows, material.watched
    folder.mkdir(parents=True, exist_ok=True)
    check_space(_checkpoint_bytes(model) * 3, folder)  # two are kept while the third is written
    with telling_out_of_memory(params), StopBetweenSteps() as stop:
        arguments = _arguments(params, len(rows) + len(watched), bool(watched), device, seed, folder)
        trainer = Trainer(
            model=model,
            args=arguments,
            data_collator=material.collator,
            train_dataset=plan_steps(rows, params.batch_size, arguments.max_steps, seed),
            eval_dataset=even_batches(watched, params.batch_size) if watched else None,
            compute_loss_func=material.loss,
            callbacks=[_Guard(), _Progress(material.collator, report), _Stop(stop)],
        )
        trainer.remove_callback(PrinterCallback)
        resumed = latest_checkpoint(folder)
        trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    if stop.asked:
        raise KeyboardInterrupt
    return _log(trainer.state.log_history)


def _arguments(
    params: TuningParams, rows: int, watched: bool, device: Device, seed: int, folder: Path
) -> TrainingArguments:
    steps = count_steps(params, rows)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=1,  # an item of our data set is a whole batch
        per_device_eval_batch_size=1,
        learning_rate=params.learning_rate,
        lr_scheduler_type="constant_with_warmup" if params.schedule == "constant" else params.schedule,
        warmup_steps=math.ceil(params.warmup * steps),
        weight_decay=params.weight_decay,
        train_sampling_strategy="sequential",
        seed=seed,
        bf16=device.dtype == "bfloat16",
        fp16=device.dtype == "float16",
        use_cpu=device.kind == "cpu",
        dataloader_pin_memory=device.kind == "cuda",
        remove_unused_columns=False,
        label_names=["labels"],
        logging_steps=max(1, steps // LOGGED),
        logging_nan_inf_filter=False,  # the default hides a loss that is not a number
        eval_strategy="steps" if watched else "no",
        eval_steps=min(steps, max(steps_an_epoch(params, rows), steps // 20)),
        prediction_loss_only=True,
        save_strategy="steps",
        save_steps=params.checkpoint_steps,
        save_total_limit=2,
        disable_tqdm=True,
        report_to="none",
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = (
            1  # else the trainer splits our batches over all GPUs by nn.DataParallel, which they do not fit
        )
    return arguments


@contextmanager
def telling_out_of_memory(params: TuningParams) -> Iterator[None]:
    """Memory that runs out inside becomes a `UserError` that names what to lower."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise UserError(
            f"out of memory in training with batches of {params.batch_size} rows of up to {params.max_length} tokens",
            f"halve it: params.batch_size={max(1, params.batch_size // 2)}; then lower params.max_length, or name a "
            "smaller model; what was trained so far is kept",
        ) from error


def _is_out_of_memory(error: BaseException) -> bool:
    said = str(error).lower()  # torch's allocators on the CPU and on Apple GPUs raise a plain RuntimeError
    marks = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(mark in said for mark in marks)


def _checkpoint_bytes(model: Any) -> int:
    """A checkpoint's size: the weights (of adapters these alone), and AdamW's two moments of each trained one."""
    sizes: list[tuple[int, bool]] = [(p.numel() * p.element_size(), p.requires_grad) for p in model.parameters()]
    trained = sum(size for size, moves in sizes if moves)
    saved = trained if hasattr(model, "peft_config") else sum(size for size, _ in sizes)
    return saved + 2 * trained


def _log(history: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """The trainer's history as one entry a step."""
    entries: dict[int, dict[str, float]] = {}
    names = {"loss": "loss", "learning_rate": "learning_rate", "eval_loss": "dev_loss"}
    for record in history:
        values = {names[k]: round(float(v), 8) for k, v in record.items() if k in names}
        if values:
            entries.setdefault(record["step"], {"step": record["step"]}).update(values)
    order = ("step", *names.values())
    return [{name: entries[step][name] for name in order if name in entries[step]} for step in sorted(entries)]


class _Guard(TrainerCallback):  # type: ignore[misc]
    """Marks whole checkpoints, and ends a training whose loss is no number before it is saved."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            rate = args.learning_rate
            raise UserError(
                f"the training diverged: at step {state.global_step} the loss is {loss}",
                f"lower params.learning_rate from {rate:g} to {rate / 2.5:.2g}; if it stays, look for broken rows",
            )

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class _Progress(TrainerCallback):  # type: ignore[misc]
    """Reports each optimizer step with the last loss and the speed."""

    def __init__(self, collator: Batcher, report: Reporter) -> None:
        self.collator, self.report = collator, report
        self.loss = ""
        self.rate = 0.0
        self.before = (time.perf_counter(), 0)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.before = (time.perf_counter(), self.collator.tokens)
        self.report(Event("train", state.global_step, state.max_steps))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        now, tokens = time.perf_counter(), self.collator.tokens
        rate = (tokens - self.before[1]) / max(now - self.before[0], 1e-9)
        self.rate = 0.8 * self.rate + 0.2 * rate if self.rate else rate
        self.before = (now, tokens)
        note = " · ".join(part for part in (self.loss, f"{self.rate:,.0f} tokens/s") if part)
        self.report(Event("train", state.global_step, state.max_steps, note))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            self.loss = f"loss {logs['loss']:.3f}"


class _Stop(TrainerCallback):  # type: ignore[misc]
    """Ends the training after the step at hand, saved, once that is asked for."""

    def __init__(self, stop: StopBetweenSteps) -> None:
        self.stop = stop

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.stop.asked:
            control.should_save = True
            control.should_training_stop = True
