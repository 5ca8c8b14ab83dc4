"""Continued pre-training on the demo's handbook, a product that no model has read of: perplexity of held-out pages.

All weights and low-rank updates, the stated replay and none, and what each does to a general text (`forgetting.json`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from executors.base import DataSpec, Plan
from executors.run import run_plan
from tests.benchmarks import harness
from tests.benchmarks.harness import Figure
from tests.benchmarks.tuning.quality import DEMO, RUNS

COMMAND = "python -m tests.benchmarks.bench_tuning --only cpt"
STEPS = {"min_steps": 20, "epochs": 0.1, "compare": 0}  # 40,000 tokens: each page about twice
FORMS: dict[str, Mapping[str, Any]] = {
    "all weights": {},
    "all weights, no replay": {"replay": 0.0},
    "low-rank": {"weights": "low_rank"},
}


def cpt() -> list[Figure]:
    """Perplexity of the pages held out before and after, and the general loss that it cost, in nats a token."""
    found = []
    for form, params in FORMS.items():
        name = f"cpt-{form.replace(', ', '-').replace(' ', '-')}"
        data = DataSpec(str(DEMO / "questions-train.jsonl"), str(DEMO / "questions-test.jsonl"))
        plan = Plan("cpt", "question_answering", data, docs=str(DEMO / "handbook"), params={**STEPS, **params})
        run_plan(plan, RUNS / name, harness.told(name))
        read = json.loads((RUNS / name / "artifact" / "perplexity.json").read_text(encoding="utf-8"))
        before, after = read["before"]["perplexity"], read["after"]["perplexity"]
        tokens = int(read["before"]["tokens"])
        found += [
            Figure(f"cpt, {form}: perplexity after / before", after / before, 0.8, "<=", tokens, command=COMMAND),
            Figure(f"cpt, {form}: perplexity before", before, n=tokens, command=COMMAND),
            Figure(f"cpt, {form}: perplexity after", after, n=tokens, command=COMMAND),
            Figure(f"cpt, {form}: general loss added", _added(name), n=1, command=COMMAND),
        ]
    return found


def _added(name: str) -> float:
    """Nats a token by which the general text got harder."""
    read = json.loads((RUNS / name / "artifact" / "forgetting.json").read_text(encoding="utf-8"))
    return float(read["after"]["loss"] - read["before"]["loss"])
