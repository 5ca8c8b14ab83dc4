"""The SQLite file of an index: the truth about sources, passages, words and vectors.

Covered: the schema, connections to read and to write, and each statement over the tables. Every change of an index is
one transaction, so that it is there whole or not at all. Vectors are kept here too: the FAISS file can be made again
from them at any time. Not covered: when to write what (`writing`, `syncing`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from executors.base import Passage, Problem, to_dict
from executors.retriever.index import faults
from executors.retriever.index.records import SCHEMA_VERSION, Manifest, Source, embedded_text
from executors.retriever.lexical import terms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

DATABASE = "index.sqlite"
BATCH = 4096  # vectors held at once while all are gone through
SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE source (
    id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL UNIQUE, sha256 TEXT NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, title TEXT NOT NULL, passages INTEGER NOT NULL
);
CREATE TABLE passage (
    id INTEGER PRIMARY KEY AUTOINCREMENT, source INTEGER NOT NULL REFERENCES source, ordinal INTEGER NOT NULL,
    text TEXT NOT NULL, heading TEXT NOT NULL, page INTEGER, row INTEGER, sha256 BLOB NOT NULL, seal BLOB NOT NULL,
    vector BLOB
);
CREATE INDEX passage_source ON passage (source);
CREATE INDEX passage_sha256 ON passage (sha256);
CREATE TABLE skipped (path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, problem TEXT NOT NULL);
CREATE TABLE gone (id INTEGER PRIMARY KEY);  -- passages that the FAISS file has and the index has no more
CREATE VIRTUAL TABLE words USING fts5(terms, tokenize='porter unicode61');
"""


