"""The same path on a GPU. Skipped, saying so, where torch sees none."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import executors
from executors.base import DataSpec, Input, Job, Plan, Row
from executors.models import choose_device

LABELS = ("billing", "returns")
ROWS = tuple(
    Row(str(n), Input(f"{'charged twice' if n % 2 else 'send it back'} {n}"), (LABELS[1 - n % 2],)) for n in range(12)
)


def _plan(method: str, model: str, **params: object) -> Plan:
    given = {"epochs": 1, "min_steps": 4, "batch_size": 4, "learning_rate": 1e-3, **params}
    return Plan(method, "classification", DataSpec("x.csv"), model=model, params=given)


def _losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "training.jsonl").read_text().splitlines()]


def test_the_gpu_is_chosen_in_half_precision() -> None:
    device = choose_device()
    assert device.kind == "cuda"
    assert device.dtype in ("bfloat16", "float16")


@pytest.mark.parametrize("method", ["peft", "full"])
def test_training_gives_the_losses_of_the_cpu(
    method: str, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for device in ("cuda", "cpu"):
        monkeypatch.setenv("ADVISOR_DEVICE", device)
        (tmp_path / device).mkdir()
        job = Job(_plan(method, tiny), ROWS, LABELS, tmp_path / device)
        executors.method(method).build(job)
        found[device] = _losses(tmp_path / device / "tuned")
    assert all(math.isfinite(loss) for loss in found["cuda"])
    assert found["cuda"] == pytest.approx(found["cpu"], rel=0.02)  # half precision keeps about three digits


@pytest.mark.parametrize("method", ["peft", "full"])
def test_what_is_saved_answers_the_same(method: str, tiny: str, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "artifact").mkdir()
    predictor = executors.method(method).build(Job(_plan(method, tiny), ROWS, LABELS, tmp_path / "work"))
    predictor.save(tmp_path / "artifact")
    again = executors.method(method).Predictor.load(tmp_path / "artifact")
    inputs = [row.input for row in ROWS]
    assert [p.text for p in again.predict(inputs)] == [p.text for p in predictor.predict(inputs)]


def test_the_default_model_is_tuned_and_predicts(tmp_path: Path) -> None:
    job = Job(_plan("peft", "smollm2-135m-instruct", min_steps=30, learning_rate=5e-4), ROWS, LABELS, tmp_path)
    predictions = executors.method("peft").build(job).predict([row.input for row in ROWS])
    assert sum(p.text == row.target for p, row in zip(predictions, ROWS, strict=True)) >= 10


def test_the_probe_answers_on_the_gpu(tmp_path: Path) -> None:
    plan = Plan("probe", "classification", DataSpec("x.csv"))
    predictions = executors.method("probe").build(Job(plan, ROWS, LABELS, tmp_path)).predict([r.input for r in ROWS])
    assert [p.text for p in predictions] == [row.target for row in ROWS]
