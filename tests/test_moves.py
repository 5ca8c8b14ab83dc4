"""What would change the methods: against every option tried, and every threshold tried on both sides."""

from __future__ import annotations

import random
from typing import Any

import pytest

from advisor.answers import read_answers
from advisor.conditions import Value
from advisor.decision import decide
from advisor.facts import Assuming, FactSpec, load_vocabulary
from advisor.flowchart import load_chart, methods_for
from advisor.moves import Move, all_moves, relevant

SPECS = load_vocabulary()
NUMERIC = ("integer", "number")
SETS = 60


def methods(answers: dict[str, Value], **changes: Value) -> tuple[str, ...]:
    return methods_for(load_chart(), Assuming({**answers, **changes}))


def answers_of(seed: int) -> dict[str, Value]:
    """Some facts of every kind at random; the rest is unknown."""
    rng = random.Random(seed)
    share = rng.choice((0.2, 0.5, 0.8))
    return {name: _value(spec, rng) for name, spec in SPECS.items() if rng.random() < share}


def _value(spec: FactSpec, rng: random.Random) -> Value:
    if spec.type not in NUMERIC:
        return rng.choice(spec.options or (True, False))
    if spec.maximum == 1:
        return round(rng.random(), 2)
    value = max(spec.minimum, rng.choice((0, 1, 1, 1)) * 10 ** rng.uniform(0, 11))
    return int(value) if spec.type == "integer" else value


def moves_of(answers: dict[str, Value]) -> dict[str, list[Move]]:
    found: dict[str, list[Move]] = {name: [] for name in relevant()}
    for move in all_moves(answers):
        found[move.fact].append(move)
    return found


@pytest.mark.parametrize("seed", range(SETS))
def test_the_options_that_change_the_methods_are_exactly_those_listed(seed: int) -> None:
    answers = answers_of(seed)
    base = methods(answers)
    for name, moves in moves_of(answers).items():
        spec = SPECS[name]
        if spec.type in NUMERIC:
            continue
        then = {option: methods(answers, **{name: option}) for option in spec.options or (True, False)}
        assert {move.value: move.methods for move in moves} == {o: m for o, m in then.items() if m != base}, name


@pytest.mark.parametrize("seed", range(SETS))
def test_thresholds_are_exact_and_the_nearest_on_each_side(seed: int) -> None:
    answers, rng = answers_of(seed), random.Random(seed)
    base = methods(answers)
    for name, moves in moves_of(answers).items():
        spec = SPECS[name]
        if spec.type not in NUMERIC:
            continue
        for move in moves:
            assert move.methods == methods(answers, **{name: move.value}) != base
            before = float(move.value) - move.direction * _step(spec, float(move.value))
            if move.direction and spec.minimum <= before <= spec.maximum:
                assert methods(answers, **{name: _typed(spec, before)}) == base, move
        for value in _tried(spec, rng):
            if methods(answers, **{name: value}) != base:
                assert any(_covers(move, value) for move in moves), (name, value, moves)


def _step(spec: FactSpec, value: float) -> float:
    """A whole number's next neighbour; of other numbers, what their thresholds are rounded to."""
    return 1 if spec.type == "integer" else 1.001e-3 if spec.maximum == 1 else 1.001e-2 * value


def _typed(spec: FactSpec, value: float) -> Value:
    return int(value) if spec.type == "integer" else value


def _tried(spec: FactSpec, rng: random.Random) -> list[Value]:
    drawn = [rng.random() if spec.maximum == 1 else 10 ** rng.uniform(-1, 12) for _ in range(40)]
    return [_typed(spec, value) for value in drawn if spec.minimum <= value <= spec.maximum]


def _covers(move: Move, value: Value) -> bool:
    """Whether a move tells of a changed value: it lies beyond the threshold, on its side (as far as it is rounded)."""
    slack = 1e-3 if SPECS[move.fact].maximum == 1 else 1e-2 * float(move.value)
    slack = 0 if SPECS[move.fact].type == "integer" else slack
    return not move.direction or move.direction * (float(value) - float(move.value)) >= -slack


def flips(**answers: Any) -> dict[tuple[str, Any], tuple[str, Any, tuple[str, ...]]]:
    return {(f.fact, f.now): (f.side, f.to, f.methods) for f in decide(read_answers(answers)).flips}


def test_a_threshold_that_another_fact_sets_is_found() -> None:
    found = flips(
        task="question_answering",
        failure="behaviour",
        labelled_examples=900,
        model_parameters=8 * 10**9,
        gpu_memory_gb=12,
        privacy="on_premises",
    )
    assert found["model_parameters", 8 * 10**9] == ("at_least", 12_500_000_001, ("prompt",))  # 12.5 B × 0.8 + 2 = 12


@pytest.mark.parametrize("classes", [5, 7, 11, 13, 29])
def test_a_threshold_of_a_ratio_is_found_to_the_unit(classes: int) -> None:
    answers = {"task": "classification", "classes": classes, "labelled_examples": 8 * classes, "failure": "behaviour"}
    found = decide(read_answers(answers)).flips
    below = [flip.to for flip in found if (flip.fact, flip.side) == ("labelled_examples", "at_most")]
    assert below == [8 * classes - 1]


def test_what_is_assumed_can_change_the_methods_by_being_known() -> None:
    answers = {"failure": "none", "target_score": 0.95, "labelled_examples": 900, "task": "generation"}
    (flip,) = (f for f in decide(read_answers(answers)).flips if f.fact == "baseline_score")
    assert flip.now == 0.9  # assumed, as nothing was said to be wrong
    assert (flip.side, flip.to) == ("at_most", 0.949)  # measured, any score below the target tells of something wrong


def test_an_option_that_is_assumed_is_listed_where_being_sure_of_it_counts() -> None:
    answers: dict[str, Value] = {
        "training_budget": "vendor",
        "base_competence": "low",
        "unlabelled_tokens": 10**12,
        "low_resource_language": True,
        "failure": "behaviour",
    }
    assert Assuming(answers).value("domain_similarity") == "low"
    found = [m for m in all_moves(answers) if m.fact == "domain_similarity" and m.value == "low"]
    assert [(m.direction, "pretrain" in m.methods) for m in found] == [(0, True)]
    (told,) = (
        f.text["en"] for f in decide(read_answers(answers)).flips if (f.fact, f.to) == ("domain_similarity", "low")
    )
    assert "so far it is only assumed" in told


def test_a_fact_without_a_meaning_here_can_bring_one_with_it() -> None:
    found = flips(labelled_examples=40)
    assert found["classes", None] == ("at_least", 1, ("probe",))  # a number of classes makes it a classification
