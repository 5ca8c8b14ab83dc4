"""The folders of runs: `runs/<id>/`, found again by id, unique prefix, folder or `last`."""

from __future__ import annotations

import os
from pathlib import Path

from executors.base import Problem, UserError, did_you_mean


def root() -> Path:
    """Where runs are kept: `$ADVISOR_RUNS`, else `runs/` in the current folder."""
    return Path(os.environ.get("ADVISOR_RUNS") or "runs")


def all_runs() -> list[Path]:
    """Every run folder, oldest first."""
    return sorted(p for p in root().glob("*") if p.is_dir()) if root().is_dir() else []


def find_run(reference: str) -> Path:
    """The folder of a run given as an id, a unique prefix of one, a folder, or ``last``."""
    runs = all_runs()
    if reference == "last":
        if not runs:
            zh = Problem(f"{root()}/ 中还没有运行记录", "请先创建：advisor ask --answers 文件")
            raise UserError(f"there are no runs in {root()}/", "make one with: advisor ask --answers FILE", zh)
        return runs[-1]
    if Path(reference).is_dir():
        return Path(reference)
    found = [run for run in runs if run.name.startswith(reference)]
    exact = [run for run in found if run.name == reference]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        several = ", ".join(run.name for run in found)
        zh = Problem(f"“{reference}”可能是 {several}", "请把编号写得更完整")
        raise UserError(f"'{reference}' could be {several}", "give more of the id", zh)
    names = [run.name for run in runs]
    raise UserError(
        f"no run '{reference}' in {root()}/{did_you_mean(reference, names)}",
        "list them with: advisor runs",
        Problem(f"{root()}/ 中没有运行“{reference}”{did_you_mean(reference, names, 'zh')}", "列出全部：advisor runs"),
    )
