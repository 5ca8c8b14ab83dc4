"""One training in several processes: torchrun or accelerate start them, each holds the whole model (DDP through
Accelerate) or a part of it (FSDP2, see `shards`), and the steps and the result are those of one process up to rounding.

The processes get the plan and the training rows in a file of the job's folder, do what one process would, and the first
writes what is trained; whoever asked then goes on as if it had trained alone. Covered: one machine, its GPUs, or its
cores by gloo. Not covered: several machines, DeepSpeed and Megatron, a search, encoders.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from executors.base import DataSpec, Event, Input, Job, Plan, Problem, Row, UserError, no_leaks, to_dict, write_json
from executors.data.near import find_leaks
from executors.tuning.checkpoints import StopBetweenSteps, latest_checkpoint
from executors.tuning.encoder.names import is_encoder
from executors.tuning.params import TuningParams, read_params
from executors.tuning.shards import OURS, asked_for, settings_problems

FOLDER = "launch"  # in the job's folder: what the processes are given, and what they said
LAST_WORDS = re.compile(r"^(?:\[rank\d+\]: )?((?:\w+\.)*\w*(?:Error|Exception)\b.*)", re.MULTILINE)
UNSHARDABLE = {  # variants, with the reason
    "qlora": ("weights of 4 bits cannot be parted", "4 比特的权重无法拆分"),
    "prompt_tuning": (
        "virtual tokens and text go through the layers one after the other",
        "虚拟词元与文本先后经过各层",
    ),
    "prefix_tuning": ("its weights are no layer's, and cannot be kept in parts", "其权重不属于任何层，无法分开保存"),
}
OTHERS = ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM")  # ways to train that are not known here


def launch_problems(plan: Plan, params: TuningParams) -> list[Problem]:
    """What of `params.launch` and `params.processes` cannot be."""
    count = params.processes
    if not params.launch:
        if params.shard:
            zh = Problem("params.shard：分片训练需要多个进程", "--launch torchrun --processes 2 --shard")
            return [Problem("params.shard: shards are held by several processes", zh.hint, zh)]
        return [] if count == 1 else [_problem(f"params.processes: {count} without a launcher", "单独给出", count)]
    problems = [] if count > 1 else [_problem(f"params.processes: must be 2 or more, got {count}", "至少为 2", count)]
    if getattr(params, "search_minutes", 0) or getattr(params, "search", "") == "range":
        hint = "search in one process first, then give what was found: --set learning_rate=…"
        zh = Problem("params.launch：不能与搜索同时使用", "先在单个进程中搜索，再用 --set learning_rate=… 给出结果")
        problems.append(Problem("params.launch: several processes cannot share a search", hint, zh))
    if is_encoder(plan.model):
        zh = Problem(f"params.launch：编码器 {plan.model} 只能在单个进程中训练", "去掉 --launch 和 --processes")
        message = f"params.launch: an encoder ({plan.model}) is trained in one process"
        problems.append(Problem(message, "leave out --launch and --processes", zh))
    return problems + (_unshardable(params) if params.shard else [])


def _unshardable(params: TuningParams) -> list[Problem]:
    """A fault where the weights of `params` cannot be in shards."""
    variant = getattr(params, "variant", "")
    if variant not in UNSHARDABLE:
        return []
    why, why_zh = UNSHARDABLE[variant]
    zh = Problem(f"params.shard：不能与 variant={variant} 同用：{why_zh}", "params.variant=lora，或不分片")
    hint = "params.variant=lora, or without shards: each process then holds the whole model"
    return [Problem(f"params.shard: not with variant={variant}: {why}", hint, zh)]


def _problem(message: str, rule: str, count: int) -> Problem:
    hint = "--launch torchrun --processes 2"
    return Problem(message, hint, Problem(f"params.processes：与 launch 一起使用且{rule}，当前为 {count}", hint))


def leads() -> bool:
    """Whether this process is the only one of its training, or the first of several."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def first_alone() -> Iterator[None]:
    """The first process goes through what is inside before the others, who find what it has left."""
    if not leads():
        wait_for_all()
    yield
    if leads():
        wait_for_all()


