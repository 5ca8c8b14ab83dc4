"""What the head of the page says: the recommendation, or what the user's own rows speak for where that is another."""

from __future__ import annotations

from advisor import words
from advisor.decision import Decision
from advisor.prove.until import Climb
from advisor.report.prove import Proved
from advisor.texts import say


def advised(decision: Decision, proved: Proved | None, climb: Climb | None) -> str:
    """The candidate that rows speak for, where it is not what was recommended; else empty.

    Of a finished race what it chose, else of a climb that reached its target the rung that did.
    """
    race = proved.race if proved and proved.race.status == "done" else None
    tried = race is not None and any(one.pilot for one in race.standings if one.verdict != "floor")
    choice = race.choice if race and tried else None
    reached = climb.rungs[-1].name if climb and climb.status == "reached" and climb.rungs else ""
    name = (choice.chosen if choice else "") or reached
    return "" if {*name.split("+")} == {*decision.methods} else name


def head(decision: Decision, proved: Proved | None, climb: Climb | None, lang: str) -> tuple[str, str]:
    """(title, lead): of rows that speak for another method also what the rules had recommended."""
    from advisor.report.page import reason

    before, name = words.methods_name(decision.methods, lang), advised(decision, proved, climb)
    if not name:
        return say("report.title", lang, methods=before), reason(decision, lang)
    choice = proved.race.choice if proved else None
    floor = choice is not None and choice.chosen == name and choice.rule == "floor"
    title = say("report.title_floor" if floor else "report.title_rows", lang, method=words.method_name(name, lang))
    return title, say("report.lead_rows", lang, before=before)
