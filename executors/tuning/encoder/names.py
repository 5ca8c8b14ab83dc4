"""Which models are encoders: told from a name or a folder, without loading anything."""

from __future__ import annotations

import json
from pathlib import Path

from executors.base import Plan, Problem, UserError
from executors.models.catalogue import alias_of, local_folder

TASKS = frozenset({"classification", "regression"})
MAKES = ("ForMaskedLM", "ForSequenceClassification", "ForPreTraining")


def is_encoder(name: str) -> bool:
    """Whether `name` is an encoder: by the catalogue, else by its folder's files. False for what is not here yet."""
    alias = alias_of(name)
    if alias is not None:
        return alias.kind == "embedder"
    try:
        folder = local_folder(name)
    except UserError:
        return False
    return folder is not None and is_encoder_folder(folder)


def is_encoder_folder(folder: Path) -> bool:
    """Whether a model's folder is a sentence encoder's, or a model's whose tokens all see each other."""
    if (folder / "modules.json").is_file():
        return True
    config = folder / "config.json"
    if not config.is_file():
        return False
    made = json.loads(config.read_text(encoding="utf-8")).get("architectures") or []
    return any(name.endswith(MAKES) for name in made)


def task_problems(plan: Plan) -> list[Problem]:
    """An encoder asked, as the model of a plan, for what it cannot give."""
    if plan.task in TASKS or not is_encoder(plan.model):
        return []
    return [
        Problem(
            f"model: '{plan.model}' is an encoder, which gives a label or a number, no text; the task is {plan.task}",
            "name a language model",
            Problem(
                f"model：“{plan.model}”是编码器，只能给出标签或数值，不能生成文本；任务是 {plan.task}",
                "请改用语言模型",
            ),
        )
    ]
