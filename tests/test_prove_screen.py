"""A race in the terminal: a table that is redrawn while it runs, a line a pilot where there is no terminal."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from advisor.prove.records import Race
from advisor.report.prove import Proved, figures
from advisor.screen.prove import RaceTable, pilot_line, race_table, show_proved, show_race, stage_text
from advisor.texts import LANGUAGES, say
from advisor.words import method_name
from executors.base import Event
from tests import races
from tests.races import DONE, RUNNING

HOSTILE = {"en": "[red]not markup[/red] [link=x]", "zh": "[red]不是标记[/red] [link=x]"}


def growing() -> Iterator[Race]:
    """A race as it is told: before any pilot, then after each."""
    blank = [dataclasses.replace(one, state="waiting", pilot=None, at_full=None, why={}) for one in RUNNING.standings]
    now = dataclasses.replace(RUNNING, pilots=(), standings=tuple(blank))
    yield now
    for pilot in RUNNING.pilots:
        ended = RUNNING.standing(pilot.candidate)
        known = tuple(ended if one.name == pilot.candidate else one for one in now.standings)
        now = dataclasses.replace(now, pilots=(*now.pilots, pilot), standings=known)
        yield now


def piped(lang: str = "en", events: int = 0, seconds: float = 1.0) -> list[str]:
    """What is written without a terminal; the clock moves by `seconds` at every look at it."""
    out = io.StringIO()
    times = iter(n * seconds for n in range(10_000))
    with RaceTable(lang, Console(file=out, width=40, highlight=False), lambda: next(times)) as table:
        for race in growing():
            table.running("probe")
            table.show(race)
            table.show(race)  # a change that is no pilot
            for n in range(events):
                table.report(Event("predict", n, 48))
    return out.getvalue().splitlines()


def ended(race: Race, lang: str, width: int) -> str:
    out = io.StringIO()
    show_race(race, lang, Console(file=out, width=width, highlight=False))
    return out.getvalue()


@pytest.mark.parametrize("lang", LANGUAGES)
def test_without_a_terminal_each_pilot_is_a_line_and_each_end_short_of_a_full_run_another(lang: str) -> None:
    lines = piped(lang)
    scored = [pilot for pilot in RUNNING.pilots if pilot.score]
    halted = [one for one in RUNNING.standings if one.why]
    assert len(lines) == 1 + len(scored) + len(halted)  # the title before all
    for pilot in scored:
        assert pilot_line(pilot, RUNNING, lang) in lines
    for one in halted:
        assert sum(one.why[lang] in line for line in lines) == 1
    assert "\x1b" not in "".join(lines)


def test_a_long_pilot_is_heard_of_without_a_terminal_but_not_at_every_step() -> None:
    quiet, long = len(piped()), len(piped(events=40, seconds=5.0))
    turns = len(RUNNING.pilots) + 1
    assert quiet + turns < long <= quiet + 4 * turns  # each takes 200 seconds: three or four lines of forty events


def test_a_line_of_a_pilot_holds_its_score_its_rows_and_what_it_took() -> None:
    line = pilot_line(races.PROMPT, RUNNING, "en")
    for part in ("Prompting", "0.410 [0.339, 0.481]", "n = 128", "$0.42", "1.9 / 4.4 s", "812 MB", "8.4 kJ"):
        assert part in line
    assert "300 of 1,200 rows" in pilot_line(races.ENCODER[-1], RUNNING, "en")


def test_what_is_not_known_of_a_pilot_is_left_out_and_not_told_as_nothing() -> None:
    bare = dataclasses.replace(
        races.PROMPT, latency={}, usd_per_1000=None, peak_memory_mb=None, seconds={}, joules=None
    )
    line = pilot_line(bare, RUNNING, "en")
    assert not [word for word in ("$", "p50", "MB", "built", "nan", "None") if word in line]


def test_in_a_terminal_the_table_is_redrawn_under_what_runs_and_is_gone_when_all_went_well() -> None:
    out = io.StringIO()
    with RaceTable("en", Console(file=out, force_terminal=True, width=150, height=60)) as table:
        for race in growing():
            table.running("small_encoder")
            table.report(Event("predict", 12, 48, "loss 0.3"))
            table.show(race)
            drawn = _screen(table, 150)
        assert drawn.index("now: Fine-tuned small encoder · Answering 12/48 loss 0.3") < drawn.index("Baseline")
        assert "0.842 [0.802, 0.882]" in drawn
        table.running("")
        assert "now:" not in _screen(table, 150)
    assert "0.842" not in out.getvalue().split("\x1b[?25h")[-1]


def test_what_stood_there_stays_on_the_screen_when_a_race_is_broken_off() -> None:
    out = io.StringIO()
    table = RaceTable("en", Console(file=out, force_terminal=True, width=150))
    table.__enter__().show(RUNNING)
    table.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert "0.842 [0.802, 0.882]" in out.getvalue().split("\x1b[?25h")[-1]


def test_a_table_that_would_run_off_the_screen_is_shown_without_details() -> None:
    low = Console(file=io.StringIO(), force_terminal=True, width=110, height=14)
    high = Console(file=io.StringIO(), force_terminal=True, width=110, height=60)
    drawn = []
    for console in (low, high):
        with RaceTable("en", console) as table:
            table.show(RUNNING)
            drawn.append(_screen(table, 110))
    assert "812 MB" not in drawn[0]
    assert "812 MB" in drawn[1]
    assert all(method_name(one.name, "en") in drawn[0] for one in RUNNING.standings)


@pytest.mark.parametrize("width", [40, 60, 100, 120, 160])
@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("race", [RUNNING, DONE], ids=["running", "done"])
def test_nothing_is_cut_or_runs_over_the_edge(race: Race, lang: str, width: int) -> None:
    page = ended(race, lang, width)
    assert "…" not in page
    assert max(cell_len(line) for line in page.splitlines()) <= width
    whole = "".join(page.split())
    for one in race.standings:
        told = [method_name(one.name, lang), say(f"prove.state.{one.state}", lang), one.why.get(lang, "")]
        assert not [text for text in told if "".join(text.split()) not in whole and width < 120]


@pytest.mark.parametrize("width", [40, 80, 100, 120, 140, 160])
@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_figure_is_whole_at_every_width(lang: str, width: int) -> None:
    """A table whose columns do not all fit cuts the last one: it is then told in lines."""
    slow: dict[str, Any] = {"latency": {"p50": 0.28, "p95": 0.75}, "seconds": {"build": 0.4}, "peak_memory_mb": 14500.0}
    standings = tuple(
        dataclasses.replace(one, pilot=one.pilot and dataclasses.replace(one.pilot, **slow)) for one in DONE.standings
    )
    whole = "".join(_drawn(dataclasses.replace(DONE, standings=standings), width, lang).split())
    for one in standings:
        for key, figure in figures(one.pilot, DONE, lang).items():
            assert key == "rows" or "".join(figure.split()) in whole


def test_after_the_race_the_choice_its_comparisons_and_what_was_saved_are_told() -> None:
    page = " ".join(ended(DONE, "en", 100).split())
    assert DONE.choice is not None
    assert page.endswith(DONE.choice.why["en"])
    assert "+0.028 [−0.006, +0.061] not told apart; about 2,300 rows could" in page
    assert "+0.430 [+0.370, +0.490] told apart" in page
    assert "88 % of it was not spent" in page  # 1,240 of 10,280 seconds were spent
    assert DONE.notes[0]["en"] in page


@pytest.mark.parametrize("lang", LANGUAGES)
def test_what_follows_from_a_race_is_told_with_it_the_choice_last(lang: str) -> None:
    out = io.StringIO()
    show_proved(Proved(DONE, races.REVISION, races.FAILURES), lang, Console(file=out, width=100, highlight=False))
    whole = "".join(out.getvalue().split())
    told = [*races.REVISION.told, *(group.action for group in races.FAILURES.groups)]
    assert not [one for one in told if "".join(one[lang].split()) not in whole]
    assert DONE.choice is not None
    assert whole.endswith("".join(DONE.choice.why[lang].split()))


def test_a_candidate_that_not_even_a_pilot_could_be_paid_for_was_not_run_in_part() -> None:
    untried = dataclasses.replace(DONE.standing("small_encoder"), pilot=None, at_full=None)
    race = dataclasses.replace(DONE, standings=(untried,), pilots=(), pairs=(), choice=None)
    page = ended(race, "en", 100)
    assert "not run" in page
    assert "in part" not in page


def test_a_race_in_which_nothing_was_scored_is_shown_all_the_same() -> None:
    failed = tuple(dataclasses.replace(one, pilot=None, at_full=None, state="failed") for one in DONE.standings)
    bare = dataclasses.replace(DONE, standings=failed, pilots=(), pairs=(), choice=None, notes=(), full=0.0, spent=0.0)
    page = ended(bare, "en", 100)
    assert page.count(say("prove.state.failed", "en")) >= len(failed)
    assert "not spent" not in page


def test_texts_are_no_markup() -> None:
    standings = tuple(dataclasses.replace(one, why=HOSTILE) for one in DONE.standings)
    race = dataclasses.replace(DONE, standings=standings, notes=(HOSTILE,))
    assert ended(race, "en", 200).count(HOSTILE["en"]) == len(standings) + 1


def test_an_error_is_said_to_be_better_when_it_is_lower() -> None:
    race = dataclasses.replace(RUNNING, metric="mae")
    assert say("prove.lower_is_better", "en") in _drawn(race, 100)
    assert say("prove.lower_is_better", "en") not in _drawn(RUNNING, 100)


def test_stages_are_named_and_counted() -> None:
    assert stage_text(Event("fetch", 5e6, 98e6), "en").endswith("5/98 MB")
    assert stage_text(Event("unheard_of", 2, 3, "x"), "en") == "2/3 x"
    assert stage_text(Event("pilot", note="probe full"), "en") == ""


def _drawn(race: Race, width: int, lang: str = "en") -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(race_table(race, lang, width))
    return out.getvalue()


def _screen(table: RaceTable, width: int) -> str:
    """What is drawn at this moment."""
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(table._drawn())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
