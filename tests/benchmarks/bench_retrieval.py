"""The figures of retrieval: quality, cost and scale of an index, and other tools beside it. `make bench-retrieval`.

Parts can be named: `python -m tests.benchmarks.bench_retrieval --only abstracts --only peers`; see `PARTS`. Embeddings
of the public sets are kept in `tests/benchmarks/out/embeddings/`; delete them to embed anew. txtai is put beside the
environment, not into it: see the Makefile. Parts in no group: `fusion` (what joins the two searches was chosen on),
`embedding-full`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from tests.benchmarks.harness import Figure, run_parts
from tests.benchmarks.retrieval import documents, embedding, peers, quality, scale

PARTS: dict[str, Callable[[], list[Figure]]] = {
    "paragraphs": quality.paragraphs,
    "abstracts": quality.abstracts,
    "passages": quality.passages,
    "fusion": quality.fusion,
    "embedding": embedding.embedding,
    "embedding-full": embedding.embedding_full,
    "faster": embedding.faster,
    "update": scale.update,
    "query": scale.query,
    "million": scale.million,
    "documents": documents.documents,
    "peers": peers.peers,
}
GROUPS = {
    "quality": ("paragraphs", "abstracts", "passages"),
    "cost": ("documents", "embedding", "faster", "update"),
    "speed": ("query", "million"),
    "side-by-side": ("peers",),
}


if __name__ == "__main__":
    sys.exit(run_parts("retrieval", __doc__, PARTS, GROUPS, sys.argv[1:]))
