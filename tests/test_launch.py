"""One training in two processes, with a copy of the model in each or a part: the same losses, one artifact, and an end
that says why."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from executors.base import DataSpec, Event, Input, Job, Plan, Reporter, Row, UserError, silent
from executors.tuning import FullExecutor, PeftExecutor, TunedPredictor
from executors.tuning.launch import _environment
from executors.tuning.params import PeftParams
from executors.tuning.shards import Hull, asked_for, held_share, refuse_copies, settings_problems
from tests.tiny import write_tiny

LABELS = ("billing", "returns")
ROWS = tuple(
    Row(str(n), Input(f"{'I was charged twice' if n % 2 else 'I want to send it back'} {n} {'very ' * (n % 4)}"),
        (LABELS[1 - n % 2],))
    for n in range(13)
)  # fmt: skip
FSDP = """
compute_environment: LOCAL_MACHINE
distributed_type: FSDP
fsdp_config:
  fsdp_version: 2
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_state_dict_type: SHARDED_STATE_DICT
"""  # as `accelerate config` writes it
SEEING = {"compare": 4, "forgetting": True}  # else nothing is looked at before and after: it takes time
Build = Callable[..., TunedPredictor]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


def trained(tiny: str, folder: Path, report: Reporter = silent, method: str = "peft", **params: Any) -> TunedPredictor:
    folder.mkdir(exist_ok=True)
    given = {"epochs": 1, "min_steps": 6, "batch_size": 4, "checkpoint_steps": 2, "learning_rate": 1e-2, **params}
    given = {"compare": 0, "forgetting": False, **given}
    plan = Plan(method, "classification", DataSpec("x.csv"), model=tiny, params=given)
    executor = {"peft": PeftExecutor, "full": FullExecutor}[method]()
    return executor.build(Job(plan, ROWS, LABELS, folder, report))


@pytest.fixture
def build(tiny: str, tmp_path: Path) -> Build:
    def call(name: str, report: Reporter = silent, **params: Any) -> TunedPredictor:
        return trained(tiny, tmp_path / name, report, **params)

    return call


@pytest.fixture(scope="module")
def alone(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, TunedPredictor]:
    """What one process trains."""
    folder = tmp_path_factory.mktemp("alone")
    return {method: trained(tiny, folder / method, method=method) for method in ("peft", "full")}


def losses(predictor: TunedPredictor) -> list[float]:
    return [json.loads(line)["loss"] for line in (predictor.folder / "training.jsonl").read_text().splitlines()]


def weights(predictor: TunedPredictor) -> dict[str, Any]:
    from safetensors.torch import load_file

    [file] = [
        *predictor.folder.glob("adapter/adapter_model.safetensors"),
        *predictor.folder.glob("model/*.safetensors"),
    ]
    return dict(load_file(file))


def held(predictor: TunedPredictor) -> list[int]:
    """Percent of the model's weights that a process held at most, as each run in shards says of itself."""
    return [int(found[1]) for note in predictor.about.notes if (found := re.search(r"more than (\d+)%", note["en"]))]


def assert_trained_as_one(together: TunedPredictor, alone: TunedPredictor) -> None:
    assert losses(together) == pytest.approx(losses(alone), abs=1e-4)
    one, other = weights(alone), weights(together)
    assert {name: tensor.shape for name, tensor in one.items()} == {name: t.shape for name, t in other.items()}
    assert max(float((one[name] - other[name]).abs().max()) for name in one) < 1e-4
    inputs = [row.input for row in ROWS[:3]]
    assert [p.text for p in together.predict(inputs)] == [p.text for p in alone.predict(inputs)]


def test_two_processes_train_as_one_does(build: Build, alone: Mapping[str, TunedPredictor], tmp_path: Path) -> None:
    """13 rows, 4 a step: the last step of an epoch has one row, which only one of the processes can take."""
    events: list[Event] = []
    together = build("together", report=events.append, launch="torchrun", processes=2)
    assert_trained_as_one(together, alone["peft"])
    assert [e.done for e in events if e.stage == "train"] == [0, 1, 2, 3, 4, 5, 6]
    assert sorted(p.name for p in (tmp_path / "together").iterdir() if p.is_dir()) == ["tuned"]
    assert together.about.params["processes"] == 2
    assert held(together) == []


def test_all_weights_in_shards_are_trained_as_in_one_process(
    build: Build, alone: Mapping[str, TunedPredictor], tmp_path: Path
) -> None:
    """And the model that is looked at before and after, and written, is whole."""
    together = build("together", method="full", launch="torchrun", processes=2, shard=True, **SEEING)
    assert_trained_as_one(together, alone["full"])
    assert held(together) == [50]
    assert sorted(p.name for p in (tmp_path / "together").iterdir() if p.is_dir()) == ["tuned"]
    looked = json.loads((together.folder / "aftermath.json").read_text())
    assert looked["after"]["loss"] < looked["before"]["loss"]
    assert (together.folder / "forgetting.json").is_file()


def test_shards_that_the_users_accelerate_asks_for_are_trained_in(
    build: Build, alone: Mapping[str, TunedPredictor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "hub" / "accelerate" / "default_config.yaml"
    settings.parent.mkdir(parents=True)
    settings.write_text(FSDP)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))  # of the processes; here accelerate has looked for it before
    monkeypatch.setattr("accelerate.commands.config.config_args.default_config_file", str(settings))
    together = build("together", launch="accelerate", processes=2)
    assert_trained_as_one(together, alone["peft"])
    assert held(together) == [50]


