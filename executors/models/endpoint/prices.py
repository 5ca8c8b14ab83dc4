"""What a request costs, from `knowledge/prices.yaml` or the user's own figures, in US dollars.

A provider that asks more in peak hours is counted by its peak price: spending is never told too low.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from executors.models.catalogue import KNOWLEDGE
from executors.models.endpoint.limits import EndpointLimits
from executors.models.endpoint.names import Endpoint

MILLION = 1e6


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens, peak hours counted in. `long_above`: prompts from there on are dearer."""

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None
    long_above: int | None = None
    long_input: float = 1.0  # times dearer
    long_output: float = 1.0
    up_to: int | None = None  # tokens of a prompt: what longer ones cost is not known
    as_of: str = ""  # empty: the user's own figures
    source: str = ""

    def cost(self, prompt: int, completion: int, cached: int = 0, written: int = 0) -> float:
        """Dollars for one answer. `cached` and `written` are parts of the `prompt` tokens."""
        times_in, times_out = self._times(prompt)
        plain = max(prompt - cached - written, 0) * self.input
        kept = cached * (self.input if self.cached_input is None else self.cached_input)
        new = written * (self.input if self.cache_write is None else self.cache_write)
        return ((plain + kept + new) * times_in + completion * self.output * times_out) / MILLION

    def worst(self, prompt: int, completion: int) -> float:
        """The most that one answer may cost, of at most so many tokens."""
        times_in, times_out = self._times(prompt)
        dearest = max(self.input, self.cache_write or 0.0)
        return (prompt * dearest * times_in + completion * self.output * times_out) / MILLION

    def _times(self, prompt: int) -> tuple[float, float]:
        beyond = self.long_above is not None and prompt > self.long_above
        return (self.long_input, self.long_output) if beyond else (1.0, 1.0)


FREE = Price(0.0, 0.0)


def price_of(endpoint: Endpoint, limits: EndpointLimits) -> Price | None:
    """What answers of `endpoint` cost; None where that is not known."""
    if limits.price_input is not None and limits.price_output is not None:
        return Price(limits.price_input, limits.price_output)
    if endpoint.free:
        return FREE
    if not endpoint.own_address:
        return None
    table = _read()
    entry = {**table["api"], **table["endpoints"]}.get(endpoint.model)
    return _price(entry) if entry and entry.get("provider") == endpoint.provider.name else None


def _price(entry: Mapping[str, Any]) -> Price:
    times = entry.get("peak", 1) / (usd_cny()[0] if entry.get("currency") == "CNY" else 1)
    rates = {name: entry[name] * times for name in ("input", "output", "cached_input", "cache_write") if name in entry}
    beyond = entry.get("long", {})
    names = {"long_above": "above", "long_input": "input", "long_output": "output"}
    return Price(
        **rates,
        **{ours: beyond[name] for ours, name in names.items() if name in beyond},
        as_of=str(entry["as_of"]),
        up_to=entry.get("up_to"),
        source=entry["source"],
    )


def usd_cny() -> tuple[float, str]:
    """Yuan for a US dollar, and the day of that rate."""
    entry = _read()["exchange"]
    return float(entry["usd_cny"]), str(entry["as_of"])


def is_stale(day: str, today: datetime.date | None = None) -> bool:
    """Whether a price of that day is too old to be relied on."""
    age = (today or datetime.date.today()) - datetime.date.fromisoformat(day)
    return age.days > int(_read()["stale_after_days"])


@functools.cache
def _read() -> Mapping[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    read: Mapping[str, Any] = yaml.load((KNOWLEDGE / "prices.yaml").read_text(encoding="utf-8"), Loader=loader)
    return read
