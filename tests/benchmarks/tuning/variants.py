"""Every form of tuning a language model, and of probing, on one small set, beside the floor: the demo's requests.

Each training has the same 210 rows, the same `STEPS` optimizer steps and its own default rate; scored on the demo's 150
test rows. Fewer steps than a run takes by default, so these are for telling forms apart. QLoRA where bitsandbytes is.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any, get_args

from tests.benchmarks.harness import Figure
from tests.benchmarks.tuning.quality import COMMAND, DEMO, figure, run

ROWS = DEMO / "requests-train.csv", DEMO / "requests-test.csv"
STEPS = 60
PLAIN = {"compare": 0, "forgetting": False}  # what a run looks at beside, before and after
STEPPED = {"epochs": 1e-9, "min_steps": STEPS, "checkpoint_steps": STEPS, **PLAIN}
LAYERS = ("all", "last", "first_frozen", "scratch")  # of full fine-tuning
PROBES: Mapping[str, Mapping[str, Any]] = {
    "mean of tokens": {"pooling": "mean"},
    "first token": {"pooling": "cls"},
    "best layer": {"layer": "best"},
    "language model's best layer": {"model": "language"},
    "whichever tells more": {"model": "best"},
}


def variants() -> list[Figure]:
    """`variant.<name>`: accuracy; `variant.<name>.seconds`: of training, weights loaded and written included."""
    from executors.tuning.params import Variant

    floor = run("variant-floor", "baseline", "classification", *ROWS)
    found = [figure("variant.floor", floor, "accuracy", "variants")]
    for name in get_args(Variant):
        if name == "qlora" and importlib.util.find_spec("bitsandbytes") is None:
            continue
        found += _row(name, "peft", {"variant": name, **STEPPED})
    for layers in LAYERS:
        found += _row(f"full.{layers}", "full", {"layers": layers, **STEPPED})
    for name, params in PROBES.items():
        found += _row(f"probe.{name}", "probe", params)
    return found


def _row(name: str, method: str, params: Mapping[str, Any]) -> list[Figure]:
    result = run(f"variant-{name.replace(' ', '-')}", method, "classification", *ROWS, params)
    return [
        figure(f"variant.{name}", result, "accuracy", "variants"),
        Figure(f"variant.{name}.seconds", result.seconds["build"], command=f"{COMMAND}variants"),
    ]
