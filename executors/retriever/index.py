"""The index of a run: passages, their full-text index, their vectors, and a manifest of what made them.

Covered: exact search over the vectors (FAISS, inner product of unit vectors), BM25 over the words (SQLite FTS5),
both joined by rank. The folder appears whole or not at all. An index is refused to an embedder that did not make
it, for vectors of another model give silent nonsense. Not covered: changing an index in place.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from executors.base import Passage, UserError, write_json
from executors.models.device import prepare_torch, usable_cores
from executors.models.embed import Embedder
from executors.retriever.lexical import terms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

Search = Literal["hybrid", "dense", "lexical"]
CANDIDATES = 50  # passages each search brings to the joint ranking
RANK_OFFSET = 60  # reciprocal rank fusion: 1 / (60 + rank), Cormack et al. 2009


class Index:
    """Passages that can be searched. `embedder` is None where there are no vectors."""

    def __init__(self, database: sqlite3.Connection, vectors: Any, embedder: Embedder | None) -> None:
        self._database, self._vectors, self._embedder = database, vectors, embedder

    def __len__(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM passage").fetchone()[0])

    def search(self, questions: Sequence[str], k: int, how: Search = "hybrid") -> list[list[Passage]]:
        """The `k` best passages for each question, best first. `score` is the cosine, else BM25's."""
        found = []
        for question, dense in zip(questions, self._dense(questions, how), strict=True):
            lexical = {} if how == "dense" and self._vectors is not None else self._lexical(question)
            ranked = _fused([list(dense), list(lexical)]) if dense and lexical else list(dense or lexical)
            found.append([self._passage(i, dense.get(i, lexical.get(i, 0.0))) for i in ranked[:k]])
        return found

    def _dense(self, questions: Sequence[str], how: Search) -> list[dict[int, float]]:
        """For each question cosine by passage, best first."""
        if self._vectors is None or self._embedder is None or how == "lexical":
            return [{} for _ in questions]
        asked = self._embedder.embed(questions, role="query")
        scores, ids = self._vectors.search(asked, min(CANDIDATES, self._vectors.ntotal))
        return [dict(zip(map(int, i), map(float, s), strict=True)) for s, i in zip(scores, ids, strict=True)]

    def _lexical(self, question: str) -> dict[int, float]:
        """BM25 by passage, best first."""
        query = " OR ".join(f'"{term}"' for term in dict.fromkeys(terms(question)))
        if not query:
            return {}
        rows = self._database.execute(
            "SELECT rowid, -bm25(words) FROM words WHERE words MATCH ? ORDER BY rank LIMIT ?", (query, CANDIDATES)
        )
        return {int(i) - 1: float(score) for i, score in rows}

    def _passage(self, i: int, score: float) -> Passage:
        wanted = "SELECT text, source, heading FROM passage WHERE id = ?"
        text, source, heading = self._database.execute(wanted, (i + 1,)).fetchone()
        return Passage(text, source, heading, round(score, 4))


def _fused(rankings: Iterable[Sequence[int]]) -> list[int]:
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, i in enumerate(ranking, 1):
            scores[i] = scores.get(i, 0.0) + 1 / (RANK_OFFSET + rank)
    return sorted(scores, key=lambda i: -scores[i])


def embedded_text(passage: Passage) -> str:
    """What is embedded and indexed of a passage: its heading path, then its text."""
    return f"{passage.heading}\n{passage.text}" if passage.heading else passage.text


def write_index(passages: Sequence[Passage], vectors: Floats | None, embedder: Embedder | None, folder: Path) -> None:
    """Write an index folder, whole or not at all. `vectors` are unit vectors ``[len(passages), d]``, or None."""
    unfinished = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    _write_database(passages, unfinished / "passages.sqlite")
    manifest: dict[str, Any] = {"schema_version": 1, "passages": len(passages), "embedder": None}
    if vectors is not None and embedder is not None:
        faiss = load_faiss()
        flat = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(np.ascontiguousarray(vectors))
        raw = faiss.serialize_index(flat).tobytes()
        (unfinished / "vectors.faiss").write_bytes(raw)
        manifest["embedder"] = {"name": embedder.name, "sha256": embedder.sha256, "dimension": embedder.dimension}
        manifest["vectors_sha256"] = hashlib.sha256(raw).hexdigest()
    write_json(unfinished / "manifest.json", manifest)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def _write_database(passages: Sequence[Passage], path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE passage (id INTEGER PRIMARY KEY, text TEXT, source TEXT, heading TEXT)")
        database.execute("CREATE VIRTUAL TABLE words USING fts5(terms, content='', tokenize='porter unicode61')")
        database.executemany(
            "INSERT INTO passage VALUES (?, ?, ?, ?)",
            [(n, p.text, p.source, p.heading) for n, p in enumerate(passages, 1)],
        )
        database.executemany(
            "INSERT INTO words (rowid, terms) VALUES (?, ?)",
            [(n, " ".join(terms(embedded_text(p)))) for n, p in enumerate(passages, 1)],
        )
    database.close()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an index folder. Raises `UserError` where there is none."""
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: no index here ({error.__class__.__name__})", "run the plan again") from error
    return manifest


def open_index(folder: Path, embedder: Embedder | None) -> Index:
    """The index in `folder`, checked against its manifest and its embedder.

    Raises `UserError`: no index, files damaged, made by another embedder.
    """
    manifest = read_manifest(folder)
    _check_embedder(manifest["embedder"], embedder, folder)
    database = _open_database(folder / "passages.sqlite", manifest["passages"])
    if embedder is None:
        return Index(database, None, None)
    raw = (folder / "vectors.faiss").read_bytes() if (folder / "vectors.faiss").is_file() else b""
    if hashlib.sha256(raw).hexdigest() != manifest["vectors_sha256"]:
        raise UserError(f"{folder / 'vectors.faiss'}: damaged (SHA-256 differs)", "run the plan again")
    vectors = load_faiss().deserialize_index(np.frombuffer(raw, dtype=np.uint8))
    return Index(database, vectors, embedder)


def _check_embedder(made_by: dict[str, Any] | None, embedder: Embedder | None, folder: Path) -> None:
    if (made_by is None) != (embedder is None):
        raise UserError(f"{folder}: made {'without' if made_by is None else 'with'} an embedder", "run the plan again")
    if made_by is None or embedder is None or made_by["sha256"] == embedder.sha256:
        return
    raise UserError(
        f"{folder}: its vectors were made by {made_by['name']} (weights {made_by['sha256'][:12]}…), "
        f"not by {embedder.name} (weights {embedder.sha256[:12]}…)",
        f"use {made_by['name']} again, or run the plan again to re-embed",
    )


def _open_database(path: Path, passages: int) -> sqlite3.Connection:
    fault = "missing"
    if path.is_file():
        database = sqlite3.connect(f"file:{path.resolve().as_posix()}?mode=ro", uri=True, check_same_thread=False)
        try:
            found = database.execute("SELECT count(*) FROM passage").fetchone()[0]
            if found == passages:
                return database
            fault = f"{found} passages, its manifest says {passages}"
        except sqlite3.DatabaseError as error:
            fault = str(error)
        database.close()
    raise UserError(f"{path}: damaged ({fault})", "run the plan again")


def load_faiss() -> Any:
    """faiss, after torch: both bring an OpenMP runtime, and on macOS the second to start threads may crash."""
    prepare_torch()
    import faiss

    faiss.omp_set_num_threads(1 if sys.platform == "darwin" else usable_cores())
    return faiss
