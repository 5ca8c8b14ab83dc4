"""One test for every method: what the contract promises holds for each, the day it is added."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import executors
from executors.base import DataSpec, Input, Job, Plan, Predictor, Problem, parse_params
from executors.data import load_dataset
from executors.run import check_plan
from tests.conftest import DEMO

TASKS = {
    "classification", "regression", "extraction", "question_answering", "summarisation", "translation",
    "generation", "dialogue", "structured_output", "reasoning",
}  # fmt: skip
UNWATCHED = {"compare": 0, "forgetting": False}
QUICK = {  # the least work that is still the method's own
    "peft": {"epochs": 1, "min_steps": 1, "batch_size": 2},
    "full": {"epochs": 1, "min_steps": 1, "batch_size": 2},
    "cpt": {"epochs": 0.1, "min_steps": 1, "batch_size": 2, "max_length": 128, **UNWATCHED},
    "preference": {"epochs": 0.1, "min_steps": 1, "batch_size": 2, "max_length": 128, **UNWATCHED},
    "prompt": {"shots": 2},
}
PAGE = DEMO / "handbook" / "05-returns-and-refunds.md"
DOCS = {"long_context": PAGE, "cpt": PAGE}  # all of it stands in every prompt, or is read by the model
PAIRS = Path(__file__).parent / "pairs.jsonl"
METHODS = list(executors.EXECUTORS)


def _plan(method: str) -> Plan:
    params = QUICK.get(method, {})
    docs = str(DOCS.get(method, DEMO / "handbook")) if executors.method(method).needs_docs else None
    if "classification" in executors.method(method).tasks:
        return Plan(method, "classification", DataSpec(str(DEMO / "requests-train.csv")), docs=docs, params=params)
    if method == "preference":
        return Plan(method, "dialogue", DataSpec(str(PAIRS)), params=params)
    data = DataSpec(str(DEMO / "questions-train.jsonl"))
    return Plan(method, "question_answering", data, docs=str(DOCS.get(method, DEMO / "handbook")), params=params)


@pytest.mark.parametrize("method", METHODS)
def test_parameters_are_a_frozen_dataclass_of_defaults(method: str) -> None:
    params = executors.method(method).Params
    assert dataclasses.is_dataclass(params)
    assert params.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert parse_params(params, {})[1] == []


@pytest.mark.parametrize("method", METHODS)
def test_tasks_are_of_the_schema(method: str) -> None:
    tasks = executors.method(method).tasks
    assert tasks
    assert tasks <= TASKS


@pytest.mark.parametrize("method", METHODS)
def test_a_good_plan_has_no_problem(method: str) -> None:
    assert check_plan(_plan(method)) == []


@pytest.mark.parametrize("method", METHODS)
def test_an_unknown_parameter_is_a_problem(method: str) -> None:
    plan = dataclasses.replace(_plan(method), params={"no_such": 1})
    assert [p for p in check_plan(plan) if isinstance(p, Problem) and "no_such" in p.message]


def test_checking_imports_nothing_heavy() -> None:
    code = (
        "import sys, executors\n"
        "from executors.base import DataSpec, Plan\n"
        "for name in executors.EXECUTORS:\n"
        "    executors.method(name).check(Plan(name, 'classification', DataSpec('x.csv')))\n"
        "heavy = {'torch', 'transformers', 'peft', 'faiss', 'sentence_transformers', 'sklearn', 'langchain_core'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_predictor_answers_the_same(method: str, tmp_path: Path) -> None:
    plan = _plan(method)
    dataset = load_dataset(plan.data, plan.task, plan.seed)
    rows = dataset.train[:: max(1, len(dataset.train) // 24)][:24]
    labels = tuple(sorted({row.target for row in rows})) if dataset.labels else ()
    (tmp_path / "work").mkdir()
    predictor = executors.method(method).build(Job(plan, rows, labels, tmp_path / "work"))
    assert isinstance(predictor, Predictor)

    inputs = [row.input for row in dataset.test[:3]] + [Input("wie lange dauert die Lieferung?"), Input("退货")]
    before = predictor.predict(inputs)
    assert len(before) == len(inputs)
    assert predictor.predict([]) == []
    if labels:
        assert all(p.text in labels for p in before)

    folder = tmp_path / "artifact"
    folder.mkdir()
    predictor.save(folder)
    assert not [p for p in folder.rglob("*") if p.suffix in (".pkl", ".pickle", ".pt", ".bin", ".joblib")]
    again = executors.method(method).Predictor.load(folder).predict(inputs)
    assert [p.text for p in again] == [p.text for p in before]
