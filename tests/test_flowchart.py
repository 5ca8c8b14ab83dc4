"""The chart: what its loader refuses, and how it is walked."""

from __future__ import annotations

import copy
import functools
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from advisor.answers import read_answers
from advisor.cards import METHODS, Memory, load_cards
from advisor.decision import decide
from advisor.facts import Assuming, Fact, Facts, Known, load_vocabulary
from advisor.flowchart import Chart, Outcome, Question, load_chart, methods_for, parse_chart, read_chart, walk
from advisor.moves import relevant, sample
from advisor.texts import read_yaml

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
        (lambda r: r["nodes"]["enough"].update(edge=[]), "enough: unknown key 'edge'"),
        (lambda r: r["nodes"]["enough"]["edges"].append("done"), "edges[3]: unknown node 'None'"),
        (
            lambda r: r["nodes"]["enough"]["edges"][0].update(add=["pefd"]),
            "unknown method 'pefd' (did you mean 'peft'?)",
        ),
        (lambda r: r["nodes"]["enough"]["edges"][1].update(answer={"zh": "否"}), "answer: no text in 'en'"),
        (lambda r: r["nodes"]["plain"].update(text={"en": "Prompt."}), "plain: no text in 'zh'"),
        (lambda r: r["nodes"].update(plain="prompt"), "plain: a node is one of ask, test, end; got none"),
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
        nodes, edges = raw["nodes"], raw["nodes"]["enough"]["edges"]
        set_when(raw, {"any": [{"fact": "task", "is": "classify"}, {"fact": "labeled", "at_least": 1}]})
        edges[0]["add"] = ["loar"]
        edges[1].update(source="", why={}, to="budget", when={"fact": "style", "is": True})
        nodes["lonely"] = {"end": ["rag"], "text": {"en": "Retrieve."}}
        nodes["budget"]["ask"] = "training_buget"

    told = faults(change)
    assert told.splitlines()[1:] == [
        "  budget: unknown fact 'training_buget' (did you mean 'training_budget'?)",
        "  enough.edges[1]: task has no option 'classify' (did you mean 'classification'?)",
        "  enough.edges[1]: unknown fact 'labeled'",
        "  enough.edges[1]: unknown method 'loar'",
        "  enough.edges[2]: no source",
        "  enough.edges[2].why: no text in 'en'",
        "  enough.edges[2].why: no text in 'zh'",
        "  enough: missing branch: the last edge has a condition, so a walk can get stuck",
        "  lonely: no text in 'zh'",
        "  conditions.many: never used",
        "  cycle: budget → enough → budget",
        "  plain: unreachable",
        "  lonely: unreachable",
    ]


def test_every_cycle_is_told() -> None:
    def change(raw: dict[str, Any]) -> None:
        edges = raw["nodes"]["enough"]["edges"]
        edges[0]["to"] = "enough"
        edges[1]["to"] = "budget"

    assert [line for line in faults(change).splitlines() if "cycle" in line] == [
        "  cycle: enough → enough",
        "  cycle: budget → enough → budget",
    ]


def test_a_key_that_is_there_twice_is_told_with_the_other_faults() -> None:
    source = yaml.safe_dump(small(), sort_keys=False) + "root: plain\n"
    with pytest.raises(ValueError, match=r"flowchart\.yaml") as caught:
        read_chart(source.replace("    ask: training_budget", "    ask: style\n    ask: training_buget"))
    first, second, *others = str(caught.value).splitlines()[1:]
    assert (first.split(": ")[1], second.split(": ")[1]) == ("'root' is there twice", "'ask' is there twice")
    assert "  budget: unknown fact 'training_buget' (did you mean 'training_budget'?)" in others
    assert "  budget: unreachable" in others


def test_a_repeated_key_in_any_file_of_knowledge_is_found() -> None:
    value, repeated = read_yaml("a: 1\nb: {c: 1, d: 2, c: 3}\na: 2\n")
    assert value == {"a": 2, "b": {"c": 3, "d": 2}}
    assert sorted(repeated) == ["line 2: 'c' is there twice", "line 3: 'a' is there twice"]
    assert read_yaml("a: {a: 1}\nb: [{a: 1}, {a: 2}]\n")[1] == []


