"""Small encoder: an open sentence encoder, tuned on labels or numbers, with a linear head.

Covered: sentence-transformers encoders and BERT-class folders of a transformer and a pooling layer. Not covered: spans
within a text (extraction), encoders in 8 bits.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from executors.base import Event, Executor, Job, Plan, Problem, Row, Text, UserError, parse_params, to_dict
from executors.models import alias_of, choose_device, name_problems, resolve, weights_sha256
from executors.models.device import prepare_torch, prepare_transformers
from executors.models.folder import INT8_WEIGHTS
from executors.targets import numbers
from executors.tuning.checkpoints import appearing_whole
from executors.tuning.encoder.changed import Watched, watched_rows, write_changed
from executors.tuning.encoder.names import TASKS
from executors.tuning.encoder.params import (
    ADAPTERS,
    NO_CONTRAST,
    EncoderParams,
    check_encoder_params,
    chosen_variant,
    read_encoder_params,
    resolved,
)
from executors.tuning.encoder.predictor import (
    ADAPTER,
    ENCODER,
    EncoderPredictor,
    TunedEncoder,
    cut_note,
    input_text,
    write_encoder,
)
from executors.tuning.encoder.rows import TextRow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from executors.tuning.encoder.network import EncoderNetwork
    from executors.tuning.encoder.stages import Setting, Sides
    from executors.tuning.engine import Log

START_STRENGTH = 30.0  # C of the head that training begins from: at 1 the encoder is moved too far, .834 against .864
FINISHED = "tuned"  # in the job's folder: the tuned encoder, once it is whole
FOLDED = frozenset({"lora", "rslora", "dora", "ia3"})  # adapters that become part of the encoder's own matrices


class SmallEncoderExecutor(Executor):
    """Tunes the plan's `embedder`."""

    Params = EncoderParams
    Predictor = EncoderPredictor
    tasks: ClassVar[frozenset[str]] = TASKS

    def check(self, plan: Plan) -> list[Problem]:
        params, _ = parse_params(EncoderParams, plan.params)
        problems = name_problems(plan.embedder, "embedder")
        return problems + (check_encoder_params(params) if params else [])

    def build(self, job: Job) -> EncoderPredictor:
        """Tune, or go on tuning. Raises `UserError`: a target that is no number, loss not a number, out of memory."""
        return tune_encoder(job, job.plan.embedder, read_encoder_params("small_encoder", job.plan.params))


def tune_as(method: str, job: Job) -> EncoderPredictor:
    """What `peft` and `full` do where the plan's model is an encoder."""
    return tune_encoder(job, job.plan.model, read_encoder_params(method, job.plan.params))


def tune_encoder(job: Job, name: str, params: EncoderParams) -> EncoderPredictor:
    """Tune the encoder `name` on the job's rows, or go on with it."""
    finished = job.folder / FINISHED
    if not finished.is_dir():
        _tune(job, name, params, finished)
        gc.collect()  # the trainer's parts refer to each other, and would keep the trained encoder in memory
    return EncoderPredictor(finished, job.report)


def _tune(job: Job, name: str, given: EncoderParams, finished: Path) -> None:
    params = _resolved(job, given)
    values = numbers(job.rows) if job.plan.task == "regression" else None
    folder = resolve(name, job.report)
    network = _open(folder, name, job)
    from transformers import set_seed

    from executors.export.artifact import describe_encoder  # which imports this module
    from executors.tuning.encoder.stages import Setting, in_units

    set_seed(job.plan.seed)  # before weights are made, so that a training can be repeated
    read = _read(job, network, name, params, values)
    setting = Setting(params, job.labels, choose_device(), job.plan.seed, job.folder, job.report)
    network, log, stages = _run(network, read.sides, setting, read.watched)
    changed = read.watched.end(network)
    if values is not None:
        in_units(network, *_scale(values))
    about = TunedEncoder(
        task=job.plan.task,
        labels=job.labels,
        base=name,
        sha256=weights_sha256(folder),
        params=to_dict(params),
        limit=read.limit,
        prompt=read.prompt,
        span=(float(values.min()), float(values.max())) if values is not None else TunedEncoder.span,
        notes=(*read.notes, *log.notes),
        stages=stages,
    )
    job.report(Event("save"))
    with appearing_whole(finished) as unfinished:
        _write(unfinished, folder, network, setting, name)
        write_changed(unfinished, changed)
        describe_encoder(unfinished / ENCODER, about, job.plan.executor, len(read.sides.rows))
        write_encoder(unfinished, about, log)


def _resolved(job: Job, given: EncoderParams) -> EncoderParams:
    """`given` with what the rows decide. Raises `UserError` with every fault: `peft` and `full` could not check what is
    an encoder's alone."""
    targets = [row.target for row in job.rows]
    variant = chosen_variant(given, job.plan.task, targets)
    problems = check_encoder_params(given)
    if variant == "setfit" and job.plan.task == "regression":
        problems.append(NO_CONTRAST)
    if problems:
        raise UserError.of(problems)
    return resolved(given, variant, job.plan.task, targets)


