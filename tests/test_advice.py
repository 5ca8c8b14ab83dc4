"""What is said around a decision: the form of each method, the four quadrants, what to know first, and the risks."""

from __future__ import annotations

import html
import json
from typing import Any

import pytest

from advisor.advice.forms import variants
from advisor.advice.quadrants import QUADRANTS, enough, is_similar, place
from advisor.advice.risks import RISKS, risks
from advisor.answers import read_answers
from advisor.cards import METHODS, load_cards
from advisor.decision import Decision, decide
from advisor.facts import Assuming
from advisor.report import render
from advisor.texts import LANGUAGES

BIG, SMALL = 8 * 10**9, 10**9
NAMES = {
    "en": ("Forgetting:", "Staleness:", "Leakage:", "Bias and harmful content:", "Licence:"),
    "zh": ("遗忘：", "过时：", "泄漏：", "偏见与有害内容：", "许可："),
}


def decided(**answers: Any) -> Decision:
    return decide(read_answers({"training_budget": "small", "knowledge_change": "static", **answers}), run="r1")


def form(*methods: str, **known: Any) -> str:
    """The form of the first of `methods` where these facts are known."""
    return variants(methods, Assuming(known))[methods[0]]


def told(decision: Decision) -> str:
    return " ".join(warning["en"] for warning in decision.warnings)


# -- forms ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"labelled_examples": 0}, "zero_shot"),
        ({"labelled_examples": 10, "task": "generation"}, "few_shot"),
        ({"labelled_examples": 49, "task": "generation"}, "few_shot"),
        ({"labelled_examples": 50, "task": "generation"}, "retrieved"),
        ({"labelled_examples": 10, "task": "classification"}, "calibrated"),  # the size is not known
        ({"labelled_examples": 10, "task": "classification", "model_parameters": SMALL}, "calibrated"),
        ({"labelled_examples": 10, "task": "classification", "model_parameters": BIG}, "few_shot"),
        ({"labelled_examples": 10, "task": "reasoning"}, "chain_of_thought"),
        ({"labelled_examples": 0, "task": "reasoning", "model_parameters": 3 * 10**9}, "chain_of_thought"),
        ({"labelled_examples": 10, "task": "reasoning", "model_parameters": 2_999_999_999}, "few_shot"),
        ({"labelled_examples": 0, "task": "reasoning", "model_parameters": SMALL}, "zero_shot"),
    ],
)
def test_how_to_prompt_follows_the_task_the_examples_and_the_model(known: dict[str, Any], expected: str) -> None:
    assert form("prompt", **known) == expected


MANY = {"task": "classification", "labelled_examples": 300, "classes": 20, "context_window": 100_000}


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({}, "many_shot"),
        ({"labelled_examples": 299}, "retrieved"),
        ({"classes": 19}, "retrieved"),
        ({"context_window": 99_999}, "retrieved"),
        ({"context_window": None}, "retrieved"),  # only a window that is known to hold them
        ({"latency": "tight"}, "retrieved"),
    ],
)
def test_many_demonstrations_want_a_window_known_to_hold_them(other: dict[str, Any], expected: str) -> None:
    known = {name: value for name, value in {**MANY, **other}.items() if value is not None}
    assert form("prompt", **known) == expected


def test_a_reader_is_tuned_where_tuning_follows_retrieval() -> None:
    assert form("rag") == "retrieval"
    assert form("rag", "peft") == "tuned_reader"
    assert form("rag", "peft", needs_actions=True) == "tools"


@pytest.mark.parametrize(
    ("per_class", "similarity", "expected"),
    [
        (7, "low", "setfit"),
        (8, "low", "head_and_all"),
        (8, "high", "head_and_all"),
        (63, "medium", "head_and_all"),
        (64, "medium", "head_and_all"),
        (64, "low", "continued"),
    ],
)
def test_how_much_of_an_encoder_is_tuned_follows_the_quadrant(per_class: int, similarity: str, expected: str) -> None:
    known = {"labelled_examples": 10 * per_class, "classes": 10, "task": "classification"}
    assert form("small_encoder", domain_similarity=similarity, **known) == expected


