"""One prompt as the model sees it: its messages, its tokens by part, and what a thousand such requests cost.

Covered: finished runs of prompting. Prices are those of the run's own model where it is asked over the network and its
price is known; else of the hosted models on record, for comparison, and the arithmetic a model here does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.quote.requests import Arithmetic, RequestPrice, request_flops, request_prices
from advisor.texts import read_knowledge
from executors.base import Input, Plan, Reporter, Row, silent
from executors.prompt.budget import Part
from executors.prompt.opened import OpenedPrompt

if TYPE_CHECKING:
    from executors.models.endpoint import Endpoint


@dataclass(frozen=True)
class Rendered:
    """`parts` are in the order of the prompt, the answer's room last. `own_price`: `prices` are of the run's model.

    `wanted` and `shown` count demonstrations, `cut` says that the input was shortened. `row` is None for a free text.
    """

    model: str
    row: int | None
    id: str
    targets: tuple[str, ...]
    answer: str | None  # what the run answered, where that is on record
    messages: Sequence[Mapping[str, str]]
    raw: str
    parts: tuple[Part, ...]
    prompt_tokens: int
    window: int
    estimated: bool
    wanted: int
    shown: int
    cut: bool
    retrieved: bool
    ensemble: int  # prompts whose probabilities count alike; this is the first, and prices are of it alone
    prices: tuple[RequestPrice, ...]
    own_price: bool
    arithmetic: Arithmetic | None


def render(
    opened: OpenedPrompt,
    given: Input,
    number: int | None = None,
    row: Row | None = None,
    folder: Path | None = None,
    report: Reporter = silent,
) -> Rendered:
    """The prompt of `given`; `row` is the held-out row it comes from, and `folder` the run's."""
    (asked,) = opened.render([given], report)
    prompt = opened.predictor.prompt
    parts = tuple(part for part in opened.predictor.budget.parts(asked) if part.tokens)
    static, varying, answer = request_tokens(parts, prompt.params.retrieves)
    prices, own = _prices(opened.plan, static, varying, answer)
    return Rendered(
        model=opened.plan.model,
        row=number,
        id=row.id if row else "",
        targets=row.targets if row else (),
        answer=_answered(folder, row),
        messages=asked.chat,
        raw=opened.model.raw(asked.chat),
        parts=parts,
        prompt_tokens=opened.model.count_chat(asked.chat),
        window=opened.model.window,
        estimated=opened.model.estimates,
        wanted=prompt.shots,
        shown=len(asked.shown),
        cut=asked.given != given,
        retrieved=prompt.params.retrieves,
        ensemble=1 + len(prompt.others),
        prices=tuple(prices),
        own_price=own,
        arithmetic=_arithmetic(opened.plan, static, varying, answer),
    )


def request_tokens(parts: Sequence[Part], retrieved: bool) -> tuple[int, int, int]:
    """(tokens all prompts begin with, tokens that vary or come later, tokens of the longest answer).

    Where demonstrations are `retrieved`, the template around them comes after the first that varies.
    """
    answer = sum(part.tokens for part in parts if part.name == "answer")
    static = sum(part.tokens for part in parts if part.static and not (retrieved and part.name == "template"))
    return static, sum(part.tokens for part in parts) - static - answer, answer


def _answered(folder: Path | None, row: Row | None) -> str | None:
    from executors.run import read_predictions, read_result

    result = read_result(folder) if folder else None
    if folder is None or row is None or result is None or result.status != "done":
        return None
    found = read_predictions(folder / "predictions.jsonl").get(row.id)
    return found.text if found else None


def _prices(plan: Plan, static: int, varying: int, answer: int) -> tuple[list[RequestPrice], bool]:
    """The prices, and whether they are of the run's own model."""
    from advisor.endpoints import find_endpoint

    endpoint = find_endpoint(plan.model)
    entry = _entry(plan, endpoint) if endpoint else None
    if endpoint is None or entry is None:
        return request_prices(static, varying, answer), False
    return request_prices(static, varying, answer, {endpoint.model: entry}), True


def _entry(plan: Plan, endpoint: Endpoint) -> Mapping[str, Any] | None:
    """The price of a model in US dollars: the plan's own figures, else those on record; None where there are none."""
    given = plan.endpoint
    if given.get("price_input") is not None:
        return {"input": given["price_input"], "output": given["price_output"], "as_of": "–", "source": ""}
    table = read_knowledge("prices.yaml")
    entry = {**table["endpoints"], **table["api"]}.get(endpoint.model)
    if not endpoint.own_address or not entry or entry.get("provider") != endpoint.provider.name:
        return None
    rate = float(table["exchange"]["usd_cny"]) if entry.get("currency") == "CNY" else 1.0
    rates = {name: entry[name] / rate for name in ("input", "output", "cached_input", "cache_write") if name in entry}
    return {**entry, **rates}


def _arithmetic(plan: Plan, static: int, varying: int, answer: int) -> Arithmetic | None:
    """What a model on this machine computes; None for one elsewhere, or of unknown size."""
    from advisor.profile.model import measure_model

    known = measure_model(plan.model)
    if not known.has_weights or not known.parameters:
        return None
    return request_flops(known.parameters, static, varying, answer)
