"""The ladder: its order, its gates and costs, and that every command in it can be given as it is printed."""

from __future__ import annotations

import re
import shlex
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import executors
from advisor.advice.ladder import ORDER, PILOT, rows_to_score
from advisor.answers import read_answers
from advisor.cards import load_cards
from advisor.cli import COMMANDS, cli
from advisor.commands.ask import complete
from advisor.decision import Decision, Inputs, Rung
from advisor.facts import Fact, Facts, load_vocabulary
from advisor.texts import LANGUAGES
from executors import EXECUTORS
from tests.conftest import published_cases

SITUATIONS: dict[str, dict[str, Any]] = {
    "nothing known": {},
    "nothing to train": {"training_budget": "none", "labelled_examples": 10, "failure": "behaviour"},
    "good enough": {"baseline_score": 0.93, "target_score": 0.9, "labelled_examples": 300},
    "intents": {"task": "classification", "classes": 12, "labelled_examples": 300, "failure": "behaviour"},
    "new labels": {"task": "classification", "classes": 4, "labelled_examples": 5, "failure": "behaviour"},
    "few labels": {"task": "classification", "classes": 4, "labelled_examples": 32, "failure": "behaviour"},
    "span marking": {"task": "extraction", "latency": "tight", "labelled_examples": 2000, "failure": "behaviour"},
    "a small body": {"failure": "facts", "knowledge_tokens": 90_000, "context_window": 200_000},
    "both": {
        "failure": "both",
        "labelled_examples": 5000,
        "knowledge_tokens": 10**7,
        "evaluation_examples": 300,
        "target_score": 0.85,
        "requests_per_day": 2000,
    },
    "preferences": {
        "task": "dialogue",
        "failure": "behaviour",
        "feedback": "preferences",
        "labelled_examples": 3000,
        "knowledge_change": "static",
    },
    "a new language": {
        "low_resource_language": True,
        "unlabelled_tokens": 5 * 10**9,
        "training_budget": "large",
        "failure": "behaviour",
        "base_competence": "low",
        "labelled_examples": 3_000_000,
        "knowledge_change": "static",
    },
    "unlike anything": {
        "training_budget": "vendor",
        "base_competence": "low",
        "unlabelled_tokens": 10**12,
        "domain_similarity": "low",
        "failure": "behaviour",
        "labelled_examples": 0,
    },
    "live": {"knowledge_change": "live", "task": "dialogue", "failure": "facts", "needs_actions": True},
}


ALL = SITUATIONS | {case["id"]: case["answers"] for case in published_cases()}


def decided(answers: dict[str, Any], inputs: Inputs | None = None) -> Decision:
    return complete(read_answers(answers), inputs or Inputs(), "r1")


@pytest.fixture(scope="module", params=ALL)
def decision(request: pytest.FixtureRequest) -> Decision:
    return decided(ALL[request.param])


def parsed(command: str) -> tuple[click.Command, click.Context]:
    """A printed command as the command line reads it; raises `click.UsageError` where it does not."""
    program, name, *arguments = shlex.split(command)
    assert program == "advisor"
    assert name in COMMANDS
    found = cli.get_command(click.Context(cli), name)  # type: ignore[attr-defined]  # a group
    assert found is not None
    return found, found.make_context(name, arguments)


def parts(rung: Rung) -> list[str]:
    """The methods that a step's command runs: one, or those of a chain."""
    return str(parsed(rung.command)[1].params["method"]).split("+")


def test_every_command_parses_as_it_is_printed(decision: Decision) -> None:
    for rung in decision.ladder:
        inside = [found for told in rung.gate.values() for found in re.findall(r"advisor [\w-]+ r1[\w= -]*", told)]
        for command in (rung.command, *inside):
            found, context = parsed(command)
            assert context.info_name == found.name


def test_every_method_in_a_command_is_one_that_runs(decision: Decision) -> None:
    for rung in decision.ladder[:-1]:
        assert all(part in EXECUTORS for part in parts(rung))


