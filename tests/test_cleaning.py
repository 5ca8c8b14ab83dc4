"""Nothing disappears unsaid: what is left out is counted, said and listed; and the development split keeps its sides
apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from executors.base import DataSpec, Input, Job, Plan, Row, UserError, no_leaks
from executors.data import input_key, load_dataset
from executors.data.development import development_notes, split_development
from executors.data.left_out import LeftOut, read_left_out, write_left_out
from executors.data.near import find_leaks, near_groups
from executors.run import run_plan
from executors.tuning.cleaning import training_sides
from executors.tuning.params import TuningParams
from tests.fakes import FirstWordExecutor

WORDS = (
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
)


def text(n: int) -> str:
    """One of many texts of which no two are nearly equal."""
    return " ".join(WORDS[(n * k + k * k) % len(WORDS)] for k in range(1, 8)) + f" {n * 7919}"


def rows(count: int, classes: int = 2) -> list[Row]:
    return [Row(f"x:{n}", Input(text(n)), (f"class {n % classes}",)) for n in range(count)]


def job(given: list[Row], held_out: list[Row] | None = None, **params: object) -> Job:
    leaks = partial(find_leaks, held_out=held_out) if held_out else no_leaks
    plan = Plan("peft", "classification", DataSpec("x.csv"), params=params)
    return Job(plan, tuple(given), ("class 0", "class 1"), Path(), leaks=leaks)


# -- the development split -----------------------------------------------------------------------------


def test_every_class_has_its_share_of_the_development_side() -> None:
    given = [Row(str(n), Input(text(n)), ("rare",) if n < 10 else ("common",)) for n in range(100)]
    train, development = split_development(given, 10, 0, "classification")
    assert [sum(row.target == name for row in development) for name in ("rare", "common")] == [1, 9]
    assert len(train) == 90
    assert [row for row in given if row in set(development)] == development  # in the order given
    assert split_development(given, 10, 0, "classification") == (train, development)
    assert split_development(given, 10, 1, "classification")[1] != development
    assert split_development(given, 0, 0, "classification") == (given, [])


def test_no_class_goes_missing_from_training_and_one_missing_from_development_is_said() -> None:
    given = [*rows(60, 20), Row("once", Input(text(999)), ("alone",))]
    train, development = split_development(given, 12, 0, "classification")
    assert {row.target for row in train} == {row.target for row in given}
    (note,) = development_notes(train, development, "classification")
    assert note["en"].startswith("9 classes are missing from the development rows (alone, class ")
    assert "9 个类别" in note["zh"]
    assert development_notes(train, development, "generation") == ()


def test_rows_of_one_passage_or_one_text_are_on_one_side() -> None:
    passages = [text(n) for n in range(12)]
    given = [Row(f"x:{n}", Input(f"Question {n}?", passages[n // 5]), ("a",)) for n in range(60)]
    train, development = split_development(given, 10, 0, "question_answering")
    assert len(development) == 10
    assert not {row.input.context for row in train} & {row.input.context for row in development}
    twice = [Row(f"y:{n}", Input(text(n // 2)), (f"answer {n}",)) for n in range(60)]
    train, development = split_development(twice, 10, 0, "generation")
    assert development
    assert not {input_key(row) for row in train} & {input_key(row) for row in development}


def test_near_duplicates_are_on_one_side_and_links_of_links_too() -> None:
    given = [Row(f"x:{n}", Input(text(n // 3) + " 😀!"[: n % 3]), ("a",)) for n in range(90)]
    train, development = split_development(given, 12, 0, "generation")
    assert len(development) == 12
    assert find_leaks(development, train) == frozenset()
    few = [Row("", Input(one)) for one in ("the red parcel is late", "The red parcel is late!", "something else")]
    assert near_groups(few) in ([0, 0, 1], [1, 1, 0])


def test_more_rows_than_are_compared_still_do_not_stand_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executors.data.development.COMPARED", 10)
    given = [*rows(60), *(Row(f"y:{n}", Input(f"{text(n)}!"), ("class 0",)) for n in range(8))]
    train, development = split_development(given, 20, 0, "classification")
    assert len(development) >= 10
    assert find_leaks(development, train) == frozenset()


def test_rows_too_many_to_be_compared_with_each_other_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("executors.tuning.cleaning.COMPARED", 3)
    rows = tuple(Row(str(n), Input(f"the order of customer {n} is late"), ("late",)) for n in range(4))
    sides = training_sides(Job(Plan("peft", "generation", DataSpec("x.csv")), rows, (), tmp_path), TuningParams())
    assert any("4 training rows are too many to compare each with every other (up to 3" in n["en"] for n in sides.notes)
    assert not [one for one in sides.left_out if one.reason == "near_duplicate"]


def test_rows_of_one_template_are_split_all_the_same_and_that_is_said() -> None:
    given = [Row(str(n), Input(f"please send it back to me now, order number {n}"), (f"{n % 2}",)) for n in range(60)]
    train, development = split_development(given, 6, 0, "classification")
    assert len(development) == 6
    (note,) = development_notes(train, development, "classification")
    assert note["en"].startswith("6 of 6 development rows nearly equal a row trained on")


# -- what a training leaves out ------------------------------------------------------------------------


def test_rows_that_nearly_stand_on_the_held_out_side_are_not_trained_on() -> None:
    given, held_out = rows(20), [Row("test:1", Input(f"{text(3).upper()} !"), ("class 1",))]
    sides = training_sides(job(given, held_out), TuningParams())
    assert [one.id for one in sides.left_out] == ["x:3"]
    assert (sides.left_out[0].reason, sides.left_out[0].kept) == ("near_leak", False)
    assert [row.id for row in sides.train] == [f"x:{n}" for n in range(20) if n != 3]
    assert sides.notes[0]["en"].startswith("1 of 20 training rows nearly equal a held-out row")


def test_leaks_are_trained_on_where_that_is_asked_for_and_said() -> None:
    held_out = [Row("test:1", Input(f"{text(3)}!"), ("class 1",))]
    sides = training_sides(job(rows(20), held_out), TuningParams(near_leaks="keep"))
    assert len(sides.train) == 20
    assert [(one.id, one.kept) for one in sides.left_out] == [("x:3", True)]
    assert "1 of 20 training rows nearly equal a held-out row, and were trained on all the same" in sides.notes[0]["en"]


def test_leaks_that_are_all_a_class_has_are_kept_and_said() -> None:
    given = [*rows(10), Row("once", Input(text(99)), ("alone",))]
    held_out = [Row("test:1", Input(f"{text(99)}!"), ("alone",)), Row("test:2", Input(f"{text(0)}!"), ("class 0",))]
    sides = training_sides(job(given, held_out), TuningParams())
    assert {one.id: one.kept for one in sides.left_out} == {"x:0": False, "once": True}
    assert "1 more were" in sides.notes[0]["en"]
    assert sides.train[-1].id == "once"


def test_only_the_last_answer_of_a_conversation_is_a_class() -> None:
    turns = (("user", text(1)), ("assistant", "which one?"), ("user", text(2)))
    talk = Row("x:t", Input("transcript", "", turns), ("class 0",))
    assert [row.id for row in training_sides(job([*rows(4), talk]), TuningParams()).train][-1] == "x:t"
    assert len(training_sides(job([*rows(4), talk]), TuningParams()).train) == 5


def test_rows_of_one_template_are_trained_on_all_the_same_and_that_is_said() -> None:
    given = [Row(f"x:{n}", Input(f"please send it back to me now, order {n}"), (f"class {n % 2}",)) for n in range(20)]
    sides = training_sides(job(given[:15], given[15:]), TuningParams())
    assert len(sides.train) == 15
    assert {(one.reason, one.kept) for one in sides.left_out} == {("near_leak", True), ("near_duplicate", True)}
    assert sides.notes[0]["en"].startswith("15 of 15 training rows nearly equal a held-out row, and were trained on")


def test_an_earlier_answer_that_is_held_out_elsewhere_is_not_trained_on() -> None:
    turns = (("user", text(1)), ("assistant", "yes"), ("user", text(2)))
    talk = Row("x:1", Input(f"user: {text(1)}\nassistant: yes\nuser: {text(2)}", "", turns), ("no",))
    given = job([talk, *rows(3)[2:]], [Row("t:1", Input(text(1)), ("yes",))])
    sides = training_sides(replace(given, plan=replace(given.plan, task="dialogue")), TuningParams())
    assert [row.id for row in sides.train] == ["x:1", "x:2"]
    assert [one.id for one in sides.left_out] == ["x:1#1"]


@pytest.mark.parametrize(("near_duplicates", "left"), [("keep", 12), ("drop", 11)])
def test_near_duplicates_in_training_are_listed_and_dropped_where_asked(near_duplicates: str, left: int) -> None:
    again, other = Row("y:1", Input(f"{text(3)}!"), ("class 1",)), Row("y:2", Input(f"{text(4)}!"), ("class 1",))
    given = [*rows(10), again, other]  # the second has another label than the row it nearly equals
    sides = training_sides(job(given), TuningParams(near_duplicates=near_duplicates))  # type: ignore[arg-type]
    assert sides.left_out == (LeftOut("y:1", "near_duplicate", again.input.text, near_duplicates == "keep", "x:3"),)
    assert len(sides.train) == left
    assert "1 of 12 training rows nearly equal another one" in sides.notes[0]["en"]


def test_rows_of_one_question_over_many_passages_are_no_near_duplicates() -> None:
    given = [Row(str(n), Input("What is it about?", text(n)), (f"{n}",)) for n in range(10)]
    assert training_sides(job(given), TuningParams()).left_out == ()


# -- the file ------------------------------------------------------------------------------------------


def test_a_list_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path, found = tmp_path / "removed.jsonl", [LeftOut("x:1", "cut", "退货\n“", True), LeftOut("x:2", "ragged")]
    write_left_out(path, found)
    assert read_left_out(path) == found
    write_left_out(path, [])
    assert read_left_out(path) == []
    assert not path.exists()


def test_a_run_lists_every_row_it_left_out_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executors.method", lambda name: FirstWordExecutor())
    lines = [f"{text(n)},class {n % 2}" for n in range(20)]
    doubtful = [",class 0", "no label,", lines[4], f"{text(5)},class 0", "a,b,c,d"]
    (tmp_path / "x.csv").write_text("\n".join(["text,label", *lines, *doubtful]))
    result = run_plan(Plan("first_word", "classification", DataSpec(str(tmp_path / "x.csv"))), tmp_path / "run")
    listed = [json.loads(line) for line in (tmp_path / "run" / "removed.jsonl").read_text().splitlines()]
    reasons = {one["id"]: (one["reason"], one["kept"], one["like"]) for one in listed}
    assert reasons["x.csv:22"] == ("empty_text", False, "")
    assert reasons["x.csv:23"] == ("empty_label", False, "")
    assert reasons["x.csv:24"] == ("duplicate", False, "x.csv:6")
    assert reasons["x.csv:26"] == ("ragged", False, "")
    removed = {"empty_text": 1, "empty_label": 1, "duplicate": 1, "ragged": 1}
    assert {name: result.rows[name] for name in removed} == removed
    conflicts = {name for name, (reason, kept, _) in reasons.items() if reason == "conflict" and kept}
    assert conflicts in ({"x.csv:7", "x.csv:25"}, set())  # where they are not held out
    assert any(f"removed.jsonl lists the {len(listed)} rows" in note["en"] for note in result.notes)


def test_conflicting_rows_are_kept_and_listed(tmp_path: Path) -> None:
    lines = [f"{text(n)},class {n % 2}" for n in range(20)]
    path, test = tmp_path / "x.csv", tmp_path / "t.csv"
    path.write_text("\n".join(["text,label", *lines, f"{text(5)},class 0"]))
    test.write_text(f"text,label\n{text(77)},class 0\n")
    dataset = load_dataset(DataSpec(str(path), str(test)), "classification", 0)
    assert [(one.id, one.reason, one.kept) for one in dataset.left_out] == [
        ("x.csv:7", "conflict", True),
        ("x.csv:22", "conflict", True),
    ]
    assert len(dataset.train) == 21
    assert dataset.removed == {}


def test_texts_as_targets_of_a_regression_are_counted_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("\n".join(["text,urgency", *(f"{text(n)},{n % 5}" for n in range(20)), f"{text(50)},very high"]))
    dataset = load_dataset(DataSpec(str(path)), "regression", 0)
    assert dataset.removed == {"not_a_number": 1}
    assert dataset.left_out[0] == LeftOut("x.csv:22", "not_a_number", text(50))
    path.write_text("\n".join(["text,urgency", *(f"{text(n)},very high" for n in range(20))]))
    with pytest.raises(UserError, match="no numbers") as caught:
        load_dataset(DataSpec(str(path), columns={"label": "urgency"}), "regression", 0)
    assert "不是数字" in caught.value.told("zh").message


def test_the_sides_of_a_job_are_compared_once_however_often_they_are_asked_for() -> None:
    given = rows(30)
    asked: list[int] = []

    def leaks(some: Sequence[Row]) -> frozenset[str]:
        asked.append(len(some))
        return frozenset({"x:3"})

    one = replace(job(given), leaks=leaks)
    first = training_sides(one, TuningParams())
    assert training_sides(replace(one, report=print), TuningParams(learning_rate=1.0)) is first
    assert len(asked) == 1
    assert "x:3" in {row.id for row in training_sides(one, TuningParams(near_leaks="keep")).train}
    assert len(asked) == 2, "another treatment of leaks is another answer"
