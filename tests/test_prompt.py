"""Prompting: which demonstrations are shown, how a label is chosen, and what is said when a row does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from executors.base import DataSpec, Input, Job, Plan, Row, UserError
from executors.models import load_language_model
from executors.prompt import Prompt, PromptExecutor, PromptPredictor, build_prompt
from executors.prompt.labels import log_softmax
from tests.fakes import Scripted

LABELS = ("bad", "good")


def row(n: int, label: str, text: str = "") -> Row:
    return Row(str(n), Input(text or f"text {n}"), (label,))


def job(tmp_path: Path, task: str = "classification", **params: object) -> Job:
    targets = {"classification": ["bad", "good", "bad", "bad"] * 6, "regression": ["1", "2", "3", "6"] * 6}
    rows = [row(n, target) for n, target in enumerate(targets.get(task, [f"answer {n}" for n in range(24)]))]
    plan = Plan("prompt", task, DataSpec("x.csv"), params=params)
    return Job(plan, tuple(rows), LABELS if task == "classification" else (), tmp_path)


def test_zero_shots_show_none(tmp_path: Path) -> None:
    predictor = build_prompt(job(tmp_path, shots=0), Scripted())
    predictor.predict([Input("new")])
    assert [m["role"] for m in predictor.model.asked[-1]] == ["system", "user"]  # type: ignore[attr-defined]


def test_a_label_liked_without_reason_does_not_win_by_that(tmp_path: Path) -> None:
    model = Scripted(likes={"bad": 2.0})  # on every text alike
    asked = [Input("this is excellent")]
    assert build_prompt(job(tmp_path, calibration="training"), model).predict(asked)[0].text == "good"
    prediction = build_prompt(job(tmp_path, calibration="none"), Scripted(likes={"bad": 4.0})).predict(asked)[0]
    assert prediction.text == "bad"


def test_probabilities_cover_the_labels_and_sum_to_one(tmp_path: Path) -> None:
    prediction = build_prompt(job(tmp_path), Scripted()).predict([Input("this is excellent")])[0]
    assert prediction.text == "good"
    assert set(prediction.scores) == set(LABELS)
    assert sum(prediction.scores.values()) == pytest.approx(1, abs=1e-5)
    assert prediction.score == max(prediction.scores.values())


def test_the_calibration_never_sees_a_demonstration(tmp_path: Path) -> None:
    model = Scripted()
    predictor = build_prompt(job(tmp_path, shots=4), model)
    shown = {r.input.text for r in predictor.prompt.demonstrations}
    assert shown
    assert not shown & {chat[-1]["content"] for chat in model.asked}


def test_a_number_is_read_from_what_the_model_wrote(tmp_path: Path) -> None:
    predictor = build_prompt(job(tmp_path, "regression"), Scripted("about 4.5 of 10"))
    assert predictor.predict([Input("x")])[0].text == "4.5"
    assert len(predictor.notes) == 1


def test_an_answer_without_a_number_becomes_the_mean_and_is_counted(tmp_path: Path) -> None:
    predictor = build_prompt(job(tmp_path, "regression"), Scripted("quite urgent"))
    assert [p.text for p in predictor.predict([Input("x"), Input("y")])] == ["3", "3"]
    assert "2 answers held no number" in predictor.notes[-1]["en"]


def test_demonstrations_that_do_not_fit_are_dropped_and_it_is_said(tmp_path: Path) -> None:
    predictor = build_prompt(job(tmp_path, "generation", shots=8), Scripted("done", window=180))
    short, long = predictor.predict([Input("word"), Input("word " * 35)])
    assert (short.text, long.text) == ("done", "done")
    counts = [len(chat) for chat in predictor.model.asked]  # type: ignore[attr-defined]
    assert counts[0] == 18
    assert counts[1] < 18
    assert "1 rows were asked with fewer demonstrations" in predictor.notes[-1]["en"]


def test_a_row_longer_than_the_window_is_cut_and_it_is_said(tmp_path: Path) -> None:
    predictor = build_prompt(job(tmp_path, "generation", shots=1), Scripted("done", window=160))
    predictor.predict([Input("word " * 500)])
    assert predictor.model.count_chat(predictor.model.asked[-1]) <= 160 - 128  # type: ignore[attr-defined]
    assert any("1 rows were cut" in note["en"] for note in predictor.notes)


def test_a_window_smaller_than_the_instruction_is_an_error(tmp_path: Path) -> None:
    predictor = build_prompt(job(tmp_path, "generation"), Scripted(window=130))
    with pytest.raises(UserError, match="the instruction alone exceeds"):
        predictor.predict([Input("x")])


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    model = Scripted(likes={"bad": 1.0})
    predictor = build_prompt(job(tmp_path, shots=4, instruction="Choose {one}."), model)
    (tmp_path / "saved").mkdir()
    predictor.save(tmp_path / "saved")
    loaded = PromptPredictor.load(tmp_path / "saved", model=model)
    assert loaded.prompt == predictor.prompt
    assert loaded.prompt.instruction == "Choose {one}."
    asked = [Input("this is excellent"), Input("other")]
    assert loaded.predict(asked) == predictor.predict(asked)


def test_a_tie_goes_to_the_first_label() -> None:
    prompt = Prompt("classification", LABELS, "scripted", "Classify.")
    assert PromptPredictor(Scripted(), prompt).predict([Input("x")])[0].text == "bad"


def test_faults_of_a_plan_are_told_without_work() -> None:
    plan = Plan("prompt", "classification", DataSpec("x.csv"), model="smolm2-135m-instruct", params={"shots": -1})
    messages = [p.message for p in PromptExecutor().check(plan)]
    assert any("did you mean 'smollm2-135m-instruct'" in m for m in messages)
    assert any("params.shots" in m for m in messages)


def test_log_softmax_of_two_equal_values_is_a_half() -> None:
    assert log_softmax([-700.0, -700.0]) == pytest.approx([-0.6931472, -0.6931472])


def test_the_real_model_tells_praise_from_blame(tmp_path: Path) -> None:
    praise = ["a wonderful film", "great acting and a moving story", "truly delightful", "brilliant and funny"]
    blame = ["a boring mess", "terrible acting and a dull story", "truly awful", "stupid and tedious"]
    rows = [row(n, "good", t) for n, t in enumerate(praise)] + [row(n + 9, "bad", t) for n, t in enumerate(blame)]
    plan = Plan("prompt", "classification", DataSpec("x.csv"), params={"shots": 4})
    predictor = build_prompt(Job(plan, tuple(rows), LABELS, tmp_path), load_language_model(plan.model))
    answers = predictor.predict([Input("a great and wonderful story"), Input("an awful, boring film")])
    assert [a.text for a in answers] == ["good", "bad"]


def test_the_likeliest_words_of_the_passage_are_the_answer(tmp_path: Path) -> None:
    passage = "The Hub needs outgoing TCP port 8874. Other ports stay closed. It is updated every spring."
    plan = Plan("prompt", "question_answering", DataSpec("x.csv"), params={"answers": "extracted"})
    made = Job(plan, (Row("1", Input("Which port?", passage), ("8874",)),), (), tmp_path)
    predictor = build_prompt(made, load_language_model(plan.model))
    asked = [Input("Which TCP port does the Hub need?", passage), Input("Which port?")]
    answers = [p.text for p in predictor.predict(asked)]
    assert "8874" in answers[0]
    assert answers[0] in passage
    assert answers[1] == ""
    assert [n["en"] for n in predictor.notes] == ["the likeliest words of the passage", "1 answers were empty"]
    (tmp_path / "saved").mkdir()
    predictor.save(tmp_path / "saved")
    assert [p.text for p in PromptPredictor.load(tmp_path / "saved").predict(asked[:1])] == answers[:1]


def test_answers_are_extracted_only_where_that_can_be(tmp_path: Path) -> None:
    plan = Plan("prompt", "classification", DataSpec("x.csv"), params={"answers": "extracted"})
    assert any("is for question_answering" in p.message for p in PromptExecutor().check(plan))
    plan = Plan("prompt", "question_answering", DataSpec("x.csv"), model="ollama:x", params={"answers": "extracted"})
    assert any("needs likelihoods" in p.message for p in PromptExecutor().check(plan))
    plan = Plan("prompt", "question_answering", DataSpec("x.csv"), params={"answers": "extracted"})
    made = Job(plan, (Row("1", Input("哪个端口？", "集线器需要端口 8874。"), ("8874",)),), (), tmp_path)
    with pytest.raises(UserError, match="words between spaces"):
        build_prompt(made, Scripted())
