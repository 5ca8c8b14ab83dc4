"""Which language texts are in and about how many tokens they have, without a tokenizer.

Covered: Chinese, Japanese and Korean by their script, English and five neighbours by their commonest words. Not
covered: telling other languages of one script apart; these count as ``latin`` or ``other``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

CHARS_A_TOKEN = 4.0  # of English, as usual tokenizers cut it
HAN_A_TOKEN = 1.6  # Chinese characters a token of tokenizers trained on Chinese; one trained on English needs more
SAMPLE = 2000  # texts that languages are told from
SAMPLE_CHARS = 2000  # of each

HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3000-\u303f\uff00-\uffef]")
KANA = re.compile(r"[\u3040-\u30ff]")
HANGUL = re.compile(r"[\uac00-\ud7af]")
LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")
WORD = re.compile(r"[a-z\u00e0-\u024f]+")
COMMON = {  # words that few other languages share
    "en": {"the", "and", "is", "of", "to", "my", "you", "what", "how", "with", "this", "that", "was", "it", "not"},
    "de": {"der", "die", "und", "ist", "das", "nicht", "ich", "mit", "wie", "ein", "eine", "auf", "für", "den"},
    "fr": {"le", "les", "est", "et", "une", "dans", "je", "pas", "pour", "des", "vous", "sur", "du", "mon"},
    "es": {"el", "los", "es", "y", "una", "en", "que", "mi", "por", "para", "del", "las", "cómo", "qué"},
    "it": {"il", "di", "che", "è", "una", "per", "non", "sono", "gli", "della", "mio", "come", "del"},
    "pt": {"o", "os", "é", "uma", "não", "para", "meu", "com", "como", "em", "da", "do", "que"},
}


def languages_of(texts: Iterable[str]) -> dict[str, float]:
    """The share of each language among the texts (by text), largest first; empty where no text has letters."""
    counts: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for _, sample in zip(range(SAMPLE), texts, strict=False):
        script = script_of(sample[:SAMPLE_CHARS])
        if script:
            counts[script] += 1
        if script == "latin":
            words.update(WORD.findall(sample[:SAMPLE_CHARS].lower()))
    if "latin" in counts:  # short texts tell little alone: all of them together are one language
        named = _by_words(words)
        counts[named] += counts.pop("latin")
    total = sum(counts.values())
    return {name: count / total for name, count in counts.most_common()}


def script_of(text: str) -> str:
    """``zh``, ``ja``, ``ko``, ``latin``, ``other``, or an empty string for a text without letters."""
    han, kana, hangul, latin = (len(p.findall(text)) for p in (HAN, KANA, HANGUL, LATIN))
    others = sum(1 for c in text if c.isalpha()) - latin - kana - hangul - len(re.findall(r"[\u4e00-\u9fff]", text))
    most = max(han, kana, hangul, latin, others)
    if most <= 0:
        return ""
    if kana > 0.1 * (han + kana):
        return "ja"
    if hangul > 0.3 * (latin + hangul):
        return "ko"
    if 2 * han > latin:  # a Chinese character says about as much as two or more letters
        return "zh"
    return "latin" if latin >= others else "other"


def _by_words(words: Counter[str]) -> str:
    hits = {name: sum(words[w] for w in common) for name, common in COMMON.items()}
    best = max(hits, key=lambda name: hits[name])
    return best if hits[best] else "latin"


def count_tokens(text: str) -> float:
    """An estimate of a text's tokens: Chinese characters and all others each at their own rate."""
    han = len(HAN.findall(text)) + len(KANA.findall(text)) + len(HANGUL.findall(text))
    return han / HAN_A_TOKEN + (len(text) - han) / CHARS_A_TOKEN
