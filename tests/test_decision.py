"""The decision: published cases, situations an expert would recognise, and what must hold for any answers."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from advisor.answers import read_answers
from advisor.cards import METHODS
from advisor.decision import Decision, decide, next_question, read_decision
from advisor.facts import Assuming, Fact, Facts, load_vocabulary
from advisor.flowchart import load_chart, methods_for
from advisor.moves import all_moves
from executors.base import write_json


def decided(**answers: Any) -> Decision:
    return decide(read_answers(answers), run="r1")


def methods(answers: dict[str, Any]) -> set[str]:
    return set(methods_for(load_chart(), Assuming(answers)))


# -- published cases -----------------------------------------------------------------------------------


def same(one: list[str], other: set[str]) -> bool:
    return set(one) - {"prompt"} == other - {"prompt"}


def test_every_published_case_is_decided_as_published(cases: list[dict[str, Any]]) -> None:
    wrong = []
    for case in cases:
        chosen = set(decide(read_answers(case["answers"])).methods)
        accepted = any(same(one, chosen) for one in case["accept"])
        if not accepted or any(same(one, chosen) for one in case["reject"]):
            wrong.append((case["id"], sorted(chosen), case["accept"]))
    assert not wrong


def test_an_interview_over_the_cases_asks_at_most_nine_questions_in_the_median(cases: list[dict[str, Any]]) -> None:
    assert statistics.median(len(interview(read_answers(case["answers"]))[1]) for case in cases) <= 9


def test_an_interview_reaches_the_same_methods_as_the_answers_file(cases: list[dict[str, Any]]) -> None:
    for case in cases:
        full = read_answers(case["answers"])
        known, _ = interview(full)
        unasked = {name: fact for name, fact in full.items() if not load_vocabulary()[name].interview}
        believed = known.with_(*unasked.values()).believed()
        accepted = [set(one) - {"prompt"} for one in case["accept"]]
        assert methods(believed) - {"prompt"} in accepted, case["id"]


def interview(answers: Facts) -> tuple[Facts, list[str]]:
    """Ask until nothing is left to ask; whatever the answers do not hold is skipped."""
    known, asked = Facts(), []
    while question := next_question(known, [name for name in asked if name not in known]):
        asked.append(question.fact)
        if question.fact in answers:
            known = known.with_(answers[question.fact])
    return known, asked


# -- situations ----------------------------------------------------------------------------------------

SITUATIONS: list[tuple[str, dict[str, Any], set[str]]] = [
    ("nothing is wrong", {"failure": "none", "training_budget": "large", "labelled_examples": 10**6}, {"prompt"}),
    ("measured good enough", {"baseline_score": 0.93, "target_score": 0.9, "failure": "behaviour"}, {"prompt"}),
    (
        "intent routing",
        {"task": "classification", "classes": 12, "labelled_examples": 300, "failure": "behaviour"},
        {"probe"},
    ),
    (
        "moderation at volume",
        {"task": "classification", "classes": 12, "labelled_examples": 500_000, "requests_per_day": 10**7},
        {"small_encoder"},
    ),
    ("a number", {"task": "regression", "labelled_examples": 300}, {"probe"}),
    ("many classes, few labels", {"task": "classification", "classes": 150, "labelled_examples": 300}, {"prompt"}),
    (
        "a changing code book",
        {
            "task": "classification",
            "classes": 5000,
            "labelled_examples": 200,
            "failure": "facts",
            "knowledge_change": "monthly",
            "knowledge_tokens": 900_000,
        },
        {"rag"},
    ),
    (
        "customer support over a changing handbook",
        {"knowledge_change": "weekly", "knowledge_tokens": 2_000_000, "labelled_examples": 50},
        {"rag"},
    ),
    (
        "static facts, large body",
        {"failure": "facts", "knowledge_change": "static", "knowledge_tokens": 10**7},
        {"rag"},
    ),
    (
        "a small quiet body",
        {
            "failure": "facts",
            "knowledge_change": "yearly",
            "knowledge_tokens": 120_000,
            "context_window": 200_000,
        },
        {"long_context"},
    ),
    (
        "the same body with citations",
        {
            "failure": "facts",
            "knowledge_change": "yearly",
            "knowledge_tokens": 120_000,
            "context_window": 200_000,
            "citations": "required",
        },
        {"rag"},
    ),
    ("live orders", {"task": "dialogue", "knowledge_change": "live", "training_budget": "none"}, {"rag"}),
    (
        "house style",
        {"task": "generation", "style": True, "labelled_examples": 200, "failure": "behaviour"},
        {"peft"},
    ),
    (
        "house style, few texts",
        {"task": "generation", "style": True, "labelled_examples": 20, "failure": "behaviour"},
        {"prompt"},
    ),
    (
        "text to SQL",
        {"task": "structured_output", "labelled_examples": 7000, "failure": "behaviour", "knowledge_tokens": 3000},
        {"peft"},
    ),
    (
        "an API alone",
        {"task": "extraction", "labelled_examples": 5000, "failure": "behaviour", "weights_access": False},
        {"prompt"},
    ),
    (
        "a schema that still moves",
        {"task": "extraction", "labelled_examples": 5000, "failure": "behaviour", "task_stable": False},
        {"prompt"},
    ),
    (
        "fields in milliseconds",
        {"task": "extraction", "labelled_examples": 5000, "failure": "behaviour", "latency": "tight"},
        {"small_encoder"},
    ),
    (
        "facts and manner",
        {"failure": "both", "labelled_examples": 5000, "knowledge_tokens": 5_000_000, "knowledge_change": "monthly"},
        {"rag", "peft"},
    ),
    (
        "better and worse answers",
        {"task": "dialogue", "feedback": "preferences", "labelled_examples": 20_000, "failure": "behaviour"},
        {"preference"},
    ),
    (
        "checkable results, a capable base",
        {
            "task": "reasoning",
            "feedback": "verifiable",
            "labelled_examples": 20_000,
            "failure": "behaviour",
            "training_budget": "large",
        },
        {"preference"},
    ),
    (
        "a rare language",
        {
            "low_resource_language": True,
            "labelled_examples": 3000,
            "unlabelled_tokens": 300_000_000,
            "training_budget": "medium",
            "failure": "behaviour",
        },
        {"cpt", "peft"},
    ),
    (
        "a grammar book in a long window",
        {
            "task": "translation",
            "low_resource_language": True,
            "training_budget": "none",
            "knowledge_tokens": 100_000,
            "context_window": 1_000_000,
            "failure": "both",
            "knowledge_change": "static",
        },
        {"long_context"},
    ),
    (
        "chip design",
        {
            "failure": "both",
            "base_competence": "low",
            "labelled_examples": 128_000,
            "unlabelled_tokens": 24 * 10**9,
            "knowledge_tokens": 10**7,
            "training_budget": "large",
            "knowledge_change": "monthly",
        },
        {"cpt", "full", "rag"},
    ),
    (
        "a skill with a corpus",
        {
            "task": "reasoning",
            "failure": "behaviour",
            "labelled_examples": 0,
            "unlabelled_tokens": 55 * 10**9,
            "training_budget": "large",
        },
        {"cpt"},
    ),
    (
        "one model for a whole domain, a cluster and a corpus of its size",
        {
            "scope": "general",
            "failure": "facts",
            "unlabelled_tokens": 10**12,
            "base_competence": "medium",
            "labelled_examples": 0,
            "training_budget": "large",
        },
        {"cpt"},
    ),
    (
        "an assistant to be taught a domain from its corpus, and from examples",
        {
            "scope": "general",
            "failure": "both",
            "unlabelled_tokens": 10**11,
            "base_competence": "medium",
            "labelled_examples": 2000,
            "training_budget": "large",
        },
        {"cpt", "peft"},
    ),
    (
        "calls of functions are the output",
        {
            "task": "structured_output",
            "needs_actions": True,
            "failure": "behaviour",
            "labelled_examples": 20_000,
        },
        {"peft"},
    ),
    (
        "questions that need actions, with examples of the manner",
        {"task": "dialogue", "needs_actions": True, "failure": "both", "labelled_examples": 20_000},
        {"rag", "peft"},
    ),
    (
        "a new skill, very many examples",
        {
            "task": "reasoning",
            "failure": "behaviour",
            "labelled_examples": 100_000,
            "unlabelled_tokens": 0,
            "training_budget": "large",
        },
        {"full"},
    ),
    (
        "a vendor and a legal corpus",
        {
            "training_budget": "vendor",
            "failure": "facts",
            "unlabelled_tokens": 10**10,
            "labelled_examples": 0,
            "citations": "required",
            "base_competence": "medium",
            "knowledge_change": "yearly",
        },
        {"cpt", "rag"},
    ),
    (
        "unlike anything read",
        {
            "training_budget": "vendor",
            "failure": "behaviour",
            "base_competence": "low",
            "domain_similarity": "low",
            "unlabelled_tokens": 10**12,
            "labelled_examples": 0,
        },
        {"pretrain"},
    ),
    (
        "good answers at five million a day",
        {
            "task": "summarisation",
            "failure": "none",
            "labelled_examples": 50_000,
            "requests_per_day": 5_000_000,
            "knowledge_tokens": 0,
        },
        {"peft"},
    ),
]


@pytest.mark.parametrize(("answers", "expected"), [s[1:] for s in SITUATIONS], ids=[s[0] for s in SITUATIONS])
def test_situations_are_decided_as_an_expert_would(answers: dict[str, Any], expected: set[str]) -> None:
    opening = {"training_budget": "small", "knowledge_change": "static", **answers}
    assert set(decided(**opening).methods) == expected


def test_whoever_knows_the_shape_of_the_labels_is_taken_to_have_some() -> None:
    described = {"task": "generation", "failure": "behaviour", "training_budget": "small"}
    assert decided(**described).methods == ("prompt",)
    assert decided(**described, label_quality="clean").methods == ("peft",)


def test_every_method_can_be_recommended() -> None:
    reached = Counter(name for _, _, expected in SITUATIONS for name in expected)
    assert set(reached) == set(METHODS)


# -- the parts of a decision ---------------------------------------------------------------------------


def test_the_path_says_what_was_answered_and_what_was_assumed() -> None:
    decision = decided(training_budget="small", labelled_examples=800, knowledge_change="weekly")
    labels = decision.path[1]
    assert (labels.facts, labels.assumed) == (("labelled_examples",), False)
    assert labels.answer["en"] == "800 examples"
    assert decision.path[3].assumed  # whether prompting is good enough was never said
    assert decision.facts["failure"].origin == "assumed"


def test_a_veto_shows_its_sum() -> None:
    decision = decided(
        training_budget="small",
        model_parameters=70_000_000_000,
        gpu_memory_gb=24,
        privacy="on_premises",
        labelled_examples=5000,
        failure="behaviour",
    )
    (peft,) = (ranked for ranked in decision.vetoes if ranked.method == "peft")
    assert peft.sum == "70 B parameters × 0.8 B + 2 GB = 58 GB > 24 GB"
    assert "peft" not in decision.methods


def test_what_is_assumed_never_vetoes() -> None:
    assert not decided(task="generation").vetoes or all(
        ranked.method in ("probe", "small_encoder") for ranked in decided(task="generation").vetoes
    )


def test_what_is_missing_is_named() -> None:
    decision = decided(task="generation", training_budget="small", labelled_examples=100, knowledge_change="static")
    (peft,) = (ranked for ranked in decision.ranking if ranked.method == "peft")
    assert peft.verdict == "not_yet"
    assert "500 examples" in peft.missing[0]["en"]


def test_thresholds_of_numbers_are_found_to_the_unit() -> None:
    decision = decided(
        task="generation",
        failure="behaviour",
        training_budget="small",
        labelled_examples=100,
        knowledge_change="static",
    )
    (flip,) = (flip for flip in decision.flips if flip.fact == "labelled_examples")
    assert (flip.now, flip.to, flip.methods) == (100, 500, ("peft",))


def test_thresholds_that_stand_nowhere_in_the_chart_are_found() -> None:
    decision = decided(
        task="classification",
        classes=7,
        labelled_examples=40,
        failure="behaviour",
        training_budget="small",
        knowledge_change="static",
    )
    up = next(flip for flip in decision.flips if flip.fact == "labelled_examples" and flip.to > 40)  # type: ignore[operator]
    assert (up.to, up.methods) == (56, ("probe",))  # 8 a class


def test_every_flip_is_what_the_changed_answers_decide() -> None:
    answers = {"failure": "both", "labelled_examples": 5000, "knowledge_tokens": 10**6, "training_budget": "small"}
    decision = decided(**answers)
    assert len(decision.flips) > 5
    for flip in decision.flips:
        assert decided(**{**answers, flip.fact: flip.to}).methods == flip.methods


def test_flips_come_nearest_first() -> None:
    steps = [move.steps for move in all_moves(read_answers({"failure": "facts"}).believed())]
    assert steps == sorted(steps)


def test_answers_make_a_decision_surer() -> None:
    answers: dict[str, Any] = {
        "training_budget": "small",
        "labelled_examples": 5000,
        "knowledge_change": "static",
        "task": "summarisation",
        "failure": "behaviour",
        "knowledge_tokens": 0,
        "weights_access": True,
        "task_stable": True,
        "needs_actions": False,
        "model_parameters": 10**9,
    }
    levels = [decided(**dict(list(answers.items())[:known])).confidence.level for known in (0, 5, len(answers))]
    assert levels == sorted(levels)
    assert levels[0] < 0.3 < 0.8 < levels[-1]


def test_the_fact_to_find_out_first_would_change_the_methods() -> None:
    confidence = decided(training_budget="small", labelled_examples=100).confidence
    first = confidence.find_out_first
    assert first is not None
    assert first == confidence.assumed[0]
    assert any(flip.fact == first for flip in decided(training_budget="small", labelled_examples=100).flips)


def test_the_ladder_starts_with_the_floor_and_each_step_has_a_command() -> None:
    decision = decided(
        failure="both",
        labelled_examples=5000,
        knowledge_tokens=10**7,
        training_budget="small",
        evaluation_examples=300,
        target_score=0.85,
    )
    commands = [rung.command for rung in decision.ladder]
    assert commands == [
        "advisor run r1 --method baseline --data FILE",
        "advisor run r1 --method prompt --data FILE",
        "advisor run r1 --method rag --data FILE --docs DIR",
        "advisor run r1 --method rag+peft --data FILE --docs DIR",
        "advisor predict last --input FILE",
    ]
    assert "0.85" in decision.ladder[1].gate["en"]


def test_a_pilot_comes_before_labels_are_bought() -> None:
    decision = decided(task="generation", failure="behaviour", labelled_examples=10, training_budget="small")
    assert any("pilot" in rung.text["en"] for rung in decision.ladder)


@pytest.mark.parametrize(
    ("answers", "part"),
    [
        ({"classes": 3, "labelled_examples": 2, "target_score": 1.0}, "1.0 allows not one error"),
        ({"classes": 3, "labelled_examples": 2, "target_score": 1.0}, "2 labelled examples for 3 classes"),
        ({"failure": "none", "baseline_score": 0.4, "target_score": 0.8}, "measurement is believed"),
        ({"task": "generation", "classes": 3}, "is ignored"),
        ({"privacy": "on_premises", "weights_access": False}, "take an open model"),
        ({"evaluation_examples": 5}, "fewer than 20"),
        ({"error_cost": "high", "evaluation_examples": 100}, "±10 points"),
        ({"label_quality": "synthetic"}, "come from a model"),
        ({"model_parameters": 135_000_000}, "about 3 billion"),
        ({"knowledge_change": "live", "task": "dialogue"}, "tools"),
        ({"task": "structured_output", "needs_actions": True, "failure": "behaviour"}, "tools"),
        ({"knowledge_change": "daily", "failure": "behaviour"}, "no body of text was named"),
    ],
)
def test_odd_answers_are_warned_of(answers: dict[str, Any], part: str) -> None:
    assert any(part in warning["en"] for warning in decided(**answers).warnings)


def test_a_recommendation_to_pre_train_warns_against_itself() -> None:
    answers = next(answers for name, answers, _ in SITUATIONS if name == "unlike anything read")
    assert any("against all experience" in warning["en"] for warning in decided(**answers).warnings)


def test_the_common_risks_are_in_every_decision() -> None:
    told = " ".join(risk["en"] for risk in decided().risks)
    assert all(word in told for word in ("Staleness", "Leakage", "Bias and harmful", "Forgetting", "Licence"))


@pytest.mark.parametrize(
    ("answers", "variant"),
    [
        ({"failure": "none", "labelled_examples": 0}, "zero_shot"),
        ({"failure": "none", "labelled_examples": 10}, "few_shot"),
        ({"failure": "none", "labelled_examples": 400}, "retrieved"),
        ({"failure": "behaviour", "labelled_examples": 900, "task": "generation"}, "lora"),
        (
            {
                "failure": "behaviour",
                "labelled_examples": 900,
                "task": "generation",
                "model_parameters": 8 * 10**9,
                "gpu_memory_gb": 12,
                "privacy": "on_premises",
            },
            "qlora",
        ),
        ({"task": "dialogue", "knowledge_change": "live"}, "tools"),
    ],
)
def test_the_form_of_the_method_follows_the_facts(answers: dict[str, Any], variant: str) -> None:
    assert decided(**{"training_budget": "small", "knowledge_change": "static", **answers}).variant == variant


def test_a_decision_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    decision = decided(failure="facts", task="question_answering", labelled_examples=3)
    write_json(tmp_path / "decision.json", decision)
    assert read_decision(tmp_path / "decision.json") == decision
    raw = json.loads((tmp_path / "decision.json").read_text(encoding="utf-8"))
    assert {"methods", "ranking", "path", "vetoes", "flips", "ladder", "confidence", "facts", "run"} <= set(raw)


# -- the interview's questions -------------------------------------------------------------------------


def test_the_interview_opens_with_budget_labels_and_freshness() -> None:
    _, asked = interview(Facts())
    assert asked[:3] == ["training_budget", "labelled_examples", "knowledge_change"]


def test_a_skipped_fact_is_not_asked_again() -> None:
    _, asked = interview(Facts())
    assert len(asked) == len(set(asked))


def test_a_measured_fact_is_not_asked() -> None:
    known = Facts({"labelled_examples": Fact("labelled_examples", 40, "measured")})
    question = next_question(known, ["training_budget"])
    assert question is not None
    assert question.fact == "knowledge_change"
