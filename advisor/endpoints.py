"""What a user is told of a model behind a server or provider before anything is sent, and the limits given for it.

Covered: where rows go, the forecast of cost and time, `--endpoint` and `--max-cost`, and the refusal where the facts
forbid it. The asking itself is `executors.models.endpoint`; nothing here opens a connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from advisor import formats
from advisor.decision import Decision
from advisor.hardware import Range
from advisor.texts import LANGUAGES, text
from executors.base import Plan, Problem, Text, UserError

if TYPE_CHECKING:
    from executors.models.endpoint import Endpoint, EndpointLimits, Price

TRAINED = ("peft", "full", "cpt", "preference")  # methods that need the weights themselves
SECONDS = (0.5, 10.0)  # a request from sending to answer: short answers of fast models, long ones of slow models
PLACES = {  # where the data may go, in words
    "on_premises": ("stays on your premises", "不得离开本地"),
    "own_cloud": ("goes no further than your own cloud", "只能放在自己的云账户"),
}


@dataclass(frozen=True)
class Asked:
    """What a plan will ask: requests, and tokens of one: of the prompt, of it those all share, of the answer."""

    requests: int
    prompt: float
    shared: float
    answer: float  # in the mean
    most: int  # at most
    searched: int = 0  # requests that comparing prompts asks beside them, at most
    least: float | None = None  # tokens of the shortest prompt, where several are compared


def parse_limits(settings: tuple[str, ...], max_cost: float | None) -> dict[str, Any]:
    """``("timeout=30",)`` and ``--max-cost`` as a plan's `endpoint` entry. Raises `UserError` with every fault."""
    from advisor.commands.shared import parse_settings
    from executors.models.endpoint import limits_of

    given = {
        **parse_settings(settings, "--endpoint", "--endpoint timeout=30"),
        **({} if max_cost is None else {"max_cost": max_cost}),
    }
    problems = limits_of(given)[1]
    if problems:
        raise UserError.of(problems)
    return given


def find_endpoint(model: str) -> Endpoint | None:
    """The endpoint that a model's name stands for; None for models of this machine, told without an import."""
    if ":" not in model:
        return None
    from executors.models.endpoint import endpoint_of

    return endpoint_of(model)


def disclosure(model: str) -> Mapping[str, Text]:
    """The reason that a plan's record and screen give for where rows go; empty for models of this machine."""
    endpoint = find_endpoint(model)
    if endpoint is None:
        return {}
    if endpoint.stays_here:
        return {"endpoint": text("endpoint.stays", host=endpoint.host)}
    if not endpoint.is_public:
        return {"endpoint": text("endpoint.sent_private", host=endpoint.host)}
    return {"endpoint": text("endpoint.sent", host=endpoint.host, title=_title(endpoint))}


def check_use(decision: Decision, method: str, model: str) -> None:
    """Raise `UserError` where `method` needs weights, or the data was said not to go where `model` answers."""
    endpoint = find_endpoint(model)
    if endpoint is None:
        return
    problems = [_weightless(method, model)] if method in TRAINED else []
    fact = decision.facts.get("privacy")
    said = str(fact.value) if fact and fact.origin == "asked" else "public_api"
    allowed = {"on_premises": not endpoint.is_public, "own_cloud": not (endpoint.is_public and endpoint.own_address)}
    if not allowed.get(said, True):
        problems.append(_forbidden(endpoint, said))
    if problems:
        raise UserError.of(problems)


