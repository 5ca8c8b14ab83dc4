"""A finished run's prompt without the weights of its model: to render, to count, to export. The model is not asked."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executors.base import DataSpec, Input, Plan, Problem, Reporter, Row, UserError, silent
from executors.data import load_dataset
from executors.models.counting import CountingModel, load_counting
from executors.models.endpoint import limits_of
from executors.prompt.budget import Asked
from executors.prompt.params import SPEC, read_prompt
from executors.prompt.predictor import PromptPredictor
from executors.run import read_about

METHOD = "prompt"


@dataclass(frozen=True)
class OpenedPrompt:
    """A prompt that can be rendered. `plan` is the one it was built by."""

    plan: Plan
    predictor: PromptPredictor
    model: CountingModel

    def render(self, inputs: Sequence[Input], report: Reporter = silent) -> list[Asked]:
        """The prompt of each input as the model would be given it, made to fit its window."""
        return self.predictor.render(inputs, report=report)


def held_out(plan: Plan) -> tuple[Row, ...]:
    """The rows the run was scored on. Raises `UserError` where its data are gone or changed beyond use."""
    return load_dataset(plan.data, plan.task, plan.seed).test


def read_plan(folder: Path, methods: Collection[str] = (METHOD,)) -> Plan:
    """The plan a run's artifact was made by. Raises `UserError`: not finished, broken, not of one of `methods`."""
    try:
        raw: dict[str, Any] = dict(read_about(folder)["plan"])
        plan = Plan(**{**raw, "data": DataSpec(**raw["data"])})
    except (ValueError, KeyError, TypeError) as error:
        raise broken(folder / "artifact" / "about.json", error) from error
    if plan.executor in methods:
        return plan
    raise UserError(
        f"{folder.name} is a run of '{plan.executor}', which has no prompt of its own to show",
        f"runs of '{METHOD}' have one: advisor run {folder.name} --method {METHOD}",
        Problem(
            f"{folder.name} 是方法“{plan.executor}”的运行，没有可展示的提示",
            f"只有“{METHOD}”的运行才有：advisor run {folder.name} --method {METHOD}",
        ),
    )


def open_prompt(folder: Path, report: Reporter = silent) -> OpenedPrompt:
    """The prompt of the finished run in `folder`. Raises `UserError`, see `read_plan`; also where tokenizer or
    demonstrations cannot be read."""
    plan = read_plan(folder)
    artifact = folder / "artifact"
    try:
        read_prompt(artifact / SPEC)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise broken(artifact / SPEC, error) from error
    model = load_counting(plan.model, limits_of(plan.endpoint)[0], report)
    return OpenedPrompt(plan, PromptPredictor.load(artifact, report, model), model)


def read_record(folder: Path, name: str) -> dict[str, Any] | None:
    """A JSON record beside the prompt; None where there is none. Raises `UserError` where it is not whole."""
    path = folder / "artifact" / name
    if not path.is_file():
        return None
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise broken(path, error) from error
    if not isinstance(read, dict):
        raise broken(path, TypeError("not a JSON object"))
    return read


def broken(path: Path, error: Exception) -> UserError:
    """What is said of a record that cannot be read."""
    told = f"{type(error).__name__}: {error}"
    again = f"advisor run {path.parent.parent.name}"
    return UserError(
        f"{path} cannot be read ({told})",
        f"delete {path.parent} and make it again: {again}",
        Problem(f"无法读取 {path}（{told}）", f"请删除 {path.parent} 后重新生成：{again}"),
    )
