"""What an index says of itself and of what was done to it: plain values, no file is touched here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from executors.base import Passage, Problem, Text, to_dict

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Splitter:
    """How documents are cut: tokens of the embedder at most, and those repeated where a section is cut."""

    chunk_tokens: int = 96
    overlap: int = 24


@dataclass(frozen=True)
class MadeBy:
    """The encoder of an index. Another one, or another pooling, of the same dimension would give silent nonsense."""

    name: str
    sha256: str  # of its weights
    dimension: int
    pooling: str = ""


@dataclass(frozen=True)
class VectorsFile:
    """The FAISS file. `count` passages up to id `covers` stand in it; later ones are added when it is opened."""

    file: str
    sha256: str
    kind: str  # as FAISS's factory names it
    reason: Text  # why this kind
    recall_at_10: float  # measured against exact search
    covers: int
    count: int
    probes: int = 0  # lists that a search looks into; 0 where it looks at everything


@dataclass(frozen=True)
class Manifest:
    """What made an index, and how much is in it. `generation` counts the writes that changed it."""

    generation: int
    language: str
    embedder: MadeBy | None  # None: without vectors, search is lexical
    splitter: Splitter
    docs: str = ""  # the folder of documents; empty where passages were given
    compact: bool = False
    sources: int = 0
    passages: int = 0
    vectors: VectorsFile | None = None
    written: str = ""  # ISO 8601, UTC
    schema_version: int = SCHEMA_VERSION

    def dump(self) -> str:
        return json.dumps(to_dict(self), ensure_ascii=False)

    @classmethod
    def parse(cls, text: str) -> Manifest:
        """The reverse of `dump`. Raises `KeyError`, `TypeError` or `ValueError` for anything else."""
        read: dict[str, Any] = json.loads(text)
        embedder, vectors = read["embedder"], read["vectors"]
        made_by = MadeBy(**embedder) if embedder else None
        file = VectorsFile(**vectors) if vectors else None
        return cls(**{**read, "embedder": made_by, "vectors": file, "splitter": Splitter(**read["splitter"])})


@dataclass(frozen=True)
class Source:
    """One file of the index. `path` is relative to the documents' folder; `mtime_ns` 0: its time tells nothing."""

    path: str
    sha256: str
    size: int
    mtime_ns: int
    title: str
    passages: int


@dataclass(frozen=True)
class Change:
    """What `sync` did: paths by what became of them, texts that were embedded, passages that the index has now."""

    added: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    embedded: int = 0
    passages: int = 0
    skipped: tuple[Problem, ...] = ()
    kept: tuple[str, ...] = ()  # changed files that could not be read: their former content still answers

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(self.added or self.updated or self.deleted)


@dataclass(frozen=True)
class Stale:
    """How a folder of documents differs from its index."""

    added: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.updated or self.deleted)


@dataclass(frozen=True)
class Audit:
    """What was counted (by place) and compared in an index. No problems: whole."""

    counts: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def __bool__(self) -> bool:
        """Whether the index is whole."""
        return not self.problems


def embedded_text(passage: Passage) -> str:
    """What is embedded and indexed of a passage: its heading path, then its text."""
    return f"{passage.heading}\n{passage.text}" if passage.heading else passage.text
