"""Where a tuned model has paid for its training: by hand, never, perhaps, and beside a machine that never stops."""

from __future__ import annotations

import datetime
from dataclasses import replace

import pytest

from advisor.facts import Fact, Facts
from advisor.hardware import exchange
from advisor.quote import Quote, make_quotes
from advisor.quote.breakeven import break_even, reach, span_of
from advisor.quote.show import money, rate_text
from advisor.quote.situation import situation
from advisor.texts import read_knowledge, text

TODAY = datetime.date(2026, 11, 21)


def facts(**values: str | int | float | bool) -> Facts:
    return Facts({name: Fact(name, value, "asked") for name, value in values.items()})


def quote(method: str, train: float, answers: tuple[float, float], *, provider: bool = False) -> Quote:
    return Quote(
        method=method,
        memory_gb=(1, 2),
        serve_memory_gb=(1, 2),
        train_hours=(1, 2),
        train_usd=(train, 2 * train),
        per_1000_usd=answers,
        per_1000_hours=(0, 0),
        hardware=text("quote.any_machine"),
        formula="",
        assumptions=(),
        sources=(),
        provider=provider,
    )


def test_requests_are_the_training_over_what_an_answer_saves() -> None:
    # 10 to 20 USD; 1,000 answers save 1 to 4 USD: 10 / 4 and 20 / 1 thousand
    assert reach((10, 20), (1, 4)) == (2500, 20_000)


def test_a_provider_meets_the_tuned_model_with_opposite_ends() -> None:
    found = break_even(quote("peft", 10, (1, 2)), quote("prompt", 0, (3, 5), provider=True), situation(Facts()))
    assert found.saving_per_1000_usd == (1, 4)  # 3 − 2, 5 − 1
    assert found.requests == (2500, 20_000)
    assert found.against == "prompt"
    assert "2,500–20,000 requests" in found.text["en"]


def test_one_machine_is_as_fast_and_as_dear_for_both() -> None:
    found = break_even(quote("peft", 10, (1, 2)), quote("rag", 0, (3, 5)), situation(Facts()))
    assert found.saving_per_1000_usd == (2, 3)  # 3 − 1 on the fast end, 5 − 2 on the slow one
    assert found.requests == (pytest.approx(10 / 3 * 1000), 10_000)
    assert found.always_on is None


def test_a_tuned_model_that_is_dearer_never_pays() -> None:
    found = break_even(quote("peft", 10, (6, 7)), quote("prompt", 0, (3, 5), provider=True), situation(Facts()))
    assert found.never
    assert found.requests == (None, None)
    assert "never repaid" in found.text["en"]
    assert "$6.00–7.00" in found.text["en"]  # why: both prices are named
    assert "$3.00–5.00" in found.text["en"]
    assert "无法" in found.text["zh"]


def test_ranges_that_overlap_may_never_meet() -> None:
    found = break_even(quote("peft", 10, (1, 4)), quote("prompt", 0, (3, 5), provider=True), situation(Facts()))
    assert found.requests == (2500, None)
    assert not found.never
    assert span_of(found.requests, "en") == "2,500 at the earliest"


def test_days_follow_from_requests_a_day() -> None:
    known = situation(facts(requests_per_day=500))
    found = break_even(quote("peft", 10, (1, 2)), quote("prompt", 0, (3, 5), provider=True), known)
    assert found.days == (5, 40)
    assert break_even(quote("peft", 10, (1, 2)), quote("rag", 0, (3, 5)), situation(Facts())).days is None


def test_a_rented_machine_that_never_stops_needs_requests_enough() -> None:
    known = situation(facts(model_parameters=8_000_000_000))
    found = break_even(quote("peft", 10, (1, 2)), quote("prompt", 0, (3, 5), provider=True), known)
    low, high = read_knowledge("hardware.yaml")["accelerators"]["rtx-4090"]["rent"]["usd"]  # the cheapest with 24 GB
    assert found.always_on == pytest.approx((24 * low / 0.005, 24 * high / 0.003))
    assert "a day" in found.text["en"]


def test_no_training_is_repaid_at_once() -> None:
    assert reach((0, 0), (1, 2)) == (0, 0)
    assert span_of((0.0, 0.0), "en") == "1"


def test_tuned_methods_are_compared_with_the_first_that_only_prompts() -> None:
    known = facts(task="classification", labelled_examples=800)
    found = make_quotes(known, ["probe", "peft", "rag", "prompt"], TODAY)
    assert {m: q.break_even.against for m, q in found.items() if q.break_even} == {"probe": "rag", "peft": "rag"}
    alone = make_quotes(known, ["peft"], TODAY)["peft"].break_even
    assert alone is not None
    assert alone.against == "prompt"


def test_dearer_training_is_repaid_later() -> None:
    prompted, known = quote("prompt", 0, (3, 5), provider=True), situation(Facts())
    cheap = quote("peft", 10, (1, 2))
    dear = replace(cheap, train_usd=(20, 40))
    assert break_even(cheap, prompted, known).requests < break_even(dear, prompted, known).requests


def test_money_is_shown_in_dollars_or_in_yuan_at_the_dated_rate() -> None:
    rate, day = exchange()
    assert money((1.0, 2.0), "usd", "en") == "$1.00–2.00"
    assert money((1.0, 2.0), "cny", "zh") == f"{rate:.2f}–{2 * rate:.0f} 元"
    assert money((0.0, 0.0), "cny", "zh") == "0 元"
    assert money((0.0, 0.001), "cny", "en") == "under ¥0.01"
    published = datetime.date.fromisoformat(day.as_of)
    assert "stale" not in rate_text("en", published + datetime.timedelta(days=180))
    assert "stale" in rate_text("en", published + datetime.timedelta(days=181))
