"""Free text: token F1, exact match and contains, each against the best of a row's targets.

Normalised as SQuAD's scorer does (Rajpurkar et al., 2016), Chinese by characters as CMRC's does (Cui et al., 2019).
Where some rows bring the turns of a conversation and some do not, F1 is told of each kind apart.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from executors.base import Prediction, Row, Score
from executors.data.numbers import find_numbers
from executors.data.values import parse_json, same_value
from executors.finals import find_final, first_line
from executors.metrics.intervals import Floats, mean_score, wilson
from executors.metrics.numeric import read_number

ARTICLES = frozenset({"a", "an", "the"})
CHARACTERWISE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")  # no spaces between words


def text_scores(task: str, rows: Sequence[Row], predictions: Sequence[Prediction]) -> dict[str, Score]:
    """Token F1, exact match and contains; F1 of conversations and of single questions apart, where both are there."""
    figures, n = text_figures(task, rows, predictions), len(rows)
    scores = {
        "f1": mean_score(figures[:, 0]),
        "exact_match": wilson(float(figures[:, 1].sum()), n),
        "contains": wilson(float(figures[:, 2].sum()), n),
    }
    several = np.array([row.input.is_multi_turn for row in rows])
    if several.any() and not several.all():
        scores["f1_single_turn"] = mean_score(figures[~several, 0])
        scores["f1_multi_turn"] = mean_score(figures[several, 0])
    return scores


def text_figures(task: str, rows: Sequence[Row], predictions: Sequence[Prediction]) -> Floats:
    """F1, exact match and contains of each row, [n, 3]."""
    cut = code_tokens if task == "structured_output" else tokens
    return np.array([_compare(task, row.targets, p.text, cut) for row, p in zip(rows, predictions, strict=True)])


def _compare(
    task: str, targets: Sequence[str], answer: str, cut: Callable[[str], list[str]]
) -> tuple[float, float, float]:
    """(F1, exact match, contains) of an answer, each against the target that suits it best.

    Of reasoning it is the final answers that are compared: one right way to them is as good as another.
    """
    final = find_final(answer) if task == "reasoning" else None
    given = cut(answer)
    wanted = [cut((find_final(target) if task == "reasoning" else None) or target) for target in targets]
    f1 = max(token_f1(w, cut(first_line(final)) if final else given) for w in wanted)
    if task == "reasoning":
        exact = any(same_final(target, answer) for target in targets)
    elif task == "structured_output":
        exact = given in wanted or any(_same_json(target, answer) for target in targets)
    else:
        exact = given in wanted
    return f1, float(exact), float(any(_holds(given, w) for w in wanted))


def tokens(text: str) -> list[str]:
    """The words of a text without case, articles and punctuation; characters where a script sets no spaces.

    As SQuAD's scorer, but a decimal point stays, as 6.5 is not 65. A text of nothing but articles and punctuation
    is kept as it is, so that it can be right.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(_keep(plain, n) for n in range(len(plain)))
    words = [word for word in CHARACTERWISE.sub(r" \g<0> ", kept).split() if word not in ARTICLES]
    return words or plain.split()


def _keep(text: str, n: int) -> str:
    """The character at `n`, unless it is punctuation or a sign; a decimal point stays."""
    ch = text[n]
    if ch.isalnum() or ch.isspace():
        return ch
    if ch == "." and n and text[n - 1].isdigit() and text[n + 1 : n + 2].isdigit():
        return ch
    return "" if unicodedata.category(ch)[0] in "PS" else ch


def code_tokens(text: str) -> list[str]:
    """Words and marks as they are: in code and formats, case and punctuation mean something."""
    return re.findall(r"\w+|[^\w\s]", text)


def token_f1(wanted: Sequence[str], given: Sequence[str]) -> float:
    """The harmonic mean of precision and recall of `given`'s tokens, counted with repetition."""
    if not wanted or not given:
        return float(list(wanted) == list(given))
    common = (Counter(wanted) & Counter(given)).total()
    return 2 * common / (len(wanted) + len(given))


def _holds(given: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether the tokens `wanted` stand in `given`, side by side."""
    size = len(wanted)
    return size > 0 and any(list(given[n : n + size]) == list(wanted) for n in range(len(given) - size + 1))


def same_final(target: str, answer: str) -> bool:
    """Whether two chains of reasoning end in the same answer: the one they mark, see `executors.finals`.

    Without a mark it is all of a target, and of an answer the last number, where a number is wanted.
    """
    wanted, given = find_final(target) or target, find_final(answer)
    number = read_number(wanted)
    if number is None:
        return tokens(wanted) in [tokens(text) for text in (given or answer, first_line(given or answer))]
    found = _result(first_line(given or "")) or find_numbers(given or "")[:1] or find_numbers(answer)[-1:]
    return bool(found) and math.isclose(found[0], number, rel_tol=1e-9)


def _result(line: str) -> list[float]:
    """The number a line comes to, if any: of an equation the side that is a single number, else the first."""
    sides = [find_numbers(side) for side in reversed(line.split("="))]
    return next((side for side in sides if len(side) == 1), sides[0][:1])


def _same_json(target: str, answer: str) -> bool:
    try:
        return same_value(parse_json(target), parse_json(answer))
    except ValueError:
        return False
