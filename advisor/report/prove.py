"""The report's section on a race: the candidates with their figures, what is chosen and why, and what follows from it.

Pure: records in, blocks out. The figures of a pilot are worded here for the screen too.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from advisor import formats, words
from advisor.prove.records import FOLDER, Choice, Paired, Pilot, Race, Standing, read_race
from advisor.report import bars
from advisor.report.blocks import Block, Bullets, Cell, Command, Prose, Table, Tile
from advisor.report.chain import signed
from advisor.texts import LANGUAGES, say, text
from executors.base import Score, Text, UserError

if TYPE_CHECKING:
    from advisor.prove.failures import Failures
    from advisor.prove.revision import Revision

NONE = "–"
SPACE = "\u00a0"
JOINED = "\u2060"  # after a dash, where a line would break
LEAST_P = 0.001
TONES = {  # of a state: the badge's class
    "waiting": "",
    "running": "viable",
    "raced": "not_yet",
    "finished": "recommended",
    "stopped": "",
    "failed": "vetoed",
}
SHORT = ("latency", "build", "memory", "energy")  # of them, those that stand on one line
FIGURES = ("rows", "cost", "latency", "build", "memory", "energy")


def told_score(score: Score | None) -> str:
    """``0.842 [0.790, 0.881]``."""
    if score is None:
        return NONE
    return f"{formats.score(score.value)} [{formats.score(score.low)}, {formats.score(score.high)}]"


def figures(pilot: Pilot | None, race: Race, lang: str) -> Mapping[str, str]:
    """What a pilot took, as read, by `FIGURES`; those that are not known are left out."""
    if pilot is None or pilot.score is None:
        return {}
    found = {"rows": told_rows(pilot, race, lang)}
    if pilot.usd_per_1000 is not None:
        found["cost"] = formats.dollars(pilot.usd_per_1000, pilot.usd_per_1000, lang)
    if "p50" in pilot.latency:
        found["latency"] = formats.latency(
            [pilot.latency[name] for name in ("p50", "p95") if name in pilot.latency], lang
        )
    if "build" in pilot.seconds:
        found["build"] = formats.seconds(pilot.seconds["build"], None, lang)
    if pilot.peak_memory_mb:
        found["memory"] = say("unit.megabytes", lang, value=formats.number(round(pilot.peak_memory_mb)))
    if pilot.joules is not None:
        found["energy"] = formats.energy(pilot.joules, lang)
    return found


def told_rows(pilot: Pilot, race: Race, lang: str) -> str:
    """What a pilot learnt from."""
    rows, train = formats.number(pilot.rows), formats.number(race.train)
    return say("prove.rows_part" if pilot.rows < race.train else "prove.rows_all", lang, rows=rows, train=train)


def score_notes(standing: Standing, race: Race, lang: str, *, brief: bool = False) -> list[str]:
    """What must be known to read a score: how many rows it rests on where not all, and what a full run would score."""
    pilot, notes = standing.pilot, []
    if pilot is None:
        return []
    if pilot.scored < race.test:
        notes.append(
            say("prove.scored_part", lang, scored=formats.number(pilot.scored), test=formats.number(race.test))
        )
    full = foretold(standing)
    if full is not None:
        told = formats.score(full.value) if brief else told_score(full)
        notes.append(say("prove.full_about", lang, score=told))
    return notes


def foretold(standing: Standing) -> Score | None:
    """The score of a full run where none was run."""
    return standing.at_full if standing.pilot and standing.pilot.share < 1 else None


def race_title(race: Race, lang: str) -> str:
    counts = {"test": formats.number(race.test), "train": formats.number(race.train)}
    return say("prove.title", lang, metric=metric_name(race, lang), **counts)


def metric_name(race: Race, lang: str) -> str:
    """The metric that decides, with a word where lower is better."""
    from advisor.report.page import higher_is_better

    name = words.label("metric", race.metric, lang)
    return name if higher_is_better(race.metric) else f"{name} {say('prove.lower_is_better', lang)}"


# -- the section -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proved:
    """What a race came to, and what follows from it."""

    race: Race
    revision: Revision | None = None
    failures: Failures | None = None
    notes: tuple[Text, ...] = ()  # what could not be read, and why
    again: str = ""  # the command that goes on with it
    place: str = ""  # the race's folder
    usd: float | None = None  # what endpoints asked for its pilots; None where none was asked, or no price is known


def read_proved(folder: Path) -> Proved | None:
    """What a run's folder says of its race; None where none was begun. Raises `UserError` for a damaged record.

    Rows that are no longer where they were are no reason to show nothing: that is then a note.
    """
    from advisor.prove.asked import command_of
    from advisor.prove.failures import read_failures
    from advisor.prove.revision import read_revision

    race = read_race(folder)
    if race is None:
        return None
    revision, again, place = read_revision(folder), command_of(folder), str(folder / FOLDER)
    try:
        return Proved(race, revision, read_failures(folder), again=again, place=place, usd=_spent(race, folder))
    except UserError as error:
        why = {lang: error.told(lang).message for lang in LANGUAGES}
        return Proved(race, revision, notes=(text("prove.unread", why=why),), again=again, place=place)


def _spent(race: Race, folder: Path) -> float | None:
    """US dollars, by the records of the pilots' runs: one that was scored on more rows has one for all of it."""
    places = dict.fromkeys(folder / FOLDER / pilot.folder / "result.json" for pilot in race.pilots)
    records = [json.loads(path.read_text(encoding="utf-8")) for path in places if path.is_file()]
    costs = [float(one["cost_usd"]) for one in records if one.get("cost_usd") is not None]
    return sum(costs) if costs else None


