"""What a prompt costs by the request: at a provider with and without its prompt cache, and in arithmetic of one's own.

A provider's cache holds the beginning of a prompt, as far as it is the same token for token; what differs, and all that
comes after, is read anew. So the parts are told apart: `static` (instruction, fixed demonstrations, a knowledge base)
and `varying` (demonstrations retrieved for the input, passages, the input).

Rules as published, read 2026-11-21: OpenAI keeps beginnings of 1,024 tokens or more by itself; on its newer models what
is written costs 1.25 times the input price (developers.openai.com/api/docs/guides/prompt-caching). DeepSeek keeps what
it saw two requests share, from the third on, and names no minimum (api-docs.deepseek.com/guides/kv_cache).
Minimums are data: `cache_from_tokens` of `prices.yaml`.

Assumed: requests follow each other within the cache's life, minutes to an hour, so that the beginning is written once
in `REQUESTS`, and nothing else is. Not covered: batch discounts, tokens of reasoning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advisor import formats
from advisor.hardware import api_prices, exchange
from advisor.quote.show import CURRENCIES, money
from advisor.texts import say, text
from executors.base import Text

REQUESTS = 1000
FORWARD = 2  # FLOPs a parameter and token


@dataclass(frozen=True)
class RequestPrice:
    """US dollars for `REQUESTS` requests to one model, at list price. `cached_usd` None: `why` says why not.

    `peak`: how many times dearer the provider's peak hours are; not counted in.
    """

    model: str
    plain_usd: float
    cached_usd: float | None
    as_of: str
    source: str
    why: Text | None = None
    peak: float = 1.0

    def plain(self, currency: str = "usd") -> float:
        """Without the cache, in `usd` or `cny`."""
        return self.plain_usd * _rate(currency)

    def cached(self, currency: str = "usd") -> float | None:
        """With it."""
        return None if self.cached_usd is None else self.cached_usd * _rate(currency)


def request_prices(
    static_tokens: float,
    varying_tokens: float,
    answer_tokens: float,
    entries: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[RequestPrice]:
    """The price of `REQUESTS` requests to each model of `prices.yaml`, or of `entries` like its own in US dollars, the
    cheapest first."""
    listed = api_prices() if entries is None else entries
    found = [_priced(model, entry, static_tokens, varying_tokens, answer_tokens) for model, entry in listed.items()]
    return sorted(found, key=lambda price: price.plain_usd if price.cached_usd is None else price.cached_usd)


def _priced(model: str, entry: Mapping[str, Any], static: float, varying: float, answer: float) -> RequestPrice:
    read, why, cached = static + varying, _not_cached(entry, static), None
    plain = REQUESTS * _usd(entry, read, read * entry["input"], answer)
    if why is None:
        own = varying * entry["input"]
        first = _usd(entry, read, own + static * entry.get("cache_write", entry["input"]), answer)
        cached = first + (REQUESTS - 1) * _usd(entry, read, own + static * entry["cached_input"], answer)
    return RequestPrice(model, plain, cached, str(entry["as_of"]), str(entry["source"]), why, entry.get("peak", 1.0))


def _usd(entry: Mapping[str, Any], prompt_tokens: float, prompt: float, answer_tokens: float) -> float:
    """Dollars for one request, of whose prompt the tokens times their prices are `prompt`; outside peak hours, unlike
    the prices that spending is capped by (`executors.models.endpoint.prices`)."""
    long = entry.get("long", {"above": float("inf")})
    dearer = long if prompt_tokens > long["above"] else {}
    answer = answer_tokens * entry["output"]
    return float(prompt * dearer.get("input", 1) + answer * dearer.get("output", 1)) / 1e6


def _not_cached(entry: Mapping[str, Any], static: float) -> Text | None:
    """Why the beginning of `static` tokens is not billed as cached; None where it is."""
    least = entry.get("cache_from_tokens", 0)
    if "cached_input" not in entry:
        return text("requests.unpublished")
    if static < max(least, 1):
        return text("requests.too_short", least=f"{least:,}") if least else text("requests.nothing_shared")
    return None


def _rate(currency: str) -> float:
    if currency not in CURRENCIES:
        raise ValueError(f"currency: one of {', '.join(CURRENCIES)}, got {currency!r}")
    return 1.0 if currency == "usd" else exchange()[0]


# -- on a machine of one's own -------------------------------------------------------------------------


@dataclass(frozen=True)
class Arithmetic:
    """FLOPs of some requests to a model that runs here: the beginning read with each of them, or kept."""

    each: float
    kept: float

    @property
    def times(self) -> float:
        """How many times less arithmetic the kept beginning takes."""
        return self.each / self.kept


def request_flops(
    parameters: float,
    static_tokens: float,
    varying_tokens: float,
    answer_tokens: float,
    requests: int = REQUESTS,
    beginnings: int = 1,
) -> Arithmetic:
    """2·N a token (Kaplan et al. 2020, arXiv 2001.08361); attention, which grows with the beginning, comes on top.

    `beginnings`: how often the static part is computed: once where it is kept between calls, as `LocalModel` does, else
    once a chunk of rows. Raises `ValueError` for more beginnings than requests.
    """
    if not 1 <= beginnings <= requests:
        raise ValueError(f"beginnings: 1 to {requests}, got {beginnings}")
    own = requests * (varying_tokens + answer_tokens)
    each, kept = (FORWARD * parameters * (own + times * static_tokens) for times in (requests, beginnings))
    return Arithmetic(each, kept)


# -- as it is shown ------------------------------------------------------------------------------------


def price_head(lang: str) -> tuple[str, ...]:
    """The columns of `price_rows`."""
    return tuple(say(f"requests.{name}", lang) for name in ("model", "plain", "cached", "as_of"))


def price_rows(prices: Sequence[RequestPrice], lang: str) -> list[tuple[str, ...]]:
    """One row a model, as text: its name, both prices in dollars and yuan, and the day they were read."""
    return [(p.model, _both(p.plain_usd, lang), _cached(p, lang), _day(p, lang)) for p in prices]


def _cached(price: RequestPrice, lang: str) -> str:
    if price.cached_usd is None:
        return price.why[lang] if price.why else ""
    saved = formats.percent(1 - price.cached_usd / price.plain_usd, lang) if price.plain_usd else ""
    return say("requests.with_saving", lang, price=_both(price.cached_usd, lang), saved=saved)


def _both(usd: float, lang: str) -> str:
    shown = (money((usd, usd), currency, lang) for currency in CURRENCIES)
    return " / ".join(shown)


def _day(price: RequestPrice, lang: str) -> str:
    return say("requests.peak", lang, day=price.as_of, times=f"{price.peak:g}") if price.peak > 1 else price.as_of
