"""Numbers, ranges, durations and money as a person reads them, in each language. The one place that rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from advisor.texts import say

UNITS = {  # durations: the unit's text key -> seconds in one; the largest that fits is used
    "seconds": 1.0,
    "minutes": 60.0,
    "hours": 3600.0,
    "days": 86400.0,
}
ENERGIES = {"joules": 1.0, "kilojoules": 1e3, "megajoules": 1e6}  # as `UNITS`
FOLDS = {  # language -> from which count on, divided by what, followed by which word
    "en": ((1e9, 1e9, "billion"), (1e6, 1e6, "million")),
    "zh": ((1e8, 1e8, "亿"), (1e6, 1e4, "万")),
}
LEAST_SECONDS = 1.0
LEAST_LATENCY = 1e-4
LEAST_USD = 0.01


def number(value: float) -> str:
    """At most three significant digits below a thousand, whole with separators above: 0.84, 12.5, 1,234."""
    if not math.isfinite(value):
        return "–"
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{_significant(value, 3):,.10f}".rstrip("0").rstrip(".")


def compact(value: float, lang: str) -> str:
    """A count, folded from a million on: 8,192, 135 million, 1.35 亿."""
    for least, size, word in FOLDS[lang]:
        if abs(value) >= least:
            return f"{number(_significant(value / size, 3))} {word}"
    return number(value)


def score(value: float) -> str:
    """A metric, three decimals where it lies in [-1, 1]."""
    return f"{value:.3f}" if abs(value) <= 1 else number(value)


def percent(share: float, lang: str) -> str:
    """A share of one, as whole percent."""
    return say("unit.percent", lang, value=f"{100 * share:.0f}")


def seconds(low: float, high: float | None, lang: str) -> str:
    """A duration, or a range of them, in the unit that suits its upper end."""
    top = low if high is None else high
    if top < LEAST_SECONDS:
        return say("unit.under", lang, value=say("unit.seconds", lang, value="1"))
    fitting = [key for key, size in UNITS.items() if top >= 2 * size] or ["seconds"]
    size = UNITS[fitting[-1]]
    return say(f"unit.{fitting[-1]}", lang, value=span(low / size, top / size))


def latency(taken: Sequence[float], lang: str) -> str:
    """How long answers take, in one unit: in milliseconds where all are below a second."""
    if max(taken) < LEAST_LATENCY:
        return say("unit.under", lang, value=say("unit.milliseconds", lang, value=f"{1000 * LEAST_LATENCY:g}"))
    if max(taken) >= LEAST_SECONDS:
        return say("unit.seconds", lang, value=" / ".join(_short(one, False) for one in taken))
    return say("unit.milliseconds", lang, value=" / ".join(number(_significant(1000 * one, 2)) for one in taken))


def energy(joules: float, lang: str) -> str:
    """An amount of energy, in the unit that suits it."""
    fitting = [key for key, size in ENERGIES.items() if joules >= size] or ["joules"]
    return say(f"unit.{fitting[-1]}", lang, value=number(_significant(joules / ENERGIES[fitting[-1]], 2)))


def hours(low: float, high: float | None, lang: str) -> str:
    """`seconds`, for what is counted in hours."""
    return seconds(low * 3600, None if high is None else high * 3600, lang)


def dollars(low: float, high: float, lang: str) -> str:
    """A range of US dollars."""
    if high <= 0:
        return say("unit.free", lang)
    if high < LEAST_USD:
        return say("unit.under", lang, value=say("unit.dollars", lang, value=f"{LEAST_USD}"))
    return say("unit.dollars", lang, value=span(low, high, money=True))


def gigabytes(low: float, high: float, lang: str) -> str:
    """A range of memory."""
    return say("unit.gigabytes", lang, value=span(low, high)) if high > 0 else say("unit.nothing", lang)


def span(low: float, high: float, *, money: bool = False) -> str:
    """``1.2–3.4``, or one figure where both ends read the same."""
    ends = [_short(end, money) for end in (low, high)]
    return ends[0] if ends[0] == ends[1] else "–".join(ends)


def _short(value: float, money: bool) -> str:
    """Two significant digits: a range pretends to no more."""
    if money and value >= LEAST_USD:
        return f"{value:.2f}" if value < 10 else number(_significant(value, 2))
    if value < LEAST_USD:
        return "0"
    return number(_significant(value, 2))


def _significant(value: float, digits: int) -> float:
    return 0.0 if value == 0 else round(value, digits - 1 - math.floor(math.log10(abs(value))))