def tiles(proved: Proved | None, lang: str) -> list[Tile]:
    """What the race chose, for the head of the page."""
    choice = proved.race.choice if proved else None
    if proved is None or choice is None or not choice.chosen:
        return []
    pilot = proved.race.standing(choice.chosen).pilot
    note = told_score(pilot.score) if pilot else ""
    return [Tile(say("prove.tile", lang), words.method_name(choice.chosen, lang), note)]


def section(proved: Proved | None, run: str, lang: str) -> list[Block]:
    """What is chosen and why, the candidates with their figures, and how they compare."""
    if proved is None:
        return []
    race = proved.race
    scored = sum(one.pilot is not None for one in race.standings)
    counts = {"count": len(race.standings), "scored": scored, "test": formats.number(race.test)}
    key = "prove.lead" if scored == len(race.standings) else "prove.lead_part"
    blocks: list[Block] = [Prose(say(key, lang, metric=metric_name(race, lang), **counts), "lead")]
    blocks += _choice(proved, run, lang)
    blocks += _chart(race, lang)
    blocks += [_scores(race, lang), *_costs(race, lang), Prose(told_taken(proved, lang)), *_pairs(race, lang)]
    notes = tuple(dict.fromkeys(note[lang] for note in (*race.notes, *proved.notes)))
    return [*blocks, Prose(say("prove.notes", lang), "label"), Bullets(notes)] if notes else blocks


def _choice(proved: Proved, run: str, lang: str) -> list[Block]:
    from advisor.prove.candidates import run_command

    race = proved.race
    if race.status != "done" or race.choice is None:
        return [Prose(say("prove.unfinished", lang), "warn"), Command(proved.again or f"advisor prove {run}")]
    blocks: list[Block] = [Prose(race.choice.why[lang], choice_tone(race.choice))]
    use = use_command(proved)
    if use:
        blocks += [Prose(say("prove.use_it", lang)), Command(use)]
    if race.choice.chosen and race.choice.rule != "floor":
        told = say("prove.own_it" if use else "prove.run_it", lang)
        blocks += [Prose(told), Command(run_command(run, race.choice.chosen))]
    return blocks


def use_command(proved: Proved) -> str:
    """The command that uses what was chosen as the race left it; empty where it was not run to the end, or is a chain
    or the floor."""
    race, chosen = proved.race, proved.race.choice.chosen if proved.race.choice else ""
    pilot = race.standing(chosen).pilot if chosen else None
    if not proved.place or pilot is None or pilot.share < 1 or pilot.scored < race.test:
        return ""
    alone = "+" not in chosen and race.standing(chosen).verdict != "floor"
    return f'advisor predict {shlex.quote(f"{proved.place}/{pilot.folder}")} "…"' if alone else ""


def choice_tone(choice: Choice) -> str:
    """``good`` where a winner is named, ``bad`` where nothing is above the floor, else ``warn``."""
    if choice.rule in ("floor", "none"):
        return "bad"
    return "good" if choice.winner else "warn"


def told_saved(race: Race, lang: str) -> str:
    """What the race took beside what all candidates to the end would take."""
    spent, full = (formats.seconds(seconds, None, lang) for seconds in (race.spent, race.full))
    if race.full <= race.spent:
        return say("prove.saved", lang, spent=spent, full=full)
    share = formats.percent(1 - race.spent / race.full, lang)
    return say("prove.saved_share", lang, spent=spent, full=full, share=share)


def told_taken(proved: Proved, lang: str) -> str:
    """The same, and what endpoints cost."""
    told = told_saved(proved.race, lang)
    if proved.usd is None:
        return told
    return told + say("prove.paid", lang, usd=formats.dollars(proved.usd, proved.usd, lang))


def _chart(race: Race, lang: str) -> list[Block]:
    chosen = race.choice.chosen if race.choice else ""
    entries = [
        (
            words.method_name(one.name, lang),
            one.pilot.score,
            "own" if one.name == chosen else "floor" if one.verdict == "floor" else "other",
        )
        for one in race.standings
        if one.pilot and one.pilot.score
    ]
    metric = metric_name(race, lang)
    return [bars.chart(say("prove.chart", lang, metric=metric), entries, lang)] if entries else []


