"""The methods that can be run, and finished runs to use. A new method is its module and one line here.

``executors.load("last").predict([...])`` and ``executors.load("last").as_runnable()`` are all a script needs.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from executors.base import Executor, Predictor, Problem, Reporter, UserError, did_you_mean, silent

EXECUTORS = {
    "baseline": "executors.baseline:BaselineExecutor",
    "prompt": "executors.prompt:PromptExecutor",
    "long_context": "executors.long_context:LongContextExecutor",
    "rag": "executors.retriever:RagExecutor",
    "probe": "executors.probe:ProbeExecutor",
    "peft": "executors.tuning:PeftExecutor",
    "full": "executors.tuning:FullExecutor",
    "cpt": "executors.tuning.corpus:CptExecutor",
    "preference": "executors.tuning.preference:PreferenceExecutor",
    "small_encoder": "executors.tuning.encoder:SmallEncoderExecutor",
}


def method(name: str) -> Executor:
    """The executor of a method, imported on use. Raises `UserError` for one that cannot be run here."""
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


def load(run: str | Path, report: Reporter = silent) -> Predictor:
    """The predictor of a finished run: its folder, its id or a unique prefix of one in the runs' folder, or ``last``.

    The folder of runs is `$ADVISOR_RUNS`, else `runs/`. Raises `UserError`: no such run, not finished, weights missing.
    """
    from executors.run import open_predictor
    from executors.runs import find_run

    return open_predictor(find_run(str(run)), report)
