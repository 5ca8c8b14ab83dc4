"""Words as the lexical index sees them: words for alphabets, characters and pairs of them for Chinese.

The default tokenisation of a full-text index takes a Chinese sentence for one word, and finds nothing.
"""

from __future__ import annotations

import re

CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3040-\u30ff"
RUN = re.compile(rf"[{CJK}]+|[^\W_{CJK}]+")
IDEOGRAPH = re.compile(rf"[{CJK}]")


def terms(text: str) -> list[str]:
    """The terms of a text in order, lower case."""
    found: list[str] = []
    for run in RUN.findall(text.lower()):
        if IDEOGRAPH.match(run):
            found += [*run, *(run[n : n + 2] for n in range(len(run) - 1))]
        else:
            found.append(run)
    return found


def chinese_share(text: str) -> float:
    """The share, 0 to 1, of a text's letters that are Chinese (or kana)."""
    letters = sum(ch.isalpha() for ch in text)
    return len(IDEOGRAPH.findall(text)) / letters if letters else 0.0


def count_words(text: str) -> int:
    """Words, and Chinese characters, of a text: its length where no tokenizer is at hand."""
    return sum(len(run) if IDEOGRAPH.match(run) else 1 for run in RUN.findall(text))


def overlap(question: str, text: str) -> float:
    """How much of the question's terms a text has, longer terms counting more; 0 to 1."""
    asked, there = set(terms(question)), set(terms(text))
    total = sum(map(len, asked))
    return sum(len(t) for t in asked & there) / total if total else 0.0
