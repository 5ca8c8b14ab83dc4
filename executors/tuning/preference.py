"""Preference tuning: pairs of a better and a worse answer, by direct preference optimisation (loss: `paired`).

The model it begins from is the reference: what it makes of each answer is computed once, before the training, and kept
in the job's folder. With `sft_first` the model is first tuned on the chosen answers, and that is where it begins from.
With `per_token` an answer's log-probability is the mean over its tokens, which keeps the longer answer from being
preferred for its length.

Measured on pairs that nothing was trained on, as `preference.json` has it: how often the chosen answer is likelier
before and after, how often its reward β·(log π - log π₀) is higher, and by how much. Not covered: a reward model,
answers drawn from the model itself, more than two answers.
"""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from executors.base import Job, Plan, Problem, Row, Text, UserError, parse_params, write_json
from executors.messages import TEXT_TASKS
from executors.tuning.checkpoints import appearing_whole
from executors.tuning.executor import PeftExecutor, row_limit
from executors.tuning.material import Material
from executors.tuning.paired import Likelihood, PairBatcher, PairLoss, TokenPair, TokenPairs, encode_pairs
from executors.tuning.params import PeftParams, development_rows

if TYPE_CHECKING:
    from executors.data.pairs import Pair

RATE = 0.1  # of LoRA's: pairs differ in little, and a high rate makes both answers unlikely
MEASURED = 200  # held-out pairs, at most
RECORD = "preference.json"
REFERENCE = "reference.json"  # in the job's folder, as are the next two
IMITATED = "imitated"
BEFORE = "preference-before.json"


@dataclass(frozen=True)
class PreferenceParams(PeftParams):
    """DPO with LoRA. `batch_size` counts pairs, `max_length` the tokens of a prompt with one of its answers."""

    epochs: float = 1.0
    min_steps: int = 60
    batch_size: int = 4
    max_length: int = 512
    beta: float = 0.1  # how dear it is to leave the model that one began from
    per_token: bool = False  # an answer's log-probability is the mean over its tokens, not their sum
    sft_first: bool = False  # tuned on the chosen answers first, at LoRA's rate

    @property
    def rate_share(self) -> float:
        return RATE


VARIANTS = ("lora", "rslora", "dora", "qlora")  # variants that begin as the model they stand on, and can be left out


def preference_problems(params: PreferenceParams) -> list[Problem]:
    """Values that have no meaning here."""
    problems = []
    if not 0 < params.beta < float("inf"):
        zh = Problem(f"params.beta：必须大于 0，收到 {params.beta}")
        problems.append(Problem(f"params.beta: must be above 0, got {params.beta}", "", zh))
    if params.variant not in VARIANTS:
        named = ", ".join(VARIANTS)
        zh = Problem(f"params.variant：偏好调优支持 {named}，收到 {params.variant}", f"params.variant={VARIANTS[0]}")
        told = f"params.variant: preference tuning does {named}, not {params.variant}"
        problems.append(Problem(told, f"params.variant={VARIANTS[0]}", zh))
    if params.sft_first and (params.launch or params.search_minutes or params.search != "none"):
        zh = Problem("params.sft_first：不能与 launch 或搜索同时使用", "先用 peft 在较好的回答上微调，再用 --from 继续")
        told = "params.sft_first: not in several processes, nor with a search"
        problems.append(Problem(told, "tune on the chosen answers with --method peft, then go on with --from RUN", zh))
    if params.passages or params.replay:
        name = "passages" if params.passages else "replay"
        zh = Problem(f"params.{name}：偏好对的训练不支持这一项", "请去掉")
        problems.append(Problem(f"params.{name}: has no meaning where pairs are trained on", "leave it out", zh))
    return problems


