"""What `test_index_sync` kills: processes that bring an index up to date."""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ClassVar

import numpy as np

from executors.retriever.index import Splitter, sync
from tests.test_probe import WordEmbedder

SPLITTER = Splitter(16, 0)
STEPS = frozenset(["execute", "executemany", "executescript", "open", "write", "fsync", "replace", "unlink"])


class Words(WordEmbedder):
    """A `WordEmbedder` that makes the vector of a word once."""

    known: ClassVar[dict[tuple[str, int], np.ndarray]] = {}

    def _word(self, word: str) -> np.ndarray:
        if (word, self.dimension) not in self.known:
            self.known[word, self.dimension] = super()._word(word)
        return self.known[word, self.dimension]


def sync_forever(folder: Path, states: tuple[Path, Path], told: Connection) -> None:
    """One folder, then the other, and again. Tells of each that is done, and never ends by itself."""
    while True:
        for docs in states:
            sync(folder, docs, SPLITTER, Words(), "en")
            told.send(True)


def sync_until(folder: Path, docs: Path, step: int, ended: Connection) -> None:
    """One sync, killed before its `step`-th call of what may touch the disk; else it tells how many there were."""
    calls = 0

    def watch(_: object, event: str, called: object) -> None:
        nonlocal calls
        if event == "c_call" and getattr(called, "__name__", "") in STEPS:
            calls += 1
            if calls == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(watch)
    try:
        sync(folder, docs, SPLITTER, Words(), "en")
    finally:
        sys.setprofile(None)
    ended.send(calls)