def test_every_method_in_a_command_can_do_the_task(decision: Decision) -> None:
    for rung in decision.ladder[:-1]:
        assert all(decision.facts["task"].value in executors.method(part).tasks for part in parts(rung))


def test_no_step_offers_what_is_vetoed(decision: Decision) -> None:
    vetoed = {ranked.method for ranked in decision.vetoes}
    assert vetoed.isdisjoint(part for rung in decision.ladder[:-1] for part in parts(rung))


def test_it_begins_with_the_floor_then_prompting_and_ends_with_use(decision: Decision) -> None:
    first, second, *_, last = (rung.command for rung in decision.ladder)
    assert "--method baseline" in first
    assert "--method prompt" in second
    assert last == "advisor predict last --input FILE"


def test_every_stage_of_a_hybrid_has_a_step_in_the_order_it_is_built(decision: Decision) -> None:
    stages = [rung.method for rung in decision.ladder if rung.method not in ("", "prompt")]
    assert stages == [method for method in ORDER if method in decision.methods and method != "prompt"]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_gates_name_the_target_and_costs_name_time_and_money(decision: Decision, lang: str) -> None:
    target = f"{decision.facts['target_score'].value:g}"
    money, time = {
        "en": (r"\$", r"\d (s|min|h|days)|[Ss]econds|provider"),
        "zh": ("美元", r"\d (秒|分钟|小时|天)|几秒|服务商"),
    }[lang]
    for rung in decision.ladder[:-1]:
        assert re.search(time, rung.cost[lang]), rung.cost
        if rung.method:
            assert target in rung.gate[lang]
            assert re.search(money, rung.cost[lang]), rung.cost
    assert re.search(money, decision.ladder[-1].cost[lang])


def test_a_step_that_this_version_does_not_run_says_what_is_run(decision: Decision) -> None:
    for rung in decision.ladder:
        if rung.runs != rung.method:
            assert "This version" in rung.text["en"]
            assert "本版本" in rung.text["zh"]
            nearest = load_cards()[rung.runs].title["en"]
            assert nearest in rung.text["en"] or rung.runs == "prompt" or rung.runs in decision.methods


def commands(name: str) -> list[str]:
    return [rung.command.removeprefix("advisor run r1 --method ") for rung in decided(ALL[name]).ladder]


def test_a_pilot_stands_before_labels_are_bought_and_names_how_many() -> None:
    pilot = decided(SITUATIONS["nothing known"]).ladder[2]
    assert "50 rows" in pilot.text["en"]
    assert "from 500 examples on, Parameter-efficient tuning (LoRA)" in pilot.text["en"]
    assert "50–150 min" in pilot.cost["en"] or "0.83–2.5 h" in pilot.cost["en"]  # 50 rows at 1 to 3 minutes


def test_a_pilot_of_the_method_that_is_advised_anyway_comes_after_it() -> None:
    texts = [rung.text["en"] for rung in decided(SITUATIONS["few labels"]).ladder]
    assert [n for n, told in enumerate(texts) if told.startswith("Probe")] == [2]
    assert "as a pilot" in texts[3]


def test_where_a_pilots_rows_are_enough_one_decides_again_after_it() -> None:
    pilot = decided(SITUATIONS["new labels"]).ladder[2]
    assert "from 32 examples on" in pilot.text["en"]  # 8 a class
    assert f"advisor what-if r1 labelled_examples={PILOT} --save" in pilot.gate["en"]
    assert "--method probe" in pilot.command


def test_nothing_is_labelled_where_nothing_may_be_trained() -> None:
    assert not any("abel" in rung.text["en"] for rung in decided(SITUATIONS["nothing to train"]).ladder)


def test_a_method_that_marks_no_spans_is_stood_for_by_prompting() -> None:
    step = decided(SITUATIONS["span marking"]).ladder[2]
    assert (step.method, step.runs) == ("small_encoder", "prompt")  # it gives labels, not spans


