"""BLEU and chrF as sacrebleu reports them, classes one by one, squared errors, and which metric decides."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from executors.base import Input, Prediction, Row, Score, to_dict, write_json
from executors.metrics import HIGHER_IS_BETTER, class_scores, deciding_metric, score
from executors.metrics.overlap import overlap, tokenizer_for
from executors.run import read_result
from tests.samples import RESULT

TARGETS = [
    ("The Plough is a cheap pub near the river.", "Near the river there is a cheap pub, The Plough."),
    ("Blue Spice serves Chinese food in the city centre.",),
    ("You can bring your children to The Mill.", "The Mill is child friendly.", "The Mill welcomes families."),
    ("The Vaults has a low customer rating.",),
]
ANSWERS = [
    "The Plough is a cheap pub in the city centre.",
    "Blue Spice serves Chinese food.",
    "The Mill is a child friendly place.",
    "A highly rated restaurant.",
]


def rows(targets: list[tuple[str, ...]]) -> list[Row]:
    return [Row(str(n), Input("x"), found) for n, found in enumerate(targets)]


def answers(texts: list[str]) -> list[Prediction]:
    return [Prediction(text) for text in texts]


def test_bleu_and_chrf_are_sacrebleus_with_as_many_references_as_each_row_has() -> None:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    streams = [[t[n] if n < len(t) else None for t in TARGETS] for n in range(3)]
    found = overlap(rows(TARGETS), answers(ANSWERS))
    assert found["bleu"].value == pytest.approx(BLEU().corpus_score(ANSWERS, streams).score / 100)  # type: ignore[arg-type]
    assert found["chrf"].value == pytest.approx(CHRF().corpus_score(ANSWERS, streams).score / 100)  # type: ignore[arg-type]
    assert 0 < found["bleu"].low < found["bleu"].value < found["bleu"].high < 1


def test_bleu_by_hand() -> None:
    # one row, "a b c d e" for "a b c d f": precisions 4/5, 3/4, 2/3, 1/2, no brevity penalty
    found = overlap(rows([("a b c d f",)]), answers(["a b c d e"]))["bleu"]
    assert found.value == pytest.approx((4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    assert found.low < found.value < found.high  # one row has no spread, and no certainty either


def test_the_interval_of_bleu_is_that_of_resampled_rows() -> None:
    from sacrebleu.metrics.bleu import BLEU

    rng = np.random.default_rng(3)
    words = ["the", "river", "pub", "is", "cheap", "and", "near", "a", "city", "centre", "with", "food", "for"]
    targets = [" ".join(rng.choice(words, 12)) for _ in range(60)]
    given = [" ".join(w if rng.random() < 0.8 else "x" for w in t.split()) for t in targets]
    found = overlap(rows([(t,) for t in targets]), answers(given))["bleu"]
    draws = [rng.integers(0, 60, 60) for _ in range(300)]
    scores = [BLEU().corpus_score([given[i] for i in d], [[targets[i] for i in d]]).score / 100 for d in draws]
    low, high = np.percentile(scores, (2.5, 97.5))
    assert found.low == pytest.approx(low, abs=0.015)
    assert found.high == pytest.approx(high, abs=0.015)


def test_chinese_is_compared_by_characters() -> None:
    wanted, given = "这家餐厅在市中心，价格便宜。", "这家餐厅在河边，价格便宜。"
    assert tokenizer_for([wanted]) == "zh"
    assert tokenizer_for(["The pub 便宜 is near the river, and it is cheap."]) == "13a"
    assert tokenizer_for(["このレストランは安いです"]) == "char"
    assert overlap(rows([(wanted,)]), answers([given]))["bleu"].value > 0.5  # as words there would be no hit of four


def test_which_metric_decides() -> None:
    single, several = rows([("a",)]), rows([("a",), ("b", "c")])
    assert deciding_metric("translation", single) == "chrf"
    assert (deciding_metric("generation", single), deciding_metric("generation", several)) == ("f1", "bleu")
    assert deciding_metric("generation", rows([("a", "a")])) == "f1"
    assert deciding_metric("summarisation", several) == "f1"
    others = {"classification": "accuracy", "regression": "mae", "reasoning": "exact_match", "extraction": "f1"}
    assert {task: deciding_metric(task, single) for task in others} == others
    for task in ("translation", "generation", "dialogue"):
        main, scores = score(task, rows(TARGETS), answers(ANSWERS))
        assert {main, "f1", "bleu", "chrf"} <= set(scores) <= set(HIGHER_IS_BETTER)
    assert "bleu" not in score("question_answering", rows(TARGETS), answers(ANSWERS))[1]


def test_precision_and_recall_by_hand_and_by_class() -> None:
    pairs = [("a", "a"), ("a", "a"), ("a", "b"), ("b", "b"), ("b", "a"), ("c", "other")]
    given, said = rows([(target,) for target, _ in pairs]), answers([text for _, text in pairs])
    scores = score("classification", given, said)[1]
    # a: 2 of 3 rows and 2 of 3 answers; b: 1 of 2 and 1 of 2; c: 0 of 1, never answered
    assert scores["macro_precision"].value == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert scores["macro_recall"].value == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    found = class_scores(given, said)
    assert list(found) == ["a", "b", "c"]
    assert to_dict(found["a"]) == {"rows": 3, "answered": 3, "precision": 0.666667, "recall": 0.666667, "f1": 0.666667}
    assert to_dict(found["c"]) == {"rows": 1, "answered": 0, "precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_precision_and_recall_agree_with_scikit_learn() -> None:
    from sklearn.metrics import precision_recall_fscore_support

    rng = np.random.default_rng(5)
    targets = rng.integers(0, 4, 90)
    said = np.where(rng.random(90) < 0.6, targets, rng.integers(0, 4, 90))
    scores = score("classification", rows([(str(t),) for t in targets]), answers([str(a) for a in said]))[1]
    precision, recall, f1, _ = precision_recall_fscore_support(targets, said, average="macro")
    assert scores["macro_precision"].value == pytest.approx(precision)
    assert scores["macro_recall"].value == pytest.approx(recall)
    assert scores["macro_f1"].value == pytest.approx(f1)
    assert scores["macro_recall"].low < recall < scores["macro_recall"].high


def test_squared_error_by_hand() -> None:
    scores = score("regression", rows([("1",), ("2",), ("3",)]), answers(["1.5", "2", "1"]))[1]
    assert scores["mse"].value == pytest.approx((0.25 + 0 + 4) / 3)
    assert not HIGHER_IS_BETTER["mse"]


def test_conversations_are_scored_apart_from_single_questions() -> None:
    turns = (("user", "hello"), ("assistant", "hi"), ("user", "and now?"))
    given = [Row("1", Input("q"), ("right",)), Row("2", Input("q", turns=turns), ("right",))]
    scores = score("dialogue", given, answers(["right", "wrong"]))[1]
    assert (scores["f1_single_turn"].value, scores["f1_multi_turn"].value) == (1, 0)
    assert (scores["f1_single_turn"].n, scores["f1_multi_turn"].n) == (1, 1)
    alone = score("dialogue", given[1:], answers(["right"]))[1]
    assert "f1_multi_turn" not in alone  # nothing to tell it from


def test_classes_are_in_the_record_of_a_run_and_come_back(tmp_path: Path) -> None:
    given, said = rows([("a",), ("b",)]), answers(["a", "a"])
    result = type(RESULT)(executor="probe", task="classification", status="done", classes=class_scores(given, said))
    write_json(tmp_path / "result.json", result)
    assert read_result(tmp_path) == result


def test_five_thousand_rows_of_ten_targets_are_scored_in_seconds() -> None:
    text = "The Plough is a cheap pub near the river"
    targets = [tuple(f"{text} number {n} of {m}" for m in range(10)) for n in range(500)]
    begin = time.perf_counter()
    found = overlap(rows(targets), answers([f"{text} {n}" for n in range(500)]))
    assert time.perf_counter() - begin < 6
    assert isinstance(found["chrf"], Score)


def test_perplexity_by_hand() -> None:
    from executors.metrics import perplexity

    # 1 nat over 2 tokens and 5 nats over 4: 6 nats a 6 tokens
    found = perplexity([(1.0, 2), (5.0, 4)])
    assert found.value == pytest.approx(np.e)
    assert found.low == pytest.approx(np.exp(0.5))
    assert found.high == pytest.approx(np.exp(1.25))
    assert perplexity([(1e9, 1)]).value < 1e30  # finite, whatever a broken model says
