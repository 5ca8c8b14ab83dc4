"""Quotes narrowed by real steps: what was timed on this machine replaces the formulas, and is kept with a run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.quote.duration import NARROWED, watching
from advisor.quote.memory import Ends
from advisor.quote.workload import Workload
from executors.base import Plan, to_dict, write_json

if TYPE_CHECKING:
    from executors.tuning.timing import Timing

RECORD = "timing.json"
CONTEXT_GB = 0.5  # of the driver
PEAK = (0.85, 1.0, 1.4)
"""Times the peak that was seen: the same steps differ by a tenth in what the C library's allocator keeps of them
(measured on a CPU), longer runs come to keep more, and answering the held-out rows may need more."""
ADDED = ("variant", "rank", "virtual_tokens", "bottleneck")
SETTINGS = ("batch_size", "max_length", "checkpointing", *ADDED, "layers", "trained_layers", "frozen_layers")
"""What a step's time depends on."""


def foretold(timing: Timing, method: str, work: Workload, steps: int) -> Ends:
    """Seconds of a training of `steps` steps: the start and the end as they were, the steps between at the same pace.

    The first step also warms up, so what it took beyond the others is counted once.
    """
    pace = timing.pace
    warm_up = max(timing.step_seconds[0] - pace, 0.0)
    written = math.ceil(steps / work.training.saved_every(method))
    likely = timing.start_seconds + warm_up + pace * (steps + watching(work, steps)) + timing.finish_seconds * written
    return NARROWED[0] * likely, likely, NARROWED[1] * likely


def remembered(timing: Timing) -> Ends:
    """GB at the peak, as it was seen in the timed steps; on a GPU with what torch does not allocate itself."""
    seen = timing.peak_gb + (CONTEXT_GB if timing.device.startswith("cuda") else 0)
    return PEAK[0] * seen, PEAK[1] * seen, PEAK[2] * seen


def settings_of(plan: Plan) -> dict[str, Any]:
    """What of a plan decides how long its steps take."""
    params = {name: plan.params[name] for name in SETTINGS if name in plan.params}
    return {"executor": plan.executor, "model": plan.model, "data": plan.data.path, "task": plan.task, **params}


def read_timing(folder: Path, plan: Plan) -> Timing | None:
    """What was timed for such a plan in a run's folder, or None."""
    for record in _records(folder):
        if record["of"] == settings_of(plan):
            from executors.tuning.timing import Timing

            found = record["timing"]
            return Timing(**{**found, "step_seconds": tuple(found["step_seconds"])})
    return None


def keep_timing(folder: Path, plan: Plan, timing: Timing) -> None:
    """Add it to the run's records, in place of an earlier one of the same settings."""
    others = [record for record in _records(folder) if record["of"] != settings_of(plan)]
    kept = [*others, {"of": settings_of(plan), "timing": to_dict(timing)}]
    write_json(folder / RECORD, {"schema_version": 1, "timings": kept})


def _records(folder: Path) -> list[Mapping[str, Any]]:
    path = folder / RECORD
    if not path.is_file():
        return []
    records: list[Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["timings"]
    return records