# -- what came of it -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """Over `pairs` that nothing was trained on. `likelier`: the share whose chosen answer is the likelier one;
    `accuracy`: the share whose chosen answer has the higher reward; `margin`: by how much on average, in nats."""

    pairs: int
    likelier: float
    accuracy: float
    margin: float


def likelier(found: dict[int, Likelihood]) -> float:
    """The share of pairs whose chosen answer is the likelier one."""
    return round(sum(chosen > rejected for chosen, rejected in found.values()) / len(found), 4)


def measured(now: dict[int, Likelihood], reference: dict[int, Likelihood], beta: float) -> Measured:
    """The figures of the same pairs by the trained model and by the one it began from."""
    margins = [beta * ((c - reference[n][0]) - (r - reference[n][1])) for n, (c, r) in now.items()]
    count = len(margins)
    return Measured(
        count,
        likelier(now),
        round(sum(margin > 0 for margin in margins) / count, 4),
        round(statistics.fmean(margins), 4),
    )


# -- the method ----------------------------------------------------------------------------------------


class PreferenceExecutor(PeftExecutor):
    """A model's answers are moved towards the better of two. What is scored is what it writes, by the chosen answer."""

    method = "preference"
    Params = PreferenceParams
    tasks: ClassVar[frozenset[str]] = TEXT_TASKS

    def __init__(self) -> None:
        self._loss: PairLoss | None = None
        self._batcher: PairBatcher | None = None
        self._held: tuple[TokenPair, ...] = ()
        self._held_reference: dict[int, Likelihood] = {}
        self._first: dict[str, Any] = {}
        self._found: dict[str, Any] = {}

    def check(self, plan: Plan) -> list[Problem]:
        params, _ = parse_params(PreferenceParams, plan.params)
        return [*super().check(plan), *(preference_problems(params) if params else ())]

    def material(self, job: Job, params: PreferenceParams, model: Any, tokenizer: Any) -> Material:
        """The pairs, and what the model makes of them now. Trains on the chosen answers first where that is asked."""
        from executors.models.language import can_share

        limit, shares = row_limit(params, model), can_share(model)
        sides = pair_sides(job, params)
        train = encode_pairs(tokenizer, job.plan.task, sides.train, limit)
        watched = encode_pairs(tokenizer, job.plan.task, sides.watched, limit, len(train.pairs))
        held = encode_pairs(tokenizer, job.plan.task, sides.held, limit, len(train.pairs) + len(watched.pairs))
        if not train.pairs:
            raise _nothing_fits(train, limit)
        every = (*train.pairs, *watched.pairs, *held.pairs)
        self._batcher = PairBatcher(tokenizer.pad_token_id, shares, model.device.type == "cpu")
        self._loss = PairLoss(every, shares, params)
        self._held = held.pairs
        before = _kept(job.folder / BEFORE, lambda: self._loss.look(model, self._batcher, held.pairs, job.report))
        if params.sft_first:
            _imitate(job, params, model, tokenizer, (*train.pairs, *watched.pairs), len(watched.pairs))
        reference = _kept(job.folder / REFERENCE, lambda: self._loss.look(model, self._batcher, every, job.report))
        self._loss.reference = reference
        self._held_reference = {pair.number: reference[pair.number] for pair in held.pairs}
        self._first = {"pairs": len(before), "likelier": likelier(before)} if before else {}
        notes = (
            *sides.notes,
            *_fit_notes(train, limit),
            *_watched_note(len(watched.pairs), len(train.pairs) + len(watched.pairs)),
        )
        return Material(train.pairs, watched.pairs, self._batcher, self._loss, notes)

    def notes(self, model: Any, params: PreferenceParams) -> tuple[Text, ...]:
        assert self._loss is not None
        assert self._batcher is not None
        if not self._held:
            return _no_pairs_note()
        now = self._loss.look(model, self._batcher, self._held)
        after = measured(now, self._held_reference, params.beta)
        self._found = {"before": self._first, "after": asdict(after)}
        return _measured_note(self._first["likelier"], after)

    def write(self, folder: Path, base: str, model: Any, tokenizer: Any) -> None:
        super().write(folder, base, model, tokenizer)
        write_json(folder / RECORD, self._found)


def _kept(path: Path, look: Any) -> dict[int, Likelihood]:
    """What was looked at before an interruption, else what is found now, which is then kept."""
    if not path.is_file():
        write_json(path, look())
    read = json.loads(path.read_text(encoding="utf-8"))
    return {int(number): (chosen, rejected) for number, (chosen, rejected) in read.items()}


@dataclass(frozen=True)
class PairSides:
    """Pairs to train on, to watch the loss on, and to measure with: nothing is chosen by the last."""

    train: Sequence[Pair]
    watched: Sequence[Pair]
    held: Sequence[Pair]
    notes: tuple[Text, ...]


def pair_sides(job: Job, params: PreferenceParams) -> PairSides:
    """The job's pairs: those of a training row's prompt are trained on or watched, the others measured with.

    Raises `UserError` for a file without pairs.
    """
    from executors.data.development import split_development
    from executors.data.pairs import load_pairs
    from executors.data.splits import input_key

    found = load_pairs(job.plan.data, job.plan.seed, job.plan.task)
    own = {input_key(row) for row in job.rows}  # of one fold, where there are several
    asked = [(Row(pair.id, pair.input, (pair.chosen,)), pair) for pair in (*found.train, *found.test)]
    ours = [row for row, _ in asked if input_key(row) in own]
    leaks = job.leaks(ours)
    rows = [row for row in ours if row.id not in leaks]
    train, watched = split_development(rows, development_rows(params, len(rows)), job.plan.seed, job.plan.task)
    by_id = {row.id: pair for row, pair in asked}
    held = [pair for row, pair in asked if input_key(row) not in own]
    if len(held) > MEASURED:
        held = random.Random(f"measured {job.plan.seed}").sample(held, MEASURED)
    notes = (*found.notes, *_leak_note(len(leaks)))
    return PairSides([by_id[row.id] for row in train], [by_id[row.id] for row in watched], held, notes)


