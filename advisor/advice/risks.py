"""The risks of a recommendation: five that every report names, each as it is for these methods, then the cards' own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from advisor import words
from advisor.cards import load_cards
from advisor.texts import LANGUAGES, text
from executors.base import Text

READERS = frozenset({"prompt", "long_context", "rag"})
HEADS = frozenset({"probe", "small_encoder"})
ADAPTERS = frozenset({"peft", "preference"})
WHOLE = frozenset({"full", "cpt", "pretrain"})
FROZEN = READERS | {"probe"}
TRAINED = HEADS | ADAPTERS | WHOLE

RISKS: Mapping[str, Mapping[str, frozenset[str]]] = {
    "forgetting": {"weights": WHOLE, "adapter": ADAPTERS, "encoder": frozenset({"small_encoder"})},
    "staleness": {
        "index": frozenset({"rag"}),
        "body": frozenset({"long_context"}),
        "trained": TRAINED,
        "prompt": frozenset({"prompt"}),
    },
    "leakage": {
        "index": frozenset({"rag"}),
        "prompt": READERS - {"rag"},
        "trained": TRAINED - HEADS,
        "classifier": HEADS,
    },
    "bias": {"labels": HEADS, "text": READERS | ADAPTERS | WHOLE},
    "licence": {"tuned": TRAINED - {"probe"}, "frozen": FROZEN},
}
"""The risks of every report. Of each: how it shows, and with which methods."""


def risks(methods: Sequence[str]) -> tuple[Text, ...]:
    """The risks every report names, then those of the recommended methods' cards."""
    own = [risk for method in methods for risk in load_cards()[method].risks]
    return (*(_risk(name, methods) for name in RISKS), *own)


def _risk(name: str, methods: Sequence[str]) -> Text:
    """One risk: its name, what it is for these methods, and what is to be done about it whatever the method."""
    kinds = [kind for kind, having in RISKS[name].items() if having & set(methods)]
    if "weights" in kinds:
        kinds = ["weights"]  # whatever adapters or an encoder forget is little beside it
    kinds = kinds or ["none"]  # nothing is forgotten where no weight changes; the other risks take no method out
    told = [text(f"risk.{name}_{kind}", methods=_named(methods)) for kind in kinds]
    always = text(f"risk.{name}")
    return {lang: _joined([always[lang], *(part[lang] for part in told)], lang) for lang in LANGUAGES}


def _named(methods: Sequence[str]) -> Text:
    return {lang: words.methods_name(methods, lang) for lang in LANGUAGES}


def _joined(parts: Sequence[str], lang: str) -> str:
    return ("" if lang == "zh" else " ").join(parts)
