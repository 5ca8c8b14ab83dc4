"""Choosing a training's parameters on the training side, before the training itself: see `trials` for how.

Held-out rows take no part: a method never sees them. What was tried lies in `search/` in the job's folder, and a search
that was interrupted goes on. Not covered: encoders, and trainings in several processes (see `launch`).
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from executors.base import Event, Job, Plan, Problem, Text, UserError, silent, to_dict, write_json
from executors.trials import RECORD, SearchRecord, Trial, parse_record
from executors.tuning.encoder.names import is_encoder
from executors.tuning.params import DEVELOPMENT_FROM, AnsweringParams, rate_of, steps_for
from executors.tuning.trials import (
    Outcome,
    Rising,
    Shape,
    of_length,
    run_range,
    run_trials,
    space_of,
    suggested,
    trial_steps,
)
from executors.tuning.watching import Watcher

if TYPE_CHECKING:
    from executors.tuning.executor import TuningExecutor

PROBE = 6  # steps that are timed before a search
RANGE_ITEMS = 16  # rows whose loss is looked at after every step of a rising rate


def searches(params: Any) -> str:
    """The way to search that the parameters ask for: trials, range, or none."""
    if not isinstance(params, AnsweringParams):
        return "none"
    return "trials" if params.search == "none" and params.search_minutes > 0 else params.search


def search_problems(params: Any, plan: Plan) -> list[Problem]:
    """What is wrong with the parameters of a search."""
    asked = searches(params)
    if asked == "none":
        return []
    problems = []
    if is_encoder(plan.model):
        zh = Problem(f"params.search：{asked} 只用于生成文本的模型", "去掉 search 与 search_minutes")
        problems.append(
            Problem(f"params.search: {asked} is for models that write text", "leave search and search_minutes out", zh)
        )
    if asked == "trials" and not params.search_minutes > 0:
        zh = Problem("params.search=trials：需要给出 search_minutes", "params.search_minutes=10")
        problems.append(Problem("params.search=trials: needs search_minutes", "params.search_minutes=10", zh))
    if asked == "range" and params.search_minutes:
        zh = Problem("params.search_minutes：只用于 search=trials，此处为 search=range", "二者去掉其一")
        message = "params.search_minutes: goes with search=trials, here it is search=range"
        problems.append(Problem(message, "leave one of them out", zh))
    return problems


def chosen_params(executor: TuningExecutor, job: Job, params: Any) -> tuple[Any, SearchRecord | None]:
    """`params` with what a search chose put over them, and its record; as they are, and None, where none is asked for.

    Raises `UserError`: no rows to compare trials on, and what a training raises.
    """
    asked = searches(params)
    if asked == "none":
        return params, None
    folder = job.folder / "search"
    record = _read(folder / RECORD)
    if record is None:
        began = time.perf_counter()
        trainings = _Trainings(executor, job)
        shape = trainings.shape(params, folder / "shape.json")
        record = _range(trainings, params, shape, folder, began) if asked == "range" else None
        record = record or _trials(trainings, params, shape, folder)
        write_json(folder / RECORD, record)
    return replace(params, **record.chosen), record


def _read(path: Path) -> SearchRecord | None:
    return parse_record(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


# -- the two ways --------------------------------------------------------------------------------------


def _trials(trainings: _Trainings, params: AnsweringParams, shape: Shape, folder: Path) -> SearchRecord:
    job, budget = trainings.job, params.search_minutes * 60
    if not shape.watched:
        raise UserError(
            f"params.search=trials: {len(job.rows)} training rows leave none to compare trials on; "
            f"they do from {DEVELOPMENT_FROM} rows on",
            "params.search=range needs none, or give more rows",
            Problem(
                f"params.search=trials：{len(job.rows)} 条训练数据太少，留不出开发数据，至少要 {DEVELOPMENT_FROM} 条",
                "params.search=range 不需要开发数据；或提供更多数据",
            ),
        )
    found, stopped = run_trials(trainings.attempt, params, shape, folder, job.plan.seed, job.report)
    best = min(found, key=lambda one: one.loss)
    return SearchRecord(
        metric="dev_loss",
        higher_is_better=False,
        development_rows=shape.watched,
        training_rows=len(job.rows),
        chance=0.0,
        budget_seconds=budget,
        seconds=round(sum(one.seconds for one in found), 1),
        stopped=stopped,
        candidates=len(found),
        trials=tuple(_trial(one, found[0], one is best, shape.watched) for one in found if one.looks),
        chosen=_changes(best, found[0]),
        score=round(best.loss, 4),
        plain=round(found[0].loss, 4),
        floor=None,
        guards=_guards(found, params, shape, budget),
        subject="training",
    )


def _changes(one: Outcome, own: Outcome) -> dict[str, float]:
    return {name: value for name, value in one.values.items() if value != own.values[name]}


def _trial(one: Outcome, own: Outcome, kept: bool, rows: int) -> Trial:
    flags = () if one.state == "done" else (one.state,)
    return Trial(_changes(one, own), 0, rows, round(min(one.looks), 4), 0.0, one.seconds, one.steps, kept, flags)


def _guards(found: list[Outcome], params: AnsweringParams, shape: Shape, budget: float) -> tuple[Text, ...]:
    """What a reader of the choice must know."""
    steps, told = trial_steps(params, shape, budget), list[Text]()
    if steps < shape.steps:
        told.append(
            {
                "en": f"each trial had {steps} of the training's {shape.steps} optimizer steps, so that several fit "
                "the time: short trainings favour high rates a little, and tell nothing of the number of epochs",
                "zh": f"为了在限时内完成多次试验，每次只训练 {steps} 步（完整训练为 {shape.steps} 步）：短训练略微偏向"
                "较高的学习率，也无法比较训练轮数",
            }
        )
    ends = space_of(params, shape, steps).rates
    rate = min(found, key=lambda one: one.loss).values["learning_rate"]
    if not ends[0] * 1.3 < rate < ends[1] / 1.3:
        told.append(
            {
                "en": f"the chosen rate lies at the end of what was tried, {ends[0]:.1g} to {ends[1]:.1g}: a search "
                "from there may find better",
                "zh": f"选出的学习率位于搜索范围（{ends[0]:.1g} 到 {ends[1]:.1g}）的边缘：以它为起点再搜索可能更好",
            }
        )
    diverged = sum(one.state == "diverged" for one in found)
    if diverged:
        told.append({"en": f"{diverged} trainings diverged", "zh": f"{diverged} 次训练发散"})
    return tuple(told)


def _range(trainings: _Trainings, params: AnsweringParams, shape: Shape, folder: Path, began: float) -> SearchRecord:
    job = trainings.job
    job.report(Event("search", 0, None))
    points = run_range(trainings.attempt, params, shape, folder)
    rate = suggested(points)
    unclear: Text = {
        "en": "the loss never fell while the rate rose, so the plan's own rate is kept: look at the rows first",
        "zh": "学习率递增过程中损失从未下降，因此保留计划中的学习率：请先检查数据",
    }
    kept = rate or shape.rate
    nearest = min(points, key=lambda point: abs(point[0] - kept), default=(kept, 0.0))
    return SearchRecord(
        metric="dev_loss",
        higher_is_better=False,
        development_rows=trainings.looked_at,
        training_rows=len(job.rows),
        chance=0.0,
        budget_seconds=0.0,
        seconds=round(time.perf_counter() - began, 1),
        stopped="finished",
        candidates=len(points),
        trials=tuple(
            Trial({"learning_rate": at}, 0, trainings.looked_at, round(loss, 4), 0.0, 0.0, step, at == nearest[0])
            for step, (at, loss) in enumerate(points, 1)
        ),
        chosen={"learning_rate": float(f"{kept:.2g}")},
        score=round(nearest[1], 4),
        plain=None,
        floor=None,
        guards=() if rate else (unclear,),
        subject="learning_rate",
    )


def write_search(folder: Path, record: SearchRecord | None) -> None:
    """Keep the record with the artifact in `folder`."""
    if record is not None:
        write_json(folder / RECORD, record)


def search_note(record: SearchRecord | None) -> tuple[Text, ...]:
    """What was chosen, in words."""
    if record is None:
        return ()
    named = ", ".join(f"{name}={value:.2g}" for name, value in record.chosen.items())
    if record.subject == "learning_rate":
        return (
            {
                "en": f"{named} is what a rising rate suggested, by the loss on {record.development_rows} rows",
                "zh": f"{named} 由学习率递增测试给出，依据 {record.development_rows} 条数据上的损失",
            },
        )
    count, rows = record.candidates, record.development_rows
    return (
        {
            "en": f"{count} short trainings were compared on {rows} development rows; "
            + (f"chosen: {named}" if named else "none was better than the plan's own parameters"),
            "zh": f"在 {rows} 条开发数据上比较了 {count} 次短训练；"
            + (f"选用：{named}" if named else "计划原有的参数最好"),
        },
    )


# -- trainings that are not kept -----------------------------------------------------------------------


class _Trainings:
    """The trainings of one job: each from the same start."""

    def __init__(self, executor: TuningExecutor, job: Job) -> None:
        self.executor, self.job = executor, job
        self.looked_at = 0  # rows that the last one was judged on
        self._rows = self._smallest = 0
        self._rate = 0.0

    def attempt(self, params: AnsweringParams, folder: Path, watcher: Watcher) -> None:
        """Train once. The model is loaded anew, so that nothing is left of the training before."""
        from transformers import set_seed

        from executors.models import choose_device, load_causal
        from executors.tuning.engine import train
        from executors.tuning.predictor import in_four_bits

        job, seed = replace(self.job, report=silent), self.job.plan.seed
        model, tokenizer = load_causal(job.plan.model, silent, four_bit=in_four_bits(to_dict(params)))
        params = replace(params, learning_rate=rate_of(params, model.num_parameters()))
        self._rate, self._smallest = params.learning_rate or 0.0, _smallest_dimension(model)
        set_seed(seed)
        model = self.executor.prepare(model, params)
        material = self.executor.material(job, params, model, tokenizer)
        if isinstance(watcher, Rising):
            material = replace(material, watched=[*(material.watched or material.rows)][:RANGE_ITEMS])
        self._rows, self.looked_at = len(material.rows), len(material.watched)
        train(model, material, params, choose_device(), seed, folder, silent, watcher)

    def shape(self, params: AnsweringParams, path: Path) -> Shape:
        """A few steps, timed; kept in `path`, so that a search that goes on makes trials of the same length."""
        if path.is_file():
            return Shape(**json.loads(path.read_text(encoding="utf-8")))
        self.job.report(Event("search", 0, None))
        watch, folder = _Stopwatch(), path.parent / "probe"
        self.attempt(replace(of_length(params, PROBE), checkpoint_steps=10**6), folder, watch)
        shutil.rmtree(folder, ignore_errors=True)
        steps = steps_for(params, self._rows)
        shape = Shape(self._rate, steps, self.looked_at, watch.setup, watch.pace, self._smallest)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, shape)
        return shape


class _Stopwatch(Watcher):
    """When steps begin; nothing is evaluated."""

    every = 10**6

    def __init__(self) -> None:
        self.times = [time.perf_counter()]

    def rate(self, step: int) -> float | None:
        self.times.append(time.perf_counter())
        return None

    @property
    def setup(self) -> float:
        """Seconds until the first step."""
        return round(self.times[1] - self.times[0], 3)

    @property
    def pace(self) -> float:
        """Seconds a step, without the first, which also warms up."""
        return round((self.times[-1] - self.times[2]) / (len(self.times) - 3), 4)


def _smallest_dimension(model: Any) -> int:
    """Of the matrices that adapters are put on: all but the embeddings and the output head."""
    skipped = {id(part.weight) for part in (model.get_input_embeddings(), model.get_output_embeddings()) if part}
    smallest: int = min(min(p.shape) for p in model.parameters() if p.ndim == 2 and id(p) not in skipped)
    return smallest
