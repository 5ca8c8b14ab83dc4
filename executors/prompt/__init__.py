"""Prompting: an instruction, demonstrations, and the model as it is; no weight is changed.

Covered: zero-, few- and many-shot prompts with drawn or retrieved demonstrations, several wordings, chain-of-thought,
labels by likelihood with calibration, JSON by schema, and a search over all of these on part of the training rows.
"""

from __future__ import annotations

from typing import ClassVar

from executors.base import Executor, Job, Plan, Problem, parse_params
from executors.messages import TASKS
from executors.models import load_language_model, name_problems
from executors.prompt.params import Prompt, PromptParams, param_problems, read_prompt
from executors.prompt.predictor import PromptPredictor
from executors.prompt.search import build_prompt

__all__ = ["Prompt", "PromptExecutor", "PromptParams", "PromptPredictor", "build_prompt", "read_prompt"]


class PromptExecutor(Executor):
    """Instruction and demonstrations in the prompt."""

    Params = PromptParams
    Predictor = PromptPredictor
    tasks: ClassVar[frozenset[str]] = TASKS

    def check(self, plan: Plan) -> list[Problem]:
        params, _ = parse_params(PromptParams, plan.params)
        problems = name_problems(plan.model, "language")
        if params and params.retrieves:
            problems += name_problems(plan.embedder, "embedder")
        return problems + (param_problems(params, plan) if params else [])

    def build(self, job: Job) -> PromptPredictor:
        """The finished prompt, searched for where the plan gives time; see `search.build_prompt`."""
        return build_prompt(job, load_language_model(job.plan.model, job.report))
