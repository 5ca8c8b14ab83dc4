"""Prompting: an instruction, a few demonstrations, and the model as it is.

Covered: zero-shot and few-shot; labels chosen by their likelihood and calibrated on training texts; numbers and
texts by generation. Not covered yet: retrieved demonstrations, search over prompts, schemas.
"""

from __future__ import annotations

import functools
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from executors.base import (
    Executor,
    Input,
    Job,
    Plan,
    Prediction,
    Predictor,
    Problem,
    Reporter,
    Row,
    Text,
    UserError,
    parse_params,
    silent,
    to_dict,
    write_json,
)
from executors.data.numbers import find_numbers
from executors.fitting import fitting_notes, shorten
from executors.messages import TASKS, answer_tokens, chat
from executors.models import LanguageModel, load_language_model, name_problems
from executors.targets import numbers

SPEC = "prompt.json"
CALIBRATION_ROWS = 48  # training texts the labels' prior is estimated on: more barely moves it
FRAME_AIR = 32  # tokens more than its parts that a prompt may have
LABEL_AIR = 8  # tokens kept free beside the longest label: its end, a leading space


@dataclass(frozen=True)
class PromptParams:
    """`shots` None: one demonstration a label, at least 8 and at most 24; 4 of texts without a passage, else none.

    `calibration` "training": a label's likelihood is measured against its mean over training texts, so that no
    label wins by being a common word (batch calibration, Zhou et al. 2023, on texts that are not scored).
    """

    shots: int | None = None
    selection: Literal["random", "balanced"] = "balanced"
    instruction: str = ""  # empty: drafted for the task
    calibration: Literal["training", "none"] = "training"


@dataclass(frozen=True)
class Prompt:
    """A finished prompt: all that is needed to ask again. `offsets` are the labels' prior log-probabilities."""

    task: str
    labels: tuple[str, ...]
    model: str
    instruction: str
    demonstrations: tuple[Row, ...]
    offsets: tuple[float, ...] = ()
    mean: float = 0.0  # of a regression's training targets: the answer where the model writes no number


class PromptPredictor(Predictor):
    """Chooses the likeliest label, or writes the answer."""

    def __init__(self, model: LanguageModel, prompt: Prompt) -> None:
        self.model, self.prompt = model, prompt
        self.dropped = self.shortened = self.numberless = 0

    @property
    def notes(self) -> tuple[Text, ...]:  # type: ignore[override]
        """How it asks, and what it had to do so far to fit a row or to read an answer."""
        dropped = _dropped_note(self.dropped)
        return (_about(self.prompt), *dropped, *fitting_notes(self.shortened, self.numberless))

    def predict(self, inputs: Sequence[Input], report: Reporter = silent) -> list[Prediction]:
        """Raises `UserError` where not even an empty input fits the model's window."""
        if not inputs:
            return []
        chats = [self._chat(given) for given in inputs]
        if self.prompt.task == "classification":
            return [self._choose(row) for row in self.model.score(chats, self.prompt.labels, report)]
        answers = self.model.generate(chats, answer_tokens(self.prompt.task), report)
        return [Prediction(self._finish(answer.text), usage=answer.usage) for answer in answers]

    def _chat(self, given: Input) -> list[dict[str, str]]:
        """The messages for one input: demonstrations dropped from the end, then the input cut, until they fit."""
        shots, room = len(self.prompt.demonstrations), self._room
        if self._frame + self.model.count(given.text) + self.model.count(given.context) <= room:
            return self._messages(given, shots)  # by far: counting the whole prompt each time would cost more
        while shots and self.model.count_chat(self._messages(given, shots)) > room:
            shots -= 1
        fitting = shorten(given, room, lambda i: self.model.count_chat(self._messages(i, shots)))
        if fitting is None:
            raise UserError(
                f"the instruction alone exceeds the {self.model.window:,} tokens of {self.model.name}",
                "name a model with a longer window, or fewer labels",
            )
        self.dropped += shots < len(self.prompt.demonstrations)
        self.shortened += fitting != given
        return self._messages(fitting, shots)

    @functools.cached_property
    def _room(self) -> int:
        """Tokens a prompt may have, its answer's kept free."""
        longest = max((self.model.count(label) for label in self.prompt.labels), default=0)
        return self.model.window - max(longest + LABEL_AIR, answer_tokens(self.prompt.task))

    @functools.cached_property
    def _frame(self) -> int:
        """Tokens of the prompt without its input, and some air for where the two meet."""
        around = self._messages(Input("?", "?"), len(self.prompt.demonstrations))
        return self.model.count_chat(around) + FRAME_AIR

    def _messages(self, given: Input, shots: int) -> list[dict[str, str]]:
        p = self.prompt
        return chat(p.task, p.labels, given, p.demonstrations[:shots], instruction=p.instruction)

    def _choose(self, log_probabilities: Sequence[float]) -> Prediction:
        """The likeliest label; probabilities over the labels sum to one. A tie goes to the first label."""
        offsets = self.prompt.offsets or [0.0] * len(log_probabilities)
        shares = softmax([v - o for v, o in zip(log_softmax(log_probabilities), offsets, strict=True)])
        scores = {label: round(p, 6) for label, p in zip(self.prompt.labels, shares, strict=True)}
        best = self.prompt.labels[shares.index(max(shares))]
        return Prediction(best, score=scores[best], scores=scores)

    def _finish(self, text: str) -> str:
        if self.prompt.task != "regression":
            return text
        written = find_numbers(text)
        self.numberless += not written
        return f"{written[0] if written else self.prompt.mean:.6g}"

    def save(self, folder: Path) -> None:
        write_json(folder / SPEC, {"schema_version": 1, **to_dict(self.prompt)})

    @classmethod
    def load(cls, folder: Path, report: Reporter = silent, model: LanguageModel | None = None) -> Self:
        prompt = read_prompt(folder / SPEC)
        return cls(model or load_language_model(prompt.model, report), prompt)


