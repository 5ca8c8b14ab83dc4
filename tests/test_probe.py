"""The probe: how its head is chosen, what it refuses, and what survives an interruption."""

from __future__ import annotations

import csv
import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from executors.base import DataSpec, Event, Input, Job, Plan, Reporter, Row, UserError, silent
from executors.models import Embedder, load_embedder
from executors.probe import Head, ProbeExecutor, ProbePredictor, assign_folds, embed_kept, fit_logistic

RED = [f"red rose {n}" for n in range(9)]
BLUE = [f"blue sky {n}" for n in range(9)]
GREEN = [f"green tree {n}" for n in range(9)]


class WordEmbedder(Embedder):
    """Sums a fixed random vector a word: like texts are near, and nothing is loaded."""

    def __init__(self, sha256: str = "a" * 64, dimension: int = 24, name: str = "words") -> None:
        self.name, self.sha256, self.dimension, self.window = name, sha256, dimension, 8
        self.calls: list[int] = []
        self.stop_after = 10**9

    def embed(self, texts: Sequence[str], report: Reporter = silent, role: str = "document") -> np.ndarray:
        if len(self.calls) >= self.stop_after:
            raise KeyboardInterrupt
        self.calls.append(len(texts))
        report(Event("embed", len(texts), len(texts)))
        summed = np.array([sum(self._word(word) for word in text.split()) for text in texts], np.float32)
        return summed / np.linalg.norm(summed, axis=1, keepdims=True)

    def _word(self, word: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "little")
        return np.random.default_rng(seed).normal(size=self.dimension)

    def count(self, text: str) -> int:
        return len(text.split())


def rows_of(**texts: list[str]) -> tuple[Row, ...]:
    return tuple(Row(f"{label}{n}", Input(t), (label,)) for label, ts in texts.items() for n, t in enumerate(ts))


Build = Callable[..., ProbePredictor]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def call(
        rows: tuple[Row, ...],
        task: str = "classification",
        embedder: Embedder | None = None,
        report: Reporter = silent,
        **params: object,
    ) -> ProbePredictor:
        (tmp_path / "work").mkdir(exist_ok=True)
        labels = tuple(sorted({row.target for row in rows})) if task == "classification" else ()
        plan = Plan("probe", task, DataSpec("x.csv"), embedder="words", params=params)
        executor = ProbeExecutor(lambda name, _: embedder or WordEmbedder(name=name))
        return executor.build(Job(plan, rows, labels, tmp_path / "work", report))

    return call


def texts(predictor: ProbePredictor, *asked: str) -> list[str]:
    return [p.text for p in predictor.predict([Input(text) for text in asked])]


def test_classes_are_told_apart_with_probabilities_that_sum_to_one(build: Build) -> None:
    predictor = build(rows_of(warm=RED, cold=BLUE, fresh=GREEN))
    assert texts(predictor, "red rose 77", "blue sky 88", "green tree 99") == ["warm", "cold", "fresh"]
    [prediction] = predictor.predict([Input("red rose 5")])
    assert sum(prediction.scores.values()) == pytest.approx(1, abs=1e-5)
    assert prediction.score == max(prediction.scores.values()) == prediction.scores["warm"]


def test_two_classes_give_the_probabilities_of_the_logistic_function(build: Build) -> None:
    predictor = build(rows_of(warm=RED, cold=BLUE), c=10.0)
    assert texts(predictor, "red rose 3", "blue sky 4") == ["warm", "cold"]
    from sklearn.linear_model import LogisticRegression

    embedder = WordEmbedder()
    model = LogisticRegression(C=10.0, max_iter=2000).fit(embedder.embed([*RED, *BLUE]), ["warm"] * 9 + ["cold"] * 9)
    expected = dict(zip(model.classes_, model.predict_proba(embedder.embed(["blue rose"]))[0], strict=True))
    assert predictor.predict([Input("blue rose")])[0].scores == pytest.approx(expected, abs=1e-3)


def test_a_class_with_one_row_is_learnt_and_said(build: Build) -> None:
    predictor = build(rows_of(warm=RED, cold=BLUE, fresh=["green tree"]))
    assert texts(predictor, "green tree")[0] == "fresh"
    assert any("1 classes have a single training row (fresh)" in note["en"] for note in predictor.notes)
    assert predictor.about["by"] == "cross-validation"


def test_one_row_in_every_class_leaves_nothing_to_choose_by(build: Build) -> None:
    predictor = build(rows_of(warm=["red rose"], cold=["blue sky"]))
    assert predictor.about["by"].startswith("default")
    assert texts(predictor, "red rose", "blue sky") == ["warm", "cold"]