def test_a_method_that_does_not_run_for_the_task_is_stood_for_by_prompting() -> None:
    answers = {"task": "classification", "classes": 900, "failure": "facts", "knowledge_tokens": 900_000}
    decision = decided({**answers, "knowledge_change": "monthly", "labelled_examples": 100})
    assert decision.methods == ("rag",)
    assert [(rung.method, rung.runs) for rung in decision.ladder if rung.method] == [
        ("prompt", "prompt"),
        ("rag", "prompt"),
    ]


def test_each_stage_of_a_hybrid_runs_in_one_chain_with_those_before_it() -> None:
    given = "--data FILE --test FILE --docs DIR"
    assert commands("a new language")[2:4] == [f"cpt {given}", f"cpt+full {given}"]
    last = decided(ALL["a new language"]).ladder[3].text
    assert "in one chain with the stages before it" in last["en"]
    assert "组成一条链运行" in last["zh"]


def test_a_stage_that_does_not_run_is_left_to_the_next() -> None:
    step = next(rung for answers in ALL.values() for rung in decided(answers).ladder if rung.method == "pretrain")
    assert step.runs in ("full", "peft", "prompt")
    assert "+" not in step.command


def test_given_inputs_are_not_asked_for_again() -> None:
    inputs = Inputs(data="rows.csv", docs="handbook")
    assert [rung.command for rung in decided(SITUATIONS["both"], inputs).ladder] == [
        "advisor run r1 --method baseline",
        "advisor run r1 --method prompt",
        "advisor run r1 --method rag",
        "advisor run r1 --method rag+peft",
        "advisor predict last --input FILE",
    ]


def test_a_day_is_priced_where_its_requests_are_known() -> None:
    assert "a day at 2,000 requests a day" in decided(SITUATIONS["both"]).ladder[-1].cost["en"]
    assert "a day" not in decided(SITUATIONS["intents"]).ladder[-1].cost["en"]


@pytest.mark.parametrize(
    ("answers", "rows"),
    [
        ({}, (20, "evaluation")),
        ({"evaluation_examples": 5}, (20, "evaluation")),
        ({"evaluation_examples": 300}, (300, "floor")),
        ({"labelled_examples": 99}, (20, "evaluation")),
        ({"labelled_examples": 500}, (100, "share")),
        ({"labelled_examples": 10**6}, (2000, "many")),
    ],
)
def test_rows_to_score_on_are_those_at_hand(answers: dict[str, Any], rows: tuple[int, str]) -> None:
    assert rows_to_score(decided(answers).facts) == rows


def value_of(name: str) -> st.SearchStrategy[Any]:
    spec = load_vocabulary()[name]
    if spec.type == "choice":
        return st.sampled_from(spec.options)
    if spec.type == "boolean":
        return st.booleans()
    if spec.maximum == 1:
        return st.integers(0, 100).map(lambda n: n / 100)
    top = int(min(spec.maximum, 10**12))
    return st.integers(0, 12).flatmap(lambda power: st.integers(1, 9).map(lambda n: min(n * 10**power, top)))


ANSWERS = st.fixed_dictionaries({}, optional={name: value_of(name) for name in load_vocabulary()})


@settings(max_examples=40, deadline=None, database=None)
@given(ANSWERS)
def test_whatever_is_answered_the_steps_can_be_taken(answers: dict[str, Any]) -> None:
    facts = Facts({name: Fact(name, value, "asked") for name, value in answers.items()})
    decision = complete(facts, Inputs(), "r1")
    vetoed = {ranked.method for ranked in decision.vetoes}
    for rung in decision.ladder:
        assert parsed(rung.command)[1].params.get("method") not in vetoed
        assert all(rung.text[lang] and rung.gate[lang] and rung.cost[lang] for lang in LANGUAGES)
