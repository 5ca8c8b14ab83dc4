"""The report's table of the four quadrants: how much of a model to move, by the amount of data and its domain."""

from __future__ import annotations

from advisor.advice.quadrants import QUADRANTS, TRAINED_WHOLE, enough, place
from advisor.cards import load_cards
from advisor.conditions import Value
from advisor.decision import Decision
from advisor.report.blocks import Block, Cell, Prose, Table
from advisor.texts import say

RESTS_ON = ("labelled_examples", "domain_similarity")


def blocks(decision: Decision, lang: str) -> list[Block]:
    """The table with the place of these data marked; nothing where no weight of a model is changed."""
    cards = load_cards()
    if not any(cards[method].changes_weights for method in decision.methods if method in cards):
        return []
    here = _here(decision)
    assumed = any(decision.facts[name].origin == "assumed" for name in RESTS_ON if name in decision.facts)
    mark = say("quadrant.here_assumed" if assumed else "quadrant.here", lang)
    head = tuple(say(f"quadrant.{name}", lang) for name in ("data", "train", "why"))
    rows = tuple(
        (
            Cell(say(f"quadrant.data_{name}", lang), note=mark if name == here else "", tone="strong"),
            Cell(say(f"quadrant.{name}", lang), tone="badge recommended" if name == here else ""),
            Cell(say(f"quadrant.why_{name}", lang)),
        )
        for name in QUADRANTS
    )
    lead = say("quadrant.lead", lang, enough=f"{enough('full'):,}", encoder=TRAINED_WHOLE)
    title = say("quadrant.title", lang)
    return [Prose(title, "label"), Prose(lead), Table(title, head, rows), Prose(say("quadrant.limits", lang))]


def _here(decision: Decision) -> str:
    """The quadrant of these data, by what is enough for the model that is trained."""
    method = "small_encoder" if "small_encoder" in decision.methods else "full"

    def look(name: str) -> Value | None:
        return decision.facts[name].value if name in decision.facts else None

    return place(method, look)
