"""The methods that can be run. A new one is its module and one line here; it is imported on use."""

from __future__ import annotations

from importlib import import_module

from executors.base import Executor, Problem, UserError, did_you_mean

EXECUTORS = {
    "baseline": "executors.baseline:BaselineExecutor",
    "prompt": "executors.prompt:PromptExecutor",
    "long_context": "executors.long_context:LongContextExecutor",
    "rag": "executors.retriever:RagExecutor",
    "probe": "executors.probe:ProbeExecutor",
    "peft": "executors.tuning:PeftExecutor",
    "full": "executors.tuning:FullExecutor",
}


def load(name: str) -> Executor:
    """The executor of a method. Raises `UserError` for one that cannot be run here."""
    if name not in EXECUTORS:
        raise UserError(
            f"no executor for '{name}'{did_you_mean(name, EXECUTORS)}",
            f"methods that can be run: {', '.join(EXECUTORS)}",
            Problem(
                f"没有可运行的方法“{name}”{did_you_mean(name, EXECUTORS, 'zh')}",
                f"可运行的方法：{', '.join(EXECUTORS)}",
            ),
        )
    module, _, attribute = EXECUTORS[name].partition(":")
    executor: Executor = getattr(import_module(module), attribute)()
    return executor
