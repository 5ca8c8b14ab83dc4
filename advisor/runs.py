"""The folders of runs: `runs/<id>/`, found again by id, unique prefix, folder or `last`."""

from __future__ import annotations

import datetime
import os
import secrets
from pathlib import Path

from executors.base import UserError, did_you_mean


def root() -> Path:
    """Where runs are kept: `$ADVISOR_RUNS`, else `runs/` in the current folder."""
    return Path(os.environ.get("ADVISOR_RUNS") or "runs")


def new_run() -> Path:
    """A new, empty run folder; ids sort by time. Raises `UserError` where it cannot be made."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = root() / f"{stamp}-{secrets.token_hex(2)}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(
            f"cannot create the run folder {folder}: {error.strerror}",
            "run the command in a folder you may write to, or set ADVISOR_RUNS to one",
        ) from error
    return folder


def all_runs() -> list[Path]:
    """Every run folder, oldest first."""
    return sorted(p for p in root().glob("*") if p.is_dir()) if root().is_dir() else []


def find_run(reference: str) -> Path:
    """The folder of a run given as an id, a unique prefix of one, a folder, or ``last``."""
    runs = all_runs()
    if reference == "last":
        if not runs:
            raise UserError(f"there are no runs in {root()}/", "make one with: advisor ask --answers FILE")
        return runs[-1]
    if Path(reference).is_dir():
        return Path(reference)
    found = [run for run in runs if run.name.startswith(reference)]
    exact = [run for run in found if run.name == reference]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        raise UserError(f"'{reference}' could be {', '.join(r.name for r in found)}", "give more of the id")
    names = [run.name for run in runs]
    raise UserError(
        f"no run '{reference}' in {root()}/{did_you_mean(reference, names)}", "list them with: advisor runs"
    )
