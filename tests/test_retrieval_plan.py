"""A plan of retrieval gives time to choosing how documents are cut and searched, and says why; estimates count it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from advisor.decision import Inputs
from advisor.estimate import estimate_seconds
from advisor.facts import Fact, Origin
from advisor.plan import make_plan
from advisor.profile.machine import Machine
from advisor.retrieving import CAREFUL, MOST_SECONDS, SECONDS
from advisor.work import Rows
from executors.base import DataSpec, Plan
from tests.samples import DECISION

ROWS = Rows(train=70, test=70, input_tokens=20, answer_tokens=5, document_tokens=200_000)
PLAN = Plan("rag", "question_answering", DataSpec("qa.jsonl"), docs="docs")
HERE = Machine(2, 8.0, 7.0, (), 0.0)


@pytest.fixture
def planned(workdir: Path) -> Callable[..., Plan]:
    """The plan for so many question rows, and documents of so many words."""

    def make(rows: int, words: int = 100, error_cost: Fact | None = None, **settings: Any) -> Plan:
        (workdir / "docs").mkdir()
        (workdir / "docs" / "a.md").write_text("The meter lasts five years. " * (words // 5))
        for name, numbers in (("qa", range(rows)), ("test", range(100, 110))):
            lines = ({"question": f"how long does meter {n} last?", "answer": f"{n} years"} for n in numbers)
            (workdir / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
        facts = {**DECISION.facts, **({"error_cost": error_cost} if error_cost else {})}
        return make_plan(replace(DECISION, facts=facts), Inputs("qa.jsonl", "test.jsonl", "docs"), "rag", settings)

    return make


def seconds(plan: Plan) -> tuple[float, float]:
    return estimate_seconds(plan, ROWS, HERE, 0.1)


def test_time_is_given_where_there_are_questions_to_choose_on(planned: Callable[..., Plan]) -> None:
    plan = planned(50)
    assert plan.params["search_seconds"] == SECONDS
    told = plan.reasons["params.search_seconds"]
    assert "31 ways to cut and search" in told["en"]
    assert "50 training questions, never on held-out ones" in told["en"]
    assert "50 个训练问题" in told["zh"]
    assert "--set search_seconds=0" in told["zh"]


@pytest.mark.parametrize(("origin", "stricter"), [("asked", True), ("assumed", False)])
def test_a_dear_error_makes_it_abstain_sooner(origin: Origin, stricter: bool, planned: Callable[..., Plan]) -> None:
    plan = planned(7, error_cost=Fact("error_cost", "high", origin))
    assert plan.params.get("answered") == (CAREFUL if stricter else None)
    assert ("85 % of the training questions" in str(plan.reasons.get("params.answered"))) is stricter


def test_few_questions_choose_nothing_and_that_is_said(planned: Callable[..., Plan]) -> None:
    plan = planned(7)
    assert "search_seconds" not in plan.params
    assert "7 training questions are too few" in plan.reasons["params.search_seconds"]["en"]


def test_long_documents_are_given_more_time_up_to_a_limit(planned: Callable[..., Plan]) -> None:
    plan = planned(50, words=3_000_000)
    assert plan.params["search_seconds"] == MOST_SECONDS
    assert "a part of the documents is used" in plan.reasons["params.search_seconds"]["en"]


def test_what_is_set_stays(planned: Callable[..., Plan]) -> None:
    plan = planned(50, search_seconds=0)
    assert plan.params["search_seconds"] == 0
    assert "set" in plan.reasons["params.search_seconds"]["en"]


def test_an_estimate_counts_the_choice_within_its_budget() -> None:
    without, short, long = (
        seconds(replace(PLAN, params={"reader": "quote", "search_seconds": budget})) for budget in (0, 10, 100_000)
    )
    assert short[1] == pytest.approx(without[1] + 10)
    assert long[1] > short[1]
    assert without[0] < long[0] < long[1]


@pytest.mark.parametrize("setting", [{"rerank": "cross-encoder"}, {"rewrite": True, "reader": "generate"}])
def test_an_estimate_counts_what_every_question_costs_more(setting: dict[str, Any]) -> None:
    reader = setting.get("reader", "quote")
    plain = seconds(replace(PLAN, params={"reader": reader}))
    dearer = seconds(replace(PLAN, params={"reader": reader, **setting}))
    assert all(more > less for more, less in zip(dearer, plain, strict=True))
