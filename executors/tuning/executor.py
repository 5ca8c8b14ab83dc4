"""The two methods that change weights: what is common to them, and how each prepares the model and saves it."""

from __future__ import annotations

import gc
import shutil
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from executors.base import Event, Executor, Job, Plan, Problem, Text, parse_params, to_dict
from executors.messages import TASKS
from executors.models import alias_of, choose_device, load_causal, resolve, weights_sha256
from executors.models.device import prepare_peft
from executors.models.language import can_share
from executors.targets import numbers
from executors.tuning.layers import choose_layers, layers_note, trained_share
from executors.tuning.material import Material
from executors.tuning.params import (
    FullParams,
    PeftParams,
    TuningParams,
    check_params,
    development_rows,
    rate_of,
    read_params,
)
from executors.tuning.predictor import Tuned, TunedPredictor, write_tuned
from executors.tuning.rows import encode_rows, split_development

FINISHED = "tuned"  # in the job's folder: the trained model, once it is whole


class TuningExecutor(Executor):
    """Trains a causal model on prompts and answers, by the loss on the answers alone."""

    method: ClassVar[str]
    Params: ClassVar[type[TuningParams]]
    Predictor = TunedPredictor
    tasks: ClassVar[frozenset[str]] = TASKS

    def check(self, plan: Plan) -> list[Problem]:
        params, _ = parse_params(self.Params, plan.params)
        return check_params(params) if params else []  # unknown names and types are reported by whoever checks the plan

    def build(self, job: Job) -> TunedPredictor:
        """Train, or go on training. Raises `UserError`: nothing to train on, loss not a number, out of memory."""
        finished = job.folder / FINISHED
        if not finished.is_dir():
            self._train(job, finished)
            gc.collect()  # the trainer's parts refer to each other, and would keep the trained model in memory
        return TunedPredictor(finished, job.report)

    def _train(self, job: Job, finished: Path) -> None:
        from transformers import set_seed

        from executors.tuning.engine import telling_out_of_memory, train

        params = read_params(self.Params, job.plan.params)
        mean = float(numbers(job.rows).mean()) if job.plan.task == "regression" else None
        model, tokenizer = load_causal(job.plan.model, job.report)
        params = replace(params, learning_rate=rate_of(params, model.num_parameters()))
        set_seed(job.plan.seed)  # before weights are made, so that a training can be repeated
        with telling_out_of_memory(params):
            model = self.prepare(model, params)
        material = self.material(job, params, model, tokenizer)
        checkpoints = job.folder / "checkpoints"
        log = train(model, material, params, choose_device(), job.plan.seed, checkpoints, job.report)
        about = Tuned(
            method=self.method,
            task=job.plan.task,
            labels=job.labels,
            base=job.plan.model,
            sha256=weights_sha256(resolve(job.plan.model, job.report)),
            params=to_dict(params),
            notes=(*self.notes(model, params), *material.notes),
            mean=mean,
            trained_share=round(trained_share(model), 6),
        )
        job.report(Event("save"))
        model.config.use_cache = True  # the trainer turns it off
        with _appearing_whole(finished) as folder:
            self.write(folder, job.plan.model, model, tokenizer)
            write_tuned(folder, about, log)
        shutil.rmtree(checkpoints)

    def material(self, job: Job, params: Any, model: Any, tokenizer: Any) -> Material:
        """What is trained on: the job's rows as prompts and answers, unless a method has other texts."""
        from executors.tuning.batches import Collator, completion_loss

        rows = encode_rows(tokenizer, job.plan.task, job.labels, job.rows, row_limit(params, model))
        trained, watched = split_development(rows.rows, development_rows(params, len(rows.rows)), job.plan.seed)
        notes = (*rows.notes(), *watched_note(len(watched), len(rows.rows)))
        return Material(trained, watched, Collator(tokenizer.pad_token_id, can_share(model)), completion_loss, notes)

    @abstractmethod
    def prepare(self, model: Any, params: Any) -> Any:
        """The model as it is trained: what of it moves, and in which precision."""

    def notes(self, model: Any, params: Any) -> tuple[Text, ...]:
        """What of the trained model a reader of its score must know."""
        return ()

    @abstractmethod
    def write(self, folder: Path, base: str, model: Any, tokenizer: Any) -> None:
        """The trained weights as a standard folder inside `folder`."""


class PeftExecutor(TuningExecutor):
    """LoRA: small matrices beside every linear layer are trained, the model itself stays as it is."""

    method = "peft"
    Params = PeftParams

    def prepare(self, model: Any, params: PeftParams) -> Any:
        peft = prepare_peft()
        config = peft.LoraConfig(
            task_type="CAUSAL_LM",
            r=params.rank,
            lora_alpha=params.alpha or 2 * params.rank,
            lora_dropout=params.dropout,
            target_modules="all-linear",
        )
        return peft.get_peft_model(model, config)

    def write(self, folder: Path, base: str, model: Any, tokenizer: Any) -> None:
        model.peft_config["default"].base_model_name_or_path = public_name(base)
        model.save_pretrained(folder / "adapter", save_embedding_layers=False)
        (folder / "adapter" / "README.md").unlink()  # a form of peft's that nobody filled in
        tokenizer.save_pretrained(folder / "adapter")  # others load the template with the adapter


class FullExecutor(TuningExecutor):
    """The model's own weights are trained, and kept in float32 for it: small steps are lost in half precision."""

    method = "full"
    Params = FullParams

    def prepare(self, model: Any, params: FullParams) -> Any:
        return choose_layers(model.float(), params)

    def notes(self, model: Any, params: FullParams) -> tuple[Text, ...]:
        return layers_note(model, params)

    def write(self, folder: Path, base: str, model: Any, tokenizer: Any) -> None:
        model.save_pretrained(folder / "model")
        tokenizer.save_pretrained(folder / "model")


def public_name(model: str) -> str:
    """The name by which others know a model: an alias stands for its hub id; a folder is what it is."""
    alias = alias_of(model)
    return alias.hub if alias and alias.hub else model


def watched_note(watched: int, rows: int) -> tuple[Text, ...]:
    if not watched:
        return ()
    return (
        {
            "en": f"{watched} of {rows} training rows were held out to watch the loss on, and not trained on",
            "zh": f"{rows} 条训练数据中留出 {watched} 条用于观察损失，未参与训练",
        },
    )


def row_limit(params: TuningParams, model: Any) -> int:
    """Tokens a row may have: as asked, within the model's positions."""
    return min(params.max_length, getattr(model.config.get_text_config(), "max_position_embeddings", params.max_length))


@contextmanager
def _appearing_whole(folder: Path) -> Iterator[Path]:
    """A folder to write to, which becomes `folder` once everything is in it."""
    unfinished = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    yield unfinished
    unfinished.rename(folder)
