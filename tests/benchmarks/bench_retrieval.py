"""The figures of retrieval: quality, cost and scale of an index, and other tools beside it. `make bench-retrieval`.

Parts can be named: `python -m tests.benchmarks.bench_retrieval --only abstracts --only peers`; see `PARTS`. Embeddings
of the public sets are kept in `tests/benchmarks/out/embeddings/`; delete them to embed anew. txtai is put beside the
environment, not into it: see the Makefile. Parts in no group: `fusion` (what joins the two searches was chosen on),
`embedding-full`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from tests.benchmarks.harness import Figure, finish
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


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[*GROUPS, *PARTS], help="a part or a group of them")
    only = parser.parse_args(arguments).only or list(GROUPS)
    parts = [part for name in only for part in GROUPS.get(name, (name,))]
    figures = []
    for part in dict.fromkeys(parts):
        print(f"{part} …", file=sys.stderr, flush=True)
        figures += PARTS[part]()
    return finish("-".join(["retrieval", *(only if only != list(GROUPS) else [])]), figures)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
