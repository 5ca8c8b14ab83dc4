"""The plan of a prompt: what its form demands, what is left to the search, how long the search may take, and why."""

from __future__ import annotations

import datetime
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from advisor.decision import Decision, Inputs, decide
from advisor.endpoints import cost_of
from advisor.estimate import (
    asked_of,
    estimate_seconds,
    first_round,
    prompts_of,
    rig_of,
    search_requests,
)
from advisor.facts import Fact, Facts
from advisor.plan import make_plan
from advisor.profile.machine import Machine
from advisor.prompting import cue_of
from advisor.quote import make_quote, serving_seconds
from advisor.quote.workload import LABEL_TOKENS
from advisor.work import INSTRUCTION_TOKENS, Rows
from executors.base import DataSpec, Plan
from executors.messages import INSTRUCTIONS
from executors.models.endpoint import EndpointLimits, endpoint_of, price_of
from executors.prompt.params import given_names
from executors.run import check_plan

DEMO = Path(__file__).parents[1] / "knowledge" / "demo"
REQUESTS = Inputs(data=str(DEMO / "requests-train.csv"), test=str(DEMO / "requests-test.csv"))  # 210 rows, 12 labels
QUESTIONS = Inputs(data=str(DEMO / "questions-train.jsonl"), test=str(DEMO / "questions-test.jsonl"))
UNSEARCHED = {"search_seconds": 0}
TODAY = datetime.date(2026, 11, 21)
ENDPOINT = "openai:gpt-6-luna"


def advice(form: str) -> Decision:
    found = decide(Facts().with_(Fact("labelled_examples", 100, "asked")))
    return replace(found, methods=("prompt",), variants={"prompt": form})


def plan(form: str, inputs: Inputs = REQUESTS, endpoint: dict[str, Any] | None = None, **settings: Any) -> Plan:
    made = make_plan(advice(form), inputs, "prompt", settings, endpoint or {})
    assert check_plan(made) == []
    return made


def few(tmp_path: Path, rows: int, column: str = "label") -> Inputs:
    """A file of training rows and one to score on."""
    for name, count in (("train", rows), ("test", 10)):
        lines = "".join(f"{name} text number {n},{'yes' if n % 2 else 'no'}\n" for n in range(count))
        (tmp_path / f"{name}.csv").write_text(f"text,{column}\n" + lines, encoding="utf-8")
    return Inputs(data=str(tmp_path / "train.csv"), test=str(tmp_path / "test.csv"))


# -- forms -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "demanded"),
    [
        ("few_shot", {}),
        ("calibrated", {}),
        ("retrieved", {}),
        ("zero_shot", {"shots": 0}),
        ("chain_of_thought", {"chain_of_thought": True}),
    ],
)
def test_a_search_keeps_what_the_form_demands_and_chooses_the_rest(form: str, demanded: dict[str, Any]) -> None:
    made = plan(form)
    assert given_names(made.params) == {*demanded, "search_seconds", "cue"}
    assert {name: made.params[name] for name in demanded} == demanded
    assert "form" not in made.reasons
    assert {f"params.{name}" for name in made.params} <= set(made.reasons)


@pytest.mark.parametrize(
    ("form", "params"),
    [
        ("few_shot", {"shots": 12}),  # one a label
        ("calibrated", {"shots": 12}),
        ("retrieved", {"shots": 5, "selection": "nearest", "candidates": "shown"}),
        ("zero_shot", {"shots": 0}),
        ("chain_of_thought", {"shots": 12, "chain_of_thought": True}),
    ],
)
def test_without_a_search_the_plan_says_it_all(form: str, params: dict[str, Any]) -> None:
    assert plan(form, **UNSEARCHED).params == {**params, **UNSEARCHED}


def test_what_the_facts_require_of_an_answer_stands_in_the_plan() -> None:
    known = Facts().with_(Fact("format_strict", True, "asked")).with_(Fact("style", True, "assumed"))
    strict = replace(advice("few_shot"), facts={**advice("few_shot").facts, **decide(known).facts})
    made = make_plan(strict, QUESTIONS, "prompt", {}, {})
    assert made.params["requirements"] == ["format"], "what was only assumed is not required"
    assert "format_strict" in made.reasons["params.requirements"]["en"]
    assert check_plan(made) == []
    assert "requirements" not in make_plan(strict, REQUESTS, "prompt", {}, {}).params, "a label has no format"


