"""A tuned run handed over, and parameters that were searched for: how near an export is, and what a search brings.

On the demo's requests by LoRA. An export is compared with its run on golden prompts in float32 on the CPU, see
`executors.export.parity`, whose bounds are the bars here. A search sees training rows only; what it chose is scored on
the held-out ones beside the plan's own parameters.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from typing import Any

from executors.base import DataSpec, Plan, Score
from executors.export import Form, Precision, export_run
from executors.export.parity import BOUNDS
from executors.run import run_plan
from tests.benchmarks import harness
from tests.benchmarks.harness import Figure
from tests.benchmarks.tuning.quality import DEMO, RUNS

MODEL = "smollm2-135m-instruct"
DATA = DataSpec(str(DEMO / "requests-train.csv"), str(DEMO / "requests-test.csv"), {"text": "text", "label": "intent"})
QUIET = {"compare": 0, "forgetting": False}  # what is looked at before and after a training is not measured here
SEARCHES: dict[str, Mapping[str, Any]] = {
    "none": {},
    "range": {"search": "range"},
    "trials, 10 min": {"search_minutes": 10},
}
FORMS: tuple[tuple[Form, Precision], ...] = (("adapter", "f32"), ("merged", "f32"), ("gguf", "f16"), ("gguf", "q8_0"))


def exports(model: str = MODEL) -> list[Figure]:
    """How far each export's logits, or its likeliest tokens, are from the run's; and the seconds it took."""
    run, found = RUNS / "exported", list[Figure]()
    command = "python -m tests.benchmarks.bench_tuning --only exports"
    plan = Plan("peft", "classification", DATA, model=model, params={**QUIET, "min_steps": 25, "epochs": 0.1})
    run_plan(plan, run, harness.told("exports"))
    for form, precision in FORMS:
        began = time.perf_counter()
        parity = export_run(run, form, run / "export" / f"{form}-{precision}", precision, force=True).parity["loaded"]
        seconds, name = time.perf_counter() - began, f"{form} {precision}" if form == "gguf" else form
        bound, tokens = BOUNDS[precision if form == "gguf" else form], parity.tokens
        if bound.logit is not None:
            value = Figure(f"export.{name}.logit", parity.logit, bound.logit, "<=", tokens, command=command)
        else:
            value = Figure(f"export.{name}.likeliest", parity.share, bound.share, ">=", tokens, command=command)
        found += [value, Figure(f"export.{name}.seconds", seconds, command=command)]
    shutil.rmtree(run / "export")
    return found


def searches(model: str = MODEL) -> list[Figure]:
    """Accuracy on the held-out requests by what was searched for, and the seconds of building."""
    found = []
    for name, params in SEARCHES.items():
        run = RUNS / f"searched-{name.replace(', ', '-').replace(' ', '-')}"
        plan = Plan("peft", "classification", DATA, model=model, params={**QUIET, **params})
        result = run_plan(plan, run, harness.told(f"search {name}"))
        score: Score = result.scores[result.metric]
        command = "python -m tests.benchmarks.bench_tuning --only searches"
        interval = (score.low, score.high)
        found += [
            Figure(f"search.{name}.accuracy", score.value, n=score.n, interval=interval, command=command),
            Figure(f"search.{name}.seconds", result.seconds["build"], command=command),
        ]
    return found
