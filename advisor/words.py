"""The names of things on a screen or page: facts, values, methods, metrics. Each from where it is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from advisor import formats
from advisor.cards import load_cards
from advisor.conditions import Value
from advisor.facts import load_vocabulary
from advisor.texts import say, section_texts
from executors.base import to_dict


def method_name(method: str, lang: str) -> str:
    """A method as its card is titled, or the parts of a chain (``rag+peft``). Its id where it has no card."""
    if "+" in method:
        return methods_name(method.split("+"), lang)
    card = load_cards().get(method)
    return card.title[lang] if card else method


def methods_name(methods: Iterable[str], lang: str) -> str:
    """A pure method's name, or the names of a hybrid's parts."""
    return say("word.and", lang).join(method_name(method, lang) for method in methods)


def fact_name(fact_id: str, lang: str) -> str:
    """A fact's short name; its id where it has none."""
    return say(f"fact.{fact_id}", lang) if fact_id in section_texts("fact") else fact_id


def value_text(fact_id: str, value: Value | None, lang: str) -> str:
    """A fact's value: an option in words, yes or no, or a number with its unit."""
    spec = load_vocabulary().get(fact_id)
    if value is None:
        return say("word.unknown", lang)
    if isinstance(value, bool):
        return say("word.yes" if value else "word.no", lang)
    if spec and isinstance(value, (int, float)):
        counted, unit = formats.compact(value, lang), spec.unit.get(lang, "")
        return f"{counted}{unit}" if counted[-1] in "万亿" else f"{counted} {unit}".strip()
    texts = spec.option_texts.get(str(value)) if spec else None
    return texts[lang] if texts else str(value)


def label(group: str, name: str, lang: str) -> str:
    """``word.<group>.<name>`` where there is such a text, else the name itself: methods bring metrics of their own."""
    key = f"{group}.{name}"
    return say(f"word.{key}", lang) if key in section_texts("word") else name


def quote_figures(quote: Any, lang: str) -> Mapping[str, str]:
    """The ranges of one quote, as read: memory, hours, usd, per_1000, break_even (empty where nothing is tuned)."""
    from advisor.quote.breakeven import span_of

    plain: Mapping[str, Any] = to_dict(quote)
    memory, hours, usd, answers = (plain[name] for name in ("memory_gb", "train_hours", "train_usd", "per_1000_usd"))
    even = plain.get("break_even")
    return {
        "memory": formats.gigabytes(memory[0], memory[1], lang),
        "hours": formats.hours(hours[0], hours[1], lang),
        "usd": formats.dollars(usd[0], usd[1], lang),
        "per_1000": formats.dollars(answers[0], answers[1], lang),
        "break_even": span_of(even["requests"], lang) if even else "",
    }
