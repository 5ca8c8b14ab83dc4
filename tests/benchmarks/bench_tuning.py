"""Figures of tuning: speed and memory beside a peer, quality of each method, what is forgotten. `make bench-tuning`.

Parts can be named: `python -m tests.benchmarks.bench_tuning --only speed --only xquad`; see `PARTS`. Runs are kept in
`tests/benchmarks/out/runs/tuning/` and go on where they were broken off; delete a run's folder to train anew. TRL and
SetFit are put into an environment of their own: see the Makefile.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from tests.benchmarks.harness import Figure, run_parts
from tests.benchmarks.tuning import quality

PARTS: dict[str, Callable[[], list[Figure]]] = {
    "xquad": quality.xquad,
    "e2e": quality.e2e,
    "translation": quality.translation,
    "urgency": quality.urgency,
}
GROUPS = {
    "quality": ("xquad", "e2e", "translation", "urgency"),
}


if __name__ == "__main__":
    sys.exit(run_parts("tuning", __doc__, PARTS, GROUPS, sys.argv[1:]))