def test_texts_retrieve_without_candidates() -> None:
    assert plan("retrieved", QUESTIONS, **UNSEARCHED).params == {"shots": 5, "selection": "nearest", **UNSEARCHED}


def test_many_demonstrations_are_the_same_for_every_input(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 131072}', encoding="utf-8")
    made = make_plan(advice("many_shot"), replace(REQUESTS, model=str(tmp_path)), "prompt")
    assert made.params["shots"] == 210  # all of them
    assert made.params["selection"] == "balanced"


def test_a_short_window_is_not_left_to_the_search(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 256}', encoding="utf-8")
    made = make_plan(advice("few_shot"), replace(REQUESTS, model=str(tmp_path)), "prompt")
    assert 1 <= made.params["shots"] <= 5  # about 31 tokens each, of 128
    assert "over half of the model's window of 256 tokens" in made.reasons["params.shots"]["en"]


def test_retrieval_that_the_search_will_not_try_is_not_promised(tmp_path: Path) -> None:
    many = plan("retrieved").reasons["params.selection"]["en"]
    some = plan("retrieved", few(tmp_path, 60)).reasons["params.selection"]["en"]
    assert "are compared with other choices" in many
    assert "the other 30 are fewer than the 50 to retrieve from" in some
    tried = prompts_of(plan("retrieved", few(tmp_path, 60)), Rows(60, 10, 8, 1, 2))
    assert not any(one.retrieves for one in tried)


# -- what is set, and the reasons --------------------------------------------------------------------------


def test_what_the_user_sets_is_said_to_be_set() -> None:
    made = plan("few_shot", shots=3)
    assert made.params["shots"] == 3
    assert made.reasons["params.shots"]["en"] == "3, as you set it"
    assert all(one.shots == 3 for one in prompts_of(made, Rows(210, 150, 24, 5, 12)))


def test_faulty_settings_are_left_to_the_check() -> None:
    made = make_plan(advice("few_shot"), REQUESTS, "prompt", {"shots": "many", "sellection": "nearest"})
    assert len(check_plan(made)) == 2


def test_calibration_is_told_only_where_labels_are_compared_by_likelihood() -> None:
    assert "calibration" in " ".join(plan("few_shot").reasons)
    for other in (
        plan("chain_of_thought"),
        plan("few_shot", replace(REQUESTS, model=ENDPOINT)),
        plan("few_shot", QUESTIONS),
    ):
        assert "params.calibration" not in other.reasons
    assert "params.calibration" not in plan("retrieved", **UNSEARCHED).reasons  # of shown labels none is calibrated


@pytest.mark.parametrize(
    ("column", "chinese", "cue"),
    [
        ("intent", False, "Intent"),
        ("ticket_topic", False, "Ticket topic"),
        ("情感", True, "情感"),
        ("情感", False, ""),
        ("intent", True, ""),
        ("label", False, ""),
        ("Target", False, ""),
        ("category", False, ""),
        ("标签", True, ""),
        ("y", False, ""),
        ("", False, ""),
        ("the name of the thing", False, ""),
    ],
)
def test_a_column_is_a_cue_where_its_name_says_something(column: str, chinese: bool, cue: str) -> None:
    assert cue_of(column, chinese=chinese) == cue


def test_a_cue_is_given_only_to_wordings_with_a_place_for_it() -> None:
    assert plan("few_shot").params["cue"] == "Intent"  # those of the search
    assert plan("few_shot", wording="cued", **UNSEARCHED).params["cue"] == "Intent"
    assert "cue" not in plan("few_shot", wording="plain").params
    assert "cue" not in plan("few_shot", **UNSEARCHED).params


@pytest.mark.parametrize(
    "settings",
    [
        {"shots": 0},
        {"selection": "random"},
        {"selection": "nearest"},
        {"selection": "diverse", "shots": 3},
        {"chain_of_thought": True},
        {"calibration": "contextual"},
        {"wording": "bare"},
    ],
)
@pytest.mark.parametrize("form", ["few_shot", "retrieved", "zero_shot", "calibrated"])
@pytest.mark.parametrize("searched", [True, False])
def test_what_is_set_goes_with_what_is_planned(form: str, settings: dict[str, Any], searched: bool) -> None:
    made = plan(form, **settings, **({} if searched else UNSEARCHED))
    assert {name: made.params[name] for name in settings} == settings
    if settings.get("shots") == 0:
        assert "params.selection" not in made.reasons