def _scale(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and spread of a regression's targets, which are learnt in standard deviations."""
    return float(values.mean()), float(values.std()) or 1.0


@dataclass(frozen=True)
class _Read:
    """The rows as they are trained on: at most `limit` tokens each, `prompt` before every text."""

    sides: Sides
    watched: Watched
    limit: int
    prompt: str
    notes: tuple[Text, ...]


def _read(
    job: Job, network: EncoderNetwork, name: str, params: EncoderParams, values: NDArray[np.float64] | None
) -> _Read:
    from executors.tuning.encoder.network import encode
    from executors.tuning.encoder.stages import Sides

    limit = min(params.max_length, int(network.shell[0].max_seq_length or params.max_length))
    prompt = _prompt(network, name)
    ids, cut = encode(network, [prompt + input_text(row.input) for row in job.rows], limit)
    if values is not None:
        mean, spread = _scale(values)
        answers = ((values - mean) / spread).tolist()
    else:
        places = {label: n for n, label in enumerate(job.labels)}
        answers = [places[row.target] for row in job.rows]
    rows = {row.id: TextRow(tuple(i), float(a)) for row, i, a in zip(job.rows, ids, answers, strict=True)}
    trained, watched, notes = _sides(job, params)
    sides = Sides([rows[row.id] for row in trained], [rows[row.id] for row in watched])
    asked = watched_rows(watched, params.compare, job.plan.seed)
    scale = _scale(values) if values is not None else Watched.scale
    looked = Watched(asked, [rows[row.id] for row in asked], job.plan.task, job.labels, scale)
    return _Read(sides, looked, limit, prompt, (*cut_note(cut, limit, len(job.rows)), *notes))


def _open(folder: Path, name: str, job: Job) -> EncoderNetwork:
    if (folder / INT8_WEIGHTS).is_file():
        raise UserError(
            f"the encoder '{name}' has weights of 8 bits, which cannot be trained",
            "name the encoder it is made from",
            Problem(f"编码器“{name}”为 8 位权重，无法训练", "请改用其原编码器"),
        )
    prepare_torch()
    prepare_transformers()
    from executors.tuning.encoder.network import open_network

    job.report(Event("load", 0, 1, name))
    network = open_network(folder, choose_device().kind)
    job.report(Event("load", 1, 1, name))
    return network


def _prompt(network: EncoderNetwork, name: str) -> str:
    """What the encoder expects before a text, as `Embedder` puts it there."""
    alias = alias_of(name)
    prompts = {**network.shell[0].prompts, **(alias.prompts if alias else {})}
    return str(prompts.get("document", ""))


def _sides(job: Job, params: EncoderParams) -> tuple[list[Row], list[Row], tuple[Text, ...]]:
    from executors.data.left_out import FILE, write_left_out
    from executors.tuning.cleaning import training_sides

    sides = training_sides(job, params)
    write_left_out(job.folder / FILE, sides.left_out)
    return list(sides.train), list(sides.development), sides.notes


def _run(
    network: EncoderNetwork, sides: Sides, setting: Setting, watched: Watched
) -> tuple[EncoderNetwork, Log, dict[str, Any]]:
    """All stages of the variant: the tuned network, the log of its training, and how its head came about. `watched`
    looks at the head it begins from."""
    from executors.tuning.encoder import stages

    variant = setting.params.variant
    if variant == "setfit":
        if watched.rows:  # a head of the frozen encoder, which contrast itself does not need
            stages.start_head(network, sides.rows, setting, START_STRENGTH)
            watched.begin(network)
            network.head = None
        network, log = stages.contrast(network, sides, setting)
        return network, log, stages.start_head(network, sides.rows, setting, None)
    if variant == "continued":
        network = stages.read_on(network, sides, setting)
    network = stages.let_move(network, setting.params)
    chosen: dict[str, Any] = {"by": "random"}
    if variant == "scratch":
        stages.random_head(network, network.shell[0].get_embedding_dimension(), max(1, len(setting.labels)))
    else:
        chosen = stages.start_head(network, sides.rows, setting, START_STRENGTH)
    watched.begin(network)
    return network, stages.tune_head(network, sides, setting), {"start": chosen}


def _write(folder: Path, base: Path, network: EncoderNetwork, setting: Setting, name: str) -> None:
    """The encoder with its head, adapters folded in where they can be, else beside it."""
    from executors.models.adapters import merged, save_adapter
    from executors.tuning.encoder.network import open_network
    from executors.tuning.executor import public_name  # which imports this module

    variant = setting.params.variant
    if variant in FOLDED:
        network.transformer = merged(network.transformer)
    elif variant in ADAPTERS:
        save_adapter(network.transformer, folder / ADAPTER, public_name(name))
        head, network = network.head, open_network(base, setting.device.kind)
        network.head = head
    network.save(folder / ENCODER)
