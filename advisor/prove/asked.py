"""How a race or a climb was asked for: the command that goes on with it, and the unfinished one of the same command.

A race made with --data alone has a run that the user has not named. The same command again goes on with it, as long as
it is unfinished and the files have not changed since; a finished one is left alone: the command then begins anew.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advisor import runs
from advisor.decision import Inputs
from advisor.prove.records import FOLDER, read_race
from executors.base import SCHEMA_VERSION, UserError, to_dict, write_json

FILE = "asked.json"  # in the folder of the race or the climb
SAME = ("--until", "--metric", "--seed")  # options without which it would be another race


@dataclass(frozen=True)
class Asked:
    """`options`: those that were given, by name, for the command; `inputs` where no run was named, else None."""

    options: Mapping[str, object]
    inputs: Inputs | None = None

    @property
    def folder(self) -> str:
        """Where the record lies within the run's folder."""
        from advisor.prove import until

        return until.FOLDER if "--until" in self.options else FOLDER

    def again(self, run: str) -> str:
        """The command that goes on."""
        several = ((name, value if isinstance(value, tuple) else (value,)) for name, value in self.options.items())
        given = (part for name, values in several for one in values for part in (name, _plain(one)))
        return shlex.join(["advisor", "prove", run, *given])

    def record(self, folder: Path) -> None:
        place = folder / self.folder
        place.mkdir(parents=True, exist_ok=True)
        inputs = None if self.inputs is None else to_dict(self.inputs)
        told = {"again": self.again(folder.name), "options": dict(self.options), "inputs": inputs}
        write_json(place / FILE, {"schema_version": SCHEMA_VERSION, **told})

    def unfinished(self) -> Path | None:
        """The latest run of the same command that was broken off; None where there is none, or files have changed."""
        for folder in reversed(runs.all_runs()):
            path = folder / self.folder / FILE
            if self.inputs is None or not path.is_file() or not self._same(_read(path)):
                continue
            return None if _finished(folder, self.folder) or _newer(self.inputs, path) else folder
        return None

    def _same(self, earlier: Mapping[str, Any]) -> bool:
        options = earlier.get("options") or {}
        alike = all(options.get(name) == self.options.get(name) for name in SAME)
        return alike and self.inputs is not None and earlier.get("inputs") == to_dict(self.inputs)


def command_of(folder: Path) -> str:
    """The command that goes on with the race of a run."""
    path = folder / FOLDER / FILE
    return str((_read(path) if path.is_file() else {}).get("again") or f"advisor prove {folder.name}")


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _read(path: Path) -> Mapping[str, Any]:
    """The record; empty where it is damaged: then it is only not found again."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return raw if isinstance(raw, dict) else {}


def _finished(folder: Path, place: str) -> bool:
    from advisor.prove.until import read_climb

    try:
        found = read_race(folder) if place == FOLDER else read_climb(folder)
    except UserError:  # damaged
        return True
    return found is not None and found.status not in ("running", "interrupted")


def _newer(inputs: Inputs, record: Path) -> bool:
    """Whether a file was changed after the record was written."""
    return any(path.stat().st_mtime > record.stat().st_mtime for path in _files(inputs))


def _files(inputs: Inputs) -> Iterable[Path]:
    for name in (inputs.data, inputs.test, inputs.docs):
        if name and Path(name).exists():
            yield Path(name)
            yield from Path(name).rglob("*")
