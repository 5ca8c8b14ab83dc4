"""The one scorer: every method's predictions on the same held-out rows, each figure with its 95 % interval.

Classification: accuracy, macro-F1 over the classes of the held-out rows. Regression: mean absolute error, R².
Text: token F1, exact match, contains, each against the best of a row's targets, normalised as SQuAD's scorer does
(Rajpurkar et al., 2016), Chinese by characters as CMRC's does (Cui et al., 2019); token F1 of the answered questions
alone where some were abstained from. Retrieval, where a method returns passages: see `executors.retriever.evaluation`.

Intervals: Wilson's for shares of rows; else the percentiles of 1,000 bootstrap resamples of the rows (Efron, 1979),
the same resamples in every call. Not covered: what only a judge can say (fluency, faithfulness), multi-label.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from executors.base import Prediction, Row, Score
from executors.data.numbers import find_numbers, parse_number
from executors.data.values import parse_json, same_value
from executors.finals import find_final, first_line

HIGHER_IS_BETTER: Mapping[str, bool] = {
    "accuracy": True, "macro_f1": True, "mae": False, "r2": True, "unparsed": False, "f1": True, "exact_match": True,
    "contains": True, "hit@1": True, "hit@5": True, "recall@5": True, "mrr": True, "ndcg@10": True,
    "citation_precision": True, "support": True, "abstained": False, "answered_f1": True,
}  # fmt: skip
EXACT_TASKS = frozenset({"structured_output", "reasoning"})  # nearly right is wrong: exact match decides
RESAMPLES = 1000
Z = 1.959963984540054  # the normal distribution's 97.5 % point
BLOCK = 2_000_000  # row draws held in memory at once

Floats = NDArray[np.float64]


def score(task: str, rows: Sequence[Row], predictions: Sequence[Prediction]) -> tuple[str, dict[str, Score]]:
    """(name of the metric that decides, every metric). `predictions` are in the order of `rows`, one each."""
    if not rows or len(rows) != len(predictions):
        raise ValueError(f"{len(predictions)} predictions for {len(rows)} rows")
    if task == "classification":
        main, scores = "accuracy", _classification(rows, predictions)
    elif task == "regression":
        main, scores = "mae", _regression(rows, predictions)
    else:
        main, scores = ("exact_match" if task in EXACT_TASKS else "f1"), _text(task, rows, predictions)
    return main, {**scores, **_retrieval(task, rows, predictions)}


# -- intervals -----------------------------------------------------------------------------------------


def wilson(successes: float, n: int) -> Score:
    """A share with Wilson's 95 % interval (1927), which stays sensible at 0, 1 and few rows."""
    p = successes / n
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return Score(p, min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half)), n)


