"""Tuning a RAG's reader: prompts as the reader composes them from what is found, and an artifact that reads."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import executors
from executors.base import DataSpec, Event, Input, Job, Passage, Plan, Row, UserError
from executors.retriever import RagExecutor
from executors.retriever.abstention import NOT_FOUND
from executors.retriever.predictor import reading_chat
from executors.run import check_plan, run_plan
from executors.tuning import PeftExecutor, PeftParams, TunedPredictor
from executors.tuning.grounded import FOLDER, ROWS, Reading, _kept, _read, _setup
from tests.tiny import write_tiny

PLACES = ("Arden", "Bexley", "Corby", "Dover", "Ely", "Frome", "Goole", "Hexham")
COLOURS = ("amber", "beige", "crimson", "denim", "ebony", "fuchsia", "green", "hazel")
QUICK = {
    "epochs": 1,
    "min_steps": 4,
    "batch_size": 4,
    "checkpoint_steps": 2,
    "learning_rate": 1e-3,
    "max_length": 500,
    "compare": 0,
    "forgetting": False,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    for place, colour in zip(PLACES, COLOURS, strict=True):
        (folder / f"{place.lower()}.md").write_text(
            f"# {place}\n\nThe town hall of {place} has doors that are painted {colour} every spring.\n",
            encoding="utf-8",
        )
    return folder


def rows(count: int = 8) -> tuple[Row, ...]:
    asked = zip(PLACES[:count], COLOURS[:count], strict=True)
    return tuple(
        Row(place, Input(f"Which colour are the doors of the town hall of {place}?"), (colour,), f"{place.lower()}.md")
        for place, colour in asked
    )


def plan_of(tiny: str, docs: Path, **params: object) -> Plan:
    given = {**QUICK, "passages": 2, **params}
    return Plan("peft", "question_answering", DataSpec("x.jsonl"), docs=str(docs), model=tiny, params=given)


def build(plan: Plan, given: Sequence[Row], folder: Path, **more: Any) -> TunedPredictor:
    folder.mkdir(exist_ok=True)
    return PeftExecutor().build(Job(plan, tuple(given), (), folder, **more))


# -- what is composed ----------------------------------------------------------------------------------


class Known:
    """Stands for what is known of a row: the passage named `gold` holds the answer."""

    language = "en"

    def __init__(self, best: Passage | None) -> None:
        self.best = best

    def is_gold(self, passage: Passage) -> bool:
        return passage == self.best


GOLD, *OTHERS = (Passage(text, f"{text}.md") for text in ("gold", "one", "two", "three", "four"))
ROW = Row("r", Input("who?"), ("me",))


def read(
    found: Sequence[Passage], gold: Passage | None = GOLD, share: float = 1.0, seed: int = 0, **more: float
) -> Reading:
    params = PeftParams(passages=3, gold=share, **more)  # type: ignore[arg-type]
    return _read(ROW, found, Known(gold), params, seed, lambda shown: True)  # type: ignore[arg-type]


def test_an_answer_ends_with_the_number_its_passage_has_in_the_prompt() -> None:
    reading = read([OTHERS[0], GOLD, OTHERS[1]])
    assert reading.passages == (OTHERS[0], OTHERS[1], GOLD)  # the second best is read last, as by the reader
    assert (reading.answer, reading.how) == ("me [3]", "found")


def test_a_passage_that_was_not_found_is_put_in_at_any_place() -> None:
    places = set()
    for seed in range(20):
        reading = read(OTHERS[:3], seed=seed)
        assert (len(reading.passages), reading.how) == (3, "put in")
        places.add(reading.passages.index(GOLD))
        assert reading.answer == f"me [{reading.passages.index(GOLD) + 1}]"
        assert reading == read(OTHERS[:3], seed=seed)
    assert places == {0, 1, 2}


def test_the_stated_share_gets_it_and_the_others_say_that_it_is_not_there() -> None:
    made = [read(OTHERS[:3], share=0.7, seed=seed) for seed in range(300)]
    assert 0.6 < sum(one.how == "put in" for one in made) / 300 < 0.8
    left = next(one for one in made if one.how == "left out")
    assert (left.answer, left.passages) == (NOT_FOUND["en"], (OTHERS[0], OTHERS[2], OTHERS[1]))


def test_from_a_share_of_the_rows_the_passage_is_taken_out() -> None:
    made = [read([OTHERS[0], GOLD, *OTHERS[1:4]], absent=0.3, seed=seed) for seed in range(300)]
    assert 0.2 < sum(one.how == "left out" for one in made) / 300 < 0.4
    left = next(one for one in made if one.how == "left out")
    assert left.answer == NOT_FOUND["en"]
    assert set(left.passages) == set(OTHERS[:3])  # as many as any other row has


def test_a_row_whose_passage_nobody_knows_keeps_its_answer() -> None:
    assert read(OTHERS[:2], gold=None) == Reading("r", "who?", tuple(OTHERS[:2]), "me", "unknown")


def test_a_passage_that_does_not_fit_is_not_claimed_to_be_there() -> None:
    found, params = [OTHERS[0], OTHERS[1], GOLD], PeftParams(passages=3)
    reading = _read(ROW, found, Known(GOLD), params, 0, lambda shown: len(shown) < 3)  # type: ignore[arg-type]
    assert (reading.passages, reading.answer) == ((OTHERS[0], OTHERS[1]), NOT_FOUND["en"])


# -- training ------------------------------------------------------------------------------------------


def test_rows_are_asked_as_the_reader_asks_and_the_artifact_reads(tiny: str, docs: Path, tmp_path: Path) -> None:
    tuned = build(plan_of(tiny, docs), rows(), tmp_path / "work")
    kept = _kept(tmp_path / "work" / FOLDER / ROWS)
    setup = _setup(tmp_path / "work" / FOLDER)
    assert (setup.passages_read, setup.reader, setup.threshold) == (2, "generate", None)
    first = kept[0]
    assert first.how == "found"
    assert len(first.passages) == 2
    number = next(n for n, passage in enumerate(first.passages, 1) if passage.source == "arden.md")
    assert first.answer == f"amber [{number}]"
    asked = reading_chat(setup, first.question, first.passages)
    assert tuned.rag._chat(first.question, first.passages) == asked  # one wording, in training and in use
    assert "like [1]" in asked[0]["content"]
    [answer] = tuned.predict([rows()[0].input])
    assert {p.source for p in answer.passages} >= {"arden.md"}
    assert any("the passage with the answer was found for 8" in note["en"] for note in tuned.notes)
    tuned.save(tmp_path / "artifact")
    assert TunedPredictor.load(tmp_path / "artifact").predict([rows()[0].input]) == [answer]


def test_what_is_resumed_trains_on_the_same_prompts(tiny: str, docs: Path, tmp_path: Path) -> None:
    plan = plan_of(tiny, docs, gold=0.5)
    straight = build(plan, rows(), tmp_path / "straight")

    def stop(event: Event) -> None:
        if event.stage == "train" and event.done == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        build(plan, rows(), tmp_path / "broken", report=stop)
    composed = (tmp_path / "broken" / FOLDER / ROWS).read_bytes()
    resumed = build(plan, rows(), tmp_path / "broken")
    assert (tmp_path / "broken" / FOLDER / ROWS).read_bytes() == composed
    assert (resumed.folder / "training.jsonl").read_text() == (straight.folder / "training.jsonl").read_text()


def test_the_index_of_an_earlier_run_is_searched_its_way(tiny: str, docs: Path, tmp_path: Path) -> None:
    params = {"search": "lexical", "chunk_tokens": 40, "overlap": 0, "reader": "quote", "sources": ["a*.md", "b*.md"]}
    rag_plan = Plan("rag", "question_answering", DataSpec("x.jsonl"), docs=str(docs), model=tiny, params=params)
    (tmp_path / "rag").mkdir()
    (tmp_path / "run" / "artifact").mkdir(parents=True)
    RagExecutor().build(Job(rag_plan, rows(), (), tmp_path / "rag")).save(tmp_path / "run" / "artifact")
    plan = replace(plan_of(tiny, docs, retriever=str(tmp_path / "run"), gold=0.0), docs=None)
    assert PeftExecutor().check(plan) == []
    tuned = build(plan, rows(), tmp_path / "work")
    setup = _setup(tuned.folder)
    assert (setup.search.how, setup.sources, setup.reader) == ("lexical", ("a*.md", "b*.md"), "generate")
    kept = {one.id: one for one in _kept(tmp_path / "work" / FOLDER / ROWS)}
    assert kept["Bexley"].how == "found"
    assert kept["Corby"].answer == NOT_FOUND["en"]  # its document is not among the sources
    assert {p.source for one in kept.values() for p in one.passages} == {"arden.md", "bexley.md"}


def test_what_the_model_says_when_nothing_is_there_counts_as_abstaining(tiny: str, docs: Path, tmp_path: Path) -> None:
    tuned = build(plan_of(tiny, docs), rows(4), tmp_path / "work")
    from executors.base import Prediction

    said = tuned.rag._checked(Prediction(NOT_FOUND["en"], passages=(GOLD,)))
    assert said.abstained
    assert not tuned.rag._checked(Prediction("amber", passages=(GOLD,))).abstained


def test_a_run_is_scored_on_what_it_retrieves(tiny: str, docs: Path, tmp_path: Path) -> None:
    lines = [
        json.dumps({"question": r.input.text, "answer": r.target, "page": r.source}, ensure_ascii=False) for r in rows()
    ]
    lines += [line.replace("Which colour are", "What is the colour of") for line in lines]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    plan = replace(plan_of(tiny, docs), data=DataSpec(str(tmp_path / "rows.jsonl"), columns={"source": "page"}))
    assert check_plan(plan) == []
    result = run_plan(plan, tmp_path / "run")
    assert result.scores["hit@5"].value == 1.0
    again = executors.load(tmp_path / "run").predict([rows()[0].input])
    assert again[0].passages


# -- faults --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "docs_given", "params", "said"),
    [
        ("question_answering", False, {}, "params.passages: there are no documents"),
        ("classification", True, {}, "params.passages: for tasks with written answers, not classification"),
        ("question_answering", True, {"passages": -1}, "params.passages: must not be negative, got -1"),
        ("question_answering", True, {"gold": 1.5}, "params.gold: must be from 0 to 1, got 1.5"),
        ("question_answering", True, {"absent": -0.1}, "params.absent: must be from 0 to 1, got -0.1"),
        ("question_answering", True, {"passages": 0, "retriever": "last"}, "params.retriever: has no meaning without"),
        ("question_answering", True, {"retriever": "nowhere"}, "no run 'nowhere'"),
    ],
)
def test_faults_are_told_before_any_work(
    task: str, docs_given: bool, params: dict[str, object], said: str, tiny: str, docs: Path, workdir: Path
) -> None:
    plan = replace(plan_of(tiny, docs, **params), task=task, docs=str(docs) if docs_given else None)
    [problem] = PeftExecutor().check(plan)
    assert said in problem.message
    assert problem.zh is not None


def test_a_run_without_an_index_is_no_retriever(tiny: str, docs: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    [problem] = PeftExecutor().check(plan_of(tiny, docs, retriever=str(tmp_path / "run")))
    assert "holds no finished index" in problem.message


def test_passages_that_leave_no_room_are_told(tiny: str, docs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no token to train on: of 8 training rows, 8 do not fit 30 tokens"):
        build(plan_of(tiny, docs, max_length=30), rows(), tmp_path / "work")
