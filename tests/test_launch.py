"""One training in two processes: the same losses, one artifact, and an end that says why."""

from __future__ import annotations

import functools
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from executors.base import DataSpec, Event, Input, Job, Plan, Reporter, Row, UserError, silent
from executors.tuning import PeftExecutor, TunedPredictor
from tests.tiny import write_tiny

LABELS = ("billing", "returns")
ROWS = tuple(
    Row(str(n), Input(f"{'I was charged twice' if n % 2 else 'I want to send it back'} {n} {'very ' * (n % 4)}"),
        (LABELS[1 - n % 2],))
    for n in range(13)
)  # fmt: skip
Build = Callable[..., TunedPredictor]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def build(tiny: str, tmp_path: Path) -> Build:
    def call(
        name: str, rows: tuple[Row, ...] = ROWS, report: Reporter = silent, model: str = tiny, **params: Any
    ) -> TunedPredictor:
        (tmp_path / name).mkdir(exist_ok=True)
        given = {"epochs": 1, "min_steps": 6, "batch_size": 4, "checkpoint_steps": 2, "learning_rate": 1e-2, **params}
        plan = Plan("peft", "classification", DataSpec("x.csv"), model=model, params=given)
        return PeftExecutor().build(Job(plan, rows, LABELS, tmp_path / name, report))

    return call


def losses(predictor: TunedPredictor) -> list[float]:
    return [json.loads(line)["loss"] for line in (predictor.folder / "training.jsonl").read_text().splitlines()]


def weights(predictor: TunedPredictor) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(predictor.folder / "adapter" / "adapter_model.safetensors"))


@pytest.mark.parametrize("launcher", ["torchrun", "accelerate"])
def test_two_processes_train_as_one_does(launcher: str, build: Build, tmp_path: Path) -> None:
    """13 rows, 4 a step: the last step of an epoch has one row, which only one of the processes can take."""
    events: list[Event] = []
    alone = build("alone")
    together = build("together", report=events.append, launch=launcher, processes=2)
    assert losses(together) == pytest.approx(losses(alone), abs=1e-4)
    one, other = weights(alone), weights(together)
    assert max(float((one[name] - other[name]).abs().max()) for name in one) < 1e-4
    assert [e.done for e in events if e.stage == "train"] == [0, 1, 2, 3, 4, 5, 6]
    assert sorted(p.name for p in (tmp_path / "together").iterdir() if p.is_dir()) == ["tuned"]
    assert together.about.params["processes"] == 2
    inputs = [row.input for row in ROWS[:3]]
    assert [p.text for p in together.predict(inputs)] == [p.text for p in alone.predict(inputs)]


def test_an_interruption_reaches_all_processes_and_the_repeat_goes_on(build: Build, tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if event.stage == "train" and event.done == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        build("broken", report=stop, launch="torchrun", processes=2, min_steps=60)
    kept = sorted((tmp_path / "broken" / "checkpoints").glob("checkpoint-*/complete.json"))
    assert kept
    assert not (tmp_path / "broken" / "tuned").exists()
    begun: list[Event] = []
    build("broken", report=begun.append, launch="torchrun", processes=2, min_steps=60)
    first = next(e.done for e in begun if e.stage == "train")
    assert first >= 3


def test_what_one_process_says_ends_all_of_them(build: Build) -> None:
    with pytest.raises(UserError, match="no token to train on"):
        build("told", launch="torchrun", processes=2, max_length=16)


def test_a_process_that_fails_ends_the_training_with_its_message(build: Build, tmp_path: Path) -> None:
    def kill(event: Event) -> None:
        """End one of the two from outside once they train."""
        if event.stage == "train" and event.done == 1:
            [victim, *_] = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _is_worker(p, 1)]
            os.kill(victim, signal.SIGKILL)

    with pytest.raises(UserError, match="one of the 2 processes of the training failed, and all were ended") as caught:
        build("failed", report=kill, launch="torchrun", processes=2, min_steps=400)
    assert "stderr.log" in caught.value.hint
    assert not [p for p in Path("/proc").iterdir() if p.name.isdigit() and _is_worker(p, 0)]


