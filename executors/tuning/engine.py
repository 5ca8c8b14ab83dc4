"""The training loop: transformers.Trainer, with our data path, checks, progress and way of stopping.

Imported on use only, for it needs torch and transformers. Covered: one device, and several processes that hold the
whole model each (see `launch`) or a part of it (see `shards`). Accumulation of gradients is ours, see `trainer`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from executors.base import Event, Problem, Reporter, Text, UserError, write_json
from executors.models import Device
from executors.models.memory import is_out_of_memory
from executors.tuning.batches import even_batches, plan_steps
from executors.tuning.best import BestWeights, best_step, is_over
from executors.tuning.checkpoints import StopBetweenSteps, check_space, latest_checkpoint, mark_complete
from executors.tuning.launch import wait_for_all
from executors.tuning.material import Batcher, Material
from executors.tuning.params import TuningParams
from executors.tuning.shards import held_share, in_shards, refuse_copies, shares_note
from executors.tuning.trainer import RowLimit, StepTrainer
from executors.tuning.watching import Diverged, Watcher

LOGGED = 200  # points of the loss curve, at most
PASSES = "passes.json"  # in a checkpoint: the most rows of a pass
MOMENTUM = 0.9  # of SGD; without it the rate that is stable is too low to be of use


class Log(list[dict[str, float]]):
    """One entry a logged step: step, loss, learning_rate, and dev_loss on the watched items.

    `notes`: what a reader of the result must know, e.g. that batches were halved or the training ended early.
    """

    notes: tuple[Text, ...] = ()


def train(
    model: Any,
    material: Material,
    params: TuningParams,
    device: Device,
    seed: int,
    folder: Path,
    report: Reporter,
    watcher: Watcher | None = None,
) -> Log:
    """Train `model` in place on `material` and return its log; `watcher` looks at it and may end it.

    A model in shards is left so, see `shards.Hull`. `params.learning_rate` must be a number. Checkpoints go to
    `folder`, and a training that was interrupted goes on from the last whole one, with the same result. With watched
    items and `params.patience` the model is left with the weights of its lowest development loss. Raises `UserError`:
    loss not a number, out of memory, no disk space; `KeyboardInterrupt` once an interrupted training is saved.
    """
    rows, watched = material.rows, material.watched
    folder.mkdir(parents=True, exist_ok=True)
    limit = RowLimit(params.batch_size, params.max_length, material.divisible)
    best = BestWeights(folder, params.patience) if watched and params.patience else None
    shared = _Shared() if in_shards() else None
    check_space(_checkpoint_bytes(model) * 3 + (2 * _trained_bytes(model) if best else 0), folder)
    with telling_out_of_memory(params), StopBetweenSteps() as stop:
        arguments = _arguments(params, len(rows), bool(watched), device, seed, folder)
        arguments.eval_steps = watcher.every if watcher else arguments.eval_steps
        trainer = StepTrainer(
            material,
            limit,
            model=model,
            args=arguments,
            train_dataset=plan_steps(rows, params.batch_size, arguments.max_steps, seed),
            eval_dataset=even_batches(watched, params.batch_size) if watched else None,
            callbacks=[
                *([shared] if shared else []),
                *([_LastLook()] if watched else []),
                *([best] if best else []),
                _Guard(limit),
                _Progress(material.collator, report),
                _Stop(stop),
                *([_Watched(watcher)] if watcher else []),
            ],
            optimizer_cls_and_kwargs=_optimizer(params),
        )
        trainer.remove_callback(PrinterCallback)
        _check_kind(trainer)
        history = _go_on(trainer, latest_checkpoint(folder), params, limit)
    if stop.asked:
        raise KeyboardInterrupt
    log = Log(_log(history))
    log.notes = limit.notes() + (shares_note(shared.shares) if shared and shared.shares else ())
    if best:
        wait_for_all()  # the first process writes the weights that all read
        best.restore(model, history)
        log.notes += _best_note(history, arguments.max_steps)
    return log


def _go_on(trainer: StepTrainer, resumed: Path | None, params: TuningParams, limit: RowLimit) -> list[dict[str, Any]]:
    """Train to the end, from the checkpoint `resumed` where there is one; the trainer's history."""
    if resumed:
        limit.most = int(json.loads((resumed / PASSES).read_text(encoding="utf-8"))["rows"])
        state = TrainerState.load_from_json(str(resumed / "trainer_state.json"))
        if trainer.eval_dataset and params.patience and is_over(state.log_history, params.patience):
            return list(state.log_history)  # it had stopped already
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    return list(trainer.state.log_history)


def _check_kind(trainer: StepTrainer) -> None:
    """Raises `UserError` where accelerate's settings ask for a way to train that our steps do not know."""
    kind = str(trainer.accelerator.distributed_type).rpartition(".")[2]
    if kind not in ("NO", "MULTI_CPU", "MULTI_GPU", "FSDP"):
        raise UserError(
            f"accelerate is set to train by {kind}, which is not covered: a copy in each process, or shards by FSDP2",
            "unset ACCELERATE_USE_DEEPSPEED and the like; --shard shares the model out",
            Problem(
                f"accelerate 被设置为用 {kind} 训练，这里不支持：只支持每个进程保存完整模型，或用 FSDP2 分片",
                "取消 ACCELERATE_USE_DEEPSPEED 等设置；--shard 可分片训练",
            ),
        )


