"""Progress: a line a stage without a terminal, a bar in one."""

from __future__ import annotations

import io

from rich.console import Console

from advisor.progress import Progress
from executors.base import Event


def _lines(events: list[Event], times: list[float]) -> list[str]:
    out = io.StringIO()
    clock = iter(times)
    with Progress("en", Console(file=out, width=100), lambda: next(clock)) as progress:
        for event in events:
            progress(event)
    return out.getvalue().splitlines()


def test_without_a_terminal_each_stage_is_a_line() -> None:
    lines = _lines([Event("load"), Event("embed", 1, 3), Event("embed", 2, 3), Event("embed", 3, 3)], [0.0] * 9)
    assert [line.split("  ")[-1] for line in lines] == ["Loading the model", "1/3"]


def test_a_long_stage_is_heard_of_now_and_then() -> None:
    lines = _lines([Event("train", n, 100, note=f"loss {n}") for n in range(4)], [0, 1, 20, 20, 21])
    assert len(lines) == 2
    assert lines[1].endswith("loss 2")


def test_stages_that_take_turns_are_heard_of_once_until_they_are_long() -> None:
    turns = [Event(stage, n, total) for n in range(3) for stage, total in (("read", 9), ("embed", None))]
    assert len(_lines(turns, [0.0] * 20)) == 2
    assert _lines([*turns, Event("embed", 1024)], [*[0.0] * 2, *[1.0] * 4, 20.0, 20.0])[-1].endswith("1,024")
    ended = [Event("predict", 1, 1), Event("fit"), Event("predict", 1, 1)]
    assert len(_lines(ended, [0.0] * 9)) == 3


def test_bytes_are_shown_in_megabytes() -> None:
    assert _lines([Event("fetch", 5e6, 98e6)], [0.0] * 3)[0].endswith("5/98 MB")


def test_in_a_terminal_there_is_a_bar() -> None:
    out = io.StringIO()
    with Progress("zh", Console(file=out, force_terminal=True, width=100)) as progress:
        progress(Event("predict", 1, 2))
        progress(Event("predict", 2, 2))
    assert "2/2" in out.getvalue()
    assert "\x1b[" in out.getvalue()


def test_in_a_terminal_stages_that_take_turns_keep_their_bars() -> None:
    out = io.StringIO()
    with Progress("en", Console(file=out, force_terminal=True, width=100)) as progress:
        for n in range(3):
            progress(Event("read", n, 9))
            progress(Event("embed", n * 1024))
    last = out.getvalue().split("\x1b[?25h")[0].split("Reading")[-1]
    assert "2/9" in last
    assert last.count("Embedding") == 1
    assert "2,048" in last