# -- the chosen answers first --------------------------------------------------------------------------


def _imitate(
    job: Job, params: PreferenceParams, model: Any, tokenizer: Any, pairs: Sequence[TokenPair], watched: int
) -> None:
    """Tune `model` on the chosen answers; one that was tuned before an interruption is put back as it then was."""
    import shutil

    from executors.models import choose_device
    from executors.tuning.batches import collator_of, completion_loss
    from executors.tuning.engine import train
    from executors.tuning.params import rate_of
    from executors.tuning.rows import TokenRow

    done = job.folder / IMITATED
    if not (done / "adapter_model.safetensors").is_file():
        rows = [TokenRow(pair.prompt, pair.chosen) for pair in pairs]
        sides = (rows[:-watched], rows[-watched:]) if watched else (rows, [])
        material = Material(*sides, collator_of(model, tokenizer), completion_loss)
        rate = rate_of(replace(params, learning_rate=None), model.num_parameters()) / RATE
        folder = job.folder / f"{IMITATED}-checkpoints"
        settings = replace(params, learning_rate=rate)
        train(model, material, settings, choose_device(), job.plan.seed, folder, job.report)
        with appearing_whole(done) as unfinished:
            model.save_pretrained(unfinished, save_embedding_layers=False)
        shutil.rmtree(folder)
    else:
        _put_back(model, done)


def _put_back(model: Any, folder: Path) -> None:
    """The adapter's weights as they were saved in `folder`."""
    from executors.models.device import prepare_peft

    peft = prepare_peft()
    peft.set_peft_model_state_dict(model, peft.load_peft_weights(str(folder), device=str(model.device)))


# -- notes and faults ----------------------------------------------------------------------------------


def _nothing_fits(found: TokenPairs, limit: int) -> UserError:
    return UserError(
        f"there is no pair to train on: {found.too_long} do not fit {limit} tokens",
        "raise params.max_length",
        Problem(f"没有可训练的偏好对：{found.too_long} 个超过 {limit} 个词元", "请增大 params.max_length"),
    )


def _leak_note(leaks: int) -> tuple[Text, ...]:
    if not leaks:
        return ()
    return (
        {
            "en": f"{leaks} pairs were left out, as their prompt nearly equals a held-out one",
            "zh": f"有 {leaks} 个偏好对的提示与留出数据几乎相同，已排除",
        },
    )


def _watched_note(watched: int, pairs: int) -> tuple[Text, ...]:
    if not watched:
        return ()
    return (
        {
            "en": f"{watched} of {pairs} training pairs were held out to watch the loss on, and not trained on",
            "zh": f"{pairs} 个训练偏好对中留出 {watched} 个用于观察损失，未参与训练",
        },
    )


def _fit_notes(found: TokenPairs, limit: int) -> tuple[Text, ...]:
    notes: list[Text] = []
    if found.cut:
        notes.append(
            {
                "en": f"{found.cut} prompts were cut, to fit params.max_length ({limit} tokens) with their answers",
                "zh": f"有 {found.cut} 个提示为与回答一起放入 params.max_length（{limit} 个词元）而被截断",
            }
        )
    if found.too_long:
        notes.append(
            {
                "en": f"{found.too_long} pairs were left out: instruction and answer exceed params.max_length "
                f"({limit} tokens)",
                "zh": f"有 {found.too_long} 个偏好对被排除：指令和回答超过 params.max_length（{limit} 个词元）",
            }
        )
    return tuple(notes)


def _no_pairs_note() -> tuple[Text, ...]:
    return (
        {
            "en": "no held-out pair fits params.max_length: preference accuracy was not measured",
            "zh": "没有留出的偏好对能放入 params.max_length：未测量偏好准确率",
        },
    )


def _measured_note(likelier: float, after: Measured) -> tuple[Text, ...]:
    return (
        {
            "en": f"of {after.pairs} held-out pairs the chosen answer has the higher reward in {after.accuracy:.0%} "
            f"(by {after.margin:+.3g} on average), and is the likelier one in {after.likelier:.0%}, before the "
            f"training in {likelier:.0%}",
            "zh": f"在 {after.pairs} 个留出的偏好对中，{after.accuracy:.0%} 的较好回答获得更高奖励"
            f"（平均差 {after.margin:+.3g}），{after.likelier:.0%} 的概率更高，训练前为 {likelier:.0%}",
        },
    )
