"""Advice and runs: every method, form and hybrid that can be advised gets a plan that checks out, or says why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import executors
from advisor.advice.ladder import ORDER as BUILT
from advisor.answers import read_answers
from advisor.cards import METHODS, load_cards
from advisor.chains import ORDER, chain_faults, make_chain
from advisor.commands.run import _make
from advisor.commands.shared import save_decision
from advisor.decision import decide
from advisor.estimate import ESTIMATES, estimate_text
from advisor.facts import Fact
from advisor.plan import RUNNABLE_FORMS, choose_method, make_plan, read_plan, stages_of
from executors.base import Plan, UserError, write_json
from executors.chain import check_chain
from executors.run import check_plan
from executors.tuning.predictor import Tuned, write_tuned
from tests.test_ladder import ALL
from tests.test_plan import QUESTIONS, REQUESTS, decision

PAIRS = Path(__file__).parent / "pairs.jsonl"
LABELLING = ("probe", "small_encoder")
UNRUN = {  # forms of methods that run, and how they are stood for
    "rag": {"tools"},
    "cpt": {"selected"},
    "preference": {"verifiable_rewards", "rejection_sampling"},
}
HYBRIDS = [
    ("rag", "peft"),
    ("rag", "full"),
    ("rag", "preference"),
    ("cpt", "peft"),
    ("cpt", "full"),
    ("cpt", "rag"),
    ("cpt", "rag", "peft"),
    ("cpt", "rag", "full"),
    ("peft", "preference"),
    ("long_context", "peft"),
]


def inputs_for(*methods: str) -> Any:
    if "preference" in methods:
        return replace(QUESTIONS, data=str(PAIRS), test=None)
    return REQUESTS if set(methods) <= set(LABELLING) else QUESTIONS


# -- methods and forms -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gets_a_plan_or_says_what_runs_in_its_place(method: str) -> None:
    if method not in executors.EXECUTORS:
        with pytest.raises(UserError, match=f"'{method}' cannot be run by this version; in its place runs") as refused:
            make_plan(decision(method), inputs_for(method))
        assert "本版本还不能运行" in refused.value.told("zh").message
        return
    plan = make_plan(decision(method), inputs_for(method))
    assert check_plan(plan) == []
    assert method in ESTIMATES
    assert "time" in estimate_text(plan)["en"]


@pytest.mark.parametrize("method", RUNNABLE_FORMS)
def test_every_form_is_planned_or_says_which_one_runs(method: str) -> None:
    for form, card in load_cards()[method].variants.items():
        plan = make_plan(decision(method, form=form), inputs_for(method))
        runs = form in RUNNABLE_FORMS[method]
        assert runs != ("form" in plan.reasons)
        assert (form in UNRUN.get(method, ())) != runs, f"{method}: {form}"
        if not runs:
            assert card.title["en"] in plan.reasons["form"]["en"]
        told = {name.removeprefix("params.") for name in plan.reasons if name.startswith("params.")}
        assert set(plan.params) <= told | {"chain_of_thought"}
        assert [p.message for p in check_plan(plan) if "bitsandbytes" not in p.message] == []


def test_the_variant_of_peft_is_the_one_recommended() -> None:
    for form in RUNNABLE_FORMS["peft"]:
        plan = make_plan(decision("peft", form=form), REQUESTS)
        assert plan.params.get("variant", "lora") == form
    assert "4 bit" in make_plan(decision("peft", form="qlora"), REQUESTS).reasons["params.variant"]["en"]


def test_where_nothing_was_recommended_the_memory_decides() -> None:
    facts = {
        name: Fact(name, value, "asked")
        for name, value in {
            "model_parameters": 8e9,
            "gpu_memory_gb": 12,
            "gpu_count": 1,
            "training_budget": "small",
        }.items()
    }
    own = {**facts, "privacy": Fact("privacy", "on_premises", "asked")}
    assert make_plan(decision("prompt", **own), REQUESTS, "peft").params["variant"] == "qlora"
    assert "variant" not in make_plan(decision("prompt"), REQUESTS, "peft").params


def test_the_form_of_continued_pretraining_sets_weights_and_replay() -> None:
    assert make_plan(decision("cpt", form="replay"), QUESTIONS).params == {}
    plan = make_plan(decision("cpt", form="low_rank"), QUESTIONS)
    assert plan.params == {"weights": "low_rank", "replay": 0.25}
    assert "25 %" in plan.reasons["params.replay"]["en"]
    assert plan.docs == QUESTIONS.docs


def test_a_rate_is_told_as_it_is_used() -> None:
    from executors.tuning.params import rate_of

    for method, form in [("peft", "ia3"), ("peft", "lora"), ("full", ""), ("cpt", "replay"), ("preference", "dpo")]:
        plan = make_plan(decision(method, form=form), inputs_for(method))
        params = replace(executors.method(method).Params(), **plan.params)
        assert plan.reasons["params.learning_rate"]["en"].startswith(f"{rate_of(params, 134_515_008):g}")


@pytest.mark.parametrize("method", ["peft", "full"])
def test_an_encoder_is_planned_as_the_model_of_a_method(method: str) -> None:
    plan = make_plan(decision(method), replace(REQUESTS, model="all-minilm-l6-v2"))
    assert check_plan(plan) == []
    assert "is an encoder" in plan.reasons["params.variant"]["en"]
    assert "params.learning_rate" not in plan.reasons
    assert "time" in estimate_text(plan)["en"]


def test_preferences_without_pairs_are_refused_before_anything_is_written() -> None:
    with pytest.raises(UserError, match="no column recognised as the worse answer of a pair"):
        make_plan(decision("preference"), QUESTIONS)


# -- hybrids -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("methods", HYBRIDS, ids="+".join)
def test_every_hybrid_is_a_chain_that_checks_out(methods: tuple[str, ...]) -> None:
    chain = _make(decision(*methods), inputs_for(*methods), None, {}, {})
    assert not isinstance(chain, Plan)
    assert chain.methods == methods
    assert check_chain(chain) == []
    assert {one.method for one in chain.without} == set(methods)
    final = chain.last.plan
    assert final.executor == (methods[-1] if "rag" not in methods else "rag") or final.executor == "long_context"


@pytest.mark.parametrize("name", ALL)
def test_whatever_is_advised_runs_as_it_is_or_says_what_does(name: str) -> None:
    known = decide(read_answers(ALL[name]))
    parts = [method for method in known.methods if method != "prompt"]
    stages = stages_of(known)
    if len(parts) > 1 and all(method in executors.EXECUTORS for method in parts):
        assert stages == tuple(parts)
        return
    missing = [method for method in known.methods if method not in executors.EXECUTORS]
    if len(missing) == len(known.methods):
        with pytest.raises(UserError, match="in its place runs"):
            choose_method(known)
    else:
        choice = choose_method(known)
        assert choice.method in executors.EXECUTORS
        assert all(method in choice.reason["en"] for method in missing)


def test_continued_pretraining_comes_first_and_a_reader_is_tuned_on_its_model() -> None:
    chain = make_chain(decision("cpt", "full", "rag"), QUESTIONS, ("cpt", "full", "rag"))
    assert [(s.name, s.plan.model, s.plan.params.get("retriever", "")) for s in chain.main] == [
        ("1-cpt", "smollm2-135m-instruct", ""),
        ("2-rag", "1-cpt", ""),
        ("3-full", "1-cpt", "2-rag"),
        ("4-rag", "3-full", "2-rag"),
    ]
    assert chain.main[2].plan.params["passages"] == 3
    without = {one.method: one.stage for one in chain.without}
    assert without["full"] == "2-rag"  # the chain without tuning is there already
    assert without["rag"] == "without-rag/1-full"
    assert without["cpt"].startswith("without-cpt/")
    plans = {stage.name: stage.plan for stage in chain.stages}
    assert plans["without-rag/1-full"].model == "1-cpt"
    assert plans[without["cpt"]].model.startswith("without-cpt/")


def test_the_ladder_and_the_chains_know_the_same_parts() -> None:
    assert set(ORDER) <= set(BUILT)
    assert chain_faults(["rag", "small_encoder"])


# -- going on from a run ---------------------------------------------------------------------------------

Advisor = Callable[..., tuple[int, str, str]]


def tuned(folder: Path, variant: str = "lora") -> Path:
    """The records of a finished run, without its weights."""
    (folder / "artifact" / "adapter").mkdir(parents=True)
    about = Tuned("peft", "classification", ("a", "b"), "smollm2-135m-instruct", "0" * 64, {"variant": variant})
    write_tuned(folder / "artifact", about, [])
    write_json(folder / "artifact" / "about.json", {"stamp": "1"})
    return folder


@pytest.fixture
def runs(workdir: Path) -> Path:
    """A decision, and two runs that have tuned something."""
    folder = workdir / "runs" / "20261121-1201-ab12"
    folder.mkdir(parents=True)
    save_decision(folder, replace(decision("peft"), run=folder.name, inputs=REQUESTS))
    tuned(workdir / "runs" / "20261120-1200-aa00")
    tuned(workdir / "runs" / "20261120-1300-bb00", "prefix_tuning")
    return workdir / "runs"


def test_tuning_goes_on_from_a_run_at_the_rate_of_any_start(advisor: Advisor, runs: Path) -> None:
    status, _, err = advisor("run", "last", "--from", "20261120-12", "--dry-run")
    assert status == 0, err
    plan = read_plan(runs / "20261121-1201-ab12" / "plan.yaml")
    assert plan.model == str(Path("runs") / "20261120-1200-aa00")
    assert "what that run made of smollm2-135m-instruct" in plan.reasons["model"]["en"]
    assert plan.reasons["params.learning_rate"]["en"].startswith("0.0005; a model that has been tuned")
    same = advisor("run", "last", "--model", "20261120-1200-aa00", "--dry-run")
    assert same[0] == 0
    assert read_plan(runs / "20261121-1201-ab12" / "plan.yaml").model == plan.model


def test_a_run_can_be_prompted(advisor: Advisor, runs: Path) -> None:
    status, _, err = advisor("run", "last", "--method", "prompt", "--from", "20261120-13", "--dry-run")
    assert status == 0, err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "20261120-13"), "prefix_tuning stands beside the weights and cannot be merged"),
        (("--from", "20261121"), "holds no tuned language model"),
        (("--from", "2027"), "no run '2027'"),
        (("--from", "20261120-12", "--model", "smollm2-135m-instruct"), "both --model and --from"),
        (("--method", "rag+prob"), "'prob' can be no part of a chain"),
        (("--method", "peft+full"), "a chain has one of them"),
    ],
)
def test_what_cannot_be_gone_on_from_is_said(
    arguments: tuple[str, ...], said: str, advisor: Advisor, runs: Path
) -> None:
    status, _, err = advisor("run", "last", *arguments, "--dry-run")
    assert status == 1
    assert said in err
