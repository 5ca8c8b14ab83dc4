"""A race in the terminal: a table that grows while it runs, and what came of it. Without a terminal, a line a pilot."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING

from advisor import formats, words
from advisor.prove.records import Pilot, Race, Standing
from advisor.report.prove import FIGURES, NONE, figures, race_title, score_notes, told_score
from advisor.screen import grid, styled
from advisor.texts import say, section_texts
from executors.base import Event

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text as Line

WIDE = 124  # columns from which every figure has a column of its own
QUIET = 60.0  # seconds after which something is said of a long pilot where there is no terminal
STYLES = {"running": "bold cyan", "raced": "yellow", "finished": "green", "stopped": "dim", "failed": "red"}
SETTLED = ("raced", "finished", "stopped", "failed")


class RaceTable:
    """A context manager: `show` after every change of the race, `running` with what runs now, `report` its progress."""

    def __init__(self, lang: str, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._lang, self._console, self._clock = lang, console, clock
        self._race: Race | None = None
        self._running, self._since = "", clock()
        self._event: Event | None = None
        self._said = clock()
        self._titled = False
        self._pilots = 0  # of which a line was written
        self._told: set[str] = set()  # candidates whose end was written
        self._live: Live | None = None

    def __enter__(self) -> RaceTable:
        if self._console.is_terminal:
            from rich.live import Live

            self._live = Live(console=self._console, get_renderable=self._drawn, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is None:
            return
        race, self._race = self._race, None  # what is drawn last is nothing: the table may be taller than the screen
        self._running = ""
        self._live.stop()
        if kind is not None and race is not None:
            self._console.print(race_table(race, self._lang, self._console.width))

    def running(self, what: str) -> None:
        """A candidate's name, or empty where none runs."""
        if what != self._running:
            self._running, self._since, self._event = what, self._clock(), None

    def show(self, race: Race) -> None:
        """The race as it stands now."""
        self._race = race
        if self._live is None:
            self._write(race)

    def report(self, event: Event) -> None:
        """Progress of the pilot that runs; a `Reporter`."""
        self._event = event
        now = self._clock()
        if self._live is None and now - self._said >= QUIET:
            self._say(self._now(now))

    # -- without a terminal ----------------------------------------------------------------------------

    def _write(self, race: Race) -> None:
        """A line for each pilot that is new, and for each candidate that ended before its full run."""
        if not self._titled:
            self._titled = True
            self._say(race_title(race, self._lang))
        for pilot in race.pilots[self._pilots :]:
            if pilot.score is not None:  # else its candidate's end says more
                self._say(pilot_line(pilot, race, self._lang))
        self._pilots = len(race.pilots)
        for standing in race.standings:
            if standing.state in SETTLED and standing.why and standing.name not in self._told:
                self._told.add(standing.name)
                name = words.method_name(standing.name, self._lang)
                self._say(f"{name}{say('word.colon', self._lang)}{ended(standing, self._lang)}")

    def _say(self, line: str) -> None:
        self._said = self._clock()
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    # -- in a terminal ---------------------------------------------------------------------------------

    def _drawn(self) -> RenderableType:
        from rich.console import Group
        from rich.spinner import Spinner

        if self._race is None:
            return styled("")
        now = styled(self._now(self._clock()), "cyan")
        parts: list[RenderableType] = [race_table(self._race, self._lang, self._console.width)]
        parts.append(styled(course(self._race, self._lang), "dim"))
        return Group(*parts, *([Spinner("dots", now)] if self._running else []))

    def _now(self, now: float) -> str:
        """What runs, how far along it is, and for how long it has been."""
        lang, event = self._lang, self._event
        name = words.method_name(self._running, lang) if self._running else ""
        stage = stage_text(event, lang) if event else ""
        took = formats.seconds(now - self._since, None, lang)
        return say("prove.now", lang, what=" · ".join(filter(None, (name, stage, took))))


def show_race(race: Race, lang: str, console: Console) -> None:
    """What came of a race."""
    console.print()
    console.print(race_table(race, lang, console.width))
    console.print(styled(course(race, lang), "dim"))
    if race.choice:
        console.print()
        console.print(styled(race.choice.why.get(lang, ""), "bold"))


