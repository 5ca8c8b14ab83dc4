"""The figures of prompting: speed beside the usual ways, and accuracy after the search. `make bench-prompting`.

Parts can be named: `python -m tests.benchmarks.bench_prompting --only speed --only accuracy`; see `PARTS`. The speed of
generation is compared with LangChain's `HuggingFacePipeline`, whose package asks for an older huggingface-hub than ours
and is therefore put beside the environment, not into it: `PEER` says how. Finished runs of the accuracy are kept in
`tests/benchmarks/out/runs/`: repeat after an interruption, delete to measure anew.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from tests.benchmarks.harness import Figure, run_parts
from tests.benchmarks.prompting import accuracy, likelihood, speed

PARTS: dict[str, Callable[[], list[Figure]]] = {
    "generation": speed.generation,
    "rows": speed.rows,
    "labels": likelihood.labels,
    "many-labels": likelihood.many_labels,
    "banking77": accuracy.banking77,
    "sst2": accuracy.sst2,
    "xquad": accuracy.xquad,
}
GROUPS = {
    "speed": ("generation", "rows", "labels", "many-labels"),
    "accuracy": ("banking77", "sst2", "xquad"),
}


if __name__ == "__main__":
    sys.exit(run_parts("prompting", __doc__, PARTS, GROUPS, sys.argv[1:]))