@pytest.mark.parametrize(
    ("labels", "similarity", "quadrant", "expected"),
    [
        (9_999, "high", "few_similar", "last_layers"),
        (9_999, "low", "few_different", "first_frozen"),
        (10_000, "medium", "many_similar", "all"),
        (10_000, "low", "many_different", "all"),
    ],
)
def test_how_much_of_a_language_model_is_tuned_follows_the_quadrant(
    labels: int, similarity: str, quadrant: str, expected: str
) -> None:
    known = {"labelled_examples": labels, "domain_similarity": similarity}
    assert place("full", Assuming(known).value) == quadrant
    assert form("full", **known) == expected


def test_many_is_what_the_card_calls_enough() -> None:
    [need] = [need for need in load_cards()["full"].needs if need.id == "labels"]
    assert need.that.holds(Assuming({"labelled_examples": enough("full")})) is True
    assert need.that.holds(Assuming({"labelled_examples": enough("full") - 1})) is False


def test_only_a_domain_that_is_quite_different_counts_as_different() -> None:
    assert [is_similar(value) for value in ("low", "medium", "high", None)] == [False, True, True, True]


# -- the table of quadrants ----------------------------------------------------------------------------


FULL = {
    "training_budget": "large",
    "labelled_examples": 150_000,
    "task": "reasoning",
    "failure": "behaviour",
    "base_competence": "low",
    "team_skill": "expert",
    "scope": "narrow",
}


@pytest.mark.parametrize(("similarity", "marked"), [("low", "many, different"), ("high", "many, similar")])
def test_a_report_on_tuning_marks_the_quadrant_of_the_data(similarity: str, marked: str) -> None:
    decision = decided(**FULL, domain_similarity=similarity)
    assert "full" in decision.methods
    page = render(decision, None, None, "md", "en")
    [row] = [line for line in page.splitlines() if "<br>your data" in line]
    assert marked in row
    assert "Yosinski et al. 2014" in page
    assert all(label in page for label in ("few, similar", "few, different", "many, similar", "many, different"))
    assert "In the form of all layers." in page


def test_an_assumption_under_the_quadrant_is_said() -> None:
    page = render(decided(**FULL), None, None, "md", "en")
    assert "your data, in part assumed" in page


def test_a_report_that_changes_no_weights_has_no_quadrants() -> None:
    assert "few, similar" not in render(decided(failure="none", task="generation"), None, None, "md", "en")
    assert len(QUADRANTS) == 4


def test_each_method_of_a_hybrid_is_shown_in_its_form() -> None:
    decision = decided(failure="both", task="question_answering", labelled_examples=2000, knowledge_tokens=10**7)
    assert set(decision.methods) == {"rag", "peft"}
    page = render(decision, None, None, "md", "en")
    assert page.count("In the form of ") == 2
    assert "tuned on retrieved passages" in page
    assert "raft" in decision.sources


# -- what to know first --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "method", "said"),
    [
        ({"failure": "none", "task": "generation"}, "prompt", "Expect less of Prompting"),
        ({"failure": "facts", "knowledge_tokens": 10**7, "task": "question_answering"}, "rag", "Expect less of Retr"),
        (
            {"failure": "facts", "knowledge_tokens": 20_000, "context_window": 128_000, "task": "question_answering"},
            "long_context",
            "Expect less of Whole",
        ),
        (
            {"failure": "behaviour", "task": "generation", "labelled_examples": 900},
            "peft",
            "Prompting stays possible, but would be weak",
        ),
    ],
)
def test_a_small_model_is_said_to_prompt_badly(answers: dict[str, Any], method: str, said: str) -> None:
    small = decided(model_parameters=SMALL, **answers)
    assert method in small.methods
    assert said in told(small)
    assert "in-context learning and chain-of-thought" in told(small)
    assert "about 3 billion parameters or more" in told(small)
    for other in ({}, {"model_parameters": 3 * 10**9}):  # unknown, and just large enough
        assert "in-context learning" not in told(decided(**answers, **other))


