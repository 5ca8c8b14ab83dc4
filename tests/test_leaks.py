"""No row that (nearly) stands among the held-out ones is shown: how such rows are found, refused and reported."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest

import executors
from executors.base import DataSpec, Event, Input, Job, Plan, Row, UserError
from executors.data.near import THRESHOLD, find_leaks, leak_notes, near_pairs, normalise, refuse_leaks
from executors.prompt.given import refuse_given_leaks
from executors.run import run_plan
from tests.fakes import FirstWordExecutor, FirstWordPredictor

HELD_OUT = [
    Row("test.csv:2", Input("Where is my parcel? It should have come on Monday."), ("status",)),
    Row("test.csv:3", Input("👍"), ("praise",)),
]
TRAIN = [
    Row("train.csv:2", Input("I want my money back"), ("refund",)),
    Row("train.csv:3", Input("where is my parcel it should have come on  Monday"), ("status",)),  # marks and case apart
    Row("train.csv:4", Input("Where is my parcel? It should have come by Monday!"), ("status",)),  # one word apart
    Row("train.csv:5", Input("My package was due at the start of the week and is not here"), ("status",)),  # paraphrase
    Row("train.csv:6", Input("👍 "), ("praise",)),  # nothing but a mark
    Row("train.csv:7", Input("👎"), ("blame",)),  # another mark
]
LEAKING = {"train.csv:3", "train.csv:4", "train.csv:6"}


def job(held_out: Sequence[Row] = HELD_OUT) -> Job:
    plan = Plan("prompt", "classification", DataSpec("train.csv"))
    return Job(plan, tuple(TRAIN), ("refund", "status"), Path(), leaks=partial(find_leaks, held_out=held_out))


def asked(text: str, context: str = "", name: str = "x") -> Row:
    return Row(name, Input(text, context), ("answer",))


def test_equal_and_nearly_equal_rows_leak_and_paraphrases_do_not() -> None:
    assert find_leaks(TRAIN, HELD_OUT) == LEAKING
    assert find_leaks(TRAIN, []) == find_leaks([], HELD_OUT) == frozenset()


def test_a_long_comparison_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executors.data.near.BLOCK", 2 * len(HELD_OUT))  # two rows at once
    events: list[Event] = []
    find_leaks(TRAIN, HELD_OUT, events.append)
    assert [(e.stage, e.done, e.total) for e in events] == [("compare", n, 6) for n in (2, 4, 6)]


def test_a_shared_passage_is_no_leak_but_a_shared_question_on_it_is() -> None:
    passage, other = "The tower was built in 1889 for a world's fair.", "Rome was not built in a day, it is said."
    held_out = [asked("When was it built?", passage)]
    assert not find_leaks([asked("What was it built for?", passage)], held_out)
    assert not find_leaks([asked("When was it built?", other)], held_out)
    assert find_leaks([asked("When was it built", passage)], held_out) == {"x"}
    assert find_leaks([asked("When was it built", passage.replace("a world", "the world"))], held_out) == {"x"}
    assert find_leaks([asked("When was it built?")], held_out) == {"x"}  # nothing tells them apart
    assert find_leaks([asked("When was it built?", other)], [asked("When was it built?")]) == {"x"}


def test_one_instruction_over_many_passages_leaks_by_the_passage_alone() -> None:
    rng = random.Random(0)
    words = ["the", "tower", "of", "a", "town", "was", "built", "in", "stone", "by", "many", "hands"]
    articles = [" ".join(rng.choices(words, k=40)) for _ in range(2)]
    rows = [asked("Summarise the text.", article, name) for article, name in zip(articles, "ab", strict=True)]
    assert find_leaks(rows, [asked("Summarise the text.", articles[1] + " now")]) == {"b"}


def test_all_pairs_above_the_threshold_are_found_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(1)
    known = [" ".join(rng.choices(["red", "blue", "parcel", "money", "late"], k=rng.randint(0, 9))) for _ in range(150)]
    other = [text + rng.choice(["", "", " x", "!", " of the day"]) for text in rng.sample(known, 90)]
    monkeypatch.setattr("executors.data.near.BLOCK", 1000)  # several blocks, several chunks
    monkeypatch.setattr("executors.data.near.COUNTED", 1000)
    found = [pair for block in near_pairs(known, other) for pair in zip(*(p.tolist() for p in block), strict=True)]
    likeness = {(a, b): jaccard(one, two) for a, one in enumerate(known) for b, two in enumerate(other)}
    expected = {pair: value for pair, value in likeness.items() if value >= THRESHOLD}
    assert len(expected) > 100
    assert {(a, b): value for a, b, value in found} == pytest.approx(expected)
    assert len(found) == len(expected)


def jaccard(one: str, two: str) -> float:
    sets = [{text[n : n + 3] for n in range(len(text) - 2)} for text in map(normalise, (one, two))]
    return len(sets[0] & sets[1]) / max(1, len(sets[0] | sets[1]))


# -- refusing ------------------------------------------------------------------------------------------


def test_leaking_rows_are_kept_back_and_it_is_said() -> None:
    kept, refused = refuse_leaks(job(), TRAIN)
    assert [r.id for r in kept] == ["train.csv:2", "train.csv:5", "train.csv:7"]
    assert {r.id for r in refused} == LEAKING
    (note,) = leak_notes(refused)
    expected = "3 training rows equal or nearly equal a held-out row and are never shown as a demonstration"
    assert note["en"] == expected
    assert note["zh"] == "有 3 行训练数据与留出数据相同或几乎相同，不会用作示例"
    assert "1 training row equals or nearly equals" in leak_notes(refused[:1])[0]["en"]
    assert leak_notes(()) == ()


def test_a_job_without_held_out_rows_refuses_nothing() -> None:
    plain = Job(job().plan, tuple(TRAIN), (), Path())
    assert refuse_leaks(plain, TRAIN) == (tuple(TRAIN), ())


def test_a_users_own_demonstration_that_leaks_is_an_error_that_names_lines_alone() -> None:
    with pytest.raises(UserError) as refused:
        refuse_given_leaks(job(), TRAIN)
    assert "3 of 6 demonstrations" in refused.value.message
    for told in (refused.value.told("en"), refused.value.told("zh")):
        assert "train.csv:3, train.csv:4, train.csv:6" in told.message
        assert "test.csv" not in told.message
        assert "parcel" not in told.message + told.hint
    refuse_given_leaks(job(), [TRAIN[0], TRAIN[3]])


# -- through a run -------------------------------------------------------------------------------------

ASKED: list[frozenset[str]] = []


class AskingExecutor(FirstWordExecutor):
    """Asks which of its rows leak before it does its work."""

    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})

    def build(self, job: Job) -> FirstWordPredictor:
        ASKED.append(job.leaks(job.rows))
        return super().build(job)


def test_a_run_tells_its_method_which_training_rows_leak(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(executors.EXECUTORS, "asking", f"{__name__}:AskingExecutor")
    ASKED.clear()
    rows = ["red apples are on the table of the old house", "blue water runs down the hill to the sea", "green tea"]
    Path("train.csv").write_text(f"text,label\n{rows[0]},warm\n{rows[1]},cold\n{rows[2]},cold\n", encoding="utf-8")
    planted = rows[1].replace("hill", "hills").capitalize()
    Path("test.csv").write_text(f"text,label\n{planted}!,cold\nsomething else,warm\n", encoding="utf-8")
    plan = Plan("asking", "classification", DataSpec("train.csv", test="test.csv"))
    assert run_plan(plan, workdir / "r").status == "done"
    (leaking,) = ASKED
    assert leaking == {"train.csv:3"}
