"""What the tuning of an encoder changed: development rows answered by a head on the encoder as it was, and by the tuned
one. The former is what a probe would be, so that the difference is what moving the encoder itself has brought.

Kept as `aftermath.json`, as language models have it; losses are a row's, in nats, or in variances of the targets. Not
covered: rows that were trained on, which flatter; so there is none where no row is held out to watch the loss on.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from executors.base import Prediction, Row, to_dict, write_json
from executors.tuning.encoder.predictor import chosen

if TYPE_CHECKING:
    from executors.tuning.encoder.network import EncoderNetwork
    from executors.tuning.encoder.rows import TextRow

Floats = NDArray[np.float64]


@dataclass
class Watched:
    """Rows that are looked at before and after, with their tokens. `scale`: (mean, spread) of a regression's targets,
    in whose units the tuned head answers at last; before, it answers in spreads from the mean."""

    rows: Sequence[Row]
    texts: Sequence[TextRow]
    task: str
    labels: tuple[str, ...]
    scale: tuple[float, float] = (0.0, 1.0)
    before: dict[str, Any] = field(default_factory=dict)

    def begin(self, network: EncoderNetwork) -> None:
        """Look at the head that training begins from."""
        if self.rows:
            self.before = self._look(network)

    def end(self, network: EncoderNetwork) -> Mapping[str, Any] | None:
        """Look at the tuned one: the record of both, or None where nothing was looked at before."""
        if not self.before:
            return None
        from executors.metrics import deciding_metric
        from executors.tuning.aftermath import SAMPLES  # which imports what imports this module

        after = self._look(network)
        sides = (("before", self.before), ("after", after))
        samples = [
            {
                "id": row.id,
                "input": row.input.text,
                "context": row.input.context,
                "target": row.target,
                "base": self.before["answers"][n],
                "tuned": after["answers"][n],
            }
            for n, row in enumerate(self.rows[:SAMPLES])
        ]
        return {
            "schema_version": 1,
            "metric": deciding_metric(self.task, self.rows),
            "rows": len(self.rows),
            "trained_on": False,
            "of": "encoder",
            **{name: {"loss": side["loss"], "score": side["score"]} for name, side in sides},
            "samples": samples,
            "seconds": round(self.before["seconds"] + after["seconds"], 2),
        }

    def _look(self, network: EncoderNetwork) -> dict[str, Any]:
        from executors.metrics import score

        start = time.perf_counter()
        outputs = network.run([row.ids for row in self.texts], "logits").astype(np.float64)
        answers = self._answers(outputs)
        metric, scores = score(self.task, self.rows, answers)
        return {
            "loss": round(self._loss(outputs), 6),
            "score": to_dict(scores[metric]),
            "answers": [answer.text for answer in answers],
            "seconds": round(time.perf_counter() - start, 2),
        }

    def _answers(self, outputs: Floats) -> list[Prediction]:
        if self.labels:
            return [chosen(self.labels, row) for row in outputs]
        mean, spread = self.scale
        return [Prediction(f"{value * spread + mean:.4g}") for value in outputs[:, 0]]

    def _loss(self, outputs: Floats) -> float:
        targets = np.array([row.target for row in self.texts])
        if not self.labels:
            return float(np.mean((outputs[:, 0] - targets) ** 2))
        shifted = outputs - outputs.max(axis=1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return float(-logs[np.arange(len(targets)), targets.astype(int)].mean())


def watched_rows(rows: Sequence[Row], most: int, seed: int) -> list[Row]:
    """At most so many of the development rows, drawn by the seed, not by how they are answered."""
    return random.Random(f"asked {seed}").sample(list(rows), min(most, len(rows)))


def write_changed(folder: Path, record: Mapping[str, Any] | None) -> None:
    """Keep the record with the artifact in `folder`."""
    from executors.tuning.aftermath import RECORD

    if record is not None:
        write_json(folder / RECORD, record)
