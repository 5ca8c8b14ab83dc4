"""The index of a folder of documents: one folder that searches, and that proves what is in it.

`index.sqlite` is the truth: sources, passages, words, vectors, and a manifest of what made them. The FAISS file beside
it is derived, and is made again where it does not match. Covered: making, updating in place, auditing, dense and
lexical search with filters, several readers beside one writer, and being killed at any moment. Not covered: joining
dense and lexical results (`search`), an index spread over machines.

    records   what an index says of itself        store     the tables            vectors   FAISS: kind, file, search
    writing   one transaction, audited            syncing   folder -> index       reading   an open index
    auditing  is it whole?                        faults    what can be wrong, in words
"""

from executors.retriever.index.auditing import audit
from executors.retriever.index.reading import Index, open_index, read_manifest
from executors.retriever.index.records import (
    Audit,
    Change,
    MadeBy,
    Manifest,
    Source,
    Splitter,
    Stale,
    VectorsFile,
    embedded_text,
)
from executors.retriever.index.syncing import stale, sync
from executors.retriever.index.vectors import load_faiss
from executors.retriever.index.writing import build_index

__all__ = [
    "Audit",
    "Change",
    "Index",
    "MadeBy",
    "Manifest",
    "Source",
    "Splitter",
    "Stale",
    "VectorsFile",
    "audit",
    "build_index",
    "embedded_text",
    "load_faiss",
    "open_index",
    "read_manifest",
    "stale",
    "sync",
]
