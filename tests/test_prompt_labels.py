"""From likelihoods to labels: calibration and nearness by hand, ties, which labels are compared, very many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from executors.base import DataSpec, Input, Job, Plan, Prediction, Row
from executors.models import Chat, load_language_model
from executors.models.embed import Embedder
from executors.prompt.build import CALIBRATION_ROWS, Builder
from executors.prompt.demonstrations import Demonstrations, Neighbour
from executors.prompt.labels import LabelScores, average, is_tied, log_softmax, prior, votes
from executors.prompt.params import Prompt, PromptParams
from executors.prompt.predictor import PromptPredictor
from tests.fakes import Acting
from tests.test_demonstrations import Compass

ln = math.log


def row(n: int, label: str, text: str = "") -> Row:
    return Row(str(n), Input(text or f"text {n}"), (label,))


def job(tmp_path: Path, rows: Sequence[Row], **params: object) -> Job:
    labels = tuple(sorted({r.target for r in rows}))
    return Job(Plan("prompt", "classification", DataSpec("x.csv"), params=params), tuple(rows), labels, tmp_path)


# -- arithmetic ----------------------------------------------------------------------------------------


def test_probabilities_are_shares_of_the_likelihoods() -> None:
    read = LabelScores(("a", "b", "c"), (ln(0.02), ln(0.05), ln(0.03)), {}).read({}, 0.0)
    assert read.text == "b"
    assert read.scores == {"a": 0.2, "b": 0.5, "c": 0.3}
    assert read.score == 0.5


def test_a_prior_is_taken_off_in_logarithms() -> None:
    scores = LabelScores(("a", "b"), (ln(0.6), ln(0.4)), {})
    read = scores.read({"a": ln(0.75), "b": ln(0.25)}, 0.0)  # 0.6 / 0.75 = 0.8 against 0.4 / 0.25 = 1.6
    assert read.text == "b"
    assert read.scores == {"a": pytest.approx(1 / 3, abs=1e-6), "b": pytest.approx(2 / 3, abs=1e-6)}


def test_a_prior_is_the_mean_logarithm_of_shares_not_of_likelihoods() -> None:
    rows = [LabelScores(("a", "b"), (ln(0.08), ln(0.02)), {}), LabelScores(("a", "b"), (ln(0.2), ln(0.2)), {})]
    assert prior(rows) == {
        "a": pytest.approx((ln(0.8) + ln(0.5)) / 2, abs=1e-6),
        "b": pytest.approx((ln(0.2) + ln(0.5)) / 2, abs=1e-6),
    }


def test_the_vote_of_neighbours_is_e_fold_per_twentieth_of_a_cosine() -> None:
    near = [Neighbour(row(1, "a"), 0.80), Neighbour(row(2, "b"), 0.75), Neighbour(row(3, "b"), 0.75)]
    total = math.e + 2
    assert votes(near) == {"a": pytest.approx(math.e / total), "b": pytest.approx(2 / total)}
    assert votes([]) == {}


def test_nearness_counts_as_often_as_its_weight_says() -> None:
    scores = LabelScores(("a", "b"), (ln(0.6), ln(0.4)), {"a": 0.2, "b": 0.8})
    assert scores.read({}, 0.0).text == "a"
    once = scores.read({}, 1.0)  # 0.6 · 0.2 = 0.12 against 0.4 · 0.8 = 0.32
    assert once.scores == {"a": pytest.approx(0.12 / 0.44, abs=1e-6), "b": pytest.approx(0.32 / 0.44, abs=1e-6)}
    twice = scores.read({}, 2.0)
    assert twice.scores["a"] == pytest.approx(0.024 / (0.024 + 0.256), abs=1e-6)


def test_a_label_no_neighbour_bears_can_still_win_on_a_certain_model() -> None:
    scores = LabelScores(("a", "b"), (-1.0, -100.0), {"b": 1.0})
    assert scores.read({}, 1.0).text == "a"  # -1 + ln 1e-9 = -21.7 against -100
    assert LabelScores(("a", "b"), (-1.0, -2.0), {"b": 1.0}).read({}, 1.0).text == "b"


def test_a_tie_goes_to_the_first_label_and_is_seen() -> None:
    tied = LabelScores(("b", "a", "c"), (-1.0, -1.0, -3.0), {}).read({}, 0.0)
    assert tied.text == "b"
    assert is_tied(tied)
    assert not is_tied(LabelScores(("a", "b"), (-1.0, -2.0), {}).read({}, 0.0))
    assert not is_tied(LabelScores(("a",), (-1.0,), {}).read({}, 0.0))


def test_of_an_ensemble_the_ties_of_the_mean_are_told_and_the_cuts_of_its_longest_prompt() -> None:
    rows = tuple(Row(str(n), Input(f"word{n}"), ("bad",)) for n in range(9))
    short = Prompt("classification", ("bad", "good"), "acting", "Classify.")
    long = replace(short, demonstrations=rows, params=PromptParams(shots=9, max_tokens=4))
    model = Acting(likes=lambda chat, label: 2.0 * (label == ("bad" if len(chat) > 2 else "good")), window=22)
    predictor = PromptPredictor(model, replace(short, params=PromptParams(max_tokens=4), others=(long,)))
    (answer,) = predictor.predict([Input("x")])
    assert answer.scores == {"bad": 0.5, "good": 0.5}  # the two prompts disagree as strongly as they can
    told = [note["en"] for note in predictor.notes]
    assert any("1 rows had two labels equally likely" in note for note in told)
    assert any("1 rows were asked with fewer demonstrations" in note for note in told)


def test_ties_are_said() -> None:
    predictor = PromptPredictor(Acting(), Prompt("classification", ("bad", "good"), "acting", "Classify."))
    assert [p.text for p in predictor.predict([Input("x"), Input("y")])] == ["bad", "bad"]
    assert "2 rows had two labels equally likely" in predictor.notes[-1]["en"]
    assert "2 条输入" in predictor.notes[-1]["zh"]


# -- calibration ---------------------------------------------------------------------------------------


def likes(chat: Chat, label: str) -> float:
    """Twice as fond of "bad" as of "good", but for texts that say otherwise; of empty ones four times."""
    asked = chat[-1]["content"]
    fond = 4.0 if asked.strip() in ("", "N/A", "[MASK]") else 2.0
    own = {"bad": fond, "good": 1.0}[label]
    return ln(own * (3.0 if label == "good" and "fine" in asked else 1.0))


def test_calibration_on_training_texts_takes_off_their_mean(tmp_path: Path) -> None:
    rows = [row(n, "good" if n % 2 else "bad") for n in range(12)]
    builder = Builder(job(tmp_path, rows), Acting(likes=likes))
    predictor = builder.calibrate(builder.build(PromptParams(shots=2)))
    assert predictor.prompt.offsets == (pytest.approx(ln(2 / 3), abs=1e-6), pytest.approx(ln(1 / 3), abs=1e-6))
    read = predictor.predict([Input("fine")])[0]  # raw 2 : 3; less 2 : 1 it is 1 : 3
    assert read.scores == {"bad": pytest.approx(0.25, abs=1e-5), "good": pytest.approx(0.75, abs=1e-5)}


def test_contextual_calibration_asks_about_inputs_without_content(tmp_path: Path) -> None:
    model = Acting(likes=likes)
    builder = Builder(job(tmp_path, [row(n, "good" if n % 2 else "bad") for n in range(12)]), model)
    predictor = builder.calibrate(builder.build(PromptParams(shots=2, calibration="contextual")))
    assert [chat[-1]["content"] for chat in model.asked] == ["N/A", "[MASK]", ""]
    assert predictor.prompt.offsets == (pytest.approx(ln(0.8), abs=1e-6), pytest.approx(ln(0.2), abs=1e-6))
    assert "inputs without content" in predictor.notes[0]["en"]


def test_calibration_asks_a_bounded_number_of_rows_no_demonstration_and_each_label(tmp_path: Path) -> None:
    rows = [row(n, "rare" if n == 199 else "common") for n in range(200)]
    model = Acting()
    builder = Builder(job(tmp_path, rows), model)
    predictor = builder.build(PromptParams(shots=8, selection="random"))
    shown = {r.input.text for r in predictor.prompt.demonstrations}
    assert "text 199" not in shown
    builder.calibrate(predictor)
    asked = [chat[-1]["content"] for chat in model.asked]
    assert len(asked) == CALIBRATION_ROWS
    assert not shown & set(asked)
    assert "text 199" in asked


def test_with_every_row_shown_the_prior_is_measured_without_content(tmp_path: Path) -> None:
    model = Acting(likes=likes)
    builder = Builder(job(tmp_path, [row(0, "bad"), row(1, "good")]), model)
    predictor = builder.calibrate(builder.build(PromptParams(shots=2)))
    assert [chat[-1]["content"] for chat in model.asked] == ["N/A"]
    assert len(predictor.prompt.offsets) == 2


# -- which labels are compared -------------------------------------------------------------------------

ROWS = [row(0, "north", "n"), row(1, "east", "e"), row(2, "east", "e too"), row(3, "south", "s")]
ANGLES = {"n": 0.0, "e": 90.0, "e too": 100.0, "s": 180.0, "near n": 5.0, "near e": 84.0, "nowhere": 45.0}


def retrieving(model: Acting, rows: Sequence[Row] = ROWS, **params: object) -> PromptPredictor:
    embedder: Embedder = Compass(ANGLES)
    given = PromptParams(selection="nearest", calibration="none", **params)  # type: ignore[arg-type]
    prompt = Prompt(
        "classification", ("east", "north", "south", "west"), "acting", "Classify.", params=given, embedder="compass"
    )
    pool = Demonstrations(rows, embedder.embed([r.input.text for r in rows]), embedder)
    return PromptPredictor(model, prompt, pool)


def test_only_labels_that_are_shown_are_compared() -> None:
    asked: list[str] = []

    def liking(chat: Chat, label: str) -> float:
        asked.append(label)
        return {"west": 0.0, "south": -1.0, "north": -2.0, "east": -3.0}[label]

    read = retrieving(Acting(likes=liking), shots=2, candidates="shown").predict([Input("nowhere")])[0]
    assert sorted(asked) == ["east", "north"]
    assert read.text == "north"
    assert set(read.scores) == {"east", "north"}
    assert sum(read.scores.values()) == pytest.approx(1, abs=1e-5)


def test_of_a_single_label_the_model_is_not_asked() -> None:
    model = Acting()
    predictor = retrieving(model, shots=2, candidates="shown")
    read = predictor.predict([Input("near e")])[0]
    assert (read.text, read.score, read.scores) == ("east", 1.0, {"east": 1.0})
    assert model.asked == []
    assert len(predictor.notes) == 1  # no tie


def test_with_none_shown_all_labels_are_compared() -> None:
    model = Acting(likes=lambda chat, label: float(label == "west"))
    empty = np.zeros((0, 2), dtype=np.float32)
    predictor = retrieving(model, shots=2, candidates="shown")
    predictor.pool = Demonstrations((), empty, Compass())
    read = predictor.predict([Input("x")])[0]
    assert read.text == "west"
    assert set(read.scores) == {"east", "north", "south", "west"}


def test_a_tie_among_shown_labels_goes_to_the_nearest() -> None:
    read = retrieving(Acting(), shots=3, candidates="shown").predict([Input("near n")])[0]
    assert read.text == "north"  # alphabetically the second


# -- labels that are hard to tell apart, and very many -------------------------------------------------


def real(labels: tuple[str, ...]) -> PromptPredictor:
    prompt = Prompt("classification", labels, "smollm2-135m-instruct", "Classify the text.")
    return PromptPredictor(load_language_model("smollm2-135m-instruct"), prompt)


def test_labels_with_the_same_first_tokens_are_told_apart_on_the_real_model() -> None:
    labels = ("card", "card lost", "card lost abroad", "card lost abroad twice")
    predictor = real(labels)
    (read,) = predictor.predict([Input("hello")])
    assert sum(read.scores.values()) == pytest.approx(1, abs=1e-5)
    chat = predictor.render([Input("hello")])[0].chat
    together = predictor.model.score([chat], list(labels))[0]
    alone = [predictor.model.score([chat], [label])[0][0] for label in labels]
    assert together == pytest.approx(alone, abs=1e-3)
    assert len({round(value, 2) for value in together}) == 4
    shares = [math.exp(value) for value in log_softmax(together)]
    assert list(read.scores.values()) == pytest.approx(shares, abs=1e-5)


def test_two_thousand_labels_are_scored_on_the_real_model() -> None:
    labels = tuple(f"intent_{n:04}" for n in range(2000))
    (read,) = real(labels).predict([Input("number 1234")])
    assert read.text in labels
    assert len(read.scores) == 2000
    assert sum(read.scores.values()) == pytest.approx(1, abs=2e-3)  # each is rounded to six digits


def test_answers_are_averaged_by_the_geometric_mean_of_their_probabilities() -> None:
    one = Prediction("a", 0.9, {"a": 0.9, "b": 0.1})
    other = Prediction("b", 0.8, {"a": 0.2, "b": 0.8})
    found = average([one, other])  # sqrt(.18) = .4243 to sqrt(.08) = .2828
    assert found.text == "a"
    assert found.scores == pytest.approx({"a": 0.6, "b": 0.4}, abs=1e-4)
