"""What a search has learned so far, on disk: outcomes by candidate and row, so that no row is asked about twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from executors.base import Prediction, Usage, to_dict
from executors.prompt.labels import LabelScores
from executors.prompt.params import PromptParams
from executors.trials import append_line, whole_lines

Outcome = LabelScores | Prediction
"""What a model said of one row: how likely it finds each label, or an answer."""


class KeptOutcomes:
    """Outcomes on disk, a line a batch, so that an interrupted search does not ask again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, dict[str, Outcome]] = {}
        self._seconds: dict[str, float] = {}
        self._tokens: dict[str, list[int]] = {}
        for line in whole_lines(path):
            read = json.loads(line)
            found = self._found.setdefault(read["candidate"], {})
            found.update({name: _outcome(record) for name, record in read["outcomes"].items()})
            self._seconds[read["candidate"]] = self._seconds.get(read["candidate"], 0.0) + read["seconds"]
            self._tokens.setdefault(read["candidate"], []).extend(read["tokens"])

    @property
    def seconds(self) -> float:
        """Spent before this process."""
        return sum(self._seconds.values())

    def read(self, candidate: str) -> tuple[dict[str, Outcome], float, list[int]]:
        """(outcomes by row, seconds they took, tokens of some of their prompts)."""
        tokens = list(self._tokens.get(candidate, ()))
        return dict(self._found.get(candidate, {})), self._seconds.get(candidate, 0.0), tokens

    def write(self, candidate: str, outcomes: dict[str, Outcome], seconds: float, tokens: Sequence[int]) -> None:
        found = {name: asdict(outcome) for name, outcome in outcomes.items()}
        line = {"candidate": candidate, "seconds": seconds, "tokens": list(tokens), "outcomes": found}
        append_line(self._path, line)


def _outcome(record: dict[str, Any]) -> Outcome:
    if "values" in record:
        return LabelScores(tuple(record["labels"]), tuple(record["values"]), record["votes"])
    usage = record["usage"]
    return Prediction(record["text"], record["score"], record["scores"], (), Usage(**usage) if usage else None)


def candidate_name(params: PromptParams) -> str:
    """The same for the same parameters, in every process."""
    return hashlib.sha256(json.dumps(to_dict(params), sort_keys=True).encode()).hexdigest()[:16]
