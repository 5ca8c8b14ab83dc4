"""A finished tuned run is a model's name: loaded as base and adapter in one, measured, tuned on, and told apart."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import executors
from executors.base import DataSpec, Job, Plan, UserError, to_dict, write_json
from executors.models import alias_of, load_causal, load_language_model, model_sha256, name_problems, tuned_run
from executors.models.catalogue import local_folder
from executors.models.counting import load_counting
from executors.run import fingerprint
from executors.tuning import TunedPredictor
from tests.test_tuning import LABELS, ROWS
from tests.tiny import write_tiny

CHAT = [{"role": "user", "content": "I want to send it back"}]
MakeRun = Callable[..., str]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def make_run(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """Train a method for a few steps at a high rate and save it as a run does; the run's folder. Made once for each."""
    root = tmp_path_factory.mktemp("runs")
    made: dict[str, str] = {}

    def call(name: str, method: str = "peft", model: str = "", **params: object) -> str:
        if name not in made:
            (root / name / "work").mkdir(parents=True)
            settings = {"epochs": 1, "min_steps": 3, "batch_size": 4, "learning_rate": 0.01, **params}
            plan = Plan(method, "classification", DataSpec("x.csv"), model=model or tiny, params=settings)
            built = executors.method(method).build(Job(plan, ROWS, LABELS, root / name / "work"))
            (root / name / "artifact").mkdir()
            built.save(root / name / "artifact")
            about = {"executor": method, "task": plan.task, "labels": LABELS, "stamp": name, "plan": to_dict(plan)}
            write_json(root / name / "artifact" / "about.json", about)
            made[name] = str(root / name)
        return made[name]

    return call


def logits(model: Any, tokenizer: Any) -> Any:
    import torch

    with torch.inference_mode():
        return model(**tokenizer("where is my parcel", return_tensors="pt")).logits


@pytest.mark.parametrize("method", ["peft", "full"])
def test_a_run_is_loaded_as_the_model_that_it_made(method: str, make_run: MakeRun, tiny: str) -> None:
    run = make_run(method, method)
    model, tokenizer = load_causal(run)
    tuned = TunedPredictor(Path(run) / "artifact").model.model  # type: ignore[attr-defined]
    assert float((logits(model, tokenizer) - logits(tuned, tokenizer)).abs().max()) < 1e-5
    assert float((logits(model, tokenizer) - logits(*load_causal(tiny))).abs().max()) > 1e-3
    assert not hasattr(model, "peft_config")
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_artifact_and_the_last_stage_of_a_chain_are_names_too(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("peft")
    for stage in ("2-peft", "10-peft"):
        shutil.copytree(run, tmp_path / "chain" / stage)
    (tmp_path / "chain" / "11-rag" / "artifact").mkdir(parents=True)
    named = [tuned_run(name) for name in (f"{run}/artifact", run, str(tmp_path / "chain"))]
    assert [found and found.folder for found in named] == [
        Path(run) / "artifact",
        Path(run) / "artifact",
        tmp_path / "chain" / "10-peft" / "artifact",
    ]


def test_a_run_has_the_window_and_the_tokens_of_its_base(make_run: MakeRun, tiny: str) -> None:
    for run in (make_run("peft"), make_run("full", "full")):
        counting, base = load_counting(run), load_counting(tiny)
        assert (counting.window, counting.count_chat(CHAT)) == (base.window, base.count_chat(CHAT))
        assert load_language_model(run).name == run
    assert local_folder(make_run("peft")) == Path(tiny)
    assert local_folder(make_run("full", "full")) == Path(make_run("full", "full")) / "artifact" / "model"


def test_an_aliass_run_speaks_what_the_alias_speaks(make_run: MakeRun, tmp_path: Path) -> None:
    shutil.copytree(make_run("peft"), tmp_path / "run")
    manifest = tmp_path / "run" / "artifact" / "tuned.json"
    base = tuned_run(str(tmp_path / "run"))
    assert base is not None
    manifest.write_text(manifest.read_text(encoding="utf-8").replace(base.base, "smollm2-135m-instruct"), "utf-8")
    alias = alias_of(str(tmp_path / "run"))
    assert alias is not None
    assert alias.name == "smollm2-135m-instruct"


def test_the_weights_of_a_run_are_told_by_base_and_adapter(make_run: MakeRun, tiny: str) -> None:
    runs = [tiny, make_run("peft"), make_run("other", rank=2), make_run("full", "full")]
    assert len({model_sha256(name) for name in runs}) == 4


def test_tuning_goes_on_from_a_run(make_run: MakeRun) -> None:
    first = make_run("peft")
    for method in ("peft", "full"):
        second = make_run(f"{method} on peft", method, first)
        about = tuned_run(second)
        assert about is not None
        assert (about.base, about.sha256) == (first, model_sha256(first))
        model, tokenizer = load_causal(second)
        assert float((logits(model, tokenizer) - logits(*load_causal(first))).abs().max()) > 1e-4
        assert TunedPredictor(Path(second) / "artifact").predict([ROWS[0].input])[0].text in LABELS


def test_a_base_that_was_tuned_anew_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    shutil.copytree(make_run("peft"), tmp_path / "first")
    second = make_run("on a copy", model=str(tmp_path / "first"))
    shutil.rmtree(tmp_path / "first")
    shutil.copytree(make_run("other", rank=2), tmp_path / "first")
    with pytest.raises(UserError, match="other weights than the ones this adapter was trained on"):
        load_causal(second)


@pytest.mark.parametrize("variant", ["prompt_tuning", "prefix_tuning", "bottleneck_adapters"])
def test_what_cannot_be_merged_answers_but_is_not_tuned_on(variant: str, make_run: MakeRun) -> None:
    run = make_run(variant, variant=variant)
    tuned = TunedPredictor(Path(run) / "artifact").model
    assert load_language_model(run).score([CHAT], LABELS) == tuned.score([CHAT], LABELS)
    with pytest.raises(UserError, match=f"{variant} stands beside the weights") as refused:
        load_causal(run)
    assert "无法在其基础上继续微调" in refused.value.told("zh").message


def test_a_run_without_a_model_says_so(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "plan.yaml").write_text("", encoding="utf-8")
    [problem] = name_problems(str(tmp_path / "run"), "language")
    assert "holds no tuned language model" in problem.message
    assert "没有微调好的语言模型" in problem.told("zh").message


def test_a_plan_is_another_once_its_models_run_is(make_run: MakeRun, tmp_path: Path) -> None:
    data = tmp_path / "x.csv"
    data.write_text("text,label\na,b\n", encoding="utf-8")
    shutil.copytree(make_run("peft"), tmp_path / "run")
    plan = Plan("prompt", "classification", DataSpec(str(data)), model=str(tmp_path / "run"))
    before = fingerprint(plan)
    assert fingerprint(replace(plan, reasons={"model": {"en": "", "zh": ""}})) == before
    about = tmp_path / "run" / "artifact" / "about.json"
    about.write_text(about.read_text(encoding="utf-8").replace('"stamp": "peft"', '"stamp": "again"'), "utf-8")
    assert fingerprint(plan) != before
