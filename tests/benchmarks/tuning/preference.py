"""Preference tuning on published pairs (Alpaca's, 300 of GPT-4 against another model): which answer is preferred.

Held-out pairs were seen by nobody. A coin finds .5 of them; the base model what it says of which answer is likelier.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from executors.base import DataSpec, Plan
from executors.metrics import wilson
from executors.run import run_plan
from tests.benchmarks import harness
from tests.benchmarks.harness import Figure
from tests.benchmarks.prompting import data
from tests.benchmarks.tuning.quality import RUNS

COMMAND = "python -m tests.benchmarks.bench_tuning --only preference"
PAIRS = 180  # the shortest of the file's, so that a CPU gets through them
STEPS = {"min_steps": 30, "epochs": 0.1, "max_length": 384, "compare": 0}
FORMS: dict[str, Mapping[str, Any]] = {"DPO": {}, "DPO, per token": {"per_token": True}}


def preference() -> list[Figure]:
    """Share of held-out pairs whose chosen answer has the higher reward, and the mean margin."""
    found = []
    for form, params in FORMS.items():
        name = f"preference-{'per-token' if params else 'dpo'}"
        plan = Plan("preference", "dialogue", DataSpec(str(_short_pairs())), params={**STEPS, **params})
        run_plan(plan, RUNS / name, harness.told(name))
        read = json.loads((RUNS / name / "artifact" / "preference.json").read_text(encoding="utf-8"))
        before, after = read["before"], read["after"]
        n = int(after["pairs"])
        interval = wilson(round(after["accuracy"] * n), n)
        bounds = (interval.low, interval.high)
        found += [
            Figure(f"{form}: preference accuracy", after["accuracy"], 0.55, ">=", n, bounds, command=COMMAND),
            Figure(f"{form}: margin of the reward, nats", after["margin"], 0.0, ">", n, command=COMMAND),
            Figure(f"{form}: chosen likelier, before", before["likelier"], n=n, command=COMMAND),
            Figure(f"{form}: chosen likelier, after", after["likelier"], n=n, command=COMMAND),
        ]
    return found


def _short_pairs() -> Path:
    """The `PAIRS` shortest pairs of the file, in its order."""
    read = json.loads((data.public_data() / "alpaca" / "dpo_en.json").read_text(encoding="utf-8"))

    def size(pair: Mapping[str, Any]) -> int:
        asked = sum(len(turn["value"]) for turn in pair["conversations"])
        return asked + max(len(pair[side]["value"]) for side in ("chosen", "rejected"))

    shortest = sorted(map(size, read))[PAIRS - 1]
    data.MADE.mkdir(parents=True, exist_ok=True)
    path = data.MADE / "preference-pairs.json"
    path.write_text(json.dumps([pair for pair in read if size(pair) <= shortest]), encoding="utf-8")
    return path
