"""What tuning makes a model forget, and what replay does about it: the bundled general set, before and after.

One small set (the demo's requests, 12 intents, whose answers are bare labels: what forgets most), so many steps each:
LoRA and full tuning at their default rates; then at a rate several times as high, where much is forgotten, without
replay and with a fifth of general rows. The loss is in nats a token of general text; `skills` is the mean share of the
five skills' requests that are met.
"""

from __future__ import annotations

import json
from statistics import fmean
from typing import Any

from tests.benchmarks.harness import Figure
from tests.benchmarks.tuning.quality import COMMAND, DEMO, RUNS, figure, run

STEPS = 60
HARD = 4.0  # times the default rate
REPLAY = 0.2
ITEMS = 60


def forgetting() -> list[Figure]:
    """`forgetting.<training>.<what>`: rise of the loss, change of the skills, and accuracy on the task itself.

    Bars: at the default rate LoRA forgets less than what is warned of; of what a high rate forgets in loss, replay
    brings at least half back.
    """
    plain = _trained("lora", "peft", {})
    full = _trained("full", "full", {})
    hard = _trained("lora_hard", "peft", {"learning_rate": HARD * _rate("lora")})
    replayed = _trained("lora_hard_replay", "peft", {"learning_rate": HARD * _rate("lora"), "replay": REPLAY})
    kept = 1 - replayed[0].value / hard[0].value if hard[0].value > 0 else 1.0
    command = f"{COMMAND}forgetting"
    return [
        Figure(plain[0].id, plain[0].value, 0.10, "<", ITEMS, command=command),
        *plain[1:],
        *full,
        *hard,
        *replayed,
        Figure("forgetting.replay.kept", kept, 0.5, ">=", ITEMS, command=command),
    ]


def _trained(name: str, method: str, params: dict[str, Any]) -> list[Figure]:
    settings = {"epochs": 1e-9, "min_steps": STEPS, "checkpoint_steps": STEPS, "patience": 0, **params}
    result = run(f"forgetting-{name}", method, "classification", *_rows(), settings)
    record = _record(name, "forgetting")
    skills = [fmean(record[side]["skills"].values()) for side in ("before", "after")]
    command = f"{COMMAND}forgetting"
    return [
        Figure(f"forgetting.{name}.loss", record["rise"], n=ITEMS, command=command),
        Figure(f"forgetting.{name}.skills", skills[1] - skills[0], n=ITEMS, command=command),
        figure(f"forgetting.{name}.accuracy", result, "accuracy", "forgetting"),
    ]


def _rows() -> tuple[Any, Any]:
    return DEMO / "requests-train.csv", DEMO / "requests-test.csv"


def _record(name: str, kind: str) -> dict[str, Any]:
    path = RUNS / f"forgetting-{name}" / "artifact" / f"{kind}.json"
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def _rate(name: str) -> float:
    """The learning rate that a training took by default."""
    return float(_record(name, "tuned")["params"]["learning_rate"])
