"""How an endpoint may be asked: time, tries, requests at once, and the most it may cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from executors.base import Problem, UserError, parse_params

ABOVE_ZERO = ("timeout", "attempts", "concurrency", "per_minute", "window")
NOT_NEGATIVE = ("max_cost", "charged", "price_input", "price_output", "backoff")


@dataclass(frozen=True)
class EndpointLimits:
    """`timeout` and `backoff` (the first wait before asking again; it doubles) in seconds, money in US dollars.

    `max_cost` bounds what all requests of a run cost together: one that could exceed it is not sent. `charged` is what
    other runs have spent of the same money.
    `price_input` and `price_output`, per million tokens, stand in for the table's.
    """

    timeout: float = 60.0
    attempts: int = 6
    concurrency: int = 8
    per_minute: int | None = None
    max_cost: float | None = None
    charged: float = 0.0
    price_input: float | None = None
    price_output: float | None = None
    window: int | None = None
    backoff: float = 1.0


def limits_of(given: Mapping[str, Any]) -> tuple[EndpointLimits | None, list[Problem]]:
    """The limits that a plan's `endpoint` entry gives, or everything that is wrong with it."""
    limits, problems = parse_params(EndpointLimits, given)
    problems = [_renamed(problem) for problem in problems]
    if limits is None:
        return None, problems
    for name in (*ABOVE_ZERO, *NOT_NEGATIVE):
        value = getattr(limits, name)
        if value is not None and not (value > 0 if name in ABOVE_ZERO else value >= 0):
            rule, rule_zh = ("above 0", "必须大于 0") if name in ABOVE_ZERO else ("at least 0", "不能为负")
            zh = Problem(f"endpoint.{name}：{rule_zh}，收到 {value}")
            problems.append(Problem(f"endpoint.{name}: must be {rule}, got {value}", "", zh))
    if (limits.price_input is None) != (limits.price_output is None):
        message = "endpoint: price_input and price_output go together, in USD per million tokens"
        zh = Problem("endpoint：price_input 和 price_output 必须同时给出（美元/百万 token）")
        problems.append(Problem(message, "--endpoint price_input=0.15 --endpoint price_output=0.60", zh))
    return (None if problems else limits), problems


def read_limits(given: Mapping[str, Any]) -> EndpointLimits:
    """As `limits_of`. Raises `UserError` with every fault."""
    limits, problems = limits_of(given)
    if limits is None:
        raise UserError.of(problems)
    return limits


def _renamed(problem: Problem) -> Problem:
    """A fault of `parse_params`, called by the plan's own entry."""
    return Problem(problem.message.replace("params.", "endpoint.", 1), problem.hint)
