"""Every variant of parameter-efficient tuning on one small set, beside the floor: the demo's requests, 12 intents.

Each has the same 210 rows, the same `STEPS` optimizer steps and its own default rate; scored on the demo's 150 test
rows. Fewer steps than a run takes by default, so these are for telling the variants apart. QLoRA where bitsandbytes is.
"""

from __future__ import annotations

import importlib.util
from typing import get_args

from tests.benchmarks.harness import Figure
from tests.benchmarks.tuning.quality import COMMAND, DEMO, figure, run

STEPS = 60
PLAIN = {"compare": 0, "forgetting": False}  # what a run looks at beside, before and after


def variants() -> list[Figure]:
    """`variant.<name>`: accuracy; `variant.<name>.seconds`: of training, weights loaded and written included."""
    from executors.tuning.params import Variant

    rows = DEMO / "requests-train.csv", DEMO / "requests-test.csv"
    floor = run("variant-floor", "baseline", "classification", *rows)
    found = [figure("variant.floor", floor, "accuracy", "variants")]
    for name in get_args(Variant):
        if name == "qlora" and importlib.util.find_spec("bitsandbytes") is None:
            continue
        params = {"variant": name, "epochs": 1e-9, "min_steps": STEPS, "checkpoint_steps": STEPS, **PLAIN}
        result = run(f"variant-{name}", "peft", "classification", *rows, params)
        found.append(figure(f"variant.{name}", result, "accuracy", "variants"))
        found.append(Figure(f"variant.{name}.seconds", result.seconds["build"], command=f"{COMMAND}variants"))
    return found