def wait_for_all() -> None:
    """Until every process of this training is here; at once where it is the only one."""
    if "torch" in sys.modules and sys.modules["torch"].distributed.is_initialized():
        sys.modules["torch"].distributed.barrier()


# -- in the process that asks ----------------------------------------------------------------------------


def run_processes(job: Job, params: TuningParams) -> None:
    """Train `job` in `params.processes` processes, and return once what is trained lies in its folder.

    Raises `UserError` with what a process said went wrong; `KeyboardInterrupt` once an interrupted training is saved.
    """
    _check_devices(params)
    latest_checkpoint(job.folder / "checkpoints")  # removes what is half-written, before several look at it
    folder = job.folder / FOLDER
    folder.mkdir(exist_ok=True)
    given = {"plan": job.plan, "rows": job.rows, "labels": job.labels, "folder": job.folder, "held_out": _held_out(job)}
    write_json(folder / "spec.json", given)
    (folder / "stop").unlink(missing_ok=True)
    words = folder / "stderr.log"
    with (
        StopBetweenSteps() as stop,
        words.open("w", encoding="utf-8") as errors,
        subprocess.Popen(
            _command(params, folder),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
            env=_environment(params),
            start_new_session=True,  # Ctrl-C reaches this process alone, which asks the others to end
        ) as process,
    ):
        assert process.stdout is not None
        try:
            problem = _listen(process.stdout, job, stop)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if stop.asked:
        raise KeyboardInterrupt
    if problem is not None:
        raise UserError(problem.message, problem.hint, problem.zh)
    if process.returncode:
        raise _ended(process.returncode, params, words)
    shutil.rmtree(folder)


def _listen(lines: IO[str], job: Job, stop: StopBetweenSteps) -> Problem | None:
    """Pass events on until the processes have ended; the first problem that one of them told."""
    problem, workers, told = None, list[int](), False
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            continue  # a library that prints
        if not isinstance(said, dict):
            continue
        if "worker" in said:
            workers.append(int(said["worker"]))
        elif "event" in said:
            job.report(Event(**said["event"]))
        elif "problem" in said and problem is None:
            found = said["problem"]
            problem = Problem(found["message"], found["hint"], Problem(**found["zh"]) if found["zh"] else None)
        if stop.asked and not told:
            told = True
            for worker in workers:
                os.kill(worker, signal.SIGTERM)  # they agree on the step after which they save and end
    return problem


def _held_out(job: Job) -> Sequence[Row]:
    """The rows that the job's leak check compares with: the processes make the same check, and use them for no more."""
    if job.leaks is no_leaks:
        return ()
    assert isinstance(job.leaks, functools.partial), "only a check that names its held-out rows can be handed on"
    rows: Sequence[Row] = job.leaks.keywords["held_out"]
    return rows


def _check_devices(params: TuningParams) -> None:
    from executors.models import choose_device

    if choose_device().kind == "cuda":
        import torch

        found = torch.cuda.device_count()
        if found < params.processes:
            raise UserError(
                f"params.processes: {params.processes} on {found} GPUs: each process takes one",
                f"--processes {found}" if found > 1 else "leave out --launch and --processes",
                Problem(
                    f"params.processes：{params.processes} 个进程，但只有 {found} 个 GPU：每个进程占用一个",
                    f"--processes {found}" if found > 1 else "去掉 --launch 和 --processes",
                ),
            )


