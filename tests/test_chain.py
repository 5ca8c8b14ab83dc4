"""Chains: a decision of several methods as stages that build on each other, each a run of its own, each scored."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import executors
from advisor.chains import make_chain, read_chain, write_chain
from advisor.commands.run import read_plan_of
from advisor.decision import Inputs
from advisor.report.chain import section, verdict
from executors.base import DataSpec, Input, Plan, Prediction, Row, UserError
from executors.chain import Chain, Stage, Without, bound, check_chain, contributions, run_chain, unbound
from executors.metrics.compare import paired
from executors.models import model_sha256, tuned_run
from executors.run import check_plan, open_predictor, read_result
from tests import fakes
from tests.test_plan import QUESTIONS, REQUESTS, decision
from tests.tiny import write_tiny

TRAINED = {
    **{"min_steps": 2, "epochs": 0.01, "batch_size": 2, "max_length": 480},
    **{"compare": 0, "forgetting": False},
}
QUICK = {"search_seconds": 0, "abstain": "never", **TRAINED}
HANDBOOK = {
    "returns.md": "# Returns\n\nA parcel can be sent back within thirty days. The label is in the box.\n",
    "payment.md": "# Payment\n\nInvoices are paid within fourteen days. Cards are charged at once.\n",
}
ASKED = [("when are invoices paid?", "within fourteen days"), ("where is the label?", "in the box")]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def small(tmp_path: Path, tiny: str) -> Inputs:
    """Two documents, some questions on them, and a model of random weights."""
    (tmp_path / "docs").mkdir()
    for name, text in HANDBOOK.items():
        (tmp_path / "docs" / name).write_text(text, encoding="utf-8")
    for side, rows in (("train", 6), ("test", 4)):
        lines = [
            json.dumps({"question": f"{ASKED[n % 2][0]} ({side} {n})", "answer": ASKED[n % 2][1]}) for n in range(rows)
        ]
        (tmp_path / f"{side}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return Inputs(str(tmp_path / "train.jsonl"), str(tmp_path / "test.jsonl"), str(tmp_path / "docs"), tiny)


def told(chain: Chain) -> list[tuple[str, str, str, object]]:
    """(name, executor, model, retriever) of each stage."""
    default = chain.stages[0].plan.model
    return [
        (s.name, s.plan.executor, s.plan.model if s.plan.model != default else "", s.plan.params.get("retriever", ""))
        for s in chain.stages
    ]


# -- which stages --------------------------------------------------------------------------------------


def test_a_reader_is_tuned_on_what_the_index_finds_and_wrapped_by_the_same_index() -> None:
    chain = make_chain(decision("rag", "peft"), QUESTIONS, ("rag", "peft"))
    assert told(chain) == [
        ("1-rag", "rag", "", ""),
        ("2-peft", "peft", "", "1-rag"),
        ("3-rag", "rag", "2-peft", "1-rag"),
        ("without-rag/1-peft", "peft", "", ""),
    ]
    assert chain.final == "3-rag"
    assert chain.without == (Without("rag", "without-rag/1-peft"), Without("peft", "1-rag"))
    tuned, wrapped = chain.stages[1].plan, chain.stages[2].plan
    assert (tuned.params["passages"], tuned.docs) == (3, QUESTIONS.docs)
    assert wrapped.params["reader"] == "generate"
    assert "search_seconds" not in wrapped.params
    assert check_chain(chain) == []


def test_what_is_whole_in_the_prompt_is_read_by_the_tuned_model() -> None:
    chain = make_chain(decision("peft", "long_context"), QUESTIONS, ("peft", "long_context"))
    assert [(name, executor, model) for name, executor, model, _ in told(chain)] == [
        ("1-peft", "peft", ""),
        ("2-long_context", "long_context", "1-peft"),
        ("without-peft/1-long_context", "long_context", ""),
    ]
    assert chain.without == (Without("peft", "without-peft/1-long_context"), Without("long_context", "1-peft"))


def test_only_what_costs_nothing_is_compared_where_that_is_asked() -> None:
    chain = make_chain(decision("rag", "peft"), QUESTIONS, ("rag", "peft"), {"contributions": "free"})
    assert [stage.name for stage in chain.stages] == ["1-rag", "2-peft", "3-rag"]
    assert chain.without == (Without("peft", "1-rag"),)


def test_a_setting_goes_to_every_stage_that_has_it_or_to_one_method() -> None:
    chain = make_chain(decision("rag", "peft"), QUESTIONS, ("rag", "peft"), {"k": 4, "peft.epochs": 2})
    params = {stage.name: stage.plan.params for stage in chain.stages}
    assert (params["1-rag"]["k"], params["3-rag"]["k"], "k" in params["2-peft"]) == (4, 4, False)
    assert params["2-peft"]["epochs"] == params["without-rag/1-peft"]["epochs"] == 2
    with pytest.raises(UserError, match="no stage of the chain has such a parameter") as refused:
        make_chain(decision("rag", "peft"), QUESTIONS, ("rag", "peft"), {"epoch": 2, "contributions": "some"})
    assert "contributions: all or free, got some" in refused.value.message


def test_methods_that_make_no_chain_are_told_all_at_once() -> None:
    with pytest.raises(UserError, match="3 problems") as refused:
        make_chain(decision("rag"), QUESTIONS, ("rag", "peft", "full", "probe", "rag"))
    assert "'rag' is in the chain twice" in refused.value.message
    assert "'probe' can be no part of a chain" in refused.value.message
    assert "peft and full: a chain has one of them" in refused.value.message
    assert "不能作为链的一部分" in refused.value.told("zh").message


def test_what_is_missing_for_any_stage_is_one_command() -> None:
    with pytest.raises(UserError) as missing:
        make_chain(decision("rag", "peft"), Inputs(data=QUESTIONS.data), ("rag", "peft"))
    assert missing.value.hint == "advisor run 20261121-abcd --docs DIR"
    with pytest.raises(UserError) as asked:
        make_chain(decision("prompt"), Inputs(data=QUESTIONS.data), ("rag", "peft"))
    assert asked.value.hint == "advisor run 20261121-abcd --method rag+peft --docs DIR"


# -- plans as files ------------------------------------------------------------------------------------


def test_a_chain_reads_back_as_it_was(tmp_path: Path) -> None:
    chain = make_chain(decision("rag", "peft"), QUESTIONS, ("rag", "peft"), {"peft.epochs": 2})
    write_chain(tmp_path / "plan.yaml", chain)
    assert read_chain(tmp_path / "plan.yaml") == chain
    assert read_plan_of(tmp_path) == bound(chain.last, chain, tmp_path)


def test_every_fault_of_a_chains_file_is_told(tmp_path: Path) -> None:
    plan = {"executor": "prob", "task": "classification", "data": {"path": "x.csv"}}
    faulty = {"methods": ["rag"], "stages": [{"name": "1-probe", "plan": plan}], "finale": "1-probe"}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(faulty), encoding="utf-8")
    with pytest.raises(UserError) as error:
        read_chain(tmp_path / "plan.yaml")
    for part in (
        "finale: unknown entry (did you mean 'final'?)",
        "final: missing",
        "1-probe: executor: unknown 'prob'",
    ):
        assert part in error.value.message


def test_stages_that_call_each_other_wrongly_are_told() -> None:
    plan = Plan("prompt", "classification", DataSpec(str(REQUESTS.data)))
    stages = (Stage("1-a", replace(plan, model="2-b")), Stage("2-b", plan), Stage("2-b", plan))
    found = [p.message for p in check_chain(Chain(("prompt",), stages, "3-c", (Without("rag", "4-d"),)))]
    assert found == [
        "stages: '2-b' is there twice",
        "final: no stage is called '3-c'",
        "without.rag: no stage is called '4-d'",
        "1-a: model names '2-b', which has not run by then",
    ]


def test_what_a_stage_names_becomes_a_folder_when_it_runs_and_the_base_before() -> None:
    chain = make_chain(decision("rag", "peft"), QUESTIONS, ("rag", "peft"))
    ran, before = bound(chain.last, chain, Path("runs/x")), unbound(chain.last, chain)
    assert (ran.model, ran.params["retriever"]) == (str(Path("runs/x/2-peft")), str(Path("runs/x/1-rag")))
    assert (before.model, before.params.get("retriever")) == ("smollm2-135m-instruct", None)


def test_an_index_is_taken_over_from_a_run_that_has_one(tmp_path: Path) -> None:
    plan = Plan("rag", "question_answering", DataSpec(str(QUESTIONS.data)), docs=QUESTIONS.docs)
    (tmp_path / "run").mkdir()
    [problem] = check_plan(replace(plan, params={"retriever": str(tmp_path / "run")}))
    assert "holds no finished index" in problem.message
    assert "没有建好的索引" in problem.told("zh").message


# -- runs ----------------------------------------------------------------------------------------------


def test_what_was_read_is_tuned_on(small: Inputs, tmp_path: Path) -> None:
    chain = make_chain(decision("cpt", "peft"), small, ("cpt", "peft"), {**TRAINED, "contributions": "free"})
    assert [(name, executor, model) for name, executor, model, _ in told(chain)] == [
        ("1-cpt", "cpt", ""),
        ("2-peft", "peft", "1-cpt"),
    ]
    assert chain.without == (Without("peft", "1-cpt"),)
    result = run_chain(chain, tmp_path / "run")
    assert result.executor == "cpt+peft"
    tuned = tuned_run(str(tmp_path / "run"))
    assert tuned is not None
    assert tuned.folder == tmp_path / "run" / "artifact"
    assert (tuned.base, tuned.sha256) == (
        str(tmp_path / "run" / "1-cpt"),
        model_sha256(str(tmp_path / "run" / "1-cpt")),
    )
    [brought] = json.loads((tmp_path / "run" / "chain.json").read_text(encoding="utf-8"))["contributions"]
    assert (brought["method"], brought["stage"]) == ("peft", "1-cpt")


@pytest.fixture
def colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    """Two quick stages that have nothing to do with each other."""
    monkeypatch.setitem(executors.EXECUTORS, "first_word", "tests.fakes:FirstWordExecutor")
    data = tmp_path / "rows.csv"
    data.write_text("text,label\n" + "".join(f"{w} {n},{w}\n" for n in range(20) for w in ("red", "blue")), "utf-8")
    plan = Plan("first_word", "classification", DataSpec(str(data)))
    fakes.CALLS.update(build=0, rows=0)
    return Chain(("a", "b"), (Stage("1-a", plan), Stage("2-b", replace(plan, params={"rounds": 3}))), "2-b")


def test_a_chain_goes_on_at_the_stage_that_was_broken_off(
    colours: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = colours
    monkeypatch.setitem(fakes.BREAK, "predict", 1)  # the second stage's first rows
    with pytest.raises(KeyboardInterrupt):
        run_chain(chain, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "chain.json").read_text(encoding="utf-8"))
    assert [stage["status"] for stage in record["stages"]] == ["done", ""]
    assert not (tmp_path / "run" / "artifact").exists()
    broken = read_result(tmp_path / "run")
    assert broken is not None
    assert (broken.executor, broken.status) == ("a+b", "interrupted")
    monkeypatch.delitem(fakes.BREAK, "predict")
    assert run_chain(chain, tmp_path / "run").status == "done"
    assert fakes.CALLS["build"] == 2


# -- what a part brings --------------------------------------------------------------------------------

ROWS = tuple(Row(str(n), Input(f"q{n}"), ("yes",)) for n in range(40))


def answers(right: int) -> list[Prediction]:
    return [Prediction("yes" if n < right else "no") for n in range(len(ROWS))]


def test_a_difference_is_that_of_the_same_rows() -> None:
    found = paired("classification", "accuracy", ROWS, answers(30), answers(20))
    assert found.value == pytest.approx(0.25)
    assert 0.1 < found.low < 0.25 < found.high < 0.45
    assert paired("classification", "accuracy", ROWS, answers(20), answers(30)).value == pytest.approx(-0.25)


def test_no_difference_at_all_is_not_certainty() -> None:
    found = paired("classification", "accuracy", ROWS, answers(20), answers(20))
    assert found.value == 0
    assert found.low == -found.high
    assert 0.05 < found.high < 0.1  # Wilson: up to 8.8 % of rows may differ where none of 40 did


def test_a_verdict_follows_the_interval_and_the_metrics_direction() -> None:
    def part(metric: str, low: float, high: float) -> dict[str, object]:
        return {"metric": metric, "difference": {"value": (low + high) / 2, "low": low, "high": high}}

    assert verdict(part("f1", 0.1, 0.2)) == "helps"
    assert verdict(part("f1", -0.1, 0.2)) == "open"
    assert verdict(part("mae", -0.2, -0.1)) == "helps"
    assert verdict(part("mae", 0.1, 0.2)) == "hurts"


@pytest.mark.parametrize(("lang", "said"), [("en", "it helps"), ("zh", "有帮助")])
def test_the_report_says_what_each_part_brings(lang: str, said: str) -> None:
    score = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 40}
    stage = {"executor": "rag", "status": "done", "metric": "f1", "score": score, "seconds": 3.0}
    part = {"method": "peft", "stage": "1-rag", "metric": "f1", "value": 0.5, "value_without": 0.3}
    record = {
        "stages": [{**stage, "name": "1-rag"}, {**stage, "name": "3-rag"}],
        "contributions": [{**part, "difference": {"value": 0.2, "low": 0.1, "high": 0.3, "n": 40}}],
    }
    text = str(section(record, lang))
    for piece in (said, "+0.200 [+0.100, +0.300]", "3-rag"):
        assert piece in text
    assert section(None, lang) == []


def test_contributions_skip_what_was_scored_otherwise(tmp_path: Path) -> None:
    plan = Plan("baseline", "classification", DataSpec(str(REQUESTS.data), str(REQUESTS.test)))
    chain = Chain(("a",), (Stage("1-a", plan), Stage("2-b", plan)), "2-b", (Without("a", "1-a"),))
    run_chain(chain, tmp_path)
    [found] = contributions(chain, tmp_path)
    assert found.difference.value == 0


# -- the command ---------------------------------------------------------------------------------------

Advisor = Callable[..., tuple[int, str, str]]


def test_what_is_kept_is_said_when_a_chain_is_broken_off(
    advisor: Advisor, colours: Chain, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workdir / "runs" / "1").mkdir(parents=True)
    write_chain(workdir / "runs" / "1" / "plan.yaml", colours)
    monkeypatch.setitem(fakes.BREAK, "predict", 1)
    status, _, err = advisor("run", "1")
    assert status == 130
    assert "1 of 2 stages are done and kept, and what the current one has done so far" in err
    assert "advisor run 1" in err
    assert "interrupted" in advisor("runs")[1]
    monkeypatch.delitem(fakes.BREAK, "predict")
    status, out, err = advisor("run", "1", "--lang", "zh")
    assert status == 0, err
    assert "阶段 2/2" in err
    assert "各阶段" in out


def test_the_command_runs_a_chain_and_shows_it(advisor: Advisor, small: Inputs, tmp_path: Path) -> None:
    from advisor.commands.shared import save_decision

    folder = tmp_path / "runs" / "20261121-1201-ab12"
    folder.mkdir(parents=True)
    save_decision(folder, replace(decision("rag", "peft"), run=folder.name, inputs=small))
    settings = [word for name, value in QUICK.items() for word in ("--set", f"{name}={value}")]

    status, _, err = advisor("run", "last", *settings, "--dry-run")
    assert status == 0
    assert "Running rag+peft on question_answering in 4 stages" in err
    assert "all stages together take about" in err
    status, out, err = advisor("run", "last")
    assert status == 0, err
    assert "Stage 3 of 4: 3-rag" in err
    assert "What each part brings" in out
    for stage in ("1-rag", "2-peft", "3-rag", "without-rag/1-peft", ""):
        assert (folder / stage / "report.md").is_file()
        assert (folder / stage / "result.json").is_file()
    _check_records(folder)

    asked = "when are invoices paid?"
    answer = advisor("predict", "last", asked)[1].strip()
    assert open_predictor(folder / "3-rag").predict([Input(asked)])[0].text in answer
    assert "各阶段及其作用" in advisor("report", "last", "--lang", "zh")[1]
    assert "rag+peft" in advisor("runs")[1]
    written = {path: path.stat().st_mtime_ns for path in folder.glob("*/predictions.jsonl")}
    assert advisor("run", "last")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in written} == written  # nothing was done twice

    status, _, err = advisor("run", "last", "--method", "full", "--from", "last", "--dry-run")
    assert status == 0, err
    assert str(Path("runs") / folder.name) in err


def _check_records(folder: Path) -> None:
    """Each stage is a run on the one before, and what each part brings is the difference of the scores."""
    result = read_result(folder)
    assert result is not None
    assert (result.executor, result.status, result.rows["test"]) == ("rag+peft", "done", 4)
    record = json.loads((folder / "chain.json").read_text(encoding="utf-8"))
    assert [(stage["name"], stage["status"]) for stage in record["stages"]] == [
        (name, "done") for name in ("1-rag", "2-peft", "3-rag", "without-rag/1-peft")
    ]
    assert [(c["method"], c["stage"], c["difference"]["n"]) for c in record["contributions"]] == [
        ("rag", "without-rag/1-peft", 4),
        ("peft", "1-rag", 4),
    ]
    for one in record["contributions"]:
        assert one["difference"]["value"] == pytest.approx(one["value"] - one["value_without"])
    manifest = json.loads((folder / "3-rag" / "artifact" / "rag.json").read_text(encoding="utf-8"))
    assert manifest["model"] == str(Path("runs") / folder.name / "2-peft")
    tuned = tuned_run(str(folder))
    assert tuned is not None
    assert tuned.folder == folder / "2-peft" / "artifact"