def test_folds_are_as_many_as_the_smallest_class_allows() -> None:
    classes = np.array([0] * 9 + [1] * 3 + [2])
    fold = assign_folds(classes, 5, seed=0)
    assert fold.max() == 2
    assert fold[-1] == -1
    assert sorted(fold[9:12]) == [0, 1, 2]  # the small class is in every fold
    assert np.bincount(fold[:9]).tolist() == [3, 3, 3]


def test_a_label_without_rows_is_never_chosen() -> None:
    vectors = WordEmbedder().embed([*RED, *BLUE])
    head, _ = fit_logistic(vectors, ["warm"] * 9 + ["cold"] * 9, ("absent", "cold", "warm"), None, 5, 0)
    predictor = ProbePredictor(WordEmbedder(), head, ("absent", "cold", "warm"))
    [prediction] = predictor.predict([Input("red rose 1")])
    assert prediction.scores["absent"] == 0
    assert prediction.text == "warm"


def test_a_number_is_fitted_and_kept_within_what_was_seen(build: Build) -> None:
    rows = tuple(Row(str(n), Input(f"{'very ' * (n % 4)}red"), (str(2 * (n % 4)),)) for n in range(24))
    predictor = build(rows, "regression")
    near = [float(t) for t in texts(predictor, "red", "very red", "very very very red")]
    assert near[0] == pytest.approx(0, abs=0.7)
    assert near[2] == pytest.approx(6, abs=0.7)
    high = ProbePredictor(WordEmbedder(), Head(np.zeros((1, 24), np.float32), np.array([99], np.float32)), (), (0, 6))
    assert texts(high, "red") == ["6"]


def test_a_target_that_is_no_number_is_named(build: Build) -> None:
    rows = (Row("1", Input("red"), ("2",)), Row("2", Input("blue"), ("urgent",)))
    with pytest.raises(UserError, match=r"1 of 2 targets .* 'urgent' \(row 2\)"):
        build(rows, "regression")


def test_what_is_saved_answers_the_same_without_pickle(build: Build, tmp_path: Path) -> None:
    predictor = build(rows_of(warm=RED, cold=BLUE, fresh=["green tree"]))
    (tmp_path / "a").mkdir()
    predictor.save(tmp_path / "a")
    assert {p.name for p in (tmp_path / "a").iterdir()} == {"head.npz", "probe.json"}
    again = ProbePredictor.load(tmp_path / "a", open_embedder=lambda name, _: WordEmbedder(name=name))
    asked = [Input(text) for text in ("red rose", "blue rose", "green sky")]
    assert again.predict(asked) == predictor.predict(asked)
    assert again.notes == predictor.notes


@pytest.mark.parametrize("other", [WordEmbedder(sha256="b" * 64), WordEmbedder(dimension=25)], ids=["weights", "size"])
def test_another_encoder_is_refused(build: Build, tmp_path: Path, other: Embedder) -> None:
    (tmp_path / "a").mkdir()
    build(rows_of(warm=RED, cold=BLUE)).save(tmp_path / "a")
    with pytest.raises(UserError, match="not the one this head was fitted on"):
        ProbePredictor.load(tmp_path / "a", open_embedder=lambda name, _: other)


def test_an_interrupted_build_does_not_embed_twice(tmp_path: Path) -> None:
    texts = [f"text {n}" for n in range(1300)]
    first = WordEmbedder()
    first.stop_after = 2
    with pytest.raises(KeyboardInterrupt):
        embed_kept(first, texts, tmp_path)
    assert first.calls == [512, 512]
    again = WordEmbedder()
    events: list[Event] = []
    vectors = embed_kept(again, texts, tmp_path, events.append)
    assert again.calls == [276]
    assert np.array_equal(vectors, WordEmbedder().embed(texts))
    assert (events[-1].done, events[-1].total) == (1300, 1300)


def test_embeddings_of_another_encoder_are_not_taken(tmp_path: Path) -> None:
    embed_kept(WordEmbedder(), ["red"], tmp_path)
    other = WordEmbedder(sha256="b" * 64)
    embed_kept(other, ["red"], tmp_path)
    assert other.calls == [1]


# -- pooling -------------------------------------------------------------------------------------------


class PoolingEmbedder(WordEmbedder):
    """Knows two poolings: the sum of its words' vectors, or the first word's alone."""

    pooling = "mean"

    def pooled(self, pooling: Any) -> Embedder:
        other = PoolingEmbedder()
        other.pooling = pooling
        return other

    def embed(self, texts: Sequence[str], report: Reporter = silent, role: str = "document") -> np.ndarray:
        return super().embed([text.split()[0] if self.pooling == "cls" else text for text in texts], report)