@pytest.mark.parametrize("task", ["reasoning", "generation", "classification"])
def test_rewards_that_a_program_gives_are_explained_wherever_they_are_possible(
    task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from advisor.commands.shared import console
    from advisor.screen import show_decision

    decision = decided(task=task, failure="behaviour", labelled_examples=900, feedback="verifiable")
    assert "preference" not in decision.methods
    card = load_cards()["preference"].variants["verifiable_rewards"]
    for lang in LANGUAGES:
        assert card.what[lang] in html.unescape(render(decision, None, None, "html", lang))
        show_decision(decision, lang, console())
        assert "".join(card.what[lang].split()) in "".join(capsys.readouterr().out.split())
    assert "verifiable rewards" not in told(decided(task=task, failure="behaviour", labelled_examples=900))


# -- risks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_report_of_the_published_cases_names_all_five_risks(cases: list[dict[str, Any]], lang: str) -> None:
    for case in cases:
        decision = decide(read_answers(case["answers"]), run="r1")
        markdown = [line.removeprefix("- ") for line in render(decision, None, None, "md", lang).splitlines()]
        page = html.unescape(render(decision, None, None, "html", lang))
        record = json.loads(render(decision, None, None, "json", lang))["decision"]["risks"]
        for name in NAMES[lang]:
            assert sum(line.startswith(name) for line in markdown) == 1, (case["id"], name)
            assert f"<li>{name}" in page, (case["id"], name)
            assert sum(risk[lang].startswith(name) for risk in record) == 1, (case["id"], name)


@pytest.mark.parametrize("methods", [(m,) for m in METHODS] + [("rag", "peft"), ("cpt", "full", "rag")], ids="+".join)
def test_all_five_risks_are_said_of_any_methods_in_whole_sentences(methods: tuple[str, ...]) -> None:
    five = risks(methods)[: len(RISKS)]
    for lang in LANGUAGES:
        assert [risk[lang].startswith(name) for risk, name in zip(five, NAMES[lang], strict=True)] == [True] * 5
        assert all(len(risk[lang]) > len(name) + 10 for risk, name in zip(five, NAMES[lang], strict=True))


@pytest.mark.parametrize(
    ("methods", "risk", "said"),
    [
        (("prompt",), 0, "none here, for Prompting leaves the model's weights as they are"),
        (("rag", "long_context"), 0, "none here"),
        (("probe",), 0, "none here"),
        (("peft",), 0, "adapters forget less"),
        (("rag", "peft"), 0, "adapters forget less"),
        (("small_encoder",), 0, "serves this task alone"),
        (("cpt", "peft"), 0, "when all weights move"),
        (("rag",), 1, "The index is as old as its last build"),
        (("probe",), 1, "What was trained stays as it was"),
        (("rag",), 2, "filter by rights before searching"),
        (("full",), 2, "Training text can be recited"),
        (("probe",), 3, "the bias of whoever labelled"),
        (("prompt",), 3, "filter inputs and outputs"),
        (("prompt",), 4, "the provider's terms"),
        (("full",), 4, "stays under its base's licence"),
    ],
)
def test_a_risk_is_said_as_it_is_for_the_methods(methods: tuple[str, ...], risk: int, said: str) -> None:
    assert said in risks(methods)[risk]["en"]


def test_nothing_is_said_to_be_forgotten_where_nothing_changes() -> None:
    for method in METHODS:
        changed = load_cards()[method].changes_weights
        assert ("none here" in risks((method,))[0]["en"]) is not changed, method
