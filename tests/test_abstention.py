"""Abstention: where thresholds come from, what they stop, and that they are told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from executors.base import DataSpec, Input, Job, Plan, Row
from executors.models import Chat
from executors.retriever import RagExecutor, RagPredictor, Setup
from executors.retriever.abstention import LEAST, Threshold, development, highest, loosened, set_threshold, share
from executors.retriever.index import Splitter, sync
from executors.retriever.search import SearchSettings
from tests.fakes import Acting, Scripted

THINGS = re.findall(
    r"\w+",
    "anchor basket candle drum engine feather guitar hammer island jacket kettle ladder mirror needle orchid piano "
    "quilt ribbon saddle tunnel umbrella violin window zipper",
)
STRANGERS = [Input(f"Where is the {thing} kept?") for thing in ("walrus", "banjo", "comet")]


def asked(n: int) -> str:
    return f"Where is the {THINGS[n]} kept?"


def rows(count: int, source: bool = True) -> list[Row]:
    return [
        Row(str(n), Input(asked(n)), (f"shelf number {n}00",), f"{THINGS[n]}.md" if source else "")
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page a thing."""
    folder = tmp_path_factory.mktemp("docs")
    for n, thing in enumerate(THINGS):
        text = f"# The {thing}\n\nThe {thing} is kept on shelf number {n}00. It was made in {1900 + n}."
        (folder / f"{thing}.md").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def index(docs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("indexed") / "index"
    sync(folder, docs, Splitter(), None, "en")
    return folder


@pytest.fixture
def predictor(index: Path) -> RagPredictor:
    """Quotes what it finds by words; without a threshold so far."""
    setup = Setup("question_answering", "none", 5, SearchSettings(), "quote", 3)
    return RagPredictor(setup, index, None, None)


def job(folder: Path, docs: Path, given: Sequence[Row], **params: object) -> Job:
    plan = Plan("rag", "question_answering", DataSpec("x"), docs=str(docs), params=params)
    return Job(plan, tuple(given), (), folder)


def test_the_threshold_is_the_highest_that_keeps_the_share() -> None:
    values = [float(n) for n in range(1, 20)]
    assert highest(values, 0.9) == 2, "the second of 19 from below: 1 in 10 of 20 falls short of it"
    assert highest(values, 0.95) == 1
    assert highest([3.0, 1.0, 2.0], 0.9) == 1, "too few to leave any out"
    assert share([1, 2, 3, 4], 3) == 0.5


def test_no_question_is_given_up_that_could_be_answered_at_the_same_price() -> None:
    assert loosened(7.0, [3.0, 5.0, 7.0, 9.0], [1.0, 4.0, 8.0]) == 5
    assert loosened(7.0, [3.0, 5.0, 7.0], [8.0]) == 3, "it stops nothing, so it need not be"


def test_questions_whose_documents_are_left_out_are_abstained_from_and_others_answered(
    predictor: RagPredictor, docs: Path, tmp_path: Path
) -> None:
    set_threshold(predictor, job(tmp_path, docs, rows(22)), 0.9)
    known = predictor.predict([Input(asked(n)) for n in range(22)])
    assert not any(p.abstained for p in known)
    assert known[0].text == "The anchor is kept on shelf number 000."
    unknown = predictor.predict(STRANGERS)
    said = (True, "I could not find this in the documents.", ())
    assert [(p.abstained, p.text, p.cited) for p in unknown] == [said] * 3
    assert all(p.passages for p in unknown), "the nearest that was found is shown"


def test_what_a_threshold_does_is_told_with_its_figures(predictor: RagPredictor, docs: Path, tmp_path: Path) -> None:
    set_threshold(predictor, job(tmp_path, docs, rows(22)), 0.9)
    (note,) = predictor.notes
    assert "of 22 training questions 100 % stay answered" in note["en"]
    assert "100 % are abstained from; abstain=never answers all" in note["en"]
    assert "22 个训练问题中 100% 仍会回答" in note["zh"]


def test_a_run_sets_it_and_keeps_it_unless_it_is_told_not_to(docs: Path, tmp_path: Path) -> None:
    predictor = RagExecutor().build(job(tmp_path, docs, rows(22), reader="quote"))
    assert predictor.setup.threshold is not None
    assert all(p.abstained for p in predictor.predict([Input("Who won the cup in 1954?")]))
    (tmp_path / "saved").mkdir()
    predictor.save(tmp_path / "saved")
    assert RagPredictor.load(tmp_path / "saved").setup == predictor.setup
    never = RagExecutor().build(job(tmp_path, docs, rows(22), reader="quote", abstain="never"))
    assert never.setup.threshold is None
    assert not never.predict([Input("Who won the cup in 1954?")])[0].abstained


def test_it_answers_whatever_is_asked_where_too_few_questions_are_known(
    predictor: RagPredictor, docs: Path, tmp_path: Path
) -> None:
    set_threshold(predictor, job(tmp_path, docs, rows(LEAST - 1)), 0.9)
    assert predictor.setup.threshold is None
    (note,) = predictor.notes
    assert f"{LEAST} training questions whose documents are known are needed, and there are 19" in note["en"]
    assert not predictor.predict(STRANGERS)[0].abstained


def test_rows_that_name_no_document_are_known_by_what_holds_their_answer(
    predictor: RagPredictor, docs: Path, tmp_path: Path
) -> None:
    for given in (rows(3), rows(3, source=False)):
        questions = development(predictor, job(tmp_path, docs, given))
        assert len(questions) == 3
        for question in questions:
            own = f"{THINGS[int(question.row.id)]}.md"
            assert own in {p.source for p in question.found}
            assert own not in {p.source for p in question.without}
            assert len(question.without) == predictor.setup.k
    stranger = [Row("1", Input(asked(1)), ("in the sea",))]
    assert development(predictor, job(tmp_path, docs, stranger)) == [], "nothing tells which document would answer"


def test_rows_that_stand_among_the_held_out_ones_set_no_threshold(
    predictor: RagPredictor, docs: Path, tmp_path: Path
) -> None:
    leaking = replace(job(tmp_path, docs, rows(22)), leaks=lambda given: frozenset(row.id for row in given[:5]))
    set_threshold(predictor, leaking, 0.9)
    assert "there are 17" in predictor.notes[-1]["en"]


@pytest.mark.parametrize(("truthful", "support"), [(True, 1.0), (False, 0.0)])
def test_what_the_model_writes_must_be_supported_as_its_right_answers_are(
    truthful: bool, support: float, predictor: RagPredictor, docs: Path, tmp_path: Path
) -> None:
    """Where none of its answers is right, they say nothing of what right ones have."""
    places = {asked(n): f"shelf number {n}00 [1]" for n in range(22)}

    def says(chat: Chat) -> str:
        return places[chat[-1]["content"].rsplit("Question: ")[-1]] if truthful else "in the sea"

    setup = replace(predictor.setup, reader="generate")
    writing = RagPredictor(setup, predictor.folder, Acting(says), None)
    set_threshold(writing, job(tmp_path, docs, rows(22)), 0.9)
    assert writing.setup.threshold is not None
    assert writing.setup.threshold.support == support


def test_the_model_is_not_asked_where_nothing_near_was_found(predictor: RagPredictor) -> None:
    model = Scripted("on a shelf")
    setup = replace(predictor.setup, reader="generate", threshold=Threshold(near=0.9))
    writing = RagPredictor(setup, predictor.folder, model, None)
    first, second = writing.predict([STRANGERS[0], Input("anchor")])
    assert (first.abstained, second.abstained) == (True, False)
    assert len(model.asked) == 1
