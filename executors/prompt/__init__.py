"""Prompting: an instruction, demonstrations, and the model as it is; no weight is changed.

Covered: zero-, few- and many-shot prompts with drawn or retrieved demonstrations, several wordings, chain-of-thought,
labels by likelihood with calibration, JSON by schema, and a search over all of these on part of the training rows.
"""

from __future__ import annotations

from typing import ClassVar

from executors.base import Executor, Job, Plan, Problem, parse_params
from executors.messages import TASKS
from executors.models import load_language_model, name_problems
from executors.models.endpoint import is_endpoint
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
        if params and params.embeds:
            problems += name_problems(plan.embedder, "embedder")
        if params and params.answers == "extracted" and is_endpoint(plan.model):
            zh = Problem("params.answers：'extracted' 需要似然，接口不提供", "请用本地模型，或去掉该参数")
            told = "params.answers: 'extracted' needs likelihoods, which endpoints do not tell"
            problems.append(Problem(told, "name a local model, or leave it out", zh))
        return problems + (param_problems(params, plan) if params else [])

    def build(self, job: Job) -> PromptPredictor:
        """The finished prompt, searched for where the plan gives time; see `search.build_prompt`."""
        return build_prompt(job, load_language_model(job.plan.model, job.report))
