"""The names of things on a screen or page: facts, values, methods, metrics. Each from where it is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from advisor import formats
from advisor.conditions import Value
from advisor.facts import load_vocabulary
from advisor.texts import KNOWLEDGE, read_knowledge, say
from executors.base import to_dict


def method_name(method: str, lang: str) -> str:
    """A method as its card calls it; its id where it has no card."""
    if not (KNOWLEDGE / "methods" / f"{method}.yaml").is_file():
        return say("word.floor", lang) if method == "baseline" else method
    return str(read_knowledge(f"methods/{method}.yaml")["name"][lang])


def methods_name(methods: Iterable[str], lang: str) -> str:
    """A pure method's name, or the names of a hybrid's parts."""
    return say("word.and", lang).join(method_name(method, lang) for method in methods)


def fact_name(fact_id: str, lang: str) -> str:
    """A fact's short name; its id where it has none."""
    return say(f"fact.{fact_id}", lang) if fact_id in read_knowledge("texts.yaml")["fact"] else fact_id


def value_text(fact_id: str, value: Value | None, lang: str) -> str:
    """A fact's value: an option in words, yes or no, or a number with its unit."""
    spec = load_vocabulary().get(fact_id)
    if value is None:
        return say("word.unknown", lang)
    if isinstance(value, bool):
        return say("word.yes" if value else "word.no", lang)
    if spec and isinstance(value, (int, float)):
        return f"{formats.compact(value, lang)} {spec.unit.get(lang, '')}".strip()
    return spec.option_texts[value][lang] if spec and value in spec.option_texts else str(value)


def label(group: str, name: str, lang: str) -> str:
    """``word.<group>.<name>`` where there is such a text, else the name itself: methods bring metrics of their own."""
    key = f"{group}.{name}"
    return say(f"word.{key}", lang) if key in read_knowledge("texts.yaml")["word"] else name


def quote_figures(quote: Any, lang: str) -> Mapping[str, str]:
    """The ranges of one quote, as read: memory, hours, usd, per_1000."""
    ranges = to_dict(quote)
    return {
        "memory": formats.gigabytes(*ranges["memory_gb"], lang),
        "hours": formats.hours(*ranges["train_hours"], lang),
        "usd": formats.dollars(*ranges["train_usd"], lang),
        "per_1000": formats.dollars(*ranges["per_1000_usd"], lang),
    }
