"""The chart: what its loader refuses, and how it is walked."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from advisor.cards import METHODS, Memory, load_cards
from advisor.facts import Assuming, Facts, Known, read_answers
from advisor.flowchart import Chart, Outcome, Question, load_chart, methods_for, parse_chart, walk

T = {"en": "text", "zh": "文本"}


def edge(to: str, **more: Any) -> dict[str, Any]:
    return {"to": to, "answer": T, "why": T, "source": "rag_2020", "strength": "strong", **more}


def small() -> dict[str, Any]:
    """A sound chart of one ask, one test and two ends."""
    return {
        "root": "budget",
        "conditions": {"many": {"fact": "labelled_examples", "at_least": 500}},
        "nodes": {
            "budget": {"ask": "training_budget", "edges": [edge("enough")]},
            "enough": {"test": T, "edges": [edge("done", when={"condition": "many"}, add=["peft"]), edge("plain")]},
            "done": {"end": [], "text": T},
            "plain": {"end": ["prompt"], "text": T},
        },
    }


def faults(change: Callable[[dict[str, Any]], object]) -> str:
    raw = copy.deepcopy(small())
    change(raw)
    with pytest.raises(ValueError, match=r"flowchart\.yaml") as caught:
        parse_chart(raw)
    return str(caught.value)


def follow(answers: dict[str, Any], chart: Chart | None = None) -> Outcome:
    outcome = walk(chart or load_chart(), Assuming(read_answers(answers).believed()))
    assert isinstance(outcome, Outcome)
    return outcome


def test_a_sound_chart_is_walked() -> None:
    chart = parse_chart(small())
    assert follow({"labelled_examples": 500}, chart).methods == ("peft",)
    assert follow({"labelled_examples": 499}, chart).methods == ("prompt",)


def set_when(raw: dict[str, Any], when: Any) -> None:
    raw["nodes"]["enough"]["edges"][0]["when"] = when


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (
            lambda r: set_when(r, {"fact": "labeled_examples", "at_least": 1}),
            "unknown fact 'labeled_examples' (did you",
        ),
        (lambda r: set_when(r, {"fact": "task", "is": "classify"}), "task has no option 'classify'"),
        (lambda r: set_when(r, {"fact": "task", "at_least": "extraction"}), "the options of task have no order"),
        (lambda r: set_when(r, {"fact": "style", "is": "yes"}), "style is boolean, got 'yes'"),
        (lambda r: set_when(r, {"fact": "style"}), "expected one of is, in"),
        (lambda r: set_when(r, {"sometimes": True}), "unknown condition"),
        (lambda r: set_when(r, {"feasible": "loar"}), "unknown method 'loar'"),
        (lambda r: set_when(r, {"condition": "much"}), "unknown condition 'much'"),
        (lambda r: set_when(r, {"all": []}), "'all' needs a list"),
        (lambda r: r["nodes"]["budget"].update(ask="training_buget"), "unknown fact 'training_buget'"),
        (lambda r: r["nodes"].update(lonely={"end": ["rag"], "text": T}), "lonely: unreachable"),
        (lambda r: r["nodes"]["enough"]["edges"].pop(), "missing branch"),
        (lambda r: r["nodes"]["enough"]["edges"].reverse(), "never taken"),
        (lambda r: r["nodes"]["enough"].update(edges=[]), "no edges"),
        (lambda r: r["nodes"]["enough"]["edges"][1].update(to="budget"), "cycle: budget → enough → budget"),
        (lambda r: r["nodes"]["enough"]["edges"][1].update(to="pain"), "unknown node 'pain' (did you mean 'plain'?)"),
        (lambda r: r["nodes"]["enough"]["edges"][1].pop("why"), "why: no text in 'en'"),
        (lambda r: r["nodes"]["enough"]["edges"][1].update(why={"en": "because"}), "why: no text in 'zh'"),
        (lambda r: r["nodes"]["enough"]["edges"][1].pop("source"), "no source"),
        (lambda r: r["nodes"]["enough"]["edges"][1].update(source="rag_2002"), "unknown source 'rag_2002'"),
        (lambda r: r["nodes"]["enough"]["edges"][1].update(strength="sure"), "strength must be one of"),
        (lambda r: r["nodes"]["enough"]["edges"][1].update(weigth=1), "unknown key 'weigth'"),
        (lambda r: r["nodes"]["enough"].update(test={"en": "Enough?"}), "test: no text in 'zh'"),
        (lambda r: r["nodes"]["plain"].update(end=["promt"]), "unknown method 'promt'"),
        (lambda r: r["nodes"]["plain"].update(end=[]), "plain: can be reached with no method at all"),
        (lambda r: r["nodes"]["plain"].update(ask="style"), "a node is one of ask, test, end"),
        (lambda r: r.update(root="start"), "root: unknown node 'start'"),
        (lambda r: r["conditions"].update(few={"fact": "labelled_examples", "at_most": 9}), "few: never used"),
    ],
)
def test_each_fault_is_found(change: Callable[[dict[str, Any]], object], part: str) -> None:
    assert part in faults(change)


def test_all_faults_are_told_at_once() -> None:
    def change(raw: dict[str, Any]) -> None:
        set_when(raw, {"fact": "task", "is": "classify"})
        raw["nodes"]["enough"]["edges"][1].update(source="", why={})
        raw["nodes"]["lonely"] = {"end": ["rag"], "text": T}

    told = faults(change)
    assert all(part in told for part in ("no option 'classify'", "no source", "no text in 'en'", "lonely: unreachable"))


# -- the product's chart -------------------------------------------------------------------------------


def test_the_chart_opens_with_budget_labels_and_freshness() -> None:
    chart = load_chart()
    first = chart.nodes[chart.root]
    second = chart.nodes[first.edges[0].to]
    third = chart.nodes[second.edges[0].to]
    assert [first.fact, second.fact, third.fact] == ["training_budget", "labelled_examples", "knowledge_change"]
    assert all(len(node.edges) == 1 for node in (first, second, third))
    assert chart.nodes[third.edges[0].to].kind == "test"


def test_a_walk_on_known_facts_stops_at_the_first_question() -> None:
    question = walk(load_chart(), Known({"training_budget": "small"}))
    assert isinstance(question, Question)
    assert question.fact == "labelled_examples"
    assert set(question.why) == {"en", "zh"}


def test_nothing_known_still_arrives() -> None:
    assert methods_for(load_chart(), Assuming(Facts().believed()))


def test_edges_name_only_the_facts_that_settled_them() -> None:
    path = follow({"failure": "none", "knowledge_tokens": 0, "task": "generation"}).path
    settled = {taken.node.id: taken.facts for taken in path}
    assert settled["budget"] == ("training_budget",)
    assert settled["good_enough"] == ("failure",)


def test_both_uses_of_the_chart_agree() -> None:
    answers = {"task": "classification", "classes": 5, "labelled_examples": 100, "failure": "behaviour"}
    view = Assuming(read_answers(answers).believed())
    assert follow(answers).methods == methods_for(load_chart(), view) == ("probe",)


# -- memory ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "fits"),
    [
        ({}, True),  # no model named: a smaller one can be chosen
        ({"model_parameters": 8_000_000_000, "gpu_memory_gb": 24, "privacy": "on_premises"}, True),  # 8.4 GB
        ({"model_parameters": 70_000_000_000, "gpu_memory_gb": 24, "privacy": "on_premises"}, False),  # 58 GB
        ({"model_parameters": 70_000_000_000, "gpu_memory_gb": 24, "privacy": "own_cloud"}, True),  # 80 GB are rented
        ({"model_parameters": 135_000_000, "gpu_memory_gb": 0, "privacy": "on_premises"}, True),  # a CPU will do
        ({"model_parameters": 8_000_000_000, "gpu_memory_gb": 0, "privacy": "on_premises"}, False),
    ],
)
def test_adapters_fit_where_the_sum_says_so(answers: dict[str, Any], fits: bool) -> None:
    need = next(need for need in load_cards()["peft"].needs if need.id == "memory")
    assert need.that.holds(Assuming(read_answers({"training_budget": "small", **answers}).believed())) is fits


def test_the_sum_of_a_veto_is_shown() -> None:
    memory = Memory(bytes_per_parameter=8, spare_gb=2, shared=True)
    view = Assuming(
        read_answers(
            {"model_parameters": 8_000_000_000, "gpu_memory_gb": 24, "gpu_count": 2, "privacy": "on_premises"}
        ).believed()
    )
    assert memory.failure(view) == "8 B parameters × 8 B + 2 GB = 66 GB > 48 GB"


def test_every_method_has_a_card_with_its_needs_met_somewhere() -> None:
    assert set(METHODS) <= set(load_cards())
