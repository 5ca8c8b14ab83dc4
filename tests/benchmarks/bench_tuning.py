"""Figures of tuning: speed and memory beside a peer, quality of each method, what is forgotten. `make bench-tuning`.

Parts can be named: `python -m tests.benchmarks.bench_tuning --only speed --only xquad`; see `PARTS`. Runs are kept in
`tests/benchmarks/out/runs/tuning/` and go on where they were broken off; delete a run's folder to train anew. TRL lives
in an environment of its own, see the Makefile; SetFit is put into one by the part that measures it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from tests.benchmarks.harness import Figure, run_parts
from tests.benchmarks.tuning import (
    cpt,
    encoders,
    forgetting,
    handed_over,
    preference,
    quality,
    reader,
    speed,
    variants,
)

PARTS: dict[str, Callable[[], list[Figure]]] = {
    "speed": speed.speed,
    "xquad": quality.xquad,
    "e2e": quality.e2e,
    "translation": quality.translation,
    "urgency": quality.urgency,
    "banking10": encoders.banking10,
    "banking-all": encoders.banking_all,
    "sst2": encoders.sst2,
    "peers": encoders.peers,
    "variants": variants.variants,
    "encoder-variants": encoders.encoder_variants,
    "reader": reader.reader,
    "cpt": cpt.cpt,
    "preference": preference.preference,
    "forgetting": forgetting.forgetting,
    "exports": handed_over.exports,
    "searches": handed_over.searches,
}
GROUPS = {
    "cost": ("speed",),
    "quality": ("xquad", "e2e", "translation", "urgency", "banking10", "banking-all", "sst2", "peers"),
    "each-form": ("variants", "encoder-variants", "reader", "cpt", "preference"),
    "beside": ("forgetting", "exports", "searches"),
}


if __name__ == "__main__":
    sys.exit(run_parts("tuning", __doc__, PARTS, GROUPS, sys.argv[1:]))
