"""The floor: it counts, averages and remembers, in any language, and survives being saved."""

from __future__ import annotations

from pathlib import Path

import pytest

from executors.base import DataSpec, Input, Job, Plan, Row
from executors.baseline import BaselineExecutor, BaselinePredictor


def build(task: str, rows: list[tuple[str, str]], tmp_path: Path, **params: str) -> BaselinePredictor:
    made = tuple(Row(str(n), Input(text), (target,)) for n, (text, target) in enumerate(rows))
    labels = tuple(sorted({target for _, target in rows})) if task == "classification" else ()
    return BaselineExecutor().build(Job(Plan("baseline", task, DataSpec("x"), params=params), made, labels, tmp_path))


def saved(predictor: BaselinePredictor, folder: Path) -> BaselinePredictor:
    folder.mkdir()
    predictor.save(folder)
    return BaselinePredictor.load(folder)


def test_the_commonest_class_is_answered_with_every_share(tmp_path: Path) -> None:
    predictor = saved(
        build("classification", [("x", "b"), ("y", "a"), ("z", "b"), ("w", "c")], tmp_path), tmp_path / "a"
    )
    first, second = predictor.predict([Input("1"), Input("2")])
    assert first == second
    assert (first.text, first.score, first.scores) == ("b", 0.5, {"a": 0.25, "b": 0.5, "c": 0.25})


def test_a_tie_is_the_same_on_every_machine(tmp_path: Path) -> None:
    assert build("classification", [("x", "b"), ("y", "a")], tmp_path).predict([Input("1")])[0].text == "a"


def test_the_mean_of_the_numbers_is_answered(tmp_path: Path) -> None:
    predictor = saved(build("regression", [("x", "1"), ("y", "2.5"), ("z", "4")], tmp_path), tmp_path / "a")
    assert predictor.predict([Input("anything")])[0].text == "2.5"


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("How long is the warranty?", "two years"),
        ("warranty duration", "two years"),
        ("保修期有多久？", "两年"),
        ("@@@@", "two years"),  # nothing alike: the commonest answer
    ],
)
def test_the_answer_of_the_text_most_alike_is_given(asked: str, answer: str, tmp_path: Path) -> None:
    rows = [
        ("What is the price of a hub?", "£79"),
        ("How long does the warranty last?", "two years"),
        ("When does the guarantee end?", "two years"),
        ("保修期多长？", "两年"),
        ("主机多少钱？", "79 英镑"),
    ]
    predictor = build("question_answering", rows, tmp_path)
    again = saved(predictor, tmp_path / "a")
    assert predictor.predict([Input(asked)]) == again.predict([Input(asked)])
    assert again.predict([Input(asked)])[0].text == answer


def test_the_passage_tells_rows_of_one_instruction_apart(tmp_path: Path) -> None:
    texts = [("a cat on the mat", "cat"), ("rain over London", "rain"), ("a train to York", "train")]
    rows = tuple(Row(str(n), Input("Summarise.", text), (target,)) for n, (text, target) in enumerate(texts))
    predictor = BaselineExecutor().build(Job(Plan("baseline", "summarisation", DataSpec("x")), rows, (), tmp_path))
    assert predictor.predict([Input("Summarise.", "heavy rain in London")])[0].text == "rain"


def test_the_nearest_row_can_be_asked_for_with_classes(tmp_path: Path) -> None:
    rows = [("red apple", "fruit"), ("green pear", "fruit"), ("steel hammer", "tool")]
    assert build("classification", rows, tmp_path, kind="nearest").predict([Input("a hammer")])[0].text == "tool"


def test_a_mean_needs_numbers() -> None:
    executor = BaselineExecutor()
    assert executor.check(Plan("baseline", "classification", DataSpec("x"), params={"kind": "mean"}))
    assert executor.check(Plan("baseline", "regression", DataSpec("x"), params={"kind": "mean"})) == []


def test_many_inputs_are_answered_in_order(tmp_path: Path) -> None:
    rows = [(f"question number {n}", f"answer {n}") for n in range(600)]
    predictor = build("question_answering", rows, tmp_path)
    found = predictor.predict([Input(text) for text, _ in rows])
    assert [p.text for p in found] == [answer for _, answer in rows]
