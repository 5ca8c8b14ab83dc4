"""What a prompt costs by the request: worked out by hand from the list prices of that day."""

from __future__ import annotations

import pytest

from advisor.hardware import api_prices, exchange
from advisor.quote.requests import RequestPrice, price_head, price_rows, request_flops, request_prices
from advisor.texts import LANGUAGES


def priced(model: str, static: float, varying: float, answer: float) -> RequestPrice:
    return next(price for price in request_prices(static, varying, answer) if price.model == model)


def test_without_a_cache_every_token_is_paid_at_list_price() -> None:
    luna = priced("gpt-6-luna", 2000, 100, 10)
    assert luna.plain_usd == pytest.approx((2100 * 0.10 + 10 * 0.50) / 1000)  # 1,000 requests, prices a million tokens


def test_with_a_cache_the_beginning_is_written_once_and_then_read_at_its_own_price() -> None:
    luna = priced("gpt-6-luna", 2000, 100, 10)
    own = 100 * 0.10 + 10 * 0.50
    assert luna.cached_usd == pytest.approx((1000 * own + 2000 * 0.125 + 999 * 2000 * 0.01) / 1e6)
    assert luna.why is None


def test_a_beginning_below_the_providers_minimum_is_not_cached() -> None:
    assert priced("gpt-6-luna", 1024, 100, 10).cached_usd is not None
    short = priced("gpt-6-luna", 1023, 100, 10)
    assert short.cached_usd is None
    assert short.why is not None
    assert "1,024" in short.why["en"]
    assert "1,024" in short.why["zh"]


def test_demonstrations_retrieved_for_each_input_are_not_cached() -> None:
    fixed, retrieved = priced("deepseek-flash", 2000, 60, 5), priced("deepseek-flash", 60, 2000, 5)
    assert fixed.plain_usd == retrieved.plain_usd
    assert fixed.cached_usd is not None
    assert retrieved.cached_usd is not None
    assert fixed.cached_usd < 0.1 * fixed.plain_usd
    assert retrieved.cached_usd > 0.9 * retrieved.plain_usd


def test_a_model_without_a_published_cached_price_says_so() -> None:
    sonnet = priced("claude-sonnet-5.5", 5000, 100, 10)
    assert sonnet.cached_usd is None
    assert sonnet.why == {"en": "no cached price on record", "zh": "未收录缓存价格"}


def test_where_nothing_is_shared_nothing_is_cached() -> None:
    price = priced("deepseek-flash", 0, 500, 10)
    assert price.cached_usd is None
    assert price.why is not None


def test_prompts_beyond_a_threshold_are_dearer() -> None:
    below, above = (priced("claude-haiku-5.5", tokens, 0, 100).plain_usd for tokens in (100_000, 100_001))
    assert below == pytest.approx((100_000 * 0.10 + 100 * 0.50) / 1000)
    assert above == pytest.approx(5 * (100_001 * 0.10 + 100 * 0.50) / 1000)


def test_yuan_are_dollars_at_the_dated_rate() -> None:
    luna, rate = priced("gpt-6-luna", 2000, 100, 10), exchange()[0]
    assert luna.cached_usd is not None
    assert luna.plain("cny") == pytest.approx(rate * luna.plain_usd)
    assert luna.cached("cny") == pytest.approx(rate * luna.cached_usd)
    assert luna.cached("usd") == luna.cached_usd
    with pytest.raises(ValueError, match="currency"):
        luna.plain("eur")


def test_every_price_has_its_day_and_source_and_the_cheapest_stands_first() -> None:
    prices = request_prices(5000, 100, 20)
    assert {price.model for price in prices} == set(api_prices())
    assert all(price.as_of and price.source.startswith("https://") for price in prices)
    effective = [price.plain_usd if price.cached_usd is None else price.cached_usd for price in prices]
    assert effective == sorted(effective)
    assert priced("deepseek-flash", 5000, 100, 20).peak == 2


def test_a_published_minimum_names_where_it_was_published() -> None:
    for entry in api_prices().values():
        assert ("cache_from_tokens" in entry) == ("cache_source" in entry)


def test_a_beginning_computed_once_takes_the_arithmetic_of_what_differs() -> None:
    work = request_flops(135e6, static_tokens=990, varying_tokens=8, answer_tokens=2)
    assert work.each == 2 * 135e6 * 1000 * 1000
    assert work.kept == 2 * 135e6 * (990 + 1000 * 10)
    assert work.times == pytest.approx(1_000_000 / 10_990)


def test_a_beginning_once_a_chunk_is_computed_as_often_as_there_are_chunks() -> None:
    assert request_flops(1, 100, 0, 0, beginnings=16).kept == 2 * 16 * 100
    with pytest.raises(ValueError, match="beginnings"):
        request_flops(1, 100, 0, 0, requests=10, beginnings=11)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_table_has_both_currencies_and_both_prices(lang: str) -> None:
    rows = {row[0]: row for row in price_rows(request_prices(20_000, 60, 20), lang)}
    assert all(len(row) == len(price_head(lang)) for row in rows.values())
    _, plain, cached, day = rows["gpt-6-luna"]
    dollar, yuan = ("$2.02", "¥14") if lang == "en" else ("2.02 美元", "14 元")
    assert plain == f"{dollar} / {yuan}"
    assert "89" in cached
    assert day == "2026-10-18"