class Store:
    """The statements over one connection. A transaction is begun and ended by whoever holds the store."""

    def __init__(self, database: sqlite3.Connection, folder: Path) -> None:
        self.database, self.folder = database, folder

    def close(self) -> None:
        self.database.close()

    def one(self, statement: str, *values: object) -> Any:
        """The first value of the first row."""
        return self.database.execute(statement, values).fetchone()[0]

    # -- the manifest ----------------------------------------------------------------------------------

    def manifest(self) -> Manifest | None:
        """None where nothing was ever written whole. Raises `UserError`: another version's, or not readable."""
        if not self.one("SELECT count(*) FROM sqlite_master WHERE name = 'meta'"):
            return None
        row = self.database.execute("SELECT value FROM meta WHERE key = 'manifest'").fetchone()
        if row is None:
            return None
        try:
            found = json.loads(row[0])["schema_version"]
            if found != SCHEMA_VERSION:
                raise faults.other_schema(self.folder, found)
            return Manifest.parse(row[0])
        except (KeyError, TypeError, ValueError) as error:
            raise faults.damaged(self.folder, f"its manifest cannot be read: {error}") from error

    def set_manifest(self, manifest: Manifest) -> None:
        self.database.execute("INSERT OR REPLACE INTO meta VALUES ('manifest', ?)", (manifest.dump(),))

    # -- sources ---------------------------------------------------------------------------------------

    def sources(self) -> list[Source]:
        rows = self.database.execute("SELECT path, sha256, size, mtime_ns, title, passages FROM source ORDER BY path")
        return [Source(*row) for row in rows]

    def put_source(self, source: Source) -> int:
        """Its id; that of the source of the same path where there is one."""
        values = (source.sha256, source.size, source.mtime_ns, source.title, source.passages)
        statement = "UPDATE source SET sha256 = ?, size = ?, mtime_ns = ?, title = ?, passages = ? WHERE path = ?"
        if not self.database.execute(statement, (*values, source.path)).rowcount:
            names = "sha256, size, mtime_ns, title, passages, path"
            self.database.execute(f"INSERT INTO source ({names}) VALUES (?, ?, ?, ?, ?, ?)", (*values, source.path))
        return int(self.one("SELECT id FROM source WHERE path = ?", source.path))

    def touch(self, path: str, size: int, mtime_ns: int) -> None:
        """The same content at another time."""
        self.database.execute("UPDATE source SET size = ?, mtime_ns = ? WHERE path = ?", (size, mtime_ns, path))

    def drop_sources(self, paths: Iterable[str]) -> None:
        self.database.executemany("DELETE FROM source WHERE path = ?", ((path,) for path in paths))

    def skipped(self) -> dict[str, tuple[int, int]]:
        """(size, mtime) by path of the files that could not be read."""
        rows = self.database.execute("SELECT path, size, mtime_ns FROM skipped")
        return {path: (size, mtime) for path, size, mtime in rows}

    def set_skipped(self, found: dict[str, tuple[int, int, Problem]]) -> None:
        if self.skipped() == {path: (size, at) for path, (size, at, _) in found.items()}:
            return  # nothing to write is the usual case
        rows = ((p, size, at, json.dumps(to_dict(why), ensure_ascii=False)) for p, (size, at, why) in found.items())
        self.database.execute("DELETE FROM skipped")
        self.database.executemany("INSERT INTO skipped VALUES (?, ?, ?, ?)", rows)

    # -- passages --------------------------------------------------------------------------------------

    def passage_ids(self, paths: Collection[str]) -> NDArray[np.int64]:
        """Ids of all passages of these sources, ascending."""
        statement = (
            "SELECT passage.id FROM passage JOIN source ON source.id = passage.source "
            "WHERE source.path IN (SELECT value FROM json_each(?)) ORDER BY passage.id"
        )
        rows = self.database.execute(statement, (json.dumps(list(paths)),))
        return np.fromiter((row[0] for row in rows), dtype=np.int64)

    def add_passages(
        self, source: int, first: int, passages: Sequence[Passage], vectors: Sequence[Floats | None]
    ) -> None:
        """Rows and words of the passages of one source, the `first` of them of this ordinal."""
        start = self.next_id()
        rows, words = [], []
        for n, (passage, vector) in enumerate(zip(passages, vectors, strict=True)):
            text = embedded_text(passage)
            raw = None if vector is None else vector.astype("<f4").tobytes()
            place = (passage.heading, passage.page, passage.row)
            sealed = seal(passage.source, first + n, passage.text, *place, raw)
            rows.append((start + n, source, first + n, passage.text, *place, text_hash(text), sealed, raw))
            words.append((start + n, " ".join(terms(text))))
        self.database.executemany("INSERT INTO passage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        self.database.executemany("INSERT INTO words (rowid, terms) VALUES (?, ?)", words)

    def next_id(self) -> int:
        """An id is never given twice, so that one which the FAISS file has from before means the same passage."""
        row = self.database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'passage'").fetchone()
        return int(row[0]) + 1 if row else 1

    def drop_passages(self, ids: Sequence[int]) -> None:
        """From all tables at once."""
        values = [(int(i),) for i in ids]
        self.database.executemany("DELETE FROM words WHERE rowid = ?", values)
        self.database.executemany("DELETE FROM passage WHERE id = ?", values)
        self.database.executemany("INSERT OR IGNORE INTO gone VALUES (?)", values)

    def empty(self) -> None:
        """Without sources and passages; ids go on from where they were."""
        for table in ("words", "passage", "source", "skipped"):
            self.database.execute(f"DELETE FROM {table}")

    def passages(self, ids: Sequence[int]) -> list[Passage]:
        """In the order of `ids`. Raises `KeyError` for one that is not there."""
        statement = (
            "SELECT passage.id, text, path, heading, page, row FROM passage JOIN source ON source.id = passage.source "
            "WHERE passage.id IN (SELECT value FROM json_each(?))"
        )
        rows = self.database.execute(statement, (_listed(ids),))
        found = {i: Passage(text, path, heading, 0.0, page, row) for i, text, path, heading, page, row in rows}
        return [found[int(i)] for i in ids]

    # -- vectors ---------------------------------------------------------------------------------------

    def vectors(self, ids: Sequence[int] | NDArray[np.int64], dimension: int) -> Floats:
        """``[len(ids), dimension]`` in the order of `ids`. Raises `KeyError` for one that is not there."""
        statement = "SELECT id, vector FROM passage WHERE id IN (SELECT value FROM json_each(?))"
        raw = dict(self.database.execute(statement, (_listed(ids),)).fetchall())
        joined = b"".join(raw[int(i)] for i in ids)
        return np.frombuffer(joined, dtype="<f4").reshape(len(ids), dimension).astype(np.float32, copy=False)

    def vectors_by_text(self, hashes: Collection[bytes]) -> dict[bytes, Floats]:
        """The vectors of texts that are in the index already, by the hash of the text."""
        found = {}
        for wanted in hashes:
            statement = "SELECT vector FROM passage WHERE sha256 = ? AND vector IS NOT NULL LIMIT 1"
            row = self.database.execute(statement, (wanted,)).fetchone()
            if row is not None:
                found[wanted] = np.frombuffer(row[0], dtype="<f4")
        return found

    def all_vectors(self, after: int = 0, dimension: int = 0) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        """(ids, vectors) in batches by id, those after the id `after`."""
        rows = self.database.execute("SELECT id, vector FROM passage WHERE id > ? ORDER BY id", (after,))
        while batch := rows.fetchmany(BATCH):
            ids = np.array([i for i, _ in batch], dtype=np.int64)
            joined = b"".join(raw for _, raw in batch)
            yield ids, np.frombuffer(joined, dtype="<f4").reshape(len(batch), dimension)

    def ids(self) -> NDArray[np.int64]:
        """Ids of all passages, ascending."""
        found = np.fromiter((row[0] for row in self.database.execute("SELECT id FROM passage")), dtype=np.int64)
        return np.sort(found)  # asked for in order, SQLite would go through the table instead of the small index

    def gone(self) -> NDArray[np.int64]:
        """Ids that the FAISS file may have and the index has no more."""
        return np.fromiter((row[0] for row in self.database.execute("SELECT id FROM gone")), dtype=np.int64)

    # -- counts ----------------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """What is in the tables; quick also where there is very much."""
        return {
            "sources": self.one("SELECT count(*) FROM source"),
            "passages": self.one("SELECT count(*) FROM passage"),
            "passages of sources": self.one("SELECT coalesce(sum(passages), 0) FROM source"),
            "lexical": self.one("SELECT count(*) FROM words_docsize"),
        }


def text_hash(text: str) -> bytes:
    """What texts are known by: equal ones are embedded once."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


def seal(*values: object) -> bytes:
    """A hash over all that a passage's row says, so that an audit finds a row somebody changed."""
    digest = hashlib.blake2b(digest_size=16)
    for value in values:
        raw = value if isinstance(value, bytes) else b"" if value is None else str(value).encode(errors="surrogatepass")
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.digest()


def _listed(ids: Sequence[int] | NDArray[np.int64]) -> str:
    return json.dumps([int(i) for i in ids])


# -- connections ---------------------------------------------------------------------------------------


def open_to_read(folder: Path) -> Store:
    """Raises `UserError` where there is no database, or it is none."""
    path = folder / DATABASE
    if not path.is_file():
        raise faults.no_index(folder)
    log = folder / f"{DATABASE}-wal"
    logged = log.is_file() and log.stat().st_size > 0
    mode = "mode=ro" if logged or os.access(folder, os.W_OK) else "immutable=1"  # a log beside it cannot be made
    with faults.disk_errors(folder):
        uri = f"{path.resolve().as_uri()}?{mode}"
        database = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
        try:
            database.execute("PRAGMA busy_timeout = 5000")
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except BaseException:
            database.close()
            raise
    return Store(database, folder)


@contextlib.contextmanager
def open_to_write(folder: Path) -> Iterator[Store]:
    """A store with its tables, made where there were none. Closed at the end; what is not committed then is undone."""
    database = sqlite3.connect(folder / DATABASE, isolation_level=None)
    try:
        database.execute("PRAGMA busy_timeout = 5000")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
        if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            database.executescript(f"BEGIN;{SCHEMA}COMMIT;")
        yield Store(database, folder)
    finally:
        database.close()
