"""A race in the terminal: a table that grows while it runs, and what came of it. Without a terminal, a line a pilot."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING

from advisor import formats, words
from advisor.prove.failures import told
from advisor.prove.records import Pilot, Race, Standing
from advisor.report.learning import sentences
from advisor.report.prove import (
    FIGURES,
    NONE,
    Proved,
    choice_tone,
    figures,
    race_title,
    score_notes,
    state_name,
    told_pair,
    told_score,
    told_signed,
    told_taken,
)
from advisor.screen import block, bullets, grid, styled
from advisor.texts import say, section_texts
from executors.base import Event

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text as Line

WIDE = 120  # columns from which every figure has a column of its own, where they all fit
NAME = 20  # columns that a candidate's name has at least
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
        """The line on what runs, over the table, without details where they would run off the screen."""
        from rich.console import Group
        from rich.spinner import Spinner

        race, lang, console = self._race, self._lang, self._console
        if race is None:
            return styled("")
        head: list[RenderableType] = [styled(course(race, lang), "dim")]
        if self._running:
            head.insert(0, Spinner("dots", styled(self._now(self._clock()), "cyan")))
        whole = Group(*head, race_table(race, lang, console.width))
        fits = len(console.render_lines(whole, pad=False)) < console.height
        return whole if fits else Group(*head, brief_table(race, lang))

    def _now(self, now: float) -> str:
        """What runs, how far along it is, and for how long it has been."""
        lang, event = self._lang, self._event
        name = words.method_name(self._running, lang) if self._running else ""
        stage = stage_text(event, lang) if event else ""
        took = formats.seconds(now - self._since, None, lang)
        return say("prove.now", lang, what=" · ".join(filter(None, (name, stage, took))))


def show_race(race: Race, lang: str, console: Console) -> None:
    """A race by itself, see `show_proved`."""
    show_proved(Proved(race), lang, console)


def show_proved(proved: Proved, lang: str, console: Console) -> None:
    """What came of a race: the candidates, how they compare, what more rows would bring, what still goes wrong, what it
    makes of the decision; last what is chosen and why."""
    race = proved.race
    console.print()
    console.print(race_table(race, lang, console.width))
    console.print(styled(told_taken(proved, lang), "dim"))
    reasons = [f"{words.method_name(s.name, lang)}{say('word.colon', lang)}{ended(s, lang)}" for s in race.standings
               if s.why]  # fmt: skip
    bullets(console, say("prove.not_to_the_end", lang), reasons)
    _pairs(race, lang, console)
    bullets(console, say("report.learnt", lang), sentences(race, lang))
    bullets(console, say("report.failing", lang), told(proved.failures, lang) if proved.failures else ())
    bullets(
        console, say("report.revised", lang), [one[lang] for one in proved.revision.told] if proved.revision else ()
    )
    bullets(console, say("prove.notes", lang), dict.fromkeys(note[lang] for note in (*race.notes, *proved.notes)))
    if race.choice:
        style = {"good": "bold green", "warn": "bold yellow", "bad": "bold red"}[choice_tone(race.choice)]
        console.print()
        console.print(styled(race.choice.why[lang], style))


def _pairs(race: Race, lang: str, console: Console) -> None:
    """The best against each of the others."""
    if not race.pairs:
        return
    table = grid()
    for pair in race.pairs:
        name, style = words.method_name(pair.other, lang), "green" if pair.told_apart else "yellow"
        difference = styled(told_signed(pair.difference))
        difference.no_wrap = True
        table.add_row(styled(name), difference, styled(told_pair(pair, lang), style))
    best, rows = words.method_name(race.pairs[0].one, lang), formats.number(race.pairs[0].difference.n)
    block(console, say("prove.pairs_title", lang, best=best, n=rows), table)


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
    told = state_name(standing, lang)
    return f"{told}{say('word.colon', lang)}{standing.why[lang]}" if standing.why else told


# -- the table -------------------------------------------------------------------------------------------


def race_table(race: Race, lang: str, width: int) -> RenderableType:
    """The candidates as they stand: a column a figure where there is room, else a few lines a candidate."""
    from rich.console import Group

    columns = _columns(race, lang) if width >= WIDE else None
    body = columns if columns and _least_width(columns) <= width else Group(*_stacked(race, lang))
    return Group(styled(race_title(race, lang), "bold"), body)


def brief_table(race: Race, lang: str) -> RenderableType:
    """The candidates with their scores and nothing else."""
    table = grid()
    for one in race.standings:
        table.add_row(_name(one, race, lang), _state(one, lang), _score(one))
    return table


def _columns(race: Race, lang: str) -> Table:
    known = {key for one in race.standings for key in figures(one.pilot, race, lang)}
    shown = [key for key in FIGURES if key in known]
    heads = (say(f"prove.{key}", lang) for key in ("candidate", "state", "score", *shown))
    table = grid(tuple(head.replace(" (", "\n(").replace("（", "\n（") for head in heads))
    table.columns[0].min_width = NAME
    for column in table.columns[1:]:
        column.no_wrap = True  # what cannot be narrower is cut instead: `race_table` sees to it that all fit
    for one in race.standings:
        found = dict(figures(one.pilot, race, lang))
        if one.pilot and found:
            found["rows"] = formats.number(one.pilot.rows)  # the title says of how many
        score = _score(one)
        for note in score_notes(one, race, lang, brief=True):
            score.append(f"\n{note}", style="not bold dim")
        cells = (styled(found.get(key, NONE), "" if key in found else "dim") for key in shown)
        table.add_row(_name(one, race, lang), _state(one, lang), score, *cells)
    return table


def _least_width(table: Table) -> int:
    """Columns that a table needs where only its first can be narrower than its text."""
    from rich.console import Console

    first = table.columns[0]
    first.max_width = first.min_width
    least = Console(width=10 * WIDE).measure(table).maximum
    first.max_width = None
    return least


def _stacked(race: Race, lang: str) -> Iterable[RenderableType]:
    from rich.padding import Padding

    for one in race.standings:
        head = _name(one, race, lang)
        head.append("  ")
        head.append_text(_state(one, lang))
        yield Padding(head, (0, 0, 0, 2), expand=False)
        if one.pilot:
            line = _score(one)
            rest = [*score_notes(one, race, lang), *details(one.pilot, race, lang)]
            line.append(f"  {' · '.join(rest)}", style="not bold dim")
            yield Padding(line, (0, 0, 0, 4), expand=False)


def _name(standing: Standing, race: Race, lang: str) -> Line:
    chosen = race.choice is not None and race.choice.chosen == standing.name
    return styled(words.method_name(standing.name, lang), "bold green" if chosen else "")


def _state(standing: Standing, lang: str) -> Line:
    return styled(state_name(standing, lang), STYLES.get(standing.state, "dim"))


def _score(standing: Standing) -> Line:
    score = standing.pilot.score if standing.pilot else None
    return styled(told_score(score), "bold" if score else "dim")
