"""Which sentence encoder indexes documents where none is named.

The default one; for many documents its form in 8 bits, where this machine computes with it more than twice as fast: a
CPU with VNNI instructions and no GPU, and the packages of the extra `fast` installed.
"""

from __future__ import annotations

from pathlib import Path

from executors.base import Plan

MANY = 300_000  # tokens of documents: about a minute of embedding on two cores


def default_encoder(docs: Path) -> str:
    """The encoder for a new index of `docs`."""
    from advisor.indexing import document_tokens
    from advisor.profile.machine import measure_machine
    from executors.models.catalogue import aliases
    from executors.models.int8 import is_installed, pays_here

    small = next((alias.name for alias in aliases().values() if alias.quantised == Plan.embedder), "")
    if not (small and is_installed() and pays_here()) or measure_machine().gpu_memory_gb:
        return Plan.embedder
    return small if document_tokens(docs) >= MANY else Plan.embedder
