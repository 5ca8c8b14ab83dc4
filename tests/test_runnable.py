"""A run as a step of a chain: what it takes, one call for a batch, and runs found by name."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate

import executors
from executors.base import DataSpec, Input, Passage, Plan, Prediction, Predictor, Reporter, UserError, silent
from executors.prompt import Prompt, PromptPredictor
from executors.retriever import RagPredictor, Setup
from executors.retriever.index import build_index
from executors.retriever.search import SearchSettings
from executors.run import run_plan
from tests.fakes import Scripted


class Echo(Predictor):
    """Answers with the text and its passage, and keeps every call."""

    def __init__(self) -> None:
        self.calls: list[list[Input]] = []

    def predict(self, inputs: Sequence[Input], report: Reporter = silent) -> list[Prediction]:
        self.calls.append(list(inputs))
        if any(not given.text for given in inputs):
            raise UserError("empty")
        return [Prediction(f"{given.text}|{given.context}", score=0.5) for given in inputs]

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    @classmethod
    def load(cls, folder: Path, report: Reporter = silent) -> Self:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ("a", "a|"),
        ({"text": "a"}, "a|"),
        ({"text": "a", "context": "b"}, "a|b"),
        (Input("a", "b"), "a|b"),
        (HumanMessage("a"), "a|"),
        ([HumanMessage("a")], "a|"),
    ],
    ids=str,
)
def test_what_is_taken(given: object, answer: str) -> None:
    assert Echo().as_runnable().invoke(given) == answer


@pytest.mark.parametrize(
    "given",
    [3, None, {}, {"question": "a"}, {"text": 3}, [SystemMessage("s"), HumanMessage("a")], SystemMessage("s"), []],
    ids=str,
)
def test_what_is_refused_says_what_is_taken(given: object) -> None:
    with pytest.raises(UserError, match="this run answers a text") as refused:
        Echo().as_runnable().invoke(given)
    assert "输入应为文本" in refused.value.told("zh").message


def test_a_batch_is_one_call() -> None:
    echo = Echo()
    assert echo.as_runnable().batch(["a", "b", {"text": "c"}]) == ["a|", "b|", "c|"]
    assert [len(call) for call in echo.calls] == [3]
    assert asyncio.run(echo.as_runnable().abatch(["a", "b"])) == ["a|", "b|"]
    assert asyncio.run(echo.as_runnable().ainvoke("a")) == "a|"
    assert [len(call) for call in echo.calls] == [3, 2, 1]
    assert echo.as_runnable().batch([]) == []


def test_a_failed_batch_can_be_handed_back_as_exceptions() -> None:
    answers = Echo().as_runnable().batch(["a", ""], return_exceptions=True)
    assert [type(answer) for answer in answers] == [UserError, UserError]


def test_it_stands_in_a_chain() -> None:
    echo = Echo()
    chain = PromptTemplate.from_template("about {topic}") | echo.as_runnable() | StrOutputParser()
    assert chain.invoke({"topic": "rain"}) == "about rain|"
    assert chain.batch([{"topic": "a"}, {"topic": "b"}]) == ["about a|", "about b|"]
    assert [len(call) for call in echo.calls] == [1, 2]
    assert (ChatPromptTemplate([("human", "{topic}")]) | echo.as_runnable()).invoke({"topic": "x"}) == "x|"


def test_in_full_it_tells_scores_and_labels() -> None:
    prompt = Prompt("classification", ("bad", "good"), "scripted", "Classify.")
    answer = PromptPredictor(Scripted(), prompt).as_runnable(full=True).invoke("this is excellent")
    assert answer["text"] == "good"
    assert answer["scores"] == {"bad": pytest.approx(0.047426), "good": pytest.approx(0.952574)}  # 1/(1+e^3)
    assert PromptPredictor(Scripted(), prompt).as_runnable().invoke("this is excellent") == "good"


def test_an_answer_from_documents_brings_its_sources(tmp_path: Path) -> None:
    passages = [
        Passage("Parcels arrive within three days.", "delivery.md"),
        Passage("Refunds take a week.", "money.md"),
    ]
    build_index(passages, None, None, tmp_path / "index")
    setup = Setup("question_answering", "none", k=1, search=SearchSettings(), reader="quote", passages_read=1)
    runnable = RagPredictor(setup, tmp_path / "index", None, None).as_runnable(full=True)
    first, second = runnable.batch(["When do parcels arrive?", "How long do refunds take?"])
    assert (first["text"], second["text"]) == ("Parcels arrive within three days.", "Refunds take a week.")
    assert first["passages"][0]["source"] == "delivery.md"


@pytest.fixture
def finished(workdir: Path) -> Path:
    """A finished run of the floor, in the folder of runs."""
    rows = "".join(f"{word} {n},{label}\n" for n in range(8) for word, label in (("rain", "wet"), ("sun", "dry")))
    Path("rows.csv").write_text(f"text,label\n{rows}")
    folder = workdir / "runs" / "20260101-000000-abcd"
    run_plan(Plan("baseline", "classification", DataSpec("rows.csv")), folder)
    return folder


@pytest.mark.parametrize("name", ["last", "2026", "20260101-000000-abcd", "runs/20260101-000000-abcd"])
def test_a_finished_run_is_loaded_by_name(name: str, finished: Path) -> None:
    assert executors.load(name).as_runnable().invoke("rain again") in ("wet", "dry")


def test_a_finished_run_is_loaded_by_its_folder_wherever_it_is(finished: Path, tmp_path: Path) -> None:
    elsewhere = finished.rename(tmp_path / "mine")
    assert executors.load(elsewhere).predict([Input("sun")])[0].text in ("wet", "dry")


def test_what_is_no_finished_run_says_so(finished: Path) -> None:
    with pytest.raises(UserError, match="no run 'other'"):
        executors.load("other")
    (finished.parent / "20270101-empty").mkdir()
    with pytest.raises(UserError, match="has not finished") as unfinished:
        executors.load("last")
    assert "尚未完成" in unfinished.value.told("zh").message