def _is_worker(process: Path, rank: int) -> bool:
    try:
        environment = (process / "environ").read_bytes().split(b"\0")
        return (
            f"RANK={rank}".encode() in environment and b"executors.tuning.launch" in (process / "cmdline").read_bytes()
        )
    except OSError:
        return False


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"launch": "torchrun"}, "params.processes: must be 2 or more, got 1"),
        ({"processes": 3}, "params.processes: 3 without a launcher"),
        ({"launch": "torchrun", "processes": 2, "search_minutes": 5.0}, "several processes cannot share a search"),
    ],
)
def test_what_cannot_be_launched_is_said_before(params: dict[str, Any], said: str) -> None:
    plan = Plan("peft", "classification", DataSpec("x.csv"), params=params)
    problems = PeftExecutor().check(plan)
    assert any(said in problem.message for problem in problems)
    assert all(problem.zh for problem in problems if said in problem.message)


def test_the_processes_get_the_very_job(tmp_path: Path) -> None:
    """Turns, targets and the leak check go with it."""
    from executors.base import to_dict
    from executors.data.near import find_leaks
    from executors.tuning.launch import _held_out, _job

    held = (Row("h", Input("I was charged twice for the same order last week, please help me"), ("billing",)),)
    leaking = Row("l", Input("I was charged twice for the same order last week, please help me!"), ("billing",))
    turned = Row("t", Input("a\nb", "c", (("user", "a"), ("assistant", "b"), ("user", "c"))), ("x", "y"), "d.md")
    plan = Plan("peft", "classification", DataSpec("x.csv", columns={"text": "t"}), params={"rank": 4})
    job = Job(plan, (leaking, turned), LABELS, tmp_path, leaks=functools.partial(find_leaks, held_out=held))
    spec = {"plan": plan, "rows": job.rows, "labels": LABELS, "folder": tmp_path, "held_out": _held_out(job)}
    again = _job(json.loads(json.dumps(to_dict(spec))))
    assert (again.plan, again.rows, again.labels, again.folder) == (job.plan, job.rows, job.labels, job.folder)
    assert again.leaks(again.rows) == job.leaks(job.rows) == {"l"}


def test_a_model_in_shards_is_refused_and_not_silently_copied(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    from executors.tuning.engine import _check_whole

    class Accelerator:
        distributed_type = "DistributedType.FSDP"

    class Trainer:
        accelerator = Accelerator()

    with pytest.raises(UserError, match="train in shards \\(FSDP\\)"):
        _check_whole(Trainer())  # type: ignore[arg-type]


def test_settings_of_shards_do_not_reach_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    from executors.tuning.launch import _environment
    from executors.tuning.params import PeftParams

    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert "ACCELERATE_USE_FSDP" not in _environment(PeftParams(launch="torchrun", processes=2))


def test_the_commands_options_are_the_plans_parameters(advisor: Callable[..., tuple[int, str, str]]) -> None:
    Path("rows.csv").write_text("text,label\n" + "".join(f"row {n},{LABELS[n % 2]}\n" for n in range(20)))
    plan = {"executor": "peft", "task": "classification", "data": {"path": "rows.csv"}, "schema_version": 1}
    Path("plan.yaml").write_text(json.dumps(plan))
    status, _, told = advisor("run", "plan.yaml", "--launch", "torchrun", "--dry-run")
    assert status == 1
    assert "params.processes: must be 2 or more, got 1" in told
    status, _, told = advisor("run", "plan.yaml", "--launch", "torchrun", "--processes", "2", "--dry-run")
    assert status == 0, told
    [written] = Path("runs").glob("*/plan.yaml")
    assert "launch: torchrun" in written.read_text()
    assert "processes: 2" in written.read_text()