def read_prompt(path: Path) -> Prompt:
    """The prompt that `PromptPredictor.save` wrote."""
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    rows = tuple(Row(r["id"], Input(**r["input"]), tuple(r["targets"]), r["source"]) for r in read["demonstrations"])
    return Prompt(
        task=read["task"],
        labels=tuple(read["labels"]),
        model=read["model"],
        instruction=read["instruction"],
        demonstrations=rows,
        offsets=tuple(read["offsets"]),
        mean=read["mean"],
    )


class PromptExecutor(Executor):
    """Instruction and demonstrations in the prompt; no weight is changed."""

    Params = PromptParams
    Predictor = PromptPredictor
    tasks: ClassVar[frozenset[str]] = TASKS

    def check(self, plan: Plan) -> list[Problem]:
        params, _ = parse_params(PromptParams, plan.params)
        problems = name_problems(plan.model, "language")
        if params and params.shots is not None and params.shots < 0:
            problems.append(Problem(f"params.shots: at least 0, got {params.shots}", "0: no demonstrations"))
        return problems

    def build(self, job: Job) -> PromptPredictor:
        """Choose demonstrations and, for labels, measure their prior on other training texts."""
        return build_prompt(job, load_language_model(job.plan.model, job.report))


def build_prompt(job: Job, model: LanguageModel) -> PromptPredictor:
    """The predictor of `job` with `model`. Raises `UserError` for wrong parameters and targets that are no numbers."""
    params, problems = parse_params(PromptParams, job.plan.params)
    if params is None:
        raise UserError.of(problems)
    chosen, rest = choose_demonstrations(job, params)
    mean = float(numbers(job.rows).mean()) if job.plan.task == "regression" and job.rows else 0.0
    prompt = Prompt(job.plan.task, job.labels, job.plan.model, params.instruction, chosen, mean=mean)
    if job.plan.task == "classification" and params.calibration == "training":
        prompt = replace(prompt, offsets=_offsets(PromptPredictor(model, prompt), rest, job))
    return PromptPredictor(model, prompt)


def choose_demonstrations(job: Job, params: PromptParams) -> tuple[tuple[Row, ...], list[Row]]:
    """(demonstrations, the other rows), both in an order drawn by the plan's seed."""
    rows = list(job.rows)
    random.Random(job.plan.seed).shuffle(rows)
    if params.selection == "balanced" and job.plan.task == "classification":
        rows = _by_turns(rows)
    shots = params.shots if params.shots is not None else _default_shots(job)
    chosen = rows[:shots]
    random.Random(job.plan.seed).shuffle(chosen)  # else labels would come in rounds, which a model copies
    return tuple(chosen), rows[shots:]


def _default_shots(job: Job) -> int:
    if job.plan.task == "classification":
        return min(max(8, len(job.labels)), 24)
    if job.plan.task == "regression":
        return 8
    return 0 if any(row.input.context for row in job.rows) else 4


def _by_turns(rows: Sequence[Row]) -> list[Row]:
    """Rows so that every label comes once before any comes twice; stable otherwise."""
    seen: dict[str, int] = {}
    turns = []
    for row in rows:
        seen[row.target] = seen.get(row.target, 0) + 1
        turns.append(seen[row.target])
    order = sorted(range(len(rows)), key=lambda i: turns[i])
    return [rows[i] for i in order]


def _offsets(predictor: PromptPredictor, rest: Sequence[Row], job: Job) -> tuple[float, ...]:
    """Mean log-probability of each label over training texts that are no demonstrations, labels by turns."""
    texts = [row.input for row in _by_turns(rest)[:CALIBRATION_ROWS]] or [Input("N/A")]
    chats = [predictor._chat(given) for given in texts]
    predictor.dropped = predictor.shortened = 0  # only rows that are answered count
    scores = [log_softmax(row) for row in predictor.model.score(chats, job.labels, job.report)]
    return tuple(round(sum(column) / len(scores), 6) for column in zip(*scores, strict=True))


def log_softmax(values: Sequence[float]) -> list[float]:
    """Logarithms of the shares that `values`, themselves logarithms, have in their sum."""
    highest = max(values)
    total = highest + math.log(sum(math.exp(v - highest) for v in values))
    return [v - total for v in values]


def softmax(values: Sequence[float]) -> list[float]:
    """The shares themselves."""
    return [math.exp(v) for v in log_softmax(values)]


def _about(prompt: Prompt) -> Text:
    shots = len(prompt.demonstrations)
    calibrated = bool(prompt.offsets)
    return {
        "en": (f"{shots} demonstrations" if shots else "no demonstrations")
        + (", labels calibrated on training texts" if calibrated else ""),
        "zh": (f"{shots} 个示例" if shots else "无示例") + ("，标签概率已用训练文本校准" if calibrated else ""),
    }


def _dropped_note(dropped: int) -> list[Text]:
    if not dropped:
        return []
    return [
        {
            "en": f"{dropped} rows were asked with fewer demonstrations, to fit the model's window",
            "zh": f"{dropped} 条输入为适应模型窗口而减少了示例",
        }
    ]
