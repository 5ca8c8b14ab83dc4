"""Methods made for tests: quick, and able to break on demand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from executors.base import Executor, Input, Job, Plan, Prediction, Predictor, Problem, Reporter, silent

BREAK: dict[str, int] = {}  # "predict": raise KeyboardInterrupt once this many rows were answered; "build": fail
CALLS: dict[str, int] = {"build": 0, "rows": 0}


class FirstWordPredictor(Predictor):
    """Answers the label that goes with a text's first word."""

    def __init__(self, known: dict[str, str]) -> None:
        self.known = known

    def predict(self, inputs: Sequence[Input], report: Reporter = silent) -> list[Prediction]:
        if "predict" in BREAK and CALLS["rows"] >= BREAK["predict"]:
            raise KeyboardInterrupt
        CALLS["rows"] += len(inputs)
        return [Prediction(self.known.get(i.text.split()[0], "?")) for i in inputs]

    def save(self, folder: Path) -> None:
        (folder / "known.json").write_text(json.dumps(self.known), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, report: Reporter = silent) -> Self:
        return cls(json.loads((folder / "known.json").read_text(encoding="utf-8")))


@dataclass(frozen=True)
class FirstWordParams:
    strength: float = 1.0
    rounds: int = 2


class FirstWordExecutor(Executor):
    Params = FirstWordParams
    Predictor = FirstWordPredictor
    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})
    on_device: ClassVar[bool] = False

    def check(self, plan: Plan) -> list[Problem]:
        return [] if plan.seed >= 0 else [Problem("seed: must not be negative", "use --seed 0")]

    def build(self, job: Job) -> FirstWordPredictor:
        CALLS["build"] += 1
        if "build" in BREAK:
            raise RuntimeError("the fake broke")
        return FirstWordPredictor({row.input.text.split()[0]: row.target for row in job.rows})