def _command(params: TuningParams, folder: Path) -> list[str]:
    count = str(params.processes)
    work = ["-m", "executors.tuning.launch", str(folder)]
    if params.launch == "torchrun":
        return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", count, *work]
    settings = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    kind = ["--use_fsdp", "--fsdp_cpu_ram_efficient_loading", "false"] if _configured() else ["--multi_gpu"]
    # its own way with CPUs needs MPI; told of GPUs it starts the same processes, which choose their device themselves
    start = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", count, "--main_process_port", "0"]
    return [*start, *kind, *settings, *work]


def _configured() -> bool:
    """Whether the user's configuration of accelerate, which it reads by itself, asks for shards."""
    from accelerate.commands.config.config_args import default_config_file, load_config_from_file

    return Path(default_config_file).is_file() and load_config_from_file(None).distributed_type == "FSDP"


def _environment(params: TuningParams) -> dict[str, str]:
    from executors.models.device import usable_cores

    threads = str(max(1, usable_cores() // params.processes))
    kept = {name: value for name, value in os.environ.items() if name not in OTHERS}
    shards = {**OURS, **kept, "ACCELERATE_USE_FSDP": "true"} if params.shard or asked_for(kept) else {}
    here = str(Path(__file__).resolve().parents[2])  # the project, where it is not installed
    path = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE", **kept, **shards, "PYTHONPATH": path}


def _ended(status: int, params: TuningParams, words: Path) -> UserError:
    """What the first process that failed said last."""
    said = LAST_WORDS.search(words.read_text(encoding="utf-8"))
    reason = said[1] if said else f"status {status}"
    return UserError(
        f"one of the {params.processes} processes of the training failed, and all were ended: {reason[:300]}",
        f"everything they said: {words}; what was trained up to the last checkpoint is kept",
        Problem(
            f"训练的 {params.processes} 个进程中有一个失败，全部已结束：{reason[:300]}",
            f"它们的全部输出：{words}；最后一个检查点之前的训练结果已保留",
        ),
    )


# -- in each of the processes ----------------------------------------------------------------------------


def work(folder: Path) -> int:
    """Train what `spec.json` in `folder` asks, as one of several processes; 1 where that went wrong."""
    import torch

    import executors
    from executors.models import choose_device

    _say({"worker": os.getpid()})
    spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    job = _job(spec)
    try:
        on_gpu = choose_device().kind == "cuda"
        if on_gpu:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        torch.distributed.init_process_group("nccl" if on_gpu else "gloo")
        executor: Any = executors.method(job.plan.executor)
        _settle(read_params(executor.Params, job.plan.params))
        executor.train_here(job)
    except UserError as error:
        _say({"problem": to_dict(error.problem)})
        return 1
    except KeyboardInterrupt:
        return 130
    wait_for_all()
    torch.distributed.destroy_process_group()
    return 0


def _settle(params: TuningParams) -> None:
    """Make accelerate's settings for shards fit this training. Raises `UserError` for what cannot be."""
    if not asked_for(os.environ):
        return
    problems = [*settings_problems(os.environ), *_unshardable(params)]
    if problems:
        raise UserError.of(problems)
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"  # which would leave the model empty in all but the first


def _job(spec: Mapping[str, Any]) -> Job:
    plan = Plan(**{**spec["plan"], "data": DataSpec(**spec["plan"]["data"])})
    rows, held_out = (tuple(map(_row, spec[side])) for side in ("rows", "held_out"))
    leaks = functools.partial(find_leaks, held_out=held_out) if held_out else no_leaks
    return Job(plan, rows, tuple(spec["labels"]), Path(spec["folder"]), _report, leaks)


def _row(record: Mapping[str, Any]) -> Row:
    given = {**record["input"], "turns": tuple(map(tuple, record["input"].get("turns", ())))}
    return Row(**{**record, "input": Input(**given), "targets": tuple(record["targets"])})


def _report(event: Event) -> None:
    if leads():
        _say({"event": to_dict(event)})


def _say(value: Any) -> None:
    """One line, whole: several processes write to the same pipe."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    status = work(Path(arguments[0]))
    sys.stdout.flush()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
