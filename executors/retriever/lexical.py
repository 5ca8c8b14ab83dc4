"""Words as the lexical index sees them: words for alphabets, characters and pairs of them for Chinese; and its search.

The default tokenisation of a full-text index takes a Chinese sentence for one word, and finds nothing. `WordSearch`
asks an FTS5 table named `words`, whose row ids are passages' ids. Interrogatives are left out of a question: "what" is
rare in documents, hence it would count for much, and says nothing about what is asked for. Very common words are left
out where a question would otherwise touch too many passages: the time of a question stays bounded. Not covered:
synonyms, spelling, languages other than English with words that are inflected.
"""

from __future__ import annotations

import json
import re
import sqlite3
import unicodedata
from collections.abc import Collection, Mapping
from functools import lru_cache
from itertools import accumulate

CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3040-\u30ff"
RUN = re.compile(rf"[{CJK}]+|[^\W_{CJK}]+")
IDEOGRAPH = re.compile(rf"[{CJK}]")
ASKING = frozenset(["what", "which", "who", "whom", "whose", "when", "where", "why", "how"])
ASKING_ZH = re.compile(
    "为什么|怎么样|什么|甚么|怎么|怎样|如何|哪个|哪些|哪里|哪儿|哪一|哪|谁|多少|几个|几|何时|何|是否|吗|呢|请问"
)
MOST_ROWS = 8_000  # (word, passage) pairs that a question may score: about 5 ms
SEARCHED = "SELECT rowid, -rank FROM words WHERE words MATCH ?"
KEPT_TO = " AND +rowid IN (SELECT value FROM json_each(?))"  # +: one pass over the matches, not one an id
COUNTS_KEPT = 100_000  # words whose number of passages is remembered


def terms(text: str) -> list[str]:
    """The terms of a text in order, lower case; full-width letters and digits are read as plain ones."""
    found: list[str] = []
    for run in RUN.findall(unicodedata.normalize("NFKC", text).lower()):
        if IDEOGRAPH.match(run):
            found += [*run, *(run[n : n + 2] for n in range(len(run) - 1))]
        else:
            found.append(run)
    return found


def asked_terms(question: str) -> list[str]:
    """The distinct terms of a question, without interrogatives where anything else is in it."""
    content = [term for term in terms(ASKING_ZH.sub(" ", question)) if term not in ASKING]
    return list(dict.fromkeys(content or terms(question)))


def rarest(counts: Mapping[str, int], most: int) -> list[str]:
    """The rarest words, as many as stand in `most` passages together, and one at least. `counts`: passages by word."""
    known = sorted((word for word, count in counts.items() if count), key=counts.__getitem__)
    rows = accumulate(map(counts.__getitem__, known))
    return [word for word, total in zip(known, rows, strict=True) if total <= most or word == known[0]]


class WordSearch:
    """BM25 over the FTS5 table `words` of an open database. A connection serves one thread at a time."""

    def __init__(self, database: sqlite3.Connection, most_rows: int = MOST_ROWS) -> None:
        self._database, self._most_rows = database, most_rows
        self._count = lru_cache(COUNTS_KEPT)(self._counted)

    def best(self, question: str, k: int, allowed: Collection[int] | None = None) -> list[tuple[int, float]]:
        """(passage id, BM25 > 0) of the `k` best, best first; none where no word of the question is known.

        `allowed`: ids to keep to. Words are counted when they are first asked for: the database must not change.
        """
        known = rarest({term: self._count(term) for term in asked_terms(question)}, self._most_rows)
        if not known:
            return []
        query, given = SEARCHED, [" OR ".join(map(_quoted, known))]
        if allowed is not None:
            query, given = query + KEPT_TO, [*given, json.dumps(sorted(allowed))]
        rows = self._database.execute(f"{query} ORDER BY rank LIMIT ?", [*given, k])
        return [(int(passage), float(score)) for passage, score in rows]

    def _counted(self, term: str) -> int:
        """Passages with the term; counting ends where it is certain that they are too many."""
        held = "SELECT count(*) FROM (SELECT 1 FROM words WHERE words MATCH ? LIMIT ?)"
        return int(self._database.execute(held, (_quoted(term), self._most_rows + 1)).fetchone()[0])


def _quoted(term: str) -> str:
    return f'"{term}"'


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
