"""Every fact is there for something: what each one changes, the weightiest thing first found."""

from __future__ import annotations

import random
from typing import Any

import pytest

from advisor.conditions import Value
from advisor.decision import Decision, decide
from advisor.facts import Assuming, Fact, Facts, load_vocabulary
from advisor.flowchart import load_chart, methods_for
from advisor.moves import sample

ONLY_ADVICE = {  # these change no method, only what is said and done about one
    "evaluation_examples": "ladder",
    "label_quality": "warnings",
    "error_cost": "warnings",
}
DRAWS = 20_000


def situation(draw: random.Random, fact: str) -> tuple[dict[str, Value], dict[str, Value]]:
    """Some answers, twice: with two different values of `fact`."""
    share = draw.random()
    specs = load_vocabulary()
    known = {name: draw.choice(sample(spec)) for name, spec in specs.items() if name != fact and draw.random() < share}
    one, other = draw.sample(list(sample(specs[fact])), 2)
    return {**known, fact: one}, {**known, fact: other}


def decided(answers: dict[str, Value]) -> Decision:
    return decide(Facts({name: Fact(name, value, "asked") for name, value in answers.items()}))


def part(decision: Decision, name: str) -> Any:
    if name == "warnings":
        return decision.warnings
    return [(rung.text, rung.gate, rung.command) for rung in decision.ladder]


@pytest.mark.parametrize("fact", [name for name in load_vocabulary() if name not in ONLY_ADVICE])
def test_a_fact_changes_the_methods_in_some_situation(fact: str) -> None:
    draw = random.Random(fact)
    pairs = (situation(draw, fact) for _ in range(DRAWS))
    assert any(len({methods_for(load_chart(), Assuming(answers)) for answers in pair}) > 1 for pair in pairs)


@pytest.mark.parametrize(("fact", "changed"), ONLY_ADVICE.items())
def test_other_facts_change_the_steps_or_the_warnings(fact: str, changed: str) -> None:
    draw = random.Random(fact)
    pairs = (situation(draw, fact) for _ in range(100))
    assert any(part(decided(one), changed) != part(decided(other), changed) for one, other in pairs)