def _anywhere(asked: bool) -> bool:
    """Whether any of the processes was asked to stop: all end after the same step."""
    if not torch.distributed.is_initialized():
        return asked
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    told = torch.tensor(float(asked), device=device)
    torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX)
    return bool(told)


def _optimizer(params: TuningParams) -> tuple[type[torch.optim.Optimizer], dict[str, Any]] | None:
    """None: the trainer's own, AdamW."""
    if params.optimizer == "adamw":
        return None
    return torch.optim.SGD, {"lr": params.learning_rate, "momentum": MOMENTUM}


def _best_note(history: Sequence[dict[str, Any]], steps: int) -> tuple[Text, ...]:
    """Where the weights that were kept are not the last ones, or the training ended before its time."""
    best, last = best_step(history), max(entry["step"] for entry in history)
    if best is None or (best == last and last >= steps):
        return ()
    early = last < steps
    return (
        {
            "en": f"the weights of step {best} are kept, where the development loss was lowest"
            + (f"; the training ended at step {last} of {steps}, for it no longer fell" if early else ""),
            "zh": f"保留了第 {best} 步的权重，此时开发集损失最低"
            + (f"；损失不再下降，训练在第 {last} 步（共 {steps} 步）提前结束" if early else ""),
        },
    )


def _arguments(
    params: TuningParams, rows: int, watched: bool, device: Device, seed: int, folder: Path
) -> TrainingArguments:
    """`rows` are those that are trained on: the steps are `epochs` passes, or `min_steps` where that is more."""
    an_epoch = math.ceil(rows / params.batch_size)
    steps = max(math.ceil(params.epochs * an_epoch), params.min_steps, 1)
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
        activation_checkpointing=params.checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if params.checkpointing else None,
        bf16=device.dtype == "bfloat16",
        fp16=device.dtype == "float16",
        use_cpu=device.kind == "cpu",
        dataloader_pin_memory=device.kind == "cuda",
        ddp_backend=torch.distributed.get_backend() if torch.distributed.is_initialized() else None,
        remove_unused_columns=False,
        label_names=["labels"],
        logging_steps=max(1, steps // LOGGED),
        logging_nan_inf_filter=False,  # the default hides a loss that is not a number
        eval_strategy="steps" if watched else "no",
        eval_steps=min(steps, max(an_epoch, steps // 20)),
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
    """Memory that runs out inside, where nothing can be halved, becomes a `UserError` that names what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"out of memory in training with batches of {params.batch_size} rows of up to {params.max_length} tokens",
            f"halve it: params.batch_size={max(1, params.batch_size // 2)}; then lower params.max_length, or name a "
            "smaller model; what was trained up to the last checkpoint is kept",
            Problem(
                f"训练时内存不足：每批 {params.batch_size} 条数据，每条最多 {params.max_length} 个词元",
                f"减半：params.batch_size={max(1, params.batch_size // 2)}；其次降低 params.max_length，或指定更小的"
                "模型；最后一个检查点之前的训练结果已保留",
            ),
        ) from error


def _checkpoint_bytes(model: Any) -> int:
    """A checkpoint's size: the weights (of adapters these alone), and AdamW's two moments of each trained one."""
    sizes: list[tuple[int, bool]] = [(p.numel() * p.element_size(), p.requires_grad) for p in model.parameters()]
    trained = _trained_bytes(model)
    saved = trained if hasattr(model, "peft_config") else sum(size for size, _ in sizes)
    return saved + 2 * trained


def _trained_bytes(model: Any) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


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

    def __init__(self, limit: RowLimit) -> None:
        self.limit = limit

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            rate = args.learning_rate
            raise Diverged(
                f"the training diverged: at step {state.global_step} the loss is {loss}",
                f"lower params.learning_rate from {rate:g} to {rate / 2.5:.2g}; if it stays, look for broken rows",
            )

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        wait_for_all()  # each process writes its own random state
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            write_json(folder / PASSES, {"rows": self.limit.most})
            mark_complete(folder)


class _Shared(TrainerCallback):  # type: ignore[misc]
    """Looks at what each process holds of a model that was to be shared out."""

    def __init__(self) -> None:
        self.shares: list[float] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        shares = [0.0] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(shares, held_share(model))
        refuse_copies(max(shares), len(shares))
        self.shares = shares


class _LastLook(TrainerCallback):  # type: ignore[misc]
    """The development loss is measured at the last step as well, whichever it is."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step >= state.max_steps:
            control.should_evaluate = True


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
        if _anywhere(self.stop.asked):
            self.stop.asked = True
            control.should_save = True
            control.should_training_stop = True


class _Watched(TrainerCallback):  # type: ignore[misc]
    """Hands evaluations to a watcher, and takes the learning rate from it where it has one."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher

    def on_step_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any) -> None:
        rate = self.watcher.rate(state.global_step)
        for group in optimizer.param_groups if rate is not None else ():
            group["lr"] = rate

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        self.watcher.look(state.global_step, float(metrics["eval_loss"]))