def forecast(plan: Plan, asked: Asked) -> Text:
    """One sentence: how many requests, what they cost and how long they take, before any is sent."""
    from executors.models.endpoint import price_of, read_limits

    endpoint, limits = find_endpoint(plan.model), read_limits(plan.endpoint)
    assert endpoint is not None
    price = price_of(endpoint, limits)
    low, high = seconds_of(asked.requests, limits)
    searching = float(plan.params.get("search_seconds", 0)) if asked.searched else 0.0
    seconds = low, high + min(searching, seconds_of(asked.searched, limits)[1])
    told = text(
        "endpoint.forecast",
        requests=f"{asked.requests:,}",
        host=endpoint.host,
        prompt="–".join(dict.fromkeys(f"{n:,.0f}" for n in (asked.least, asked.prompt) if n is not None)),
        answer=f"{asked.most:,}",
        cost=_cost(asked, price),
        time={lang: formats.seconds(*seconds, lang) for lang in LANGUAGES},
        each=formats.span(*SECONDS),
        at_once=str(limits.concurrency),
    )
    if asked.searched:
        more = f"{asked.searched:,}"
        return text("endpoint.forecast_searched", forecast=told, requests=more, seconds=f"{searching:g}")
    return told


def cost_of(asked: Asked, price: Price) -> Range:
    """US dollars: with what prompts share cached and answers of the mean length; with no cache and the longest, and
    all requests of a search."""
    least, most = round(asked.prompt if asked.least is None else asked.least), round(asked.prompt)
    low = price.cost(least, round(asked.answer), cached=round(min(asked.shared, least)))
    high = price.worst(most, max(asked.most, round(asked.answer)))
    return asked.requests * low, (asked.requests + asked.searched) * high


def seconds_of(requests: int, limits: EndpointLimits) -> Range:
    """Seconds for so many requests, several at once, no faster than the rate allows."""
    low, high = (requests * each / min(limits.concurrency, max(requests, 1)) for each in SECONDS)
    slowest = requests * 60 / limits.per_minute if limits.per_minute else 0.0
    return max(low, slowest), max(high, slowest)


def money(usd: float) -> Mapping[str, str]:
    """An amount as ``usd`` and ``cny``, to four places below one."""
    from executors.models.endpoint import usd_cny

    yuan = usd * usd_cny()[0]
    return {"usd": f"${usd:,.{2 if usd >= 1 else 4}f}", "cny": f"¥{yuan:,.{2 if yuan >= 1 else 4}f}"}


def _cost(asked: Asked, price: Price | None) -> Text:
    from advisor.hardware import stale_after_days
    from executors.models.endpoint import is_stale

    if price is None:
        return text("endpoint.cost_unknown")
    ends = cost_of(asked, price)
    if not ends[1]:
        return text("endpoint.cost_free")
    low, high = (money(end) for end in ends)
    spans = {name: f"{low[name]}–{high[name]}" if low != high else low[name] for name in ("usd", "cny")}
    if not price.as_of:
        return text("endpoint.cost_own", **spans)
    stale = text("endpoint.stale", days=stale_after_days()) if is_stale(price.as_of) else ""
    return text("endpoint.cost", date=price.as_of, stale=stale, **spans)


def _title(endpoint: Endpoint) -> str:
    if endpoint.own_address and endpoint.provider.title:
        return endpoint.provider.title
    return endpoint.provider.name if endpoint.provider.package else endpoint.model


def _weightless(method: str, model: str) -> Problem:
    return Problem(
        f"'{method}' changes a model's weights, and those of '{model}' are not here",
        "name a model by alias, hub id or folder (--model), or ask this one with --method prompt",
        Problem(
            f"“{method}”要修改模型权重，而“{model}”的权重不在本地",
            "请用 --model 给出模型别名、hub 名称或文件夹；或用 --method prompt 直接使用该模型",
        ),
    )


def _forbidden(endpoint: Endpoint, said: str) -> Problem:
    en, zh = PLACES[said]
    hint = "a model on your own machines: ollama:MODEL, vllm:MODEL, openai:MODEL@http://HOST/v1; or correct the answer"
    return Problem(
        f"privacy: you said that the data {en}, and '{endpoint.name}' is answered by {endpoint.host}",
        hint,
        Problem(
            f"privacy：您选择了数据{zh}，而“{endpoint.name}”由 {endpoint.host} 回答",
            "请改用自己机器上的模型：ollama:MODEL、vllm:MODEL、openai:MODEL@http://HOST/v1；或更正该回答",
        ),
    )
