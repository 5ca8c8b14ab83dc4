"""The two methods that change weights: what is common to them, and how each prepares the model and saves it."""

from __future__ import annotations

import gc
import shutil
from abc import abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from executors.base import Event, Executor, Job, Plan, Problem, Text, parse_params, to_dict
from executors.data.left_out import FILE as LEFT_OUT
from executors.data.left_out import write_left_out
from executors.export.artifact import describe
from executors.export.fingerprint import end_by_tokenizer
from executors.messages import TASKS
from executors.models import alias_of, choose_device, load_causal, model_sha256, tuned_run
from executors.models.adapters import save_adapter, virtual_tokens
from executors.models.four_bit import four_bit_problems
from executors.targets import numbers
from executors.tuning.aftermath import Watch
from executors.tuning.checkpoints import appearing_whole
from executors.tuning.encoder.executor import tune_as
from executors.tuning.encoder.names import is_encoder, task_problems
from executors.tuning.grounded import grounded_material, keep_index, reading_problems
from executors.tuning.launch import first_alone, launch_problems, leads, run_processes
from executors.tuning.layers import choose_layers, layers_note, trained_share
from executors.tuning.material import Material
from executors.tuning.params import (
    FullParams,
    PeftParams,
    TuningParams,
    check_params,
    rate_of,
    read_params,
)
from executors.tuning.predictor import Tuned, TunedPredictor, in_four_bits, write_tuned
from executors.tuning.replay import replay_note, replay_rows
from executors.tuning.rows import prepare_rows
from executors.tuning.search import chosen_params, search_note, search_problems, write_search
from executors.tuning.shards import Hull, in_shards
from executors.tuning.variants import prepare_variant
from executors.tuning.xray import look, xray_notes

FINISHED = "tuned"  # in the job's folder: the trained model, once it is whole


class TuningExecutor(Executor):
    """Trains a causal model on prompts and answers, by the loss on the answers alone."""

    method: ClassVar[str]
    Params: ClassVar[type[TuningParams]]
    Predictor = TunedPredictor
    tasks: ClassVar[frozenset[str]] = TASKS

    def check(self, plan: Plan) -> list[Problem]:
        params, _ = parse_params(self.Params, plan.params)
        if params is None:
            return []  # unknown names and types are reported by whoever checks the plan
        found = [*check_params(params), *reading_problems(plan, params), *task_problems(plan)]
        return [*found, *search_problems(params, plan), *launch_problems(plan, params)]

    def build(self, job: Job) -> TunedPredictor:
        """Train, or go on training. Raises `UserError`: nothing to train on, loss not a number, out of memory."""
        if is_encoder(job.plan.model):
            return tune_as(self.method, job)  # type: ignore[return-value]  # a predictor with a head instead
        finished = job.folder / FINISHED
        if not finished.is_dir():
            params = read_params(self.Params, job.plan.params)
            if params.launch:
                run_processes(job, params)
            else:
                self.train_here(job)
            gc.collect()  # the trainer's parts refer to each other, and would keep the trained model in memory
        return TunedPredictor(finished, job.report)

    def train_here(self, job: Job) -> None:
        """Train in this process, which may be one of several, see `launch`."""
        self._train(job, job.folder / FINISHED)

    def _train(self, job: Job, finished: Path) -> None:
        from transformers import set_seed

        from executors.tuning.engine import telling_out_of_memory, train

        params, searched = chosen_params(self, job, read_params(self.Params, job.plan.params))
        mean = float(numbers(job.rows).mean()) if job.plan.task == "regression" else None
        model, tokenizer = load_causal(job.plan.model, job.report, four_bit=in_four_bits(to_dict(params)))
        params = replace(params, learning_rate=rate_of(params, model.num_parameters()))
        watch = Watch(job, params, Tuned(self.method, job.plan.task, job.labels, job.plan.model, "", {}, (), mean))
        with first_alone():
            watch.begin(model, tokenizer)
        set_seed(job.plan.seed)  # before weights are made, so that a training can be repeated
        with telling_out_of_memory(params):
            model = self.prepare(model, params)
        with first_alone():
            material = self.material(job, params, model, tokenizer)
        checkpoints = job.folder / "checkpoints"
        hull = Hull(model) if in_shards() else None
        log = train(model, material, params, choose_device(), job.plan.seed, checkpoints, job.report)
        model = hull.filled(model, leads()) if hull else model
        if not leads():  # the first of several processes looks at what they have trained, and writes it
            return
        model.config.use_cache = True  # the trainer turns it off
        looked = watch.end(model, tokenizer)
        about = Tuned(
            method=self.method,
            task=job.plan.task,
            labels=job.labels,
            base=job.plan.model,
            sha256=model_sha256(job.plan.model, job.report),
            params=to_dict(params),
            notes=(*search_note(searched), *self.notes(model, params), *material.notes, *log.notes, *looked.notes),
            mean=mean,
            trained_share=round(trained_share(model), 6),
        )
        job.report(Event("save"))
        with appearing_whole(finished) as folder:
            end_by_tokenizer(model, tokenizer)
            self.write(folder, job.plan.model, model, tokenizer)
            describe(folder, about, tokenizer, len(job.rows))
            write_search(folder, searched)
            keep_index(job.folder, folder)
            looked.write(folder)
            write_tuned(folder, about, log)
        shutil.rmtree(checkpoints)

    def material(self, job: Job, params: Any, model: Any, tokenizer: Any) -> Material:
        """What is trained on: the job's rows as prompts and answers, unless a method has other texts."""
        from executors.tuning.batches import collator_of, completion_loss

        if getattr(params, "passages", 0):
            return grounded_material(job, params, row_limit(params, model), model, tokenizer)
        found = prepare_rows(job, params, tokenizer, row_limit(params, model))
        write_left_out(job.folder / LEFT_OUT, found.left_out)
        batcher = collator_of(model, tokenizer)
        general = replay_rows(tokenizer, len(found.train.rows), params.replay, job.plan.seed)
        seen = xray_notes(look(job.plan, found, model, tokenizer))
        notes = (*found.notes, *seen, *replay_note(len(general), len(found.train.rows)))
        return Material([*found.train.rows, *general], found.watched.rows, batcher, completion_loss, notes)

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
    """Weights beside the model's own are trained, of LoRA or of another `variant`; the model itself stays as it is."""

    method = "peft"
    Params = PeftParams

    def check(self, plan: Plan) -> list[Problem]:
        return [*super().check(plan), *(four_bit_problems() if in_four_bits(plan.params) else [])]

    def prepare(self, model: Any, params: PeftParams) -> Any:
        return prepare_variant(model, params)

    def write(self, folder: Path, base: str, model: Any, tokenizer: Any) -> None:
        save_adapter(model, folder / "adapter", public_name(base))
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
    """The name by which others know a model: an alias stands for its hub id; a folder (a run's, too) is what it is."""
    alias = alias_of(model) if tuned_run(model) is None else None
    return alias.hub if alias and alias.hub else model


def row_limit(params: TuningParams, model: Any) -> int:
    """Tokens a row may have: as asked, within the model's positions."""
    window = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return min(params.max_length, window - virtual_tokens(model)) if window else params.max_length
