"""Real training steps, timed in a process of their own: what a machine does with this model and these rows.

The steps are those of a run: the same executor, rows, batches, checkpoint and saving, only fewer of them. The batch of
the longest rows is among them, so that the peak of memory is seen. Nothing of the trained model is kept. Not covered:
methods that train no language model, and several devices.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from executors.base import DataSpec, Event, Input, Job, Plan, Problem, Reporter, Row, UserError, silent, to_dict

SYNTHETIC = ""  # the path of a plan's data where rows are to be made up
WORDS = ("time", "water", "house", "light", "paper", "river", "table", "green", "music", "world", "stone", "train")


@dataclass(frozen=True)
class Timing:
    """What was measured. Seconds are of the wall clock; `peak_gb` is in 1e9 bytes, of the process, or on a GPU of its
    memory as torch allocated it. `base_gb` is the peak before the first step: libraries, weights, rows."""

    steps: int
    start_seconds: float  # from the start of the process to the first step
    step_seconds: tuple[float, ...]
    finish_seconds: float  # the last checkpoint and the trained model, written
    base_gb: float
    peak_gb: float
    device: str

    @property
    def steady(self) -> tuple[float, ...]:
        """The steps after the first, which also warms up what the others find ready."""
        return self.step_seconds[1:] or self.step_seconds

    @property
    def pace(self) -> float:
        """Seconds a step: the mean of the middle half, which neither a hiccup nor the longest batch moves."""
        spared = len(self.steady) // 4
        return fmean(sorted(self.steady)[spared : len(self.steady) - spared])


def time_steps(plan: Plan, steps: int, answer_tokens: int = 0, report: Reporter = silent) -> Timing:
    """Time `steps` optimizer steps of `plan`, on its data; where it names none, on rows made up: as long as
    `params.max_length` allows, `answer_tokens` of it trained on.

    Raises `UserError` as a run does, and where the process is ended from outside, as by a system out of memory.
    """
    with tempfile.TemporaryDirectory(prefix="advisor-timing-") as folder:
        spec = {"plan": to_dict(plan), "steps": steps, "answer_tokens": answer_tokens, "began": time.time()}
        (Path(folder) / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
        call = [sys.executable, "-m", "executors.tuning.timing", folder]
        with subprocess.Popen(call, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
            assert process.stdout is not None
            try:
                found = _listen(process.stdout, report)
            except BaseException:
                process.terminate()
                raise
    return found if found else _ended(process.returncode, plan)


def _listen(lines: Any, report: Reporter) -> Timing | None:
    """Pass events on until the process has said what it measured. Raises what it says went wrong."""
    found = None
    for line in lines:
        told = json.loads(line)
        if "event" in told:
            report(Event(**told["event"]))
        elif "problem" in told:
            raise UserError(**_problem(told["problem"]))
        else:
            found = Timing(**{**told, "step_seconds": tuple(told["step_seconds"])})
    return found


def _problem(told: Mapping[str, Any]) -> dict[str, Any]:
    zh = told["zh"]
    return {"message": told["message"], "hint": told["hint"], "zh": Problem(zh["message"], zh["hint"]) if zh else None}


def _ended(status: int, plan: Plan) -> Timing:
    size = plan.params.get("batch_size", "")
    raise UserError(
        f"the timed steps were ended from outside (status {status}), probably for lack of memory",
        f"quote without --time, or with a smaller batch than {size}: --batch-size 1",
        Problem(
            f"计时步骤被外部终止（状态 {status}），很可能是内存不足",
            f"请去掉 --time，或使用比 {size} 更小的批次：--batch-size 1",
        ),
    )


# -- in the process of its own -------------------------------------------------------------------------


def measure(spec: Mapping[str, Any], folder: Path, report: Reporter) -> Timing:
    """Train `spec["steps"]` steps in `folder` and say what they took."""
    import executors

    plan = Plan(**{**spec["plan"], "data": DataSpec(**spec["plan"]["data"])})
    steps = int(spec["steps"])
    params = {**plan.params, "epochs": 1e-9, "min_steps": steps, "checkpoint_steps": steps, "development": 0.0}
    params |= {"compare": 0, "forgetting": False}
    unused = ("launch", "processes", "search", "search_minutes")  # this one is timed, as it is
    params = {name: value for name, value in params.items() if name not in unused}
    rows, labels = _rows(plan, steps, int(spec["answer_tokens"]))
    watch = _Watch(report, time.time() - float(spec["began"]))
    executors.method(plan.executor).build(Job(replace(plan, params=params), rows, labels, folder, watch))
    return watch.timing(steps)


def _rows(plan: Plan, steps: int, answer_tokens: int) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """As many rows as the steps take, the longest batch of the data's among them; and the labels."""
    size = int(plan.params.get("batch_size", 8))
    if plan.data.path == SYNTHETIC:
        return made_up(steps * size, int(plan.params["max_length"]), answer_tokens, plan.seed), ()
    from executors.data import load_dataset

    data = load_dataset(plan.data, plan.task, plan.seed)
    return sample(data.train, steps, size, plan.seed), data.labels