def _scores(race: Race, lang: str) -> Table:
    head = (
        say("prove.candidate", lang),
        say("prove.state", lang),
        say("prove.score", lang),
        say("prove.at_full", lang),
    )
    return Table(say("prove.scores", lang), head, tuple(_score_row(one, race, lang) for one in race.standings))


def _score_row(one: Standing, race: Race, lang: str) -> tuple[Cell, ...]:
    pilot, full = one.pilot, foretold(one)
    score = pilot.score if pilot else None
    remarks = [say(f"prove.{mark}", lang) for mark in marks(one, race)]
    notes = [ends(score)] if score else []
    if pilot and pilot.scored < race.test:
        scored, test = formats.number(pilot.scored), formats.number(race.test)
        notes.append(say("prove.scored_part", lang, scored=scored, test=test))
    return (
        Cell(words.method_name(one.name, lang), note=say("word.comma", lang).join(remarks)),
        Cell(state_name(one, lang), note=told_end(one, lang), tone=f"badge {TONES[one.state]}"),
        Cell(formats.score(score.value) if score else NONE, note=say("word.comma", lang).join(notes), tone="strong"),
        Cell(formats.score(full.value) if full else NONE, note=ends(full) if full else ""),
    )


def state_name(standing: Standing, lang: str) -> str:
    """How far a candidate was run; one that could not be paid even in part, or was not planned, was not run at all."""
    state: str = standing.state
    if standing.pilot is None:
        planned = standing.seconds_full > 0  # what cannot be run on these inputs is foretold no time
        state = {"raced": "untried", "failed": "failed" if planned else "refused"}.get(state, state)
    return say(f"prove.state.{state}", lang)


def marks(standing: Standing, race: Race) -> list[str]:
    """What a candidate is, of ``winner``, ``best`` and ``chosen``."""
    choice = race.choice
    if choice is None:
        return []
    best = "winner" if choice.winner == standing.name else "best" if choice.best == standing.name else ""
    return [mark for mark in ("chosen" if choice.chosen == standing.name else "", best) if mark]


def told_end(standing: Standing, lang: str) -> str:
    """Why a candidate is no further than it is, and what that saved."""
    why = standing.why.get(lang, "")
    if not standing.saved:
        return why
    saved = say("prove.not_run", lang, time=formats.seconds(standing.saved, None, lang))
    return say("word.semicolon", lang).join(filter(None, (why, saved)))


def ends(score: Score | None) -> str:
    """Of an interval, which no line breaks."""
    return f"{formats.score(score.low)}{SPACE}–{JOINED}{SPACE}{formats.score(score.high)}" if score else NONE


def _costs(race: Race, lang: str) -> list[Block]:
    found = [(one, figures(one.pilot, race, lang)) for one in race.standings]
    shown = [key for key in FIGURES if any(key in taken for _, taken in found)]
    if not shown:
        return []
    head = tuple(say(f"prove.{key}", lang) for key in ("candidate", *shown))
    rows = tuple(
        (
            Cell(words.method_name(one.name, lang)),
            *(
                Cell(taken.get(key, NONE).replace(" ", SPACE) if key in SHORT else taken.get(key, NONE))
                for key in shown
            ),
        )
        for one, taken in found
        if taken
    )
    return [Prose(say("prove.costs", lang), "label"), Table(say("prove.costs", lang), head, rows)]


def _pairs(race: Race, lang: str) -> list[Block]:
    if not race.pairs:
        return []
    best, n = words.method_name(race.pairs[0].one, lang), formats.number(race.pairs[0].difference.n)
    head = tuple(say(f"prove.{name}", lang) for name in ("against", "difference", "adjusted", "says"))
    rows = tuple(
        (
            Cell(words.method_name(pair.other, lang)),
            Cell(signed(pair.difference.value), note=told_ends(pair.difference).replace(" ", SPACE)),
            Cell(told_p(pair.adjusted, lang)),
            Cell(told_pair(pair, lang), tone=f"badge {'recommended' if pair.told_apart else 'not_yet'}"),
        )
        for pair in race.pairs
    )
    title = say("prove.pairs", lang)
    lead = Prose(say("prove.pairs_lead", lang, best=best, n=n))
    return [Prose(title, "label"), lead, Table(title, head, rows)]


def told_signed(difference: Score) -> str:
    """``+0.028 [−0.006, +0.061]``."""
    return f"{signed(difference.value)} {told_ends(difference)}"


def told_ends(difference: Score) -> str:
    return f"[{signed(difference.low)}, {signed(difference.high)}]"


def told_p(p: float, lang: str) -> str:
    return say("prove.least_p", lang) if p < LEAST_P else f"{p:.3f}"


def told_pair(pair: Paired, lang: str) -> str:
    """Whether the rows tell two candidates apart, and how many could."""
    if pair.told_apart:
        return say("prove.apart", lang)
    if pair.rows_needed is None:
        return say("prove.same", lang)
    return say("prove.needs", lang, rows=formats.compact(pair.rows_needed, lang))