def test_endless_searches_are_refused() -> None:
    made = make_plan(advice("few_shot"), REQUESTS, "prompt", {"search_seconds": math.inf})
    (problem,) = check_plan(made)
    assert "search_seconds: must be finite" in problem.message


# -- the search's budget -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "searched"), [(15, False), (16, True)])
def test_few_rows_are_not_searched_on(rows: int, searched: bool, tmp_path: Path) -> None:
    made = plan("few_shot", few(tmp_path, rows))
    assert ("search_seconds" in made.params) is searched
    if not searched:
        assert "15 training rows are too few" in made.reasons["params.search_seconds"]["en"]
        assert made.params["shots"] == 8


def test_the_budget_holds_the_first_round_up_to_ten_minutes(tmp_path: Path) -> None:
    made = plan("few_shot", few(tmp_path, 100))
    rows = Rows(100, 10, 6, 1, 2)
    assert 120 <= made.params["search_seconds"] <= 600
    config = '{"max_position_embeddings": 2048, "hidden_size": 4096, "num_hidden_layers": 32, "vocab_size": 128000,'
    (tmp_path / "config.json").write_text(config + '"intermediate_size": 14336}', encoding="utf-8")
    large = plan("few_shot", replace(few(tmp_path, 100), model=str(tmp_path)))
    assert large.params["search_seconds"] == 600
    assert len(prompts_of(made, rows)) == len(prompts_of(large, rows)) > 10


def test_an_endpoint_is_searched_only_within_a_cap() -> None:
    luna = replace(REQUESTS, model=ENDPOINT)
    unbound, tight, bound = (
        plan("few_shot", luna),
        plan("few_shot", luna, {"max_cost": 0.01}),
        plan("few_shot", luna, {"max_cost": 10.0}),
    )
    assert "search_seconds" not in unbound.params
    assert "with --max-cost USD it is made" in unbound.reasons["params.search_seconds"]["en"]
    assert "search_seconds" not in tight.params
    assert "more than the --max-cost of $0.0100" in tight.reasons["params.search_seconds"]["en"]
    assert bound.params["search_seconds"] >= 120
    free = plan("few_shot", replace(REQUESTS, model="ollama:qwen3:8b"))
    assert free.params["search_seconds"] >= 120


# -- estimates ---------------------------------------------------------------------------------------------

SPEC = DataSpec("rows.csv")
MACHINE = Machine(cores=2, memory_gb=8)
N = 134_515_008  # parameters of the default model,
HEAD = 49_152 * 576  # of which so many give logits, and are those of its embeddings


def seconds(rows: Rows, task: str = "classification", **params: Any) -> tuple[float, float]:
    return estimate_seconds(Plan("prompt", task, SPEC, params=params), rows, MACHINE, tflops=0.1)


def test_a_search_counts_with_its_budget_at_the_high_end() -> None:
    rows = Rows(train=200, test=100, input_tokens=20, answer_tokens=2, labels=2)
    plain, searched = (
        seconds(rows, shots=4),
        seconds(rows, shots=4, wording="plain", selection="random", search_seconds=300, ensemble=1),
    )
    assert searched[1] == pytest.approx(plain[1] + 300, abs=60)
    assert searched[0] > plain[0]
    averaged = seconds(rows, shots=4, wording="plain", selection="random", search_seconds=300, ensemble=2)
    assert averaged[1] - searched[1] == pytest.approx(plain[1], rel=0.5)  # the answers, once more
    tiny = replace(rows, train=15)  # too few to search on
    assert seconds(tiny, shots=4, search_seconds=300) == seconds(tiny, shots=4)


def test_retrieved_demonstrations_are_read_with_every_row() -> None:
    """4 more demonstrations of 46 tokens: once for all rows, or with each of 100 (none is calibrated here)."""
    rows = Rows(train=200, test=100, input_tokens=20, answer_tokens=2, labels=2)
    slow = rig_of(MACHINE, 0.1).flops[0]
    each = 2 * (N - HEAD) * 4 * (20 + 2 + 24) / slow
    fixed = [seconds(rows, shots=shots, calibration="none")[1] for shots in (4, 8)]
    near = [seconds(rows, shots=shots, selection="nearest", calibration="none")[1] for shots in (4, 8)]
    assert fixed[1] - fixed[0] == pytest.approx(each, rel=0.01)
    assert near[1] - near[0] == pytest.approx(100 * each, rel=0.01)


