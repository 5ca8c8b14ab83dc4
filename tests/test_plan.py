"""From a decision to a plan: the method, what is missing for it, each value with its reason, and plans as files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import executors
from advisor.answers import read_answers
from advisor.cards import METHODS, load_cards
from advisor.decision import Confidence, Decision, Inputs, decide
from advisor.estimate import estimate_seconds
from advisor.facts import Fact
from advisor.plan import RUNNABLE_FORMS, choose_method, make_plan, read_plan, write_plan
from advisor.profile.machine import Machine
from advisor.texts import read_knowledge
from advisor.work import Rows
from executors.base import DataSpec, Plan, UserError
from executors.run import check_plan
from tests.conftest import DEMO

REQUESTS = Inputs(data=str(DEMO / "requests-train.csv"), test=str(DEMO / "requests-test.csv"))
QUESTIONS = Inputs(
    data=str(DEMO / "questions-train.jsonl"), test=str(DEMO / "questions-test.jsonl"), docs=str(DEMO / "handbook")
)


def decision(*methods: str, form: str = "", **facts: Fact) -> Decision:
    nothing = {"en": "", "zh": ""}
    return Decision(
        run="20261121-abcd",
        methods=methods,
        variant=form,
        variants={methods[0]: form} if form else {},
        summary=nothing,
        path=(),
        ranking=(),
        vetoes=(),
        flips=(),
        ladder=(),
        confidence=Confidence(1.0, (), None, nothing),
        facts=facts,
    )


# -- which method --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("methods", "first"),
    [
        (("probe",), "probe"),
        (("peft", "rag"), "rag"),
        (("rag", "peft"), "rag"),
        (("prompt", "rag"), "rag"),
        (("prompt",), "prompt"),
        (("long_context",), "long_context"),
        (("peft", "long_context"), "long_context"),
        (("prompt", "long_context"), "long_context"),
        (("cpt", "peft"), "cpt"),
        (("pretrain", "peft"), "peft"),
        (("cpt", "full", "rag"), "rag"),
    ],
    ids="+".join,
)
def test_the_stage_that_others_build_on_runs_first(methods: tuple[str, ...], first: str) -> None:
    assert choose_method(decision(*methods)).method == first


def test_a_hybrid_says_what_comes_later() -> None:
    assert "later: peft" in choose_method(decision("rag", "peft")).reason["en"]
    assert "cannot run: pretrain" in choose_method(decision("pretrain", "peft")).reason["en"]


@pytest.mark.parametrize("method", [m for m in METHODS if m not in executors.EXECUTORS])
def test_what_cannot_be_run_names_what_can(method: str) -> None:
    with pytest.raises(UserError) as error:
        choose_method(decision(method))
    assert error.value.hint == f"advisor run 20261121-abcd --method {load_cards()[method].nearest}"
    with pytest.raises(UserError):
        choose_method(decision("prompt"), method)


def test_every_method_can_be_run_or_has_a_stand_in_that_can() -> None:
    for method in METHODS:
        assert (method in executors.EXECUTORS) != (load_cards()[method].nearest in executors.EXECUTORS), method


def test_a_misspelt_method_is_told() -> None:
    with pytest.raises(UserError, match="did you mean 'probe'"):
        choose_method(decision("prompt"), "prob")


# -- what is missing -----------------------------------------------------------------------------------


def test_missing_data_comes_with_the_command_that_gives_it() -> None:
    with pytest.raises(UserError) as error:
        make_plan(decision("probe"), Inputs())
    assert error.value.hint == "advisor run 20261121-abcd --data FILE"


def test_missing_data_and_documents_are_one_command() -> None:
    with pytest.raises(UserError) as error:
        make_plan(decision("rag"), Inputs())
    assert "2 problems" in error.value.message
    assert error.value.hint == "advisor run 20261121-abcd --data FILE --docs DIR"


def test_the_command_keeps_a_method_that_was_asked_for() -> None:
    with pytest.raises(UserError) as error:
        make_plan(decision("probe"), Inputs(data=QUESTIONS.data), "rag")
    assert error.value.hint == "advisor run 20261121-abcd --method rag --docs DIR"


# -- values and reasons --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "inputs"),
    [(m, REQUESTS) for m in ("baseline", "prompt", "probe", "small_encoder", "peft", "full")]
    + [(m, QUESTIONS) for m in ("baseline", "prompt", "rag", "peft", "full", "cpt")],
)
def test_every_method_gets_a_plan_that_checks_out(method: str, inputs: Inputs) -> None:
    plan = make_plan(decision(method), inputs)
    assert check_plan(plan) == []
    assert plan.executor == method
    assert {"executor", "task", "data"} <= set(plan.reasons)
    assert {name.removeprefix("params.") for name in plan.reasons if name.startswith("params.")} >= set(plan.params)
    assert all(set(reason) == {"en", "zh"} and reason["en"] for reason in plan.reasons.values())


def test_documents_are_in_the_plan_of_a_method_that_reads_them() -> None:
    assert make_plan(decision("rag"), QUESTIONS).docs == QUESTIONS.docs
    assert make_plan(decision("peft"), QUESTIONS).docs is None


def test_only_models_that_are_used_are_explained() -> None:
    reasons = make_plan(decision("probe"), REQUESTS).reasons
    assert "embedder" in reasons
    assert "model" not in reasons


def test_a_task_that_was_said_is_kept_and_one_that_was_assumed_is_not() -> None:
    said = decision("prompt", task=Fact("task", "extraction", "asked"))
    assumed = decision("prompt", task=Fact("task", "generation", "assumed"))
    assert make_plan(said, QUESTIONS).task == "extraction"
    assert make_plan(assumed, QUESTIONS).task == "question_answering"


def test_a_form_this_version_cannot_run_is_told_with_what_runs() -> None:
    plan = make_plan(decision("rag", form="tools"), QUESTIONS)
    assert "this version runs" in plan.reasons["form"]["en"]
    assert "form" not in make_plan(decision("rag", form="retrieval"), QUESTIONS).reasons


def test_every_form_that_runs_is_one_of_the_cards() -> None:
    for method, forms in RUNNABLE_FORMS.items():
        assert set(forms) <= set(read_knowledge(f"methods/{method}.yaml")["variants"])


def test_a_window_that_is_short_takes_fewer_demonstrations(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 256}', encoding="utf-8")
    inputs = Inputs(data=REQUESTS.data, test=REQUESTS.test, model=str(tmp_path))
    assert 1 <= make_plan(decision("prompt"), inputs).params["shots"] <= 5  # about 31 tokens each, of 128


def test_passes_are_told_as_they_will_be() -> None:
    plan = make_plan(decision("peft"), QUESTIONS)
    assert "epochs" not in plan.params
    assert "100 steps of 8 rows" in plan.reasons["params.epochs"]["en"]  # 70 rows: 3 passes would be 27 steps


# -- layers, pooling -----------------------------------------------------------------------------------


def questions(tmp_path: Path, rows: int) -> Inputs:
    lines = "".join(f"What is rule {n}?,rule {n}\n" for n in range(rows))
    (tmp_path / "rows.csv").write_text("question,answer\n" + lines, encoding="utf-8")
    return Inputs(data=str(tmp_path / "rows.csv"))


@pytest.mark.parametrize(
    ("rows", "similarity", "layers", "said"),
    [
        (500, "high", "last", "the last quarter only: 400 rows are few for all weights (10,000 are called enough)"),
        (500, "medium", "last", "the domain counts as similar (Partly similar)"),
        (500, "low", "first_frozen", "the first half frozen: 400 rows are few"),
        (13_000, "high", "all", "reach the 10,000 that are called enough, and the domain counts as similar"),
        (13_000, "low", "all", "continued pre-training comes first. --set layers=scratch"),
    ],
)
def test_the_layers_of_a_full_tuning_follow_the_quadrant(
    rows: int, similarity: str, layers: str, said: str, tmp_path: Path
) -> None:
    known = decision("peft", domain_similarity=Fact("domain_similarity", similarity, "measured"))
    plan = make_plan(known, questions(tmp_path, rows), "full")
    assert plan.params.get("layers", "all") == layers
    assert said in plan.reasons["params.layers"]["en"]
    assert check_plan(plan) == []
    if layers != "all":
        assert "Yosinski et al. 2014" in plan.reasons["params.layers"]["en"]
        assert "LoRA (--method peft) is usually the better choice" in plan.reasons["params.layers"]["en"]


def test_an_assumed_domain_is_said_to_be_assumed() -> None:
    for facts in ({}, {"domain_similarity": Fact("domain_similarity", "medium", "assumed")}):
        plan = make_plan(decision("peft", **facts), REQUESTS, "full")
        assert plan.params["layers"] == "last"
        assert "Partly similar; assumed, not measured" in plan.reasons["params.layers"]["en"]
    low = decision("peft", domain_similarity=Fact("domain_similarity", "low", "assumed"))
    assert make_plan(low, REQUESTS, "full").params["layers"] == "first_frozen"


def test_a_part_of_the_layers_is_estimated_to_train_faster() -> None:
    machine, rows = Machine(cores=2, memory_gb=8), Rows(train=8000, test=1, input_tokens=100, answer_tokens=5, labels=2)
    plan = make_plan(decision("full"), REQUESTS)

    def hours(**params: object) -> tuple[float, float]:
        return estimate_seconds(replace(plan, params=params), rows, machine, tflops=0.1)

    assert hours(layers="last") < hours(layers="first_frozen") < hours(layers="all") == hours(layers="scratch")
    assert hours(layers="last", trained_layers=3)[0] < hours(layers="last")[0]


def test_the_pooling_of_a_probe_is_said_and_left_to_the_encoder() -> None:
    plan = make_plan(decision("probe"), REQUESTS)
    assert "pooling" not in plan.params
    assert "as all-minilm-l6-v2 was trained" in plan.reasons["params.pooling"]["en"]


def test_a_probe_looks_at_the_language_models_layers_where_it_is_soon_done(tmp_path: Path) -> None:
    plan = make_plan(decision("probe"), REQUESTS)
    assert plan.params == {"model": "best"}
    assert "layers of smollm2-135m-instruct" in plan.reasons["params.model"]["en"]
    wide = {"num_hidden_layers": 32, "hidden_size": 4096, "vocab_size": 32000, "intermediate_size": 14336}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **wide}), encoding="utf-8")
    for elsewhere in (str(tmp_path), "openai:gpt-x", "someone/some-model"):
        assert make_plan(decision("probe"), replace(REQUESTS, model=elsewhere)).params == {}


@pytest.mark.parametrize("settings", [{"model": "encoder"}, {"layer": 3}, {"pooling": "cls"}])
def test_a_probes_model_is_left_as_it_was_set(settings: dict[str, object]) -> None:
    assert make_plan(decision("probe"), REQUESTS, "probe", settings).params == settings


def test_many_demonstrations_are_planned_where_the_window_holds_them(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 131072}', encoding="utf-8")
    inputs = Inputs(data=REQUESTS.data, test=REQUESTS.test, model=str(tmp_path))
    plan = make_plan(decision("prompt", form="many_shot"), inputs)
    assert 200 < plan.params["shots"] <= 500
    assert "form" not in plan.reasons


# -- files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["probe", "prompt", "peft"])
def test_a_plan_reads_back_as_it_was(method: str, tmp_path: Path) -> None:
    plan = make_plan(decision(method), REQUESTS)
    write_plan(tmp_path / "plan.yaml", plan)
    assert read_plan(tmp_path / "plan.yaml") == plan
    assert (tmp_path / "plan.yaml").read_text(encoding="utf-8").startswith("# ")


def test_chinese_is_written_readably(tmp_path: Path) -> None:
    plan = Plan("probe", "classification", DataSpec("数据.csv", columns={"label": "标签"}))
    write_plan(tmp_path / "plan.yaml", plan)
    assert "标签" in (tmp_path / "plan.yaml").read_text(encoding="utf-8")
    assert read_plan(tmp_path / "plan.yaml") == plan


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("executor: probe\ntask: classification\ndata: {path: rows.csv}\n", encoding="utf-8")
    assert read_plan(path) == Plan("probe", "classification", DataSpec("rows.csv"))


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    faulty = {
        "executer": "probe",
        "task": "clasification",
        "data": {"pth": "rows.csv", "held_out": 2},
        "seed": "zero",
        "schema_version": 99,
    }
    path.write_text(yaml.safe_dump(faulty), encoding="utf-8")
    with pytest.raises(UserError) as error:
        read_plan(path)
    for part in (
        "executer: unknown entry (did you mean 'executor'?)",
        "executor: missing",
        "did you mean 'classification'",
        "data.pth: unknown entry (did you mean 'path'?)",
        "data.path: missing",
        "data.held_out: must be between 0 and 1",
        "seed: expected a whole number, got 'zero'",
        "schema_version: 99 is newer",
    ):
        assert part in error.value.message


def test_faults_of_the_parameters_are_told(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(
        "executor: peft\ntask: classification\ndata: {path: rows.csv}\nparams: {epoch: 3, rank: many}\n",
        encoding="utf-8",
    )
    with pytest.raises(UserError, match="did you mean 'epochs'") as error:
        read_plan(path)
    assert "params.rank" in error.value.message


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", "just text"], ids=["a list", "not YAML", "text"])
def test_a_file_that_is_no_plan_is_a_users_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(UserError):
        read_plan(tmp_path / "plan.yaml")
    with pytest.raises(UserError, match="no plan"):
        read_plan(tmp_path / "other.yaml")


def test_where_a_method_cannot_do_the_task_the_refusal_names_what_runs() -> None:
    fast = read_answers({"task": "extraction", "latency": "tight", "labelled_examples": 2000, "failure": "behaviour"})
    known = decide(fast)
    assert known.methods == ("small_encoder",)
    with pytest.raises(UserError) as refused:
        make_plan(known, QUESTIONS)
    assert "'small_encoder' cannot do extraction" in refused.value.message
    assert "in its place runs 'prompt'" in refused.value.message
    assert "不能用于 extraction" in refused.value.told("zh").message
    assert "--method prompt" in refused.value.hint


def test_documents_given_whole_are_told_beside_the_window() -> None:
    page = replace(QUESTIONS, docs=str(DEMO / "handbook" / "05-returns-and-refunds.md"))
    fits, too_long = (make_plan(decision("long_context"), inputs).reasons["docs"] for inputs in (page, QUESTIONS))
    assert "the window of smollm2-135m-instruct has 8,192" in fits["en"]
    assert "likely to refuse; --method rag" in too_long["en"]
    assert "很可能拒绝" in too_long["zh"]
