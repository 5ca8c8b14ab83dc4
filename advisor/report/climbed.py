"""The report's section on a climb of the ladder: every rung with its score and what was then read as wrong."""

from __future__ import annotations

import shlex

from advisor import formats, words
from advisor.prove.until import FOLDER, Climb, RungRun
from advisor.report.blocks import Block, Bullets, Cell, Command, Prose, Table
from advisor.report.prove import SPACE, ends
from advisor.runs import root
from advisor.texts import say


def section(climb: Climb | None, lang: str) -> list[Block]:
    """Why it ended, the rungs in their order, and what was not run."""
    if climb is None:
        return []
    told, reached = climb.told.get(lang, ""), climb.status == "reached"
    blocks: list[Block] = [Prose(told, "good" if reached else "warn")] if told else []
    if reached:
        place = root() / climb.run / FOLDER / climb.rungs[-1].folder
        blocks += [Prose(say("prove.use_it", lang)), Command(f'{shlex.join(["advisor", "predict", str(place)])} "…"')]
    metric = words.label("metric", climb.metric, lang)
    title = say("until.title", lang, metric=metric, target=formats.score(climb.target))
    head = tuple(say(f"until.{name}", lang) for name in ("rung", "score", "took", "read", "why"))
    rungs = tuple(_rung(number, one, lang) for number, one in enumerate(climb.rungs, 1))
    blocks += [Prose(title, "label"), Table(title, head, rungs)]
    skipped = tuple(
        say("until.skipped_one", lang, name=words.method_name(name, lang), why=why[lang])
        for name, why in climb.skipped.items()
    )
    return [*blocks, Prose(say("until.skipped", lang), "label"), Bullets(skipped)] if skipped else blocks


def _rung(number: int, rung: RungRun, lang: str) -> tuple[Cell, ...]:
    failed = say("until.failed", lang, error=rung.error) if rung.error else "–"
    read = words.value_text("failure", rung.read, lang) if rung.read else say("until.unread", lang)
    read = "–" if rung.reached else read  # what is good enough needs no lever
    return (
        Cell(
            f"{number}. {words.method_name(rung.name, lang)}", note=say("until.reached", lang) if rung.reached else ""
        ),
        Cell(formats.score(rung.score.value), note=ends(rung.score), tone="strong") if rung.score else Cell(failed),
        Cell(formats.seconds(rung.seconds, None, lang).replace(" ", SPACE)),
        Cell(read),
        Cell(rung.why[lang]),
    )