def sample(rows: Sequence[Row], steps: int, size: int, seed: int) -> tuple[Row, ...]:
    """The `size` longest rows (characters), and others at random, at most `steps` batches in all. Rows that bring the
    same passage come together, as they do in a training, which reads it once."""
    ordered = sorted(rows, key=_length, reverse=True)
    longest, others = ordered[:size], ordered[size:]
    groups: dict[str, list[Row]] = {}
    for row in random.Random(seed).sample(others, len(others)):
        groups.setdefault(row.input.context or row.id, []).append(row)
    chosen = [row for group in groups.values() for row in group]
    return tuple(longest + chosen[: (steps - 1) * size])


def _length(row: Row) -> int:
    return len(row.input.text) + len(row.input.context) + len(row.target)


def made_up(count: int, length: int, answer_tokens: int, seed: int) -> tuple[Row, ...]:
    """Rows of common words, no two alike; inputs are longer than `length` tokens, and are cut to it where encoded."""
    chance = random.Random(seed)
    return tuple(
        Row(str(n), Input(_words(length + 1, chance)), (_words(max(answer_tokens, 1), chance),)) for n in range(count)
    )


def _words(count: int, chance: random.Random) -> str:
    return " ".join(chance.choices(WORDS, k=count))


class _Watch:
    """A reporter that notes when each step ended."""

    def __init__(self, report: Reporter, before: float) -> None:
        self.report, self.before = report, before
        self.began = time.perf_counter()
        self.ends: list[float] = []
        self.base_gb = 0.0

    def __call__(self, event: Event) -> None:
        if event.stage == "train":
            if not self.ends:
                self.base_gb = peak_gb()
            self.ends.append(time.perf_counter())
        self.report(event)

    def timing(self, steps: int) -> Timing:
        from executors.models import choose_device

        done = time.perf_counter()
        device = choose_device()
        return Timing(
            steps=steps,
            start_seconds=round(self.before + self.ends[0] - self.began, 3),
            step_seconds=tuple(round(b - a, 4) for a, b in zip(self.ends, self.ends[1:], strict=False)),
            finish_seconds=round(done - self.ends[-1], 3),
            base_gb=self.base_gb,
            peak_gb=peak_gb(),
            device=f"{device.kind} {device.dtype}",
        )


def peak_gb() -> float:
    """Peak memory so far, in 1e9 bytes: on a GPU what torch allocated there, else what this process held.

    `getrusage` would count what the parent held before this program began, so Linux is asked for this program's own.
    """
    import torch

    from executors.run import peak_memory_mb

    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e9, 3)
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return round(int(line.split()[1]) * 1024 / 1e9, 3)
    return round((peak_memory_mb() or 0.0) / 1e3, 3)


def main(folder: Path, say: Callable[[Any], None]) -> int:
    """Do what `spec.json` in `folder` asks; say events, then what was measured or what went wrong."""
    spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    try:
        say(to_dict(measure(spec, folder, lambda event: say({"event": to_dict(event)}))))
    except UserError as error:
        say({"problem": to_dict(error.problem)})
        return 1
    return 0


def _say(value: Any) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), _say))