# -- the product's chart -------------------------------------------------------------------------------


def test_the_chart_opens_with_budget_labels_and_freshness() -> None:
    chart = load_chart()
    first = chart.nodes[chart.root]
    second = chart.nodes[first.edges[0].to]
    third = chart.nodes[second.edges[0].to]
    assert [first.fact, second.fact, third.fact] == ["training_budget", "labelled_examples", "knowledge_change"]
    assert all(len(node.edges) == 1 for node in (first, second, third))
    assert chart.nodes[third.edges[0].to].kind == "test"


SAMPLES = 30_000  # of facts, until every edge, method and hybrid has been met; about half as many are needed
HYBRIDS = ({"rag", "peft"}, {"cpt", "peft"}, {"cpt", "full"}, {"cpt", "full", "rag"})


@functools.cache
def witnesses() -> tuple[dict[tuple[str, int], dict[str, Any]], dict[frozenset[str], dict[str, Any]]]:
    """Facts by which each edge (a node and a number) is taken, and by which each set of methods is recommended.

    Found by drawing facts at random: each from the options, or the numbers at the thresholds it is compared with.
    """
    chart, rng = load_chart(), random.Random(20261121)
    values = {name: sample(load_vocabulary()[name]) for name in relevant()}
    edges: dict[tuple[str, int], dict[str, Any]] = {}
    outcomes: dict[frozenset[str], dict[str, Any]] = {}
    wanted = {frozenset(methods) for methods in (*HYBRIDS, *({method} for method in METHODS))}
    for _ in range(SAMPLES):
        share = rng.random()
        facts = {name: rng.choice(options) for name, options in values.items() if rng.random() < share}
        outcome = walk(chart, Assuming(facts))
        assert isinstance(outcome, Outcome)
        outcomes.setdefault(frozenset(outcome.methods), facts)
        for taken in outcome.path:
            edges.setdefault((taken.node.id, taken.node.edges.index(taken.edge)), facts)
        if wanted <= set(outcomes) and len(edges) == sum(len(node.edges) for node in chart.nodes.values()):
            break
    return edges, outcomes


def test_every_edge_is_taken_by_some_facts() -> None:
    every = {(node.id, number) for node in load_chart().nodes.values() for number in range(len(node.edges))}
    assert every - set(witnesses()[0]) == set()


@pytest.mark.parametrize("methods", [*HYBRIDS, *({method} for method in METHODS)], ids=lambda m: "+".join(sorted(m)))
def test_every_method_and_the_sensible_hybrids_can_be_recommended(methods: set[str]) -> None:
    facts = witnesses()[1][frozenset(methods)]
    assert set(methods_for(load_chart(), Assuming(facts))) == methods


def test_pre_training_is_recommended_only_to_vendors_and_with_a_warning() -> None:
    facts = next(facts for methods, facts in witnesses()[1].items() if "pretrain" in methods)
    assert facts["training_budget"] == "vendor"
    decision = decide(Facts({name: Fact(name, value, "asked") for name, value in facts.items()}))
    warned = " ".join(warning["en"] for warning in decision.warnings)
    assert "pretrain" in decision.methods
    assert re.search("pre-training|from scratch", warned)
    for budget in load_vocabulary()["training_budget"].options[:-1]:
        assert "pretrain" not in methods_for(load_chart(), Assuming({**facts, "training_budget": budget}))


@pytest.mark.parametrize(
    ("form", "answers"),
    [
        ("retrieved", {"task": "generation", "labelled_examples": 100}),
        ("many_shot", {"task": "classification", "classes": 40, "labelled_examples": 800, "context_window": 200_000}),
    ],
)
def test_prompting_can_be_recommended_with_many_or_with_retrieved_demonstrations(
    form: str, answers: dict[str, Any]
) -> None:
    decision = decide(read_answers({"training_budget": "none", "failure": "behaviour", "style": True, **answers}))
    assert decision.methods == ("prompt",)
    assert decision.variants["prompt"] == form


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
