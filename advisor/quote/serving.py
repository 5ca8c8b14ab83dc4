"""What a thousand answers take: from a provider by the token, or on a machine."""

from __future__ import annotations

from dataclasses import dataclass

from advisor.hardware import Figure, Range, Rig
from advisor.quote.duration import serving_seconds
from advisor.quote.figures import count, rounded, scaled, speed, usd_of
from advisor.quote.memory import serving_memory
from advisor.quote.requests import REQUESTS, request_prices
from advisor.quote.situation import Situation, rig_for
from advisor.texts import text
from executors.base import Text

TOGETHER = 8  # answers generated at a time
ANSWERS = REQUESTS


@dataclass(frozen=True)
class Serving:
    """What a thousand answers take, and from whom."""

    memory: Range
    hours: Range
    usd: Range
    hardware: Text
    formula: str
    said: tuple[Text, ...]
    prices: tuple[Figure, ...]
    rig: Rig | None = None  # None: a provider


def may_use_api(known: Situation) -> bool:
    """Whether a provider answers: unless data must stay, or weights that the user names are at hand."""
    if known.facts.value("privacy") in ("own_cloud", "on_premises"):
        return False
    return not (known.facts.value("weights_access") is True and known.number("model_parameters"))


def by_api(known: Situation, prompt_tokens: float, cached: float) -> Serving:
    """`cached` of the prompt's tokens are the same in every prompt: at the low end a provider has them in its cache."""
    answer = known.work.answer_tokens
    prices = request_prices(cached, prompt_tokens - cached, answer)
    low = min(p.plain_usd if p.cached_usd is None else p.cached_usd for p in prices)
    high = max(p.plain_usd for p in prices)
    return Serving(
        memory=(0, 0),
        hours=(0, 0),
        usd=rounded((low, high)),
        hardware=text("quote.provider"),
        formula=f"1,000 answers = 1,000 × ({prompt_tokens:,.0f} × price in + {answer:.3g} × price out)",
        said=(text("quote.api", names=", ".join(p.model for p in prices)),),
        prices=tuple(Figure(p.model, p.as_of, (p.source,)) for p in prices),
    )


def self_hosted(known: Situation, prompt_tokens: float, cached: float = 0) -> Serving:
    """On the user's machine, or on one that is rented; where requests are few, up to the cost of its never stopping.
    At the low end the `cached` tokens, the same in every prompt, are computed once for all answers."""
    n, answer = known.parameters, known.work.answer_tokens
    tokens = prompt_tokens + answer
    rig, hardware, why = rig_for(known, lambda kind: serving_memory(known.shape, tokens, kind, TOGETHER)[0])
    once = prompt_tokens - cached + cached / ANSWERS
    low, high = (serving_seconds(n, ANSWERS, read, answer, rig, TOGETHER) for read in (once, prompt_tokens))
    hours = scaled((low[0], high[1]), 1 / 3600)
    usd = usd_of(hours, rig)
    said = [*known.about_model, *why, text("quote.serving", batch=TOGETHER)]
    requests = known.number("requests_per_day")
    if requests and rig.kind == "gpu":
        never_stopping = scaled(day_usd(rig), ANSWERS / requests)
        usd = usd[0], max(usd[1], never_stopping[1])
        dear = f"{never_stopping[0]:.2g}–{never_stopping[1]:.2g}"
        said.append(text("quote.always_on", requests=f"{requests:,.0f}", usd=dear))
    return Serving(
        memory=rounded(serving_memory(known.shape, tokens, rig.kind, TOGETHER)),
        hours=rounded(hours),
        usd=rounded(usd),
        hardware=hardware,
        formula=_formula(n, prompt_tokens, answer, rig),
        said=tuple(said),
        prices=rig.prices,
        rig=rig,
    )


def day_usd(rig: Rig) -> Range:
    """What a machine that never stops costs a day."""
    return scaled(rig.usd_hour, 24 * rig.count)


def _formula(parameters: float, prompt_tokens: float, answer_tokens: float, rig: Rig) -> str:
    size, width_bytes = count(parameters), 4 if rig.kind == "cpu" else 2
    reading = f"2 × {size} × {prompt_tokens:,.0f} ÷ ({speed(rig)})"
    bandwidth = f"{rig.bandwidth[0] / 1e9:,.0f}–{rig.bandwidth[1] / 1e9:,.0f} GB/s"
    writing = f"{answer_tokens:.3g} × {width_bytes} bytes × {size} ÷ ({bandwidth} × {TOGETHER} at a time)"
    return f"1,000 answers = 1,000 × ({reading} + {writing})"