def course(race: Race, lang: str) -> str:
    """How far a race has come, of its candidates and of its budget."""
    done = sum(one.state in SETTLED for one in race.standings)
    spent, budget = (formats.seconds(seconds, None, lang) for seconds in (race.spent, race.budget))
    return say("prove.course", lang, done=done, count=len(race.standings), spent=spent, budget=budget)


def stage_text(event: Event, lang: str) -> str:
    """``Answering 12/48 loss 0.3``."""
    known = f"{event.stage}" in section_texts("stage")
    label = say(f"stage.{event.stage}", lang) if known and event.stage != "pilot" else ""
    counted = f"{event.done:,.0f}/{event.total:,.0f}" if event.total and event.total > 1 else ""
    if event.stage in ("fetch", "scan") and event.total:
        counted = f"{event.done / 1e6:.0f}/{event.total / 1e6:.0f} MB"
    return " ".join(filter(None, (label, counted, "" if event.stage == "pilot" else event.note)))


def pilot_line(pilot: Pilot, race: Race, lang: str) -> str:
    """A pilot in one line."""
    name = f"{words.method_name(pilot.candidate, lang)}{say('word.colon', lang)}"
    scored = f"n = {formats.number(pilot.scored)}"
    return name + " · ".join([told_score(pilot.score), scored, *details(pilot, race, lang)])


def details(pilot: Pilot | None, race: Race, lang: str) -> list[str]:
    """What a pilot took, each figure with what it is."""
    found = figures(pilot, race, lang)
    return [text if key == "rows" else say(f"prove.told_{key}", lang, figure=text) for key, text in found.items()]


def ended(standing: Standing, lang: str) -> str:
    """A candidate's state, and what led to it."""
    told = say(f"prove.state.{standing.state}", lang)
    return f"{told}{say('word.colon', lang)}{standing.why[lang]}" if standing.why else told


# -- the table -------------------------------------------------------------------------------------------


def race_table(race: Race, lang: str, width: int) -> RenderableType:
    """The candidates as they stand: a column a figure where there is room, else a few lines a candidate."""
    from rich.console import Group

    title = styled(race_title(race, lang), "bold")
    body = _columns(race, lang) if width >= WIDE else Group(*_stacked(race, lang))
    return Group(title, body)


def _columns(race: Race, lang: str) -> Table:
    known = {key for one in race.standings for key in figures(one.pilot, race, lang)}
    shown = [key for key in FIGURES if key in known]
    table = grid(tuple(say(f"prove.{key}", lang) for key in ("candidate", "state", "score", *shown)))
    for one in race.standings:
        found = figures(one.pilot, race, lang)
        score = styled(told_score(one.pilot.score if one.pilot else None), "bold" if one.pilot else "dim")
        for note in score_notes(one, race, lang):
            score.append(f"\n{note}", style="not bold dim")
        cells = (styled(found.get(key, NONE), "" if key in found else "dim") for key in shown)
        table.add_row(_name(one, race, lang), _state(one, lang), score, *cells)
    return table


def _stacked(race: Race, lang: str) -> Iterable[RenderableType]:
    from rich.padding import Padding

    for one in race.standings:
        head = _name(one, race, lang)
        head.append("  ")
        head.append_text(_state(one, lang))
        yield Padding(head, (0, 0, 0, 2))
        if one.pilot:
            line = styled(told_score(one.pilot.score), "bold")
            rest = [*score_notes(one, race, lang), *details(one.pilot, race, lang)]
            line.append(f"  {' · '.join(rest)}", style="not bold dim")
            yield Padding(line, (0, 0, 0, 4))


def _name(standing: Standing, race: Race, lang: str) -> Line:
    chosen = race.choice is not None and race.choice.chosen == standing.name
    return styled(words.method_name(standing.name, lang), "bold green" if chosen else "")


def _state(standing: Standing, lang: str) -> Line:
    return styled(say(f"prove.state.{standing.state}", lang), STYLES.get(standing.state, "dim"))
