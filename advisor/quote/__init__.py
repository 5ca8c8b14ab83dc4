"""Quotes: memory, time and money of a method, as ranges with their formulas, from facts and a model's configuration.

Nothing is downloaded, no model is loaded and no machine is asked. What is unknown is assumed and said: a range is only
as good as its assumptions, which come with it. GB is 1e9 bytes; times are wall-clock on the named machine; money is
USD. Steps that were timed on this machine (`executors.tuning.timing`) narrow a quote where they are given.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from advisor.facts import Facts
from advisor.hardware import is_stale, stale_after_days
from advisor.quote import methods as untuned
from advisor.quote import tuned
from advisor.quote.breakeven import PROMPTED, with_break_even
from advisor.quote.duration import serving_seconds
from advisor.quote.methods import ENCODER
from advisor.quote.record import BreakEven, Quote
from advisor.quote.situation import REFERENCE_PARAMETERS, Given, Situation, situation
from advisor.texts import text
from executors.base import to_dict

__all__ = [
    "ENCODER", "QUOTES", "REFERENCE_PARAMETERS", "BreakEven", "Given", "Quote", "make_quote", "make_quotes", "quotes",
    "serving_seconds",
]  # fmt: skip

QUOTES: Mapping[str, Callable[[Situation], Quote]] = {
    "baseline": untuned.baseline,
    "prompt": untuned.prompt,
    "long_context": untuned.long_context,
    "rag": untuned.rag,
    "probe": untuned.probe,
    "small_encoder": untuned.small_encoder,
    "peft": tuned.peft,
    "full": tuned.full,
    "cpt": tuned.cpt,
    "preference": tuned.preference,
    "pretrain": untuned.pretrain,
}


def quotes(
    facts: Facts, methods: Iterable[str], today: datetime.date | None = None, given: Given | None = None
) -> dict[str, Any]:
    """The quotes of several methods as plain data, keyed by method."""
    return {method: to_dict(quote) for method, quote in make_quotes(facts, methods, today, given).items()}


def make_quotes(
    facts: Facts, methods: Iterable[str], today: datetime.date | None = None, given: Given | None = None
) -> dict[str, Quote]:
    """What each of `methods` costs for these facts, best first as they are given: the first that only prompts is what
    the tuned ones are compared with (plain prompting where none is among them). Raises `KeyError` for an unknown one.
    """
    known, names = situation(facts, given), tuple(methods)
    found = {method: _finished(QUOTES[method](known), today or datetime.date.today()) for method in names}
    prompted = next((found[method] for method in names if method in PROMPTED), None) or QUOTES["prompt"](known)
    return with_break_even(found, prompted, known)


def make_quote(facts: Facts, method: str, today: datetime.date | None = None, given: Given | None = None) -> Quote:
    """What `method` costs for these facts. Raises `KeyError` for a method that does not exist."""
    return make_quotes(facts, (method,), today, given)[method]


def _finished(quote: Quote, today: datetime.date) -> Quote:
    """The quote with each assumption once, and a warning that names each price in it that is too old."""
    said = {told["en"]: told for told in quote.assumptions}  # training and serving may assume the same
    quote = replace(quote, assumptions=tuple(said.values()))
    old = [price for price in quote.prices if is_stale(price, today)]
    if not old:
        return quote
    named = ", ".join(f"{price.name} ({price.as_of})" for price in old)
    warning = text("quote.stale", prices=named, days=stale_after_days())
    return replace(quote, assumptions=(*quote.assumptions, warning), stale=True)
