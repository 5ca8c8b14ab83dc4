"""Shared by the benchmarks: one row a figure, printed beside its bar, written as JSON."""

from __future__ import annotations

import argparse
import json
import operator
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from executors.base import Event, Reporter
from executors.run import versions

OUT = Path(__file__).parent / "out"
ROOT = Path(__file__).resolve().parents[2]
ADVISOR = [sys.executable, "-m", "advisor"]
OPERATORS = {"<=": operator.le, ">=": operator.ge, ">": operator.gt, "<": operator.lt}


@dataclass(frozen=True)
class Figure:
    """A measured value beside its bar. Without a bar it is there to be read, and cannot fall short."""

    id: str
    value: float
    bar: float | None = None
    op: str = ""
    n: int = 1
    interval: tuple[float, float] | None = None
    peer_version: str = ""
    command: str = ""

    @property
    def holds(self) -> bool:
        return self.bar is None or OPERATORS[self.op](self.value, self.bar)


def hardware() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return f"{model}, {os.cpu_count()} cores"


def finish(name: str, figures: list[Figure]) -> int:
    """Print and write the figures; 1 where one falls short."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{name}: {hardware()}; " + ", ".join(f"{k} {v}" for k, v in versions().items()))
    for column in ("figure", "value", "bar", "n", "95 % interval", "", "command"):
        table.add_column(column, overflow="fold")
    for f in figures:
        interval = f"{f.interval[0]:.3f}–{f.interval[1]:.3f}" if f.interval else ""
        bar = f"{f.op} {f.bar:g}" if f.bar is not None else ""
        verdict = "" if f.bar is None else ("ok" if f.holds else "SHORT")
        value = f"{f.value:.3f}" if abs(f.value) >= 0.01 or not f.value else f"{f.value:.2g}"
        table.add_row(f.id, value, bar, str(f.n), interval, verdict, f.command)
    Console(width=None if sys.stdout.isatty() else 170).print(table)
    OUT.mkdir(exist_ok=True)
    rows = [asdict(f) for f in figures]
    (OUT / f"{name}.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0 if all(f.holds for f in figures) else 1


def run_parts(
    name: str,
    about: str | None,
    parts: Mapping[str, Callable[[], list[Figure]]],
    groups: Mapping[str, Sequence[str]],
    arguments: list[str],
) -> int:
    """Run the parts that `arguments` name with --only, each once (without it: all), and finish with their figures."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[*groups, *parts], help="a part or a group of them")
    only = parser.parse_args(arguments).only or list(groups)
    figures = []
    for part in dict.fromkeys(part for chosen in only for part in groups.get(chosen, (chosen,))):
        print(f"{part} …", file=sys.stderr, flush=True)
        figures += parts[part]()
    return finish("-".join([name, *(only if only != list(groups) else [])]), figures)


def told(name: str, every: float = 30.0) -> Reporter:
    """A reporter that says on stderr how far `name` is, at most once in `every` seconds."""
    last = time.monotonic()

    def report(event: Event) -> None:
        nonlocal last
        if time.monotonic() - last >= every:
            last = time.monotonic()
            total = f" of {event.total:g}" if event.total else ""
            print(f"  {name}: {event.stage} {event.done:g}{total} {event.note}", file=sys.stderr, flush=True)

    return report


def advisor(*arguments: str, runs: Path) -> str:
    """Call the command line as a user does; its stdout. Progress goes to this process's stderr."""
    environment = {**os.environ, "ADVISOR_RUNS": str(runs), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [*ADVISOR, *arguments], stdout=subprocess.PIPE, text=True, env=environment, check=True, cwd=ROOT
    )
    return done.stdout
