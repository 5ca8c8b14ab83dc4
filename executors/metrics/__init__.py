"""The one scorer: every method's predictions on the same held-out rows, each figure with its 95 % interval.

Classification: accuracy decides; macro F1, precision and recall over the classes of the held-out rows, and each class
by itself (`class_scores`). Regression: mean absolute error decides; mean squared error, R². Text: token F1 decides, or
exact match where nearly right is wrong; contains. Translation is decided by chrF, which needs no tokenizer and agrees
better with people's judgement than BLEU does (Kocmi et al., 2021); generation by BLEU where rows bring several targets,
for which it was made; both are told of every text that is longer than an answer (`OVERLAP_TASKS`). Perplexity of the
right answers is added by whoever knows a model (`executors.run`). Retrieval, where a
method returns passages: see `executors.retriever.evaluation`.

Not covered: what only a judge can say (fluency, faithfulness), multi-label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from executors.base import Prediction, Problem, Row, Score, UserError, did_you_mean
from executors.metrics.classes import MACRO, class_scores, classification
from executors.metrics.intervals import bootstrap, mean_score, wilson
from executors.metrics.numeric import read_number, regression
from executors.metrics.overlap import overlap
from executors.metrics.perplexity import perplexity
from executors.metrics.texts import CHARACTERWISE, code_tokens, same_final, text_scores, token_f1, tokens

__all__ = [
    "CHARACTERWISE",
    "EXACT_TASKS",
    "HIGHER_IS_BETTER",
    "OVERLAP_TASKS",
    "bootstrap",
    "check_metric",
    "class_scores",
    "code_tokens",
    "deciding_metric",
    "mean_score",
    "metrics_of",
    "perplexity",
    "read_number",
    "same_final",
    "score",
    "token_f1",
    "tokens",
    "wilson",
]

HIGHER_IS_BETTER: Mapping[str, bool] = {
    "accuracy": True, "macro_f1": True, "macro_precision": True, "macro_recall": True, "mae": False, "mse": False,
    "r2": True, "unparsed": False, "f1": True, "exact_match": True, "contains": True, "bleu": True, "chrf": True,
    "f1_single_turn": True, "f1_multi_turn": True, "perplexity": False, "hit@1": True, "hit@5": True, "recall@5": True,
    "mrr": True, "ndcg@10": True, "citation_precision": True, "support": True, "abstained": False, "answered_f1": True,
}  # fmt: skip
EXACT_TASKS = frozenset({"structured_output", "reasoning"})  # nearly right is wrong: exact match decides
OVERLAP_TASKS = frozenset({"translation", "generation", "summarisation", "dialogue"})  # answers of whole sentences


def deciding_metric(task: str, rows: Sequence[Row]) -> str:
    """The name of the metric that decides a task on these rows."""
    if task == "generation":
        return "bleu" if any(len(set(row.targets)) > 1 for row in rows) else "f1"
    named = {"classification": "accuracy", "regression": "mae", "translation": "chrf"}
    return named.get(task, "exact_match" if task in EXACT_TASKS else "f1")


def metrics_of(task: str) -> tuple[str, ...]:
    """The metrics that can decide a task: those that answers alone give, a row at a time (`compare.row_values`)."""
    if task == "classification":
        return ("accuracy", *MACRO)
    if task == "regression":
        return ("mae", "mse", "r2")
    return ("f1", "exact_match", "contains", *(("bleu", "chrf") if task in OVERLAP_TASKS else ()))


def check_metric(task: str, name: str) -> None:
    """Raise `UserError`, with the metrics that fit, where `name` cannot decide the task."""
    fit = metrics_of(task)
    if name in fit:
        return
    listed = ", ".join(fit)
    meant, meant_zh = did_you_mean(name, fit), did_you_mean(name, fit, "zh")
    zh = Problem(f"--metric：“{name}”不适用于任务 {task}{meant_zh}", f"可用：{listed}")
    raise UserError(f"--metric: '{name}' does not fit the task {task}{meant}", f"these do: {listed}", zh)


def score(task: str, rows: Sequence[Row], predictions: Sequence[Prediction]) -> tuple[str, dict[str, Score]]:
    """(name of the metric that decides, every metric). `predictions` are in the order of `rows`, one each."""
    if not rows or len(rows) != len(predictions):
        raise ValueError(f"{len(predictions)} predictions for {len(rows)} rows")
    if task == "classification":
        scores = classification(rows, predictions)
    elif task == "regression":
        scores = regression(rows, predictions)
    else:
        scores = text_scores(task, rows, predictions)
        scores |= overlap(rows, predictions) if task in OVERLAP_TASKS else {}
    return deciding_metric(task, rows), {**scores, **_retrieval(task, rows, predictions)}


def _retrieval(task: str, rows: Sequence[Row], predictions: Sequence[Prediction]) -> dict[str, Score]:
    """How well passages were found and cited; nothing where no answer brings any. See `retriever.evaluation`."""
    if not any(p.passages or p.abstained for p in predictions):
        return {}
    from executors.retriever.evaluation import evaluate  # it counts by what stands here

    scores = evaluate(task, rows, predictions)
    answered = [(row, p) for row, p in zip(rows, predictions, strict=True) if not p.abstained]
    if 0 < len(answered) < len(rows):
        scores["answered_f1"] = text_scores(task, [row for row, _ in answered], [p for _, p in answered])["f1"]
    return scores