def bootstrap(values: Floats, statistic: Callable[[Floats], Floats]) -> tuple[float, float]:
    """The 95 % interval of a statistic of rows. `values` is [n, ...]; `statistic` maps [b, n, ...] to [b]."""
    rng = np.random.default_rng(0)
    n = len(values)
    block = max(1, BLOCK // values.size)
    found = [
        statistic(values[rng.integers(0, n, (min(block, RESAMPLES - start), n))])
        for start in range(0, RESAMPLES, block)
    ]
    low, high = np.percentile(np.concatenate(found), (2.5, 97.5))
    return float(low), float(high)


def mean_score(values: Floats) -> Score:
    """The mean of values between 0 and 1, [n], with its interval.

    Equal values have no spread to resample: then Wilson's interval, which is wide enough for any values of this mean.
    """
    if np.ptp(values) == 0:
        return wilson(float(values.sum()), len(values))
    low, high = bootstrap(values, lambda sample: sample.mean(axis=1))
    return Score(float(values.mean()), low, high, len(values))


# -- classes -------------------------------------------------------------------------------------------


def _classification(rows: Sequence[Row], predictions: Sequence[Prediction]) -> dict[str, Score]:
    pairs = [(row.target, p.text.strip()) for row, p in zip(rows, predictions, strict=True)]
    right = sum(target == text for target, text in pairs)
    return {"accuracy": wilson(right, len(rows)), "macro_f1": _macro_f1(pairs)}


def _macro_f1(pairs: Sequence[tuple[str, str]]) -> Score:
    """The mean F1 of the classes that the rows have; resampled through the counts of (target, answer) pairs."""
    counts = Counter(pairs)
    classes = {label: n for n, label in enumerate(sorted({target for target, _ in pairs}))}
    cells = np.zeros((3, len(counts), len(classes)))  # what a pair adds to: hits, rows of a class, answers of a class
    for n, (target, text) in enumerate(counts):
        cells[0, n, classes[target]] = target == text
        cells[1, n, classes[target]] = 1
        if text in classes:
            cells[2, n, classes[text]] = 1
    observed = np.array([list(counts.values())], dtype=float)
    value = float(_mean_f1(observed, cells)[0])
    if len(counts) == 1:  # nothing to resample, see `mean_score`
        bounds = wilson(value * len(pairs), len(pairs))
        return Score(value, bounds.low, bounds.high, len(pairs))
    draws = np.random.default_rng(0).multinomial(len(pairs), observed[0] / len(pairs), RESAMPLES)
    low, high = np.percentile(_mean_f1(draws.astype(float), cells), (2.5, 97.5))
    return Score(value, float(low), float(high), len(pairs))


def _mean_f1(counts: Floats, cells: Floats) -> Floats:
    """Macro-F1 [b] of counts of pairs [b, k]; classes without rows in a resample are not part of its mean."""
    hits, rows, answers = (counts @ cell for cell in cells)  # each [b, classes]
    present = rows > 0
    f1 = 2 * hits / np.maximum(rows + answers, 1)
    means: Floats = (f1 * present).sum(axis=1) / present.sum(axis=1)
    return means


# -- numbers -------------------------------------------------------------------------------------------


def _regression(rows: Sequence[Row], predictions: Sequence[Prediction]) -> dict[str, Score]:
    targets = np.array([float(row.target) for row in rows])
    read = [read_number(p.text) for p in predictions]
    answers = np.array([_worst(t, targets) if r is None else r for t, r in zip(targets, read, strict=True)])
    values = np.stack([targets, answers], axis=1)  # [n, 2]
    scores = {}
    for name, statistic in (("mae", _mean_error), ("r2", _r2)):
        low, high = bootstrap(values, statistic)
        scores[name] = Score(float(statistic(values[None])[0]), low, high, len(rows))
    unread = sum(r is None for r in read)
    return {**scores, "unparsed": wilson(unread, len(rows))} if unread else scores


def read_number(text: str) -> float | None:
    """The number an answer is, or the only one in it; None where it has none or several."""
    value = parse_number(text)
    found = find_numbers(text) if value is None else [value]
    return found[0] if len(found) == 1 else None


def _worst(target: float, targets: Floats) -> float:
    """What an answer without a number counts as: the end of the targets' range that is farther away."""
    low, high = float(targets.min()), float(targets.max())
    if low == high:
        return target + max(1.0, abs(target))
    return high if high - target > target - low else low


def _mean_error(values: Floats) -> Floats:
    errors: Floats = np.abs(values[..., 0] - values[..., 1]).mean(axis=1)
    return errors


def _r2(values: Floats) -> Floats:
    """1 − squared error / squared deviation from the mean; of equal targets 1 where all are right, else 0."""
    targets = values[..., 0]
    error = ((targets - values[..., 1]) ** 2).sum(axis=1)
    spread = ((targets - targets.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    flat = np.ptp(targets, axis=1) == 0  # rounding can leave a spread above 0
    found: Floats = np.where(flat, (error == 0).astype(float), 1 - error / np.where(flat, 1, spread))
    return found


# -- texts ---------------------------------------------------------------------------------------------

ARTICLES = frozenset({"a", "an", "the"})
CHARACTERWISE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")  # no spaces between words


def _text(task: str, rows: Sequence[Row], predictions: Sequence[Prediction]) -> dict[str, Score]:
    cut = code_tokens if task == "structured_output" else tokens
    figures = np.array([_compare(task, row.targets, p.text, cut) for row, p in zip(rows, predictions, strict=True)])
    n = len(rows)
    return {
        "f1": mean_score(figures[:, 0]),
        "exact_match": wilson(float(figures[:, 1].sum()), n),
        "contains": wilson(float(figures[:, 2].sum()), n),
    }


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


# -- what answers rest on --------------------------------------------------------------------------------


def _retrieval(task: str, rows: Sequence[Row], predictions: Sequence[Prediction]) -> dict[str, Score]:
    """How well passages were found and cited; nothing where no answer brings any. See `retriever.evaluation`."""
    if not any(p.passages or p.abstained for p in predictions):
        return {}
    from executors.retriever.evaluation import evaluate  # it counts by what stands here

    scores = evaluate(task, rows, predictions)
    answered = [(row, p) for row, p in zip(rows, predictions, strict=True) if not p.abstained]
    if 0 < len(answered) < len(rows):
        scores["answered_f1"] = _text(task, [row for row, _ in answered], [p for _, p in answered])["f1"]
    return scores
