"""Shows the events of a long job: a moving bar in a terminal, a line now and then elsewhere. On stderr."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from advisor import formats
from advisor.texts import say
from executors.base import Event

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

EVERY = 15.0  # seconds between two lines of one stage where there is no terminal


class Progress:
    """A context manager that is also a `Reporter`."""

    def __init__(
        self, lang: str, console: Console, clock: Callable[[], float] = time.monotonic, *, transient: bool = False
    ) -> None:
        """`transient`: the bars are gone when it ends, as for one of many small jobs."""
        self._lang, self._transient = lang, transient
        self._console = console
        self._clock = clock
        self._stage = ""
        self._open: set[str] = set()  # stages that are not at their end: several may take turns
        self._tasks: dict[str, TaskID] = {}
        self._said = 0.0
        self._began: dict[str, tuple[float, float]] = {}  # when a stage began, and how far along it was then
        self._bars: Bars | None = None

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}"))
            times = (TimeElapsedColumn(), TimeRemainingColumn())
            self._bars = Progress(*columns, *times, console=self._console, transient=self._transient)
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bars:
            self._bars.stop()

    def __call__(self, event: Event) -> None:
        new = event.stage != self._stage and event.stage not in self._open
        self._stage = event.stage
        ended = event.total is not None and event.done >= event.total
        (self._open.discard if ended else self._open.add)(event.stage)
        if self._bars:
            self._move_bar(self._bars, event, new)
            return
        now = self._clock()
        if new:
            self._began[event.stage] = (now, event.done)
        if new or now - self._said >= EVERY:
            self._said = now
            told = (self._label(event), _count(event), self._left(event, now), event.note)
            self._console.print("  ".join(filter(None, told)), markup=False, highlight=False)

    def _left(self, event: Event, now: float) -> str:
        """About how long the stage still takes, at the pace so far; empty where that is not known, or it is done."""
        began, before = self._began.get(event.stage, (now, event.done))
        if event.total is None or event.done <= before or event.done >= event.total or now <= began:
            return ""
        seconds = (now - began) / (event.done - before) * (event.total - event.done)
        return say("unit.left", self._lang, time=formats.seconds(seconds, None, self._lang))

    def _move_bar(self, bars: Bars, event: Event, new: bool) -> None:
        if new:
            for task in bars.tasks:
                if task.total is None and not task.completed:
                    bars.update(task.id, total=1, completed=1)
            self._tasks[event.stage] = bars.add_task(self._label(event), total=event.total, count=_count(event))
        count = f"{_count(event)}  {event.note}".rstrip()
        bars.update(self._tasks[event.stage], completed=event.done, total=event.total, count=count)

    def _label(self, event: Event) -> str:
        return say(f"stage.{event.stage}", self._lang)


def _count(event: Event) -> str:
    if event.total is None:  # so many of nobody knows how many
        return f"{event.done:,.0f}" if event.done else ""
    if event.total <= 1:  # one thing is there or it is not
        return ""
    if event.stage in ("fetch", "scan"):  # counted in bytes
        return f"{event.done / 1e6:.0f}/{event.total / 1e6:.0f} MB"
    return f"{event.done:,.0f}/{event.total:,.0f}"
