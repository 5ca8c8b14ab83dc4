"""From how many requests on a tuned model's cheaper answers have paid for its training.

``requests = training ÷ (answer of the prompted alternative − answer of the tuned model)``, in money. Both ends are
paired where both models answer on the same machine, whose speed and price are then the same; where the alternative is
bought from a provider, the dearest meets the cheapest. What labelling and people cost is not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from advisor import formats
from advisor.hardware import Range
from advisor.quote.record import BreakEven, Quote
from advisor.quote.serving import day_usd, self_hosted
from advisor.quote.situation import Situation
from advisor.texts import LANGUAGES, text
from executors.base import Text

PROMPTED = ("prompt", "long_context", "rag")
TUNED = ("probe", "small_encoder", "peft", "full", "cpt", "preference")

Reach = tuple[float | None, float | None]


def with_break_even(quotes: Mapping[str, Quote], alternative: Quote, known: Situation) -> dict[str, Quote]:
    """The quotes, each tuned one with the volume from which on it is cheaper than `alternative`."""
    return {
        method: replace(quote, break_even=break_even(quote, alternative, known)) if method in TUNED else quote
        for method, quote in quotes.items()
    }


def break_even(tuned: Quote, alternative: Quote, known: Situation) -> BreakEven:
    """Where the costs of the two meet."""
    saving = _saving(tuned.per_1000_usd, alternative)
    requests = reach(tuned.train_usd, saving)
    daily = known.number("requests_per_day")
    days = (_days(requests[0], daily), _days(requests[1], daily)) if daily else None
    always_on = _always_on(tuned, alternative, known)
    return BreakEven(
        against=alternative.method,
        requests=requests,
        days=days,
        always_on=always_on,
        saving_per_1000_usd=saving,
        text=_told(tuned, alternative, requests, days, always_on),
    )


def reach(cost: Range, saving_per_1000: Range) -> Reach:
    """The requests after which `cost` is saved: (low, high); None for an end that is never reached."""
    worst, best = saving_per_1000
    return (1000 * cost[0] / best if best > 0 else None, 1000 * cost[1] / worst if worst > 0 else None)


def _saving(tuned: Range, alternative: Quote) -> Range:
    """USD a thousand answers: worst, best. A machine of one's own is the same for both, a provider is not."""
    low, high = alternative.per_1000_usd
    ends = (low - tuned[1], high - tuned[0]) if alternative.provider else (low - tuned[0], high - tuned[1])
    return min(ends), max(ends)


def _days(requests: float | None, daily: float) -> float | None:
    return None if requests is None else requests / daily


def _always_on(tuned: Quote, alternative: Quote, known: Situation) -> Range | None:
    """Requests a day whose price at the provider is that of a rented accelerator that never stops."""
    if not alternative.provider or tuned.method in ("probe", "small_encoder"):
        return None
    rig = self_hosted(known, known.work.prompt_tokens).rig
    low, high = (end / 1000 for end in alternative.per_1000_usd)
    if rig is None or rig.kind != "gpu" or low <= 0:
        return None
    least, most = day_usd(rig)
    return least / high, most / low


# -- in words --------------------------------------------------------------------------------------------


def _told(tuned: Quote, alternative: Quote, requests: Reach, days: Reach | None, always_on: Range | None) -> Text:
    values = {
        "against": {lang: _name(alternative.method, lang) for lang in LANGUAGES},
        "tuned": _usd(tuned.per_1000_usd),
        "prompted": _usd(alternative.per_1000_usd),
        "training": _usd(tuned.train_usd),
        "requests": {lang: span_of(requests, lang) for lang in LANGUAGES},
        "earliest": {lang: formats.compact(_two(requests[0] or 0.0), lang) for lang in LANGUAGES},
    }
    key = "never" if requests[0] is None else "perhaps" if requests[1] is None else "reached"
    told = text(f"quote.break_even_{key}", **values)
    if days and requests[0] is not None:
        told = _joined(told, text("quote.break_even_days", days={lang: span_of(days, lang) for lang in LANGUAGES}))
    if always_on:
        ends = {lang: formats.compact(_two(always_on[0]), lang) for lang in LANGUAGES}
        tops = {lang: formats.compact(_two(always_on[1]), lang) for lang in LANGUAGES}
        told = _joined(told, text("quote.break_even_always_on", low=ends, high=tops))
    return told


def span_of(reached: Reach, lang: str) -> str:
    """``1,200–56,000``, or ``from 1,200 on``, or never."""
    low, high = reached
    if low is None:
        return text("quote.never")[lang]
    if high is None:
        return text("quote.at_least", value=formats.compact(_two(low), lang))[lang]
    ends = [formats.compact(_two(end), lang) for end in (low, high)]
    return ends[0] if ends[0] == ends[1] else "–".join(ends)


def _two(value: float) -> float:
    """Two significant digits, whole: nobody makes half a request."""
    return round(float(f"{value:.2g}")) if value >= 1 else 1.0


def _joined(one: Text, other: Text) -> Text:
    return {lang: f"{one[lang]}{' ' if lang == 'en' else ''}{other[lang]}" for lang in LANGUAGES}


def _usd(ends: Range) -> Text:
    return {lang: formats.dollars(*ends, lang) for lang in LANGUAGES}


def _name(method: str, lang: str) -> str:
    from advisor.words import method_name

    return method_name(method, lang)