def test_the_pooling_asked_for_is_used_and_kept_with_the_head(build: Build, tmp_path: Path) -> None:
    rows = rows_of(warm=RED, cold=BLUE)
    own = build(rows, embedder=PoolingEmbedder())
    first = build(rows, embedder=PoolingEmbedder(), pooling="cls")
    assert (own.embedder.pooling, first.embedder.pooling) == ("mean", "cls")
    (tmp_path / "a").mkdir()
    first.save(tmp_path / "a")
    again = ProbePredictor.load(tmp_path / "a", open_embedder=lambda *_: PoolingEmbedder())
    asked = [Input("red sky sky"), Input("blue rose rose")]
    assert again.predict(asked) == first.predict(asked) != own.predict(asked)


def test_embeddings_of_another_pooling_are_not_taken(tmp_path: Path) -> None:
    embed_kept(PoolingEmbedder(), ["red rose"], tmp_path)
    other = PoolingEmbedder().pooled("cls")
    assert isinstance(other, PoolingEmbedder)
    embed_kept(other, ["red rose"], tmp_path)
    assert other.calls == [1]


def test_a_head_kept_before_pooling_was_recorded_still_answers(build: Build, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    predictor = build(rows_of(warm=RED, cold=BLUE), embedder=PoolingEmbedder())
    predictor.save(tmp_path / "a")
    manifest = json.loads((tmp_path / "a" / "probe.json").read_text())
    del manifest["embedder"]["pooling"]
    (tmp_path / "a" / "probe.json").write_text(json.dumps(manifest))
    again = ProbePredictor.load(tmp_path / "a", open_embedder=lambda *_: PoolingEmbedder())
    assert again.predict([Input("red rose")]) == predictor.predict([Input("red rose")])


def test_a_real_encoder_pools_by_mean_or_by_its_first_token() -> None:
    import torch

    own = load_embedder("all-minilm-l6-v2")
    first = own.pooled("cls")
    assert (own.pooling, first.pooling) == ("mean", "cls")  # as its configuration says it was trained
    assert own.pooled("mean") is own
    text = "I was charged twice"
    parts = own._model.tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        tokens = own._model[0](dict(parts))["token_embeddings"][0].numpy()
    for embedder, expected in ((own, tokens.mean(0)), (first, tokens[0])):
        assert embedder.embed([text])[0] == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)
    assert float(own.embed([text])[0] @ first.embed([text])[0]) < 0.99


def test_an_encoder_without_a_pooling_layer_says_so() -> None:
    class Static:
        prompts: dict[str, str] = {}
        max_seq_length = 8

        def get_embedding_dimension(self) -> int:
            return 4

        def __iter__(self) -> Iterator[object]:
            return iter([object()])

    with pytest.raises(UserError, match="no single pooling layer"):
        Embedder(Static(), "static", "", {}).pooled("cls")


def test_texts_beyond_the_encoders_window_are_counted(build: Build) -> None:
    long = "red rose " * 6
    notes = build(rows_of(warm=[*RED, long], cold=BLUE)).notes
    assert [
        note["en"] for note in notes if note["en"].startswith("1 of 19 training texts are longer than the 8 tokens")
    ]


def test_the_context_is_part_of_what_is_embedded(build: Build) -> None:
    rows = [
        Row(str(n), Input("same", color), (label,)) for n in range(6) for color, label in (("red", "w"), ("blue", "c"))
    ]
    predictor = build(tuple(rows))
    assert [p.text for p in predictor.predict([Input("same", "red"), Input("same", "blue")])] == ["w", "c"]


def test_parameters_out_of_range_are_all_named() -> None:
    plan = Plan("probe", "classification", DataSpec("x"), params={"c": 0.0, "alpha": -1.0, "folds": 1})
    assert len(ProbeExecutor().check(plan)) == 3


def test_banking77_with_ten_labels_a_class(bench_data: Path, tmp_path: Path) -> None:
    """The bar of the issue is .82 on the whole test file; here every fifth row of it, for time."""
    by_class: dict[str, list[str]] = defaultdict(list)
    for row in _csv(bench_data / "banking77" / "train.csv"):
        by_class[row["category"]].append(row["text"])
    chosen = random.Random(0)
    rows = rows_of(**{label: chosen.sample(texts, 10) for label, texts in sorted(by_class.items())})
    test = _csv(bench_data / "banking77" / "test.csv")[::5]
    job = Job(Plan("probe", "classification", DataSpec("x")), rows, tuple(sorted(by_class)), tmp_path)
    predictions = ProbeExecutor().build(job).predict([Input(row["text"]) for row in test])
    right = sum(p.text == row["category"] for p, row in zip(predictions, test, strict=True))
    assert right / len(test) >= 0.82


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
