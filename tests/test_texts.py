"""Every text exists in both languages, with the same placeholders, and every key that code names exists."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest
import yaml

from advisor.facts import load_vocabulary
from advisor.texts import KNOWLEDGE, LANGUAGES, choose_language, pick, say, section_texts, text
from executors import EXECUTORS
from executors.metrics import HIGHER_IS_BETTER
from tests.conftest import ROOT

LITERAL = re.compile(r"""\b(?:say|text)\(\s*"([a-z_]+)\.([^"{]+)\"""")
FORMATTED = re.compile(r"""\b(?:say|text)\(\s*f"([a-z_]+)\.([^"]+)\"""")
SECTIONS = sorted(path.stem for path in (KNOWLEDGE / "texts").glob("*.yaml"))
HAN = re.compile(r"[\u4e00-\u9fff]")


def entries() -> list[tuple[str, dict[str, str]]]:
    return [(f"{section}.{name}", entry) for section in SECTIONS for name, entry in section_texts(section).items()]


def sources() -> list[tuple[Path, str]]:
    files = [*(ROOT / "advisor").rglob("*.py"), *(ROOT / "executors").rglob("*.py")]
    return [(path, path.read_text(encoding="utf-8")) for path in files]


def placeholders(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


def test_every_text_is_in_both_languages_with_the_same_placeholders() -> None:
    wrong = [
        key
        for key, entry in entries()
        if set(entry) != set(LANGUAGES)
        or not all(isinstance(words, str) and words for words in entry.values())
        or placeholders(entry["en"]) != placeholders(entry["zh"])
    ]
    assert wrong == []


def test_no_key_is_there_twice() -> None:
    for section in SECTIONS:
        node = yaml.compose((KNOWLEDGE / "texts" / f"{section}.yaml").read_text(encoding="utf-8"))
        keys = [key.value for key, _ in node.value]
        assert sorted(keys) == sorted(set(keys)), section


def test_chinese_is_chinese() -> None:
    bare = {key: re.sub(r"\{.*?\}", "", entry["zh"]) for key, entry in entries()}
    assert [key for key, words in bare.items() if not HAN.search(words) and re.search("[a-z]{3}", words)] == []
    assert [key for key, entry in entries() if HAN.search(entry["en"])] == []


def test_every_key_in_code_exists() -> None:
    known = {key for key, _ in entries()}
    named = {(path.name, f"{section}.{name}") for path, code in sources() for section, name in LITERAL.findall(code)}
    assert len(named) > 50
    assert sorted((file, key) for file, key in named if key not in known) == []


def test_every_key_that_code_puts_together_can_exist() -> None:
    known = [key for key, _ in entries()]
    for path, code in sources():
        for section, name in FORMATTED.findall(code):
            pattern = re.escape(f"{section}.") + re.sub(r"\\\{.*?\\\}", ".+", re.escape(name))
            assert any(re.fullmatch(pattern, key) for key in known), (path.name, section, name)


@pytest.mark.parametrize("fact", load_vocabulary())
def test_every_fact_has_a_name(fact: str) -> None:
    assert fact in section_texts("fact")


@pytest.mark.parametrize("metric", HIGHER_IS_BETTER)
def test_every_metric_has_a_name(metric: str) -> None:
    assert f"metric.{metric}" in section_texts("word")


def test_every_stage_that_is_reported_has_a_label() -> None:
    stages = {stage for _, code in sources() for stage in re.findall(r'\bEvent\(\s*"([a-z_]+)"', code)}
    assert stages
    assert stages <= set(section_texts("stage"))


def test_a_text_within_a_text_is_filled_in_language_by_language() -> None:
    inner = {"en": "the budget", "zh": "预算"}
    assert text("screen.find_out", fact=inner) == {"en": "Find out first: the budget", "zh": "最应先弄清：预算"}
    assert pick(inner, "zh") == "预算"
    assert pick({"other": 1}, "zh") == {"other": 1}


def test_an_unknown_key_is_a_bug_and_says_so() -> None:
    with pytest.raises(KeyError):
        say("screen.nothing_of_the_kind", "en")


@pytest.mark.parametrize(
    ("asked", "environment", "language"),
    [
        ("en", {"LANG": "zh_CN.UTF-8"}, "en"),
        (None, {"LANG": "zh_CN.UTF-8"}, "zh"),
        (None, {"LANG": "en_GB.UTF-8"}, "en"),
        (None, {"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, "en"),
    ],
)
def test_the_language_follows_the_flag_then_the_locale(
    asked: str | None, environment: dict[str, str], language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert choose_language(asked) == language


def test_executors_are_named_by_their_cards() -> None:
    from advisor.words import method_name

    assert all(method_name(method, lang) != method for method in EXECUTORS for lang in LANGUAGES)
