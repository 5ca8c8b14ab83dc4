"""What a command does with a model behind an endpoint: measured by a profile, never fetched, not read by likelihood."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from executors.base import DataSpec, Input, Job, Plan, Row, UserError
from executors.models import load_language_model
from executors.models.endpoint import EndpointLimits
from executors.models.endpoint.session import spending
from executors.models.fetch import fetch
from executors.retriever import RagExecutor
from executors.run import check_plan
from tests.conftest import DEMO
from tests.misbehaving import Misbehaving, billed
from tests.test_errors import check

Advisor = Callable[..., tuple[int, str, str]]
FIXED = ("--endpoint", "price_input=1000", "--endpoint", "price_output=1000")  # a tenth of a cent a token


@pytest.fixture
def server() -> Iterator[Misbehaving]:
    with Misbehaving() as running:
        yield running


@pytest.fixture
def rows(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ADVISOR_CACHE", str(workdir / "cache"))
    lines = ["text,target", *(f"item {n},re: item {n}" for n in range(100))]
    Path("rows.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return "rows.csv"


def test_a_profile_asks_the_held_out_rows_and_judges_no_likelihood(
    advisor: Advisor, rows: str, server: Misbehaving
) -> None:
    asked = ("profile", "--data", rows, "--model", server.name, "--measure")
    code, out, err = advisor(*asked, *FIXED, "--max-cost", "50", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["trial"]["score"]["n"] == 20
    assert found["domain"] is None
    assert "baseline_score" in found["facts"]
    assert len(server.asked) == 20
    assert "20 requests to 127.0.0.1" in err
    assert "no row is sent away" in err


def test_a_profile_stops_at_the_cap_and_says_how_to_go_on(advisor: Advisor, rows: str, server: Misbehaving) -> None:
    server.server.behaviour = billed(prompt_tokens=100, completion_tokens=100)  # $0.20 each
    asked = ("profile", "--data", rows, "--model", server.name, "--measure", *FIXED)
    code, _, err = advisor(*asked, "--max-cost", "3")
    assert code == 1
    assert "spend cap reached" in err
    assert "advisor profile … --measure --max-cost" in err
    first = len(server.asked)
    assert 0 < first < 20
    assert advisor(*asked, "--max-cost", "50")[0] == 0
    assert len(server.asked) == 20  # none is paid for twice


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_of_documents_alone_an_endpoint_tells_nothing(advisor: Advisor, server: Misbehaving, lang: str) -> None:
    docs = str(DEMO / "handbook")
    code, _, err = advisor("profile", "--docs", docs, "--model", server.name, "--measure", "--lang", lang)
    assert code == 1
    assert server.name in err
    assert "--data" in err
    assert server.asked == []


def test_there_is_nothing_to_fetch() -> None:
    with pytest.raises(UserError) as refused:
        fetch("deepseek:deepseek-flash")
    check(refused.value.problem, "deepseek:deepseek-flash")


def test_a_reader_by_likelihood_is_refused() -> None:
    plan = Plan("rag", "question_answering", DataSpec(str(DEMO / "questions-train.jsonl")), docs=str(DEMO / "handbook"))
    asked = Plan(**{**vars(plan), "model": "deepseek:deepseek-flash", "params": {"reader": "extract"}})
    (problem,) = [p for p in check_plan(asked) if "extract" in p.message]
    check(problem, "deepseek:deepseek-flash")
    assert check_plan(Plan(**{**vars(asked), "params": {"reader": "generate"}})) == []
    assert check_plan(Plan(**{**vars(plan), "params": {"reader": "extract"}})) == []


def test_a_prompt_whose_price_is_not_known_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond 128,000 tokens this model is dearer, by what nobody could confirm; a price of one's own holds for all."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-x")
    monkeypatch.setenv("DASHSCOPE_BASE_URL", "")
    long = [{"role": "user", "content": "word " * 150_000}]
    with spending(EndpointLimits(window=1_000_000)), pytest.raises(UserError) as refused:
        load_language_model("dashscope:qwen-plus").generate([long], 5)
    check(refused.value.problem, "128,000")
    assert "was not sent" in refused.value.message


def test_rag_over_an_endpoint_generates_without_trying_a_reader_by_likelihood(
    workdir: Path, server: Misbehaving
) -> None:
    Path("docs").mkdir()
    Path("docs/a.md").write_text("# Parcels\n\nA parcel takes three days and costs four pounds.\n", "utf-8")
    rows = tuple(Row(f"r{n}", Input(f"How long does parcel {n} take?"), ("three days",)) for n in range(6))
    named = {
        "model": server.name,
        "embedder": "bge-small-zh-v1.5",
    }  # not of the documents' language: words are searched
    plan = Plan("rag", "question_answering", DataSpec("x.jsonl"), docs="docs", **named)
    with spending(EndpointLimits()):
        predictor = RagExecutor().build(Job(plan, rows, (), workdir / "work"))
    assert predictor.setup.reader == "generate"
    assert server.asked == []
