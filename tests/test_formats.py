"""Numbers, ranges, durations and money, as they read in each language. Every expected text is worked out by hand."""

from __future__ import annotations

import pytest

from advisor import formats


@pytest.mark.parametrize(
    ("value", "read"),
    [(0, "0"), (0.84, "0.84"), (12.5, "12.5"), (12.34567, "12.3"), (1234, "1,234"), (1234.6, "1,235"), (-0.5, "-0.5"),
     (0.000012, "0.000012"), (float("nan"), "–"), (float("inf"), "–")],
)  # fmt: skip
def test_numbers(value: float, read: str) -> None:
    assert formats.number(value) == read


@pytest.mark.parametrize(
    ("value", "lang", "read"),
    [(8192, "en", "8,192"), (134_515_008, "en", "135 million"), (8e9, "en", "8 billion"),
     (134_515_008, "zh", "1.35 亿"), (2_500_000, "zh", "250 万"), (17_440, "zh", "17,440")],
)  # fmt: skip
def test_large_counts_are_folded(value: float, lang: str, read: str) -> None:
    assert formats.compact(value, lang) == read


@pytest.mark.parametrize(
    ("low", "high", "lang", "read"),
    [(0.2, None, "en", "under 1 s"), (14.2, None, "en", "14 s"), (30, 90, "en", "30–90 s"), (60, 600, "en", "1–10 min"),
     (3600, 4 * 3600, "en", "1–4 h"), (86400, 5 * 86400, "en", "1–5 days"), (60, 600, "zh", "1–10 分钟"),
     (181, None, "en", "3 min")],
)  # fmt: skip
def test_durations_take_the_unit_of_their_upper_end(low: float, high: float | None, lang: str, read: str) -> None:
    assert formats.seconds(low, high, lang) == read


def test_hours_are_durations() -> None:
    assert formats.hours(0.5, 1.5, "en") == formats.seconds(1800, 5400, "en") == "30–90 min"


@pytest.mark.parametrize(
    ("low", "high", "lang", "read"),
    [(0, 0, "en", "$0"), (0.001, 0.004, "en", "under $0.01"), (0.02, 0.114, "en", "$0.02–0.11"),
     (0, 2, "en", "$0–2.00"), (12.3, 456, "en", "$12–460"), (1200, 5600, "en", "$1,200–5,600"),
     (0.02, 0.114, "zh", "0.02–0.11 美元")],
)  # fmt: skip
def test_money(low: float, high: float, lang: str, read: str) -> None:
    assert formats.dollars(low, high, lang) == read


@pytest.mark.parametrize(
    ("low", "high", "read"),
    [(0.61, 1.14, "0.61–1.1 GB"), (16, 16.2, "16 GB"), (129.6, 144, "130–140 GB"), (0, 0, "none")],
)
def test_memory(low: float, high: float, read: str) -> None:
    assert formats.gigabytes(low, high, "en") == read


def test_scores_and_shares() -> None:
    assert formats.score(0.84) == "0.840"
    assert formats.score(-0.1) == "-0.100"
    assert formats.score(12.34) == "12.3"
    assert formats.percent(0.724, "en") == "72 %"
    assert formats.percent(0.724, "zh") == "72%"
