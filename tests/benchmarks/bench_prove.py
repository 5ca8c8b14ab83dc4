"""Figures of proving: false and missed winners, and how honest extrapolated curves are. `make bench-prove`.

Parts can be named: `python -m tests.benchmarks.bench_prove --only nullraces`; see `PARTS`. Regret is measured by
`make bench-regret`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from tests.benchmarks.harness import Figure, run_parts
from tests.benchmarks.prove import curves, nullraces

PARTS: dict[str, Callable[[], list[Figure]]] = {
    "nullraces": nullraces.nullraces,
    "curves": curves.curves,
}
GROUPS = {"statistics": ("nullraces",), "learning": ("curves",)}


if __name__ == "__main__":
    sys.exit(run_parts("prove", __doc__, PARTS, GROUPS, sys.argv[1:]))
