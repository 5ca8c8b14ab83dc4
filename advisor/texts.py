"""What a person reads, in English and Chinese. The texts themselves are in `knowledge/texts/`, a file a section.

Each entry has every language, with the same {placeholders}. Texts about facts, methods and rules stand where these are
kept: `facts.yaml`, `methods/`, `flowchart.yaml`.
"""

from __future__ import annotations

import functools
import locale
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from executors.base import Text

KNOWLEDGE = Path(__file__).resolve().parent.parent / "knowledge"
LANGUAGES = ("en", "zh")


@functools.cache
def read_knowledge(name: str) -> Any:
    """One YAML file of `knowledge/`, read once. `name` is relative, e.g. ``facts.yaml``.

    Raises `ValueError` where a mapping has a key twice: YAML would silently keep the last.
    """
    raw, repeated = read_yaml((KNOWLEDGE / name).read_text(encoding="utf-8"))
    if repeated:
        raise ValueError("\n  ".join([f"{name}:", *repeated]))
    return raw


def read_yaml(source: str) -> tuple[Any, list[str]]:
    """What a YAML text holds, and a line for each key that a mapping has twice."""
    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times faster where it is present
    repeated: list[str] = []

    class Loader(base):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[Any] = set()
            for key, _ in node.value:
                if key.value in seen:
                    repeated.append(f"line {key.start_mark.line + 1}: '{key.value}' is there twice")
                seen.add(key.value if isinstance(key.value, str) else id(key))
            return super().construct_mapping(node, deep)

    return yaml.load(source, Loader=Loader), repeated


def section_texts(section: str) -> Mapping[str, Text]:
    """All texts of one section, placeholders unfilled."""
    texts: Mapping[str, Text] = read_knowledge(f"texts/{section}.yaml")
    return texts


def text(key: str, **values: object) -> Text:
    """The text `key` (``section.name``) in both languages, placeholders filled.

    A value that is itself a `Text` is filled in language by language. Raises `KeyError` for an unknown key.
    """
    section, _, name = key.partition(".")
    entry = section_texts(section)[name]
    return {lang: entry[lang].format(**{k: pick(v, lang) for k, v in values.items()}) for lang in LANGUAGES}


def say(key: str, lang: str, **values: object) -> str:
    """The text `key` in one language."""
    return text(key, **values)[lang]


def pick(value: object, lang: str) -> object:
    """`value` in one language, where it is a `Text`; any other value as it is."""
    return value[lang] if isinstance(value, dict) and set(value) == set(LANGUAGES) else value


def choose_language(asked: str | None) -> str:
    """`--lang` if given, else the locale's language where it is Chinese, else English."""
    if asked:
        return asked
    named = next((os.environ[v] for v in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(v)), "")
    return "zh" if (named or locale.getlocale()[0] or "").lower().startswith(("zh", "chinese")) else "en"
