"""What must hold for any answers: 20,000 sets of facts, with numbers at and around every threshold."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from advisor.cards import METHODS, load_cards
from advisor.conditions import Value
from advisor.decision import decide, next_question
from advisor.facts import Assuming, Fact, Facts, FactSpec, load_vocabulary
from advisor.flowchart import load_chart, methods_for
from advisor.moves import grid, sample
from advisor.quote import quotes
from advisor.texts import LANGUAGES

TRAINING = {name for name in METHODS if load_cards()[name].trains}
CHANGING = {name for name in METHODS if load_cards()[name].changes_weights}

OPENING = ("training_budget", "labelled_examples", "knowledge_change")  # asked in any case


def samples(count: int) -> settings:
    return settings(
        max_examples=count, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )


def methods(answers: dict[str, Value], **changed: Value) -> set[str]:
    return set(methods_for(load_chart(), Assuming({**answers, **changed})))


def facts(answers: dict[str, Value]) -> Facts:
    return Facts({name: Fact(name, value, "asked") for name, value in answers.items()})


def value_of(spec: FactSpec) -> st.SearchStrategy[Any]:
    if spec.type in ("integer", "number"):
        return st.sampled_from(grid(spec)).map(int if spec.type == "integer" else float)
    return st.sampled_from(spec.options or (True, False))


def two_of(fact: str) -> st.SearchStrategy[list[Any]]:
    """Two values of an ordered fact, the smaller first."""
    spec = load_vocabulary()[fact]
    rank = spec.options.index if spec.options else (lambda value: value)
    return st.lists(value_of(spec), min_size=2, max_size=2).map(lambda pair: sorted(pair, key=rank))


ANSWERS: st.SearchStrategy[dict[str, Value]] = st.fixed_dictionaries(
    {}, optional={name: value_of(spec) for name, spec in load_vocabulary().items()}
)


@samples(20_000)
@given(ANSWERS, two_of("labelled_examples"), two_of("knowledge_change"), two_of("training_budget"))
def test_the_chart_holds_what_it_promises(
    answers: dict[str, Value], labels: list[int], changes: list[str], budgets: list[str]
) -> None:
    chosen, view = methods(answers), Assuming(answers)
    assert chosen
    assert "prompt" not in chosen or chosen == {"prompt"}
    assert not [n.id for name in chosen for n in load_cards()[name].needs if n.that.holds(view) is False]  # no veto
    assert "pretrain" not in chosen or view.value("training_budget") == "vendor"
    assert "pretrain" not in methods(answers, privacy="on_premises")  # the corpus would have to leave
    assert not methods(answers, weights_access=False) & CHANGING
    assert not methods(answers, training_budget="none") & TRAINING

    few, many = (methods(answers, labelled_examples=n) for n in labels)
    assert not few & TRAINING or many & TRAINING  # more labels never turn tuning into prompting
    slow, fast = (methods(answers, knowledge_change=change) for change in changes)
    assert "rag" not in slow or "rag" in fast  # faster change never removes retrieval
    less, more = (methods(answers, training_budget=budget) for budget in budgets)
    assert len(less & TRAINING) <= len(more & TRAINING)  # less budget never adds training


def changes_something(fact: str, known: dict[str, Value], closed: set[str]) -> bool:
    """Whether two answers to `fact` lead apart, with at most one other open fact answered: by trying all."""
    specs = load_vocabulary()
    open_facts = [other for other in specs if other not in {fact, *known, *closed}]
    others = [{}, *({other: value} for other in open_facts for value in sample(specs[other]))]
    return any(len({frozenset(methods({**known, **o, fact: v})) for v in sample(specs[fact])}) > 1 for o in others)


@samples(20_000)
@given(ANSWERS, st.sets(st.sampled_from(list(load_vocabulary()))))
def test_whatever_is_known_the_next_question_is_new_and_can_change_the_methods(
    answers: dict[str, Value], skipped: set[str]
) -> None:
    """So every interview ends: each question closes a fact that was open."""
    question = next_question(facts(answers), skipped)
    if question is not None:
        assert question.fact not in {*answers, *skipped}
        assert question.fact in OPENING or changes_something(question.fact, answers, skipped - {*answers})


@samples(400)
@given(ANSWERS)
def test_every_decision_is_whole(answers: dict[str, Value]) -> None:
    decision = decide(facts(answers))
    verdicts = {ranked.method: ranked.verdict for ranked in decision.ranking}
    assert set(verdicts) == set(METHODS)
    assert {name for name, verdict in verdicts.items() if verdict == "recommended"} == set(decision.methods)
    assert all(ranked.sum for ranked in decision.vetoes)
    assert all(ranked.missing for ranked in decision.ranking if ranked.verdict == "not_yet")
    assert all(set(flip.methods) != set(decision.methods) for flip in decision.flips)
    assert 0 < decision.confidence.level < 1
    texts = [decision.summary, *decision.warnings, *decision.risks, *(flip.text for flip in decision.flips)]
    assert all(set(text) == set(LANGUAGES) and all(text.values()) for text in texts)


@samples(400)
@given(ANSWERS)
def test_nothing_leaves_the_premises(answers: dict[str, Value]) -> None:
    confined = facts({**answers, "privacy": "on_premises"})
    for quote in quotes(confined, decide(confined).methods).values():
        assert "provider" not in quote["hardware"]["en"]
        assert "rented" not in quote["hardware"]["en"].lower()
