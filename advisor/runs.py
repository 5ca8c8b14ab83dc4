"""New run folders. Finding them again is `executors.runs`: a script that only uses a run needs that too."""

from __future__ import annotations

import datetime
from pathlib import Path

from executors.base import Problem, UserError
from executors.runs import all_runs, find_run, root

__all__ = ["all_runs", "find_run", "new_run", "root"]


def new_run() -> Path:
    """A new, empty run folder; ids sort by time, to some microseconds. Raises `UserError` where it cannot be made."""
    now = datetime.datetime.now()
    folder = root() / f"{now:%Y%m%d-%H%M%S}-{now.microsecond * 65_536 // 1_000_000:04x}"
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return new_run()  # another process was as quick
    except OSError as error:
        raise UserError(
            f"cannot create the run folder {folder}: {error.strerror}",
            "run the command in a folder you may write to, or set ADVISOR_RUNS to one",
            Problem(
                f"无法创建运行文件夹 {folder}：{error.strerror}",
                "请在可写的文件夹中运行，或用 ADVISOR_RUNS 指定一个",
            ),
        ) from error
    return folder
