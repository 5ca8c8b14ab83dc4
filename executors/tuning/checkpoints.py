"""Checkpoints that can be trusted, and stopping between two steps.

A checkpoint counts once a list of its files with their lengths lies in it, which is written last. One that a kill
left half-written is passed over for the one before.
"""

from __future__ import annotations

import json
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from executors.base import UserError, write_json

MARK = "complete.json"


def mark_complete(folder: Path) -> None:
    """Say that everything the checkpoint in `folder` needs has been written."""
    files = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))  # a model in shards has folders
        if path.is_file() and path.name != MARK
    }
    write_json(folder / MARK, files)


def is_complete(folder: Path) -> bool:
    """Whether `folder` is marked and every file still has the length it had then."""
    try:
        files: dict[str, int] = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in files.items())


def latest_checkpoint(folder: Path) -> Path | None:
    """The last whole checkpoint in `folder`, or None. Those that are not whole are removed."""
    found = {int(p.name.rpartition("-")[2]): p for p in folder.glob("checkpoint-*") if p.is_dir()}
    for step in sorted(found, reverse=True):
        if is_complete(found[step]):
            return found[step]
        shutil.rmtree(found[step])
    return None


def check_space(needed: int, folder: Path, free: int | None = None) -> None:
    """Raises `UserError` where the disk of `folder` has less than `needed` bytes free (`free`: as measured)."""
    left = shutil.disk_usage(folder).free if free is None else free
    if left < needed:
        raise UserError(
            f"{folder}: this training needs about {needed / 1e9:.1f} GB of disk for checkpoints, "
            f"{left / 1e9:.1f} GB are free",
            "free some space, or keep runs on another disk: export ADVISOR_RUNS=/path/with/room",
        )


class StopBetweenSteps:
    """While it is entered, Ctrl-C and SIGTERM set `asked` instead of breaking in; a second one breaks in.

    A step that is broken off leaves random states that do not fit the weights, so a resumed run would differ.
    Signals reach the main thread only; elsewhere nothing is installed.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


@contextmanager
def appearing_whole(folder: Path) -> Iterator[Path]:
    """A folder to write to, which becomes `folder` once everything is in it."""
    unfinished = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    yield unfinished
    unfinished.rename(folder)