def test_reasoning_is_written_before_each_answer() -> None:
    """64 to 256 tokens instead of 3, or a quarter to all of what `max_tokens` allows."""
    rows, rig = Rows(train=10, test=50, input_tokens=60, answer_tokens=3), rig_of(MACHINE, 0.1)
    plain, steps = (seconds(rows, "reasoning", shots=0, chain_of_thought=told) for told in (False, True))
    short = seconds(rows, "reasoning", shots=0, chain_of_thought=True, max_tokens=32)

    def written(tokens: int, end: int) -> float:
        return serving_seconds(N, 50, 60 + 12, tokens, rig)[end]

    assert steps[1] - plain[1] == pytest.approx(written(256, 1) - written(3, 1))
    assert steps[0] - plain[0] == pytest.approx(written(64, 0) - written(3, 0))
    assert short[1] - plain[1] == pytest.approx(written(32, 1) - written(3, 1))


def test_the_first_round_is_every_prompt_on_sixteen_rows() -> None:
    rows = Rows(train=200, test=100, input_tokens=20, answer_tokens=2, labels=2)
    rig = rig_of(MACHINE, 0.1)
    given = {"shots": 0, "search_seconds": 100}
    searched = Plan("prompt", "classification", SPEC, params=given)
    prompts = prompts_of(searched, rows)
    low, high = first_round(searched, rows, rig)
    own = 20 + 12 + LABEL_TOKENS * 2
    tokens = INSTRUCTION_TOKENS + LABEL_TOKENS * 2 + 16 * own
    assert {one.shots for one in prompts} == {0}
    flops = len(prompts) * 2 * ((N - HEAD) * tokens + HEAD * 16 * LABEL_TOKENS * 2)  # logits where labels are compared
    assert high == pytest.approx(flops / rig.flops[0], rel=0.01)
    assert low == pytest.approx(flops / rig.flops[1], rel=0.01)


@pytest.mark.parametrize(
    ("prompts", "train", "requests"),
    [
        (8, 200, 8 * 16 + 4 * 16 + 2 * 32 + 1 * 36),  # 100 development rows: 16, 32, 64, 100
        (1, 200, 16),
        (5, 20, 5 * 10),  # 10 development rows: one round
        (37, 2000, 37 * 16 + 19 * 16 + 10 * 32 + 5 * 64 + 3 * 128),
    ],
)
def test_requests_of_a_search_are_halved_and_doubled(prompts: int, train: int, requests: int) -> None:
    assert search_requests(prompts, train) == requests


def test_the_forecast_of_an_endpoint_counts_the_search() -> None:
    rows = Rows(train=200, test=100, input_tokens=20, answer_tokens=2)
    price = price_of(endpoint_of(ENDPOINT) or pytest.fail("no such name"), EndpointLimits())
    assert price
    base = Plan("prompt", "generation", SPEC, model=ENDPOINT, params={"shots": 0})
    searched = replace(base, params={"shots": 0, "search_seconds": 60})
    plain, more = asked_of(base, rows), asked_of(searched, rows)
    assert plain.searched == 0
    assert more.searched == search_requests(len(prompts_of(searched, rows)), 200)
    factor = (100 + more.searched) / 100
    assert cost_of(more, price) == pytest.approx([cost_of(plain, price)[0], factor * cost_of(plain, price)[1]])
    assert math.isfinite(cost_of(more, price)[1])


def test_a_quote_follows_the_form() -> None:
    """Retrieved demonstrations are cached by nobody; steps of reasoning are paid for as they are written."""
    instruction = round(len(INSTRUCTIONS["classification"]) / 4) + 24 + 60  # with the template and a typical input
    known = Facts().with_(Fact("task", "classification", "asked"), Fact("labelled_examples", 100, "asked"))
    retrieved = make_quote(known, "prompt", TODAY)
    tokens = instruction + 5 * (60 + 5)
    assert retrieved.per_1000_usd[0] == pytest.approx(1000 * (tokens * 0.10 + 5 * 0.50) / 1e6, rel=0.01)
    assert any("retrieved for each input" in told["en"] for told in retrieved.assumptions)
    sums = Facts().with_(Fact("task", "reasoning", "asked"), Fact("labelled_examples", 10, "asked"))
    assert any("Steps of reasoning" in told["en"] for told in make_quote(sums, "prompt", TODAY).assumptions)
    assert any(
        "0 demonstrations" in told["en"]
        for told in make_quote(Facts().with_(Fact("labelled_examples", 0, "asked")), "prompt", TODAY).assumptions
    )
