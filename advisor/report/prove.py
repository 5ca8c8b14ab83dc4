"""The report's section on a race: the candidates with their figures, what is chosen and why, and what follows from it.

Pure: records in, blocks out. The figures of a pilot are worded here for the screen too.
"""

from __future__ import annotations

from collections.abc import Mapping

from advisor import formats, words
from advisor.prove.records import Pilot, Race, Standing
from advisor.texts import say
from executors.base import Score

NONE = "–"
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
        ends = (formats.latency(pilot.latency[name], lang) for name in ("p50", "p95") if name in pilot.latency)
        found["latency"] = " / ".join(ends)
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


def score_notes(standing: Standing, race: Race, lang: str) -> list[str]:
    """What must be known to read a score: how many rows it rests on where not all, and what a full run would score."""
    pilot, notes = standing.pilot, []
    if pilot is None:
        return []
    if pilot.scored < race.test:
        notes.append(
            say("prove.scored_part", lang, scored=formats.number(pilot.scored), test=formats.number(race.test))
        )
    if foretold(standing) is not None:
        notes.append(say("prove.full_about", lang, score=told_score(standing.at_full)))
    return notes


def foretold(standing: Standing) -> Score | None:
    """The score of a full run where none was run."""
    return standing.at_full if standing.pilot and standing.pilot.share < 1 else None


def race_title(race: Race, lang: str) -> str:
    from advisor.report.page import higher_is_better

    counts = {"test": formats.number(race.test), "train": formats.number(race.train)}
    told = say("prove.title", lang, metric=words.label("metric", race.metric, lang), **counts)
    return told if higher_is_better(race.metric) else f"{told} {say('prove.lower_is_better', lang)}"