def test_an_interruption_reaches_all_processes_and_the_repeat_goes_on(build: Build, tmp_path: Path) -> None:
    """With checkpoints in shards. A training that goes on has the losses of one that was not interrupted."""

    def stop(event: Event) -> None:
        if event.stage == "train" and event.done == 3:
            signal.raise_signal(signal.SIGINT)

    shards = {"launch": "torchrun", "processes": 2, "shard": True, "min_steps": 24, "learning_rate": 1e-3}
    with pytest.raises(KeyboardInterrupt):
        build("broken", report=stop, **shards)
    kept = sorted((tmp_path / "broken" / "checkpoints").glob("checkpoint-*/complete.json"))
    assert kept
    assert "optimizer_0/__1_0.distcp" in json.loads(kept[-1].read_text())  # the other process's part
    assert not (tmp_path / "broken" / "tuned").exists()
    begun: list[Event] = []
    broken = build("broken", report=begun.append, **shards)
    assert next(e.done for e in begun if e.stage == "train") >= 3
    whole = build("whole", min_steps=24, learning_rate=1e-3)
    assert losses(broken) == pytest.approx(losses(whole), abs=1e-4)


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
        ({"shard": True}, "params.shard: shards are held by several processes"),
        ({"launch": "torchrun", "processes": 2, "shard": True, "variant": "qlora"}, "variant=qlora: weights of 4 bits"),
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


def test_other_ways_to_train_are_refused_and_their_settings_do_not_reach_the_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from executors.tuning.engine import _check_kind

    class Accelerator:
        distributed_type = "DistributedType.DEEPSPEED"

    class Trainer:
        accelerator = Accelerator()

    with pytest.raises(UserError, match="train by DEEPSPEED"):
        _check_kind(Trainer())  # type: ignore[arg-type]
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    assert "ACCELERATE_USE_DEEPSPEED" not in _environment(PeftParams(launch="torchrun", processes=2))


def test_shards_are_asked_for_by_the_plan_or_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCELERATE_USE_FSDP", raising=False)
    assert not asked_for(_environment(PeftParams(launch="torchrun", processes=2)))
    planned = _environment(PeftParams(launch="torchrun", processes=2, shard=True))
    assert asked_for(planned)
    assert planned["FSDP_VERSION"] == "2"
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_AUTO_WRAP_POLICY", "NO_WRAP")
    found = _environment(PeftParams(launch="torchrun", processes=2))
    assert asked_for(found)
    assert found["FSDP_AUTO_WRAP_POLICY"] == "NO_WRAP"  # theirs stays


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"FSDP_VERSION": "1"}, "FSDP_VERSION=1"),
        ({"FSDP_VERSION": "2", "FSDP_OFFLOAD_PARAMS": "True"}, "FSDP_OFFLOAD_PARAMS=True"),
        ({"FSDP_ACTIVATION_CHECKPOINTING": "true"}, "FSDP_ACTIVATION_CHECKPOINTING=true"),
    ],
)
def test_settings_of_shards_that_are_not_known_here_are_refused(settings: dict[str, str], said: str) -> None:
    [problem] = settings_problems({"ACCELERATE_USE_FSDP": "true", **settings})
    assert said in problem.message
    assert problem.zh
    assert said in problem.zh.message


def test_a_copy_in_each_process_does_not_pass_for_shards(tiny: str) -> None:
    from executors.models import load_causal

    model, _ = load_causal(tiny)
    assert held_share(model) == 1.0
    with pytest.raises(UserError, match="each process holds 100% of it"):
        refuse_copies(held_share(model), 2)
    refuse_copies(0.5, 2)


def test_the_best_weights_are_put_back_into_shards(tmp_path: Path) -> None:
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    from executors.tuning.best import BestWeights

    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model: Any = torch.nn.Linear(3, 2)
        before = model.weight.detach().clone()
        fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
        best = BestWeights(tmp_path, patience=1)
        best._keep(model, 5, leads=True)
        with torch.no_grad():
            model.weight.add_(1)
        assert best.restore(model, [{"step": 5, "eval_loss": 1.0}, {"step": 6, "eval_loss": 2.0}]) == 5
        assert torch.equal(model.weight.full_tensor(), before)
    finally:
        torch.distributed.destroy_process_group()


def test_a_hull_has_no_weights_until_it_is_filled(tiny: str) -> None:
    """Weights that two layers have in common stay in common."""
    import torch

    from executors.models import load_causal

    model, _ = load_causal(tiny)
    hull = Hull(model)
    assert all(parameter.is_meta for parameter in hull.model.parameters())
    filled = hull.filled(model, keep=True)
    assert filled is not model
    assert filled.lm_head.weight is filled.model.embed_tokens.weight
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(filled(input_ids=ids).logits, model(input_ids=ids).logits)


def test_the_commands_options_are_the_plans_parameters(advisor: Callable[..., tuple[int, str, str]]) -> None:
    Path("rows.csv").write_text("text,label\n" + "".join(f"row {n},{LABELS[n % 2]}\n" for n in range(20)))
    plan = {"executor": "peft", "task": "classification", "data": {"path": "rows.csv"}, "schema_version": 1}
    Path("plan.yaml").write_text(json.dumps(plan))
    status, _, told = advisor("run", "plan.yaml", "--launch", "torchrun", "--dry-run")
    assert status == 1
    assert "params.processes: must be 2 or more, got 1" in told
    status, _, told = advisor("run", "plan.yaml", "--launch", "torchrun", "--processes", "2", "--shard", "--dry-run")
    assert status == 0, told
    [written] = Path("runs").glob("*/plan.yaml")
    assert "launch: torchrun" in written.read_text()
    assert "processes: 2" in written.read_text()
    assert "shard: true" in written.read_text()
