"""Answers that were paid for, on disk: none is paid for twice.

A line of JSON each, written and synced before the answer is used, so a kill loses at most what was under way. Two
kinds: an answer, under the hash of all that decides it, and a charge without an answer (an empty reply that was asked
anew, a request whose fate is unknown). No key and no header is ever in it. One process at a time.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any

from executors.base import Problem, UserError
from executors.models.language import Chat, Sampling

LOCK_SECONDS = 0.5


@dataclass(frozen=True)
class Answer:
    """One reply. `cost` is in US dollars, None where the price is not known. `counted`: by the server itself."""

    text: str
    finish: str  # stop | length
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    counted: bool
    model: str  # as the server calls itself


FIELDS = {"key", *(field.name for field in fields(Answer))}


def request_key(name: str, base_url: str, chat: Chat, max_tokens: int, sampling: Sampling, turn: int = 0) -> str:
    """The hash an answer is kept under. `turn` tells repeated draws of one chat apart."""
    drawn = {"temperature": sampling.temperature, "stop": sampling.stop, "seed": sampling.seed, "turn": turn}
    messages = [{"role": m["role"], "content": m["content"]} for m in chat]
    asked = [name, base_url, messages, max_tokens, drawn]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


class Ledger:
    """The answers of one run. Without a path it is kept in memory alone."""

    def __init__(self, path: Path | None = None) -> None:
        """Raises `UserError` where another process works with the same file, or it is damaged."""
        self.path = path
        self.spent = self.lost = 0.0  # US dollars: all, and the part of it that brought no answer
        self._answers: dict[str, Answer] = {}
        self._writing = threading.Lock()
        self._out: IO[bytes] | None = None
        self._lock: Any = None
        if path:
            self._open(path)

    def find(self, key: str) -> Answer | None:
        """The answer that was paid for under `key`."""
        return self._answers.get(key)

    def keep(self, key: str, answer: Answer) -> None:
        """Keep an answer; on disk when this returns."""
        with self._writing:
            self._take({"key": key, **asdict(answer)})
            self._append({"key": key, **asdict(answer), "at": _now()})

    def charge(self, cost: float | None, why: str) -> None:
        """Count what was, or may have been, paid for no answer."""
        with self._writing:
            self._take({"charged": cost, "why": why})
            self._append({"charged": cost, "why": why, "at": _now()})

    def close(self) -> None:
        if self._out:
            self._out.close()
        if self._lock:
            self._lock.release()
        self._out = self._lock = None

    def _open(self, path: Path) -> None:
        from filelock import FileLock, Timeout

        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))
        try:
            self._lock.acquire(timeout=LOCK_SECONDS)
        except Timeout:
            self._lock = None
            raise _taken(path) from None
        try:
            for record in read_records(path):
                self._take(record)
            self._out = path.open("ab")
        except BaseException:
            self.close()
            raise

    def _take(self, record: dict[str, Any]) -> None:
        if "charged" in record:
            self.spent += record["charged"] or 0.0
            self.lost += record["charged"] or 0.0
            return
        self._answers[record["key"]] = Answer(**{name: record[name] for name in FIELDS - {"key"}})
        self.spent += record["cost"] or 0.0

    def _append(self, record: dict[str, Any]) -> None:
        if self._out is None:
            return
        self._out.write(json.dumps(record, ensure_ascii=False).encode(errors="replace") + b"\n")
        self._out.flush()
        os.fsync(self._out.fileno())


def read_records(path: Path) -> Sequence[dict[str, Any]]:
    """The lines of a ledger; one cut off by a kill is dropped, from the file as well.

    Raises `UserError` for a whole line that is no record: what was paid for it would otherwise be forgotten.
    """
    if not path.is_file():
        return []
    raw = path.read_bytes()
    lines = raw.splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        with path.open("r+b") as out:
            out.truncate(len(raw) - len(lines.pop()))
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict) or not ("charged" in record or record.keys() >= FIELDS):
            raise _damaged(path, number)
        records.append(record)
    return records


def spent_within(folder: Path, name: str, but: Path) -> float:
    """US dollars that stand in all ledgers called `name` within `folder`, but for those within `but`."""
    paths = (path for path in folder.rglob(name) if not path.is_relative_to(but))
    records = (record for path in paths for record in read_records(path))
    return sum(record.get("charged", record.get("cost")) or 0.0 for record in records)


def _taken(path: Path) -> UserError:
    return UserError(
        f"another process is asking with {path}",
        "wait until it is done, so that no answer is paid for twice",
        Problem(f"另一个进程正在使用 {path}", "请等它结束，以免重复付费"),
    )


def _damaged(path: Path, line: int) -> UserError:
    return UserError(
        f"{path}, line {line}: not a paid answer",
        "remove that line; its row is then asked, and paid for, again",
        Problem(f"{path} 第 {line} 行不是已付费的回答", "请删除该行；对应的数据会重新提问并付费"),
    )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
