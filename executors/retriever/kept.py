"""Embeddings kept by what was embedded, so that no text is embedded twice: not in another trial, nor after a kill."""

from __future__ import annotations

import functools
import hashlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from executors.base import Event, Reporter, silent
from executors.models import Embedder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from executors.models.embed import Pooling, Role

CHUNK = 256  # texts between two writes: what a kill loses at most
ASKED = 500  # keys looked up at once
COUNTED = 200_000  # texts whose tokens are remembered
FILE = "embedded.sqlite"


class KeptEmbedder(Embedder):
    """An encoder that remembers what it embedded in `folder`. The same vectors as the encoder it stands for."""

    def __init__(self, embedder: Embedder, folder: Path) -> None:
        self.embedder, self.folder = embedder, folder
        self.name, self.sha256, self.pooling = embedder.name, embedder.sha256, embedder.pooling
        self.dimension, self.window = embedder.dimension, embedder.window
        self.made = 0  # texts that had to be embedded
        self._count = functools.lru_cache(COUNTED)(embedder.count)
        folder.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(folder / FILE, check_same_thread=False)
        self._database.execute("CREATE TABLE IF NOT EXISTS kept (key BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID")

    def embed(self, texts: Sequence[str], report: Reporter = silent, role: Role = "document") -> NDArray[np.float32]:
        """Unit vectors ``[len(texts), dimension]``, in order; each different text is embedded once."""
        keys = [self._key(text, role) for text in texts]
        known = self._read(keys)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        rows = sorted(missing, key=lambda key: -len(missing[key]))  # texts of a batch are of like length
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            made = self.embedder.embed([missing[key] for key in part], role=role).astype(np.float32)
            with self._database:
                pairs = [(key, vector.tobytes()) for key, vector in zip(part, made, strict=True)]
                self._database.executemany("INSERT OR IGNORE INTO kept VALUES (?, ?)", pairs)
            known.update(zip(part, made, strict=True))
            self.made += len(part)
            report(Event("embed", len(texts) - len(rows) + start + len(part), len(texts)))
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for n, key in enumerate(keys):
            vectors[n] = known[key]
        return vectors

    def missing(self, texts: Sequence[str], role: Role = "document") -> int:
        """How many of these texts would have to be embedded."""
        keys = {self._key(text, role) for text in texts}
        return len(keys) - len(self._read(list(keys)))

    def _key(self, text: str, role: str) -> bytes:
        return hashlib.sha256(f"{self.sha256}\0{self.pooling}\0{role}\0{text}".encode(errors="surrogatepass")).digest()

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        found: dict[bytes, NDArray[np.float32]] = {}
        for start in range(0, len(keys), ASKED):
            part = list(keys[start : start + ASKED])
            marks = ",".join("?" * len(part))
            rows = self._database.execute(f"SELECT key, vector FROM kept WHERE key IN ({marks})", part)
            found.update((key, np.frombuffer(raw, dtype=np.float32)) for key, raw in rows)
        return found

    def pooled(self, pooling: Pooling) -> Embedder:
        return KeptEmbedder(self.embedder.pooled(pooling), self.folder)

    def count(self, text: str) -> int:
        return self._count(text)

    def close(self) -> None:
        """Let go of the file; nothing can be embedded afterwards."""
        self._database.close()
