"""From training rows to a finished prompt: rows that may be shown, the instruction, and the labels' priors."""

from __future__ import annotations

import functools
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

from executors.base import Event, Input, Job, Problem, Row, Text, UserError, did_you_mean, parse_params
from executors.data.near import leak_notes, refuse_leaks
from executors.models import LanguageModel, load_embedder
from executors.prompt.demonstrations import Demonstrations, Fixed, by_turns, choose_fixed
from executors.prompt.given import read_demonstrations, refuse_given_leaks
from executors.prompt.labels import prior
from executors.prompt.params import NEARBY, Prompt, PromptParams
from executors.prompt.predictor import PromptPredictor
from executors.prompt.schemas import Schema, infer_schema, load_schema
from executors.prompt.structured import instruct
from executors.prompt.wording import draft_instruction, language_of, load_wording
from executors.targets import numbers

CALIBRATION_ROWS = 48  # training texts the labels' prior is estimated on: more barely moves it
CONTENT_FREE = ("N/A", "[MASK]", "")  # Zhao et al. 2021
NAMED = 12  # labels named in a hint
LISTED = 0.25  # of the window that the labels may fill in the instruction


class Builder:
    """What all prompts of one job share: the model, the rows that may be shown, and their embeddings."""

    def __init__(self, job: Job, model: LanguageModel) -> None:
        self.job, self.model = job, model
        _check_descriptions(job)
        self.lang = language_of(job.rows)
        self._pool: Demonstrations | None = None

    @functools.cached_property
    def _checked(self) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
        """(rows that may be shown, rows that stand among the held-out ones); looked at once any is to be shown."""
        return refuse_leaks(self.job, self.job.rows)

    @property
    def showable(self) -> tuple[Row, ...]:
        """The training rows that neither equal nor nearly equal a held-out one."""
        return self._checked[0]

    @property
    def pool(self) -> Demonstrations:
        """The rows with their embeddings, made once."""
        if self._pool is None:
            embedder = load_embedder(self.job.plan.embedder, self.job.report)
            self._pool = Demonstrations.of(self.showable, embedder, self.job.folder / "pool", self.job.report)
        return self._pool

    @property
    def has_pool(self) -> bool:
        """Whether rows have been embedded for any prompt so far."""
        return self._pool is not None

    def build(self, params: PromptParams, barred: frozenset[str] = frozenset()) -> PromptPredictor:
        """The predictor of `params`, not yet calibrated; rows with ids in `barred` are no fixed demonstrations."""
        job = self.job
        params = self.resolved(params)
        if params.answers == "extracted" and self.lang != "en":
            raise UserError(
                "params.answers: 'extracted' takes words between spaces, and these rows are written without",
                "leave it out",
                Problem("params.answers：'extracted' 以空格分词，不适用于这些数据", "请去掉该参数"),
            )
        demonstrations = self._fixed(params, barred)
        grounded = any(row.input.context for row in job.rows[:100])
        listed, remarks = self._lists_labels(params)
        schema = self._schema(params)
        instruction = draft_instruction(
            job.plan.task, job.labels, params, self.lang, grounded=grounded, listed=listed
        ) + (f"\n{instruct(schema, self.lang)}" if schema else "")
        prompt = Prompt(
            task=job.plan.task,
            labels=job.labels,
            model=job.plan.model,
            instruction=instruction,
            demonstrations=demonstrations,
            params=params,
            lang=self.lang,
            seed=job.plan.seed,
            embedder=job.plan.embedder if params.embeds else "",
            mean=float(numbers(job.rows).mean()) if job.plan.task == "regression" and job.rows else 0.0,
            common=Counter(row.target for row in job.rows).most_common(1)[0][0] if job.labels and job.rows else "",
            schema=schema.document if schema else None,
            remarks=(*remarks, *self._schema_notes(schema), *self._leak_notes(params)),
        )
        return PromptPredictor(self.model, prompt, self.pool if params.retrieves else None)

    def resolved(self, params: PromptParams) -> PromptParams:
        """`params` with the number of demonstrations, and without a calibration that cannot be."""
        shots = params.shots if params.shots is not None else default_shots(self.job)
        params = replace(
            params,
            shots=min(shots, len(self.job.rows)),
            stop=tuple(params.stop),
            requirements=tuple(params.requirements),
        )
        return replace(params, calibration="none") if params.candidates == "shown" else params

    def _fixed(self, params: PromptParams, barred: frozenset[str]) -> tuple[Row, ...]:
        if params.demonstrations:
            columns, labels = self.job.plan.data.columns, self.job.labels
            given = read_demonstrations(Path(params.demonstrations), self.job.plan.task, columns, labels)
            refuse_given_leaks(self.job, given)
            return given
        if not self._draws(params):
            return ()
        refused = barred | {row.id for row in self._checked[1]}
        seed, shots = self.job.plan.seed + params.order_seed, params.shots or 0
        selection: Fixed = "balanced" if params.selection == "balanced" else "random"
        return choose_fixed(self.job.rows, shots, selection, self.job.plan.task, seed, refused)

    def _draws(self, params: PromptParams) -> bool:
        """Whether demonstrations are drawn from the training rows, the same for every input."""
        return bool(params.shots) and params.selection not in NEARBY and params.answers == "written"

    def _leak_notes(self, params: PromptParams) -> tuple[Text, ...]:
        return leak_notes(self._checked[1]) if self._shows_rows(params) else ()

    def _shows_rows(self, params: PromptParams) -> bool:
        return (params.retrieves or self._draws(params)) and not params.demonstrations

    def _lists_labels(self, params: PromptParams) -> tuple[bool, list[Text]]:
        """Whether the labels stand in the instruction: not where they would crowd everything else out."""
        job = self.job
        wording = load_wording(params.wording, job.plan.task, self.lang)
        if not (job.labels and wording.lists_labels) or params.instruction:
            return True, []
        tokens = self.model.count(", ".join(job.labels))
        if tokens <= LISTED * self.model.window:
            return True, []
        labels, window = len(job.labels), self.model.window
        en = f"the {labels:,} labels are not listed in the instruction: {tokens:,} tokens of a window of {window:,}"
        zh = f"说明中未列出 {labels:,} 个标签：共 {tokens:,} token，而窗口只有 {window:,} token"
        return False, [{"en": en, "zh": zh}]

    def _schema(self, params: PromptParams) -> Schema | None:
        if self.job.plan.task != "structured_output":
            return None
        if params.schema:
            return load_schema(Path(params.schema))
        return infer_schema([row.target for row in self.job.rows])

    def _schema_notes(self, schema: Schema | None) -> tuple[Text, ...]:
        if schema or self.job.plan.task != "structured_output":
            return ()
        en = "no schema: the training answers are not all JSON objects or arrays, so answers are not validated"
        return ({"en": en, "zh": "没有 schema：训练答案并非都是 JSON 对象或数组，因此回答未校验"},)

    def calibrate(self, predictor: PromptPredictor) -> PromptPredictor:
        """The predictor with its labels' priors, measured as its parameters say; an ensemble's each for itself."""
        others = tuple(self._calibrated(other).prompt for other in predictor.others)
        own = self._calibrated(predictor)
        return PromptPredictor(self.model, replace(own.prompt, others=others), own.pool, own.record)

    def _calibrated(self, predictor: PromptPredictor) -> PromptPredictor:
        prompt = predictor.prompt
        if not predictor.scores_labels or prompt.params.calibration == "none":
            return predictor
        self.job.report(Event("fit", note="calibration"))
        found = self.prior_of(predictor, prompt.params)
        prompt = replace(prompt, offsets=tuple(found[label] for label in prompt.labels))
        return PromptPredictor(self.model, prompt, predictor.pool, predictor.record)

    def prior_of(self, predictor: PromptPredictor, params: PromptParams) -> dict[str, float]:
        """Each label's mean log-probability on the inputs that the calibration of `params` names."""
        inputs, exclude = self._neutral(predictor, params)
        asked = PromptPredictor(self.model, predictor.prompt, predictor.pool).render(inputs, exclude)
        return prior(predictor.score(asked))

    def _neutral(self, predictor: PromptPredictor, params: PromptParams) -> tuple[list[Input], list[tuple[str, ...]]]:
        """Inputs to measure the priors on, and the rows that must not be shown with each."""
        if params.calibration == "contextual":
            return [Input(text) for text in CONTENT_FREE], [()] * len(CONTENT_FREE)
        shown = {row.id for row in predictor.prompt.demonstrations}
        rows = list(self.job.rows)
        random.Random(self.job.plan.seed).shuffle(rows)
        rest = by_turns([row for row in rows if row.id not in shown])[:CALIBRATION_ROWS]
        if not rest:
            return [Input(CONTENT_FREE[0])], [()]
        return [row.input for row in rest], [(row.id,) for row in rest]


def default_shots(job: Job) -> int:
    """Demonstrations where the plan names no number."""
    if job.plan.task == "classification":
        return min(max(8, len(job.labels)), 24)
    if job.plan.task == "regression":
        return 8
    return 0 if any(row.input.context for row in job.rows) else 4


def _check_descriptions(job: Job) -> None:
    """Raises `UserError` naming every label that is described and that the rows do not have."""
    problems = []
    for label in job.plan.params.get("descriptions", {}):
        if job.labels and label not in job.labels:
            meant, meant_zh = (did_you_mean(label, job.labels, lang) for lang in ("en", "zh"))
            known = ", ".join(job.labels[:NAMED])
            zh = Problem(f"params.descriptions：数据中没有标签“{label}”{meant_zh}", f"标签：{known}")
            message = f"params.descriptions: the rows have no label '{label}'{meant}"
            problems.append(Problem(message, f"labels: {known}", zh))
    if problems:
        raise UserError.of(problems)


def parsed(job: Job) -> PromptParams:
    """The parameters of the job's plan. Raises `UserError` with every fault."""
    params, problems = parse_params(PromptParams, job.plan.params)
    if params is None:
        raise UserError.of(problems)
    return params
