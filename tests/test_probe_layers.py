"""Probes on a model's layers: which layer is chosen, what a layer's vectors are, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from executors import layer_choice
from executors.base import DataSpec, Input, Job, Plan, Row, UserError, silent
from executors.layer_choice import Scaling, layer_losses
from executors.layers import open_layers
from executors.probe import Head, ProbeExecutor, ProbePredictor
from tests.test_encoder import ROWS
from tests.tiny import write_tiny, write_tiny_encoder

TEXTS = ["I like it", "a much longer text than the other one, with a comma", "no"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("language"))


Build = Callable[..., ProbePredictor]


@pytest.fixture
def build(tmp_path: Path, encoder: str, language: str) -> Build:
    def call(rows: Sequence[Row] = ROWS, task: str = "classification", **params: Any) -> ProbePredictor:
        (tmp_path / "work").mkdir(exist_ok=True)
        labels = tuple(sorted({row.target for row in rows})) if task == "classification" else ()
        plan = Plan("probe", task, DataSpec("x.csv"), embedder=encoder, model=language, params=params)
        return ProbeExecutor().build(Job(plan, tuple(rows), labels, tmp_path / "work"))

    return call


# -- a layer's vectors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "pooling"), [("encoder", "mean"), ("encoder", "cls"), ("language", "last")])
def test_a_layer_alone_gives_what_it_gives_among_all(encoder: str, language: str, kind: Any, pooling: Any) -> None:
    model = open_layers(encoder if kind == "encoder" else language, kind, pooling)
    every = model.every(TEXTS)
    assert every.shape == (3, model.depth, 32)
    for layer in range(model.depth):
        alone = model.at(layer).embed(TEXTS)
        assert np.array_equal(alone, every[:, layer])
        one_by_one = np.concatenate([model.embed([text]) for text in TEXTS])
        assert np.allclose(alone, one_by_one, atol=1e-5)


def test_layers_are_those_of_the_model(language: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(language), AutoTokenizer.from_pretrained(language)
    with torch.no_grad():
        states = model(**tokenizer(TEXTS[1], return_tensors="pt"), output_hidden_states=True).hidden_states
    ours = open_layers(language, "language", "last").every([TEXTS[1]])[0]
    assert np.allclose(ours, [state[0, -1].numpy() for state in states], atol=1e-6)
    mean = open_layers(language, "language", "mean").every([TEXTS[1]])[0]
    assert np.allclose(mean, [state[0].mean(0).numpy() for state in states], atol=1e-6)


def test_an_empty_text_has_a_vector(language: str) -> None:
    assert np.isfinite(open_layers(language, "language", "last").every(["", "a"])).all()


# -- the choice --------------------------------------------------------------------------------------------


def test_the_layer_that_knows_the_classes_is_found() -> None:
    chance = np.random.default_rng(0)
    classes = np.arange(40) % 2
    features = chance.normal(size=(40, 5, 8)).astype(np.float32)
    features[:, 3, 2] += 4 * classes
    losses = layer_losses(features, np.eye(2)[classes], silent)
    assert losses.argmin() == 3
    assert losses[3] < 0.5 * np.delete(losses, 3).min()


def test_the_layer_that_knows_the_number_is_found() -> None:
    chance = np.random.default_rng(0)
    values = chance.normal(size=40)
    features = chance.normal(size=(40, 5, 8)).astype(np.float32)
    features[:, 1, 2] = values
    losses = layer_losses(features, values, silent)
    assert losses.argmin() == 1
    assert losses[1] < 0.1
    assert np.delete(losses, 1).min() > 0.5


def test_scaling_is_folded_into_the_head() -> None:
    chance = np.random.default_rng(0)
    vectors = (chance.normal(size=(30, 6)) * [1, 1000, 1, 1, 1, 0] + 5).astype(np.float32)
    scaling, head = Scaling.of(vectors), Head(np.ones((2, 6), np.float32), np.array([1.0, 2.0], np.float32))
    assert np.isfinite(scaling(vectors)).all()
    assert np.allclose(scaling.folded(head).outputs(vectors), head.outputs(scaling(vectors)), atol=1e-3)
    assert np.linalg.norm(scaling(vectors), axis=1).mean() == pytest.approx(1, abs=0.15)


# -- the probe -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params", [{"layer": "best"}, {"layer": 2, "pooling": "cls"}, {"model": "language"}, {"model": "best"}]
)
def test_a_probe_on_a_layer_answers_the_same_once_saved(build: Build, tmp_path: Path, params: dict[str, Any]) -> None:
    predictor = build(**params)
    asked = [row.input for row in ROWS] + [Input("")]
    before = predictor.predict(asked)
    right = sum(p.text == row.target for p, row in zip(before, ROWS, strict=False))
    assert right >= 18
    (tmp_path / "artifact").mkdir()
    predictor.save(tmp_path / "artifact")
    assert ProbePredictor.load(tmp_path / "artifact").predict(asked) == before


def test_the_choice_is_kept_with_what_it_was_made_by(build: Build) -> None:
    about = build(layer="best").about
    losses = about["layers"]["values"]
    assert len(losses) == 5
    assert losses[str(about["layer"])] == min(losses.values())
    assert build(layer=1).about["layer_by"] == "given"


@pytest.mark.parametrize("better", ["encoder", "language"])
def test_the_model_that_tells_more_of_the_training_rows_is_taken(
    build: Build, better: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = build(model=better)

    def losses(features: Any, wanted: Any, report: Any = silent) -> Any:
        whose = "encoder" if features.shape[1] == 1 else "language"
        return layer_losses(features, wanted, report) + (whose != better)

    monkeypatch.setattr(layer_choice, "layer_losses", losses)
    chosen = build(model="best")
    found = chosen.about["models"]["values"]
    assert chosen.about["model"] == better == min(found, key=found.__getitem__)
    asked = [row.input for row in ROWS]
    assert chosen.predict(asked) == alone.predict(asked)


def test_models_are_compared_on_numbers_too(build: Build) -> None:
    rows = [replace(row, targets=(str(len(row.input.text)),)) for row in ROWS]
    assert {*build(rows, "regression", model="best").about["models"]["values"]} == {"encoder", "language"}


def test_a_number_by_a_layer_stays_within_its_training_rows(build: Build) -> None:
    rows = [replace(row, targets=(str(len(row.input.text)),)) for row in ROWS]
    found = [float(p.text) for p in build(rows, "regression", layer="best").predict([row.input for row in rows])]
    lengths = [float(row.target) for row in rows]
    assert min(lengths) <= min(found) <= max(found) <= max(lengths)
    assert np.corrcoef(found, lengths)[0, 1] > 0.5


def test_a_layer_that_is_not_there(build: Build) -> None:
    with pytest.raises(UserError, match=r"params\.layer: 9 of a model with layers 0 to 4"):
        build(layer=9)


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"layer": -1}, "must be 0 or more"),
        ({"pooling": "last"}, "'last' has no meaning with model=encoder"),
        ({"model": "language", "pooling": "cls"}, "'cls' has no meaning with model=language"),
        ({"model": "best", "pooling": "mean"}, "neither layer nor pooling goes with it"),
        ({"model": "best", "layer": 2}, "neither layer nor pooling goes with it"),
    ],
)
def test_values_that_do_not_go_together(params: dict[str, Any], told: str) -> None:
    plan = Plan("probe", "classification", DataSpec("x.csv"), params=params)
    assert told in ProbeExecutor().check(plan)[0].message


def test_the_layers_of_a_model_behind_an_endpoint() -> None:
    plan = Plan("probe", "classification", DataSpec("x.csv"), model="openai:gpt-x", params={"model": "language"})
    assert any("behind an endpoint" in fault.message for fault in ProbeExecutor().check(plan))
