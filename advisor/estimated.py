"""What was foretold of a run, kept beside it, and how far off that was once the run is done."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from executors.base import Result, write_json

if TYPE_CHECKING:
    from advisor.estimate import Estimate

RECORD = "estimate.json"
Ends = tuple[float, float]


@dataclass(frozen=True)
class Error:
    """The estimate beside what came of it. Seconds; GB (1e9 bytes) of this process, None where not foretold."""

    seconds: Ends
    took: float
    memory_gb: Ends | None = None
    used_gb: float | None = None


def keep_estimate(folder: Path, estimate: Estimate) -> None:
    """Write what is foretold into the run's folder, unless the run has ended: then the earlier one holds."""
    if estimate.seconds and not (folder / "artifact").is_dir():
        write_json(folder / RECORD, {"seconds": estimate.seconds, "memory_gb": estimate.memory_gb})


def read_error(folder: Path, result: Result | None) -> Error | None:
    """How far off it was; None where nothing was foretold, or the run was interrupted, so that its time is unknown.

    Of a run on a GPU the memory is not compared: what is known of it is this process's own. Raises `ValueError`,
    `KeyError` or `TypeError` for a damaged record.
    """
    from executors.run import RESUMED

    path = folder / RECORD
    if result is None or result.status != "done" or dict(RESUMED) in map(dict, result.notes) or not path.is_file():
        return None
    read = json.loads(path.read_text(encoding="utf-8"))
    memory = read["memory_gb"] if result.peak_memory_mb and not result.device.startswith(("cuda", "mps")) else None
    return Error(
        seconds=(float(read["seconds"][0]), float(read["seconds"][1])),
        took=sum(result.seconds.values()),
        memory_gb=(float(memory[0]), float(memory[1])) if memory else None,
        used_gb=result.peak_memory_mb / 1e3 if memory and result.peak_memory_mb else None,
    )
