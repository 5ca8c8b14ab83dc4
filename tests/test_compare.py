"""The difference of two decisions: what is found, and that nothing is found between a decision and itself."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.answers import read_answers
from advisor.commands.ask import complete
from advisor.decision import Decision, Inputs, read_decision
from advisor.facts import Fact, Facts, load_vocabulary
from advisor.revisit.compare import aged, differ, nearest, part, prices
from executors.base import write_json
from tests.samples import DECISION, both

BASE: dict[str, Any] = {
    "training_budget": "small",
    "labelled_examples": 200,
    "knowledge_change": "weekly",
    "task": "question_answering",
    "failure": "both",
    "knowledge_tokens": 2_000_000,
}


def decided(**changes: Any) -> Decision:
    return complete(read_answers({**BASE, **changes}), Inputs(), "r1")


def test_a_decision_does_not_differ_from_itself_as_read_back(tmp_path: Path) -> None:
    one = decided()
    write_json(tmp_path / "decision.json", one)
    difference = differ(read_decision(tmp_path / "decision.json"), one)
    assert difference.stands
    assert difference.nothing
    assert difference.facts == ()


def test_more_labels_bring_tuning_beside_retrieval() -> None:
    difference = differ(decided(), decided(labelled_examples=2000))
    assert difference.methods == (("rag",), ("rag", "peft"))
    assert not difference.stands
    assert "peft" in difference.forms[1]
    assert "peft" not in difference.forms[0]


def test_the_paths_part_at_the_last_step_they_share() -> None:
    before, after = decided(), decided(labelled_examples=2000)
    parting = differ(before, after).parting
    assert parting is not None
    assert parting.before.node == parting.after.node == "behaviour_too"
    assert [step.node for step in before.path[: parting.shared]] == [step.node for step in after.path[: parting.shared]]
    assert parting.before.answer["en"] == "no, or too few examples"
    assert parting.after.answer["en"] == "yes"


def test_another_answer_to_a_question_is_no_parting_where_the_way_is_the_same() -> None:
    assert part(decided().path, decided(labelled_examples=210).path) is None


def test_a_verdict_that_stays_with_another_sum_is_told() -> None:
    changes = {change.method: change for change in differ(decided(), decided(labelled_examples=210)).verdicts}
    assert (changes["peft"].before.verdict, changes["peft"].after.verdict) == ("not_yet", "not_yet")
    assert (changes["peft"].before.sum, changes["peft"].after.sum) == (
        "labelled_examples = 200 < 500",
        "labelled_examples = 210 < 500",
    )
    assert "rag" not in changes


def test_a_method_that_opens_is_quoted_on_one_side_only() -> None:
    costs = {change.method: change for change in differ(decided(), decided(labelled_examples=2000)).costs}
    assert costs["peft"].before is None
    assert costs["peft"].after is not None
    assert costs["peft"].after["train_hours"][1] > 0


def test_costs_that_are_equal_are_left_out() -> None:
    before = decided()
    dearer = {**before.quote, "rag": {**before.quote["rag"], "per_1000_usd": [1.0, 9.0]}}
    changed = differ(before, dataclasses.replace(before, quote=dearer))
    assert [change.method for change in changed.costs] == ["rag"]


def test_new_and_fallen_warnings_are_told_apart() -> None:
    before, after = decided(evaluation_examples=5), decided(evaluation_examples=50, label_quality="noisy")
    difference = differ(before, after)
    assert [told["en"][:16] for told in difference.warned] == ["Labels are noisy"]
    assert ["fewer than 20" in told["en"] for told in difference.settled] == [True]


def test_the_steps_are_told_where_they_are_others_and_not_where_they_only_cost_otherwise() -> None:
    before = decided()
    dearer = tuple(dataclasses.replace(rung, cost=both("more", "更多")) for rung in before.ladder)
    assert differ(before, dataclasses.replace(before, ladder=dearer)).ladder == ((), ())
    after = decided(labelled_examples=2000)
    assert differ(before, after).ladder == (before.ladder, after.ladder)


def test_facts_are_told_by_value_and_by_whether_they_are_known() -> None:
    changed = {c.fact: c for c in differ(decided(), decided(labelled_examples=2000, citations="no")).facts}
    assert [
        c.value if c else None for c in (changed["labelled_examples"].before, changed["labelled_examples"].after)
    ] == [
        200,
        2000,
    ]
    assert changed["citations"].before is not None
    assert changed["citations"].before.origin == "assumed"  # the same value, now said
    assert "task" not in changed


def test_a_fact_that_loses_its_meaning_is_told() -> None:
    one = complete(read_answers({"task": "classification", "classes": 5}), Inputs(), "r1")
    other = complete(read_answers({"task": "translation"}), Inputs(), "r1")
    (classes,) = (change for change in differ(one, other).facts if change.fact == "classes")
    assert classes.after is None


@pytest.mark.parametrize(
    ("one", "other", "stands"),
    [
        (("rag", "peft"), ("peft", "rag"), True),
        (("rag", "prompt"), ("rag",), True),
        (("prompt",), ("prompt",), True),
        (("prompt", "rag"), ("prompt", "peft"), False),
        (("prompt",), ("rag",), False),
        (("rag",), ("rag", "peft"), False),
    ],
)
def test_order_and_prompt_beside_another_method_do_not_matter(
    one: tuple[str, ...], other: tuple[str, ...], stands: bool
) -> None:
    before, after = (dataclasses.replace(DECISION, methods=methods) for methods in (one, other))
    assert differ(before, after).stands is stands


def test_another_form_leaves_the_decision_standing_but_is_told() -> None:
    difference = differ(DECISION, dataclasses.replace(DECISION, variants={"rag": "tools"}))
    assert difference.stands
    assert not difference.nothing


def test_the_nearest_changes_of_a_fact_are_its_flips() -> None:
    assert [flip.to for flip in nearest(DECISION, "labelled_examples")] == [500]
    assert nearest(DECISION, "error_cost") == ()


def test_prices_age_after_180_days() -> None:
    quotes = {
        "rag": {"prices": [{"name": "NVIDIA L4", "as_of": "2026-03-10", "sources": []}]},
        "peft": {"prices": [{"name": "NVIDIA L4", "as_of": "2026-09-10"}, {"name": "T4", "as_of": "2026-11-01"}]},
        "prompt": {},
    }
    assert prices(quotes) == {"NVIDIA L4": "2026-03-10", "T4": "2026-11-01"}  # the oldest counts
    assert aged(quotes, datetime.date(2026, 9, 6)) == {}  # the 180th day
    assert aged(quotes, datetime.date(2026, 9, 7)) == {"NVIDIA L4": 181}


def value_of(name: str) -> st.SearchStrategy[Any]:
    spec = load_vocabulary()[name]
    if spec.type == "choice":
        return st.sampled_from(spec.options)
    if spec.type == "boolean":
        return st.booleans()
    return st.integers(1, 9).map(lambda n: n / 10 if spec.maximum == 1 else 10**n if spec.maximum >= 1e9 else n)


ANSWERS = st.fixed_dictionaries({}, optional={name: value_of(name) for name in load_vocabulary()})


@settings(max_examples=25, deadline=None, database=None)
@given(ANSWERS, ANSWERS)
def test_a_difference_is_the_same_seen_from_either_side(one: dict[str, Any], other: dict[str, Any]) -> None:
    before, after = (
        complete(Facts({name: Fact(name, value, "asked") for name, value in answers.items()}), Inputs(), "r1")
        for answers in (one, other)
    )
    there, back = differ(before, after), differ(after, before)
    assert there.stands == back.stands
    assert there.methods == back.methods[::-1]
    assert {change.fact for change in there.facts} == {change.fact for change in back.facts}
    assert {change.method for change in there.verdicts} == {change.method for change in back.verdicts}
    assert (there.warned, there.settled) == (back.settled, back.warned)
    assert there.stands or there.parting is not None
    if there.parting and back.parting:
        assert there.parting.before == back.parting.after
