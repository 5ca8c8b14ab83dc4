"""What `advisor quote` is asked for: checked at once, and made into what quotes are made from.

The model's configuration, the rows and this machine are measured; nothing is downloaded and no model is loaded, except
where steps are to be timed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from advisor.decision import Decision, Inputs, decide
from advisor.facts import Facts
from advisor.hardware import Rig, accelerators, cluster, own_accelerator, reference_cpu
from advisor.profile import Profile
from advisor.profile.machine import is_busy
from advisor.quote import QUOTES, Given
from advisor.quote.measured import measured_work
from advisor.quote.shape import Shape, model_shape
from advisor.quote.situation import CPU_AT_MOST
from advisor.quote.timed import read_timing
from advisor.quote.workload import Workload, with_settings, workload_of
from executors.base import DataSpec, Plan, Problem, Reporter, UserError, did_you_mean, parse_params, silent

SHORTEST = 16  # tokens of a row
TIMED = ("peft", "full")  # methods whose steps can be timed
RATED = 0.6  # seconds that the processor's rate is measured for


@dataclass(frozen=True)
class Asked:
    """A call's wishes. `plan` is the one of a run that has one; `params` are settings over it."""

    facts: Facts = field(default_factory=Facts)
    inputs: Inputs = field(default_factory=Inputs)
    methods: tuple[str, ...] = ()
    gpu: str | None = None
    length: int | None = None
    rows: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    plan: Plan | None = None
    folder: Path | None = None  # of the run that is quoted
    timing: bool = False
    steps: int = 20


@dataclass(frozen=True)
class Basis:
    """Everything measured: what to quote, from what, and the plans whose steps can be timed."""

    facts: Facts
    methods: tuple[str, ...]
    given: Given
    plans: Mapping[str, Plan]


def check(asked: Asked) -> None:
    """Raises `UserError` with every fault of the call."""
    problems = [_unknown("--method", name, QUOTES, "方法") for name in asked.methods if name not in QUOTES]
    if asked.gpu and asked.gpu not in accelerators():
        problems.append(_unknown("--gpu", asked.gpu, accelerators(), "加速卡"))
    sizes = {"--batch-size": (asked.params.get("batch_size"), 1), "--length": (asked.length, SHORTEST)}
    sizes |= {"--rows": (asked.rows, 1), "--steps": (asked.steps, 2)}
    for option, (value, least) in sizes.items():
        if value is not None and not (isinstance(value, int) and value >= least):
            zh = Problem(f"{option}：必须是不小于 {least} 的整数，实际是 {value}")
            problems.append(Problem(f"{option}: must be a whole number from {least} on, got {value}", zh=zh))
    settings = {name: value for name, value in asked.params.items() if name != "batch_size"}
    problems += _wrong_settings(settings) if settings else []
    problems += _cannot_time(asked) if asked.timing else []
    if problems:
        raise UserError.of(problems)


def _unknown(option: str, name: str, known: Sequence[str] | Mapping[str, Any], kind: str) -> Problem:
    listed = ", ".join(known)
    return Problem(
        f"{option}: unknown '{name}'{did_you_mean(name, known)}",
        f"known to {option}: {listed}",
        Problem(f"{option}：未知的{kind}“{name}”{did_you_mean(name, known, 'zh')}", f"{option} 可选：{listed}"),
    )


def _wrong_settings(settings: Mapping[str, Any]) -> list[Problem]:
    """Every setting that neither method has, or whose value it cannot have."""
    import executors
    from executors.tuning.params import check_params

    kinds = [executors.method(method).Params for method in TIMED]
    names = tuple(dict.fromkeys(item.name for kind in kinds for item in fields(kind)))
    found = [_unknown("--set", name, names, "参数") for name in settings if name not in names]
    for kind in kinds:
        own = {item.name for item in fields(kind)}
        params, problems = parse_params(kind, {name: value for name, value in settings.items() if name in own})
        found += problems + (check_params(params) if params else [])
    return list(dict.fromkeys(found))


def _cannot_time(asked: Asked) -> list[Problem]:
    problems = []
    if asked.gpu:
        zh = Problem("--time 测量的是本机，而 --gpu 指定了另一台机器", "请去掉其中一个选项")
        problems.append(Problem("--time measures this machine, --gpu names another", "leave one of the two out", zh))
    if not asked.inputs.model:
        zh = Problem("--time 需要知道训练哪个模型", "请用 --model 指定，例如 --model smollm2-135m-instruct")
        hint = "name it: --model smollm2-135m-instruct"
        problems.append(Problem("--time needs to know which model to train", hint, zh))
    wrong = [name for name in asked.methods if name in QUOTES and name not in TIMED]
    if wrong and len(wrong) == len(asked.methods):
        listed = ", ".join(TIMED)
        zh = Problem(f"--time：{'、'.join(wrong)} 没有可计时的训练步骤", f"可计时的方法：{listed}")
        told = f"--time: {', '.join(wrong)} has no training steps that can be timed"
        problems.append(Problem(told, f"methods that have: {listed}", zh))
    return problems


def measure_basis(asked: Asked, report: Reporter = silent) -> Basis:
    """Measure inputs and machine, and settle what to quote. Raises `UserError` for inputs that cannot be used."""
    from advisor.profile import measure

    profile = measure(asked.inputs, asked.facts, report)
    facts = asked.facts.with_(*profile.facts.values())
    decision = decide(facts, inputs=asked.inputs)
    methods = asked.methods or _open_methods(decision, asked.plan)
    shape = model_shape(asked.inputs.model) if asked.inputs.model else None
    settings = {**_chosen(methods, decision, profile, asked), **asked.params}
    work = _workload(asked, facts, settings)
    plans = _plans(methods, asked, settings, work) if asked.inputs.model else {}
    if asked.timing and not plans:
        raise _nothing_to_time()
    timings = {name: read_timing(asked.folder, plan) for name, plan in plans.items()} if asked.folder else {}
    given = Given(
        shape=shape,
        work=work,
        rig=_rig(asked, profile, shape, facts),
        timings={name: timing for name, timing in timings.items() if timing},
    )
    return Basis(facts, methods, given, plans)


def _nothing_to_time() -> UserError:
    zh = Problem("--time：可行的方法中没有可计时的训练步骤", "请指定方法：--method peft 或 --method full")
    told = "--time: none of the viable methods has training steps that can be timed"
    return UserError(told, "name one: --method peft, or --method full", zh)


def _open_methods(decision: Decision, plan: Plan | None) -> tuple[str, ...]:
    """What the decision leaves open, best first; and what the run's plan is of."""
    found = [ranked.method for ranked in decision.ranking if ranked.verdict in ("recommended", "viable")]
    planned = [plan.executor] if plan and plan.executor in QUOTES else []
    return tuple(dict.fromkeys((*found, *planned)))


def _chosen(methods: Sequence[str], decision: Decision, profile: Profile, asked: Asked) -> dict[str, Any]:
    """The parameters of the run's plan, else those that a plan on this data would have."""
    if asked.plan:
        return dict(asked.plan.params)
    if not (profile.data and asked.inputs.model):
        return {}
    from advisor.parameters import choose_parameters
    from advisor.prompting import Ground

    found: dict[str, Any] = {}
    ground = Ground(decision, profile.data, asked.inputs.model)
    for method in TIMED:
        if method in methods:
            found |= choose_parameters(method, ground)[0]
    return found


def _workload(asked: Asked, facts: Facts, settings: Mapping[str, Any]) -> Workload:
    """The rows of the data, or typical ones; `--length` is the most tokens of the former and all of the latter."""
    work = measured_work(facts, asked.inputs, asked.rows)
    if work is None:
        return with_settings(workload_of(facts, asked.rows), settings, asked.length)
    return with_settings(work, {**settings, "max_length": asked.length} if asked.length else settings)


def _rig(asked: Asked, profile: Profile, shape: Shape | None, facts: Facts) -> Rig | None:
    """The machine that is named, or this one; None where the facts speak of another one."""
    if asked.gpu:
        return cluster(asked.gpu)
    if "gpu_memory_gb" in asked.facts and asked.facts["gpu_memory_gb"].origin == "asked":
        return None
    machine = profile.machine
    if machine.gpu_memory_gb:
        return own_accelerator(machine.gpu_memory_gb, len(machine.gpu_names), machine.gpu_names[0])
    size = shape.parameters if shape else facts.value("model_parameters")
    if size is None or float(size) > CPU_AT_MOST:
        return None
    from advisor.profile.machine import measure_tflops

    busy = is_busy()  # before the measurement, which is work as well
    return reference_cpu(machine.cores, machine.memory_gb, measure_tflops(RATED), busy=busy)


def _plans(methods: Sequence[str], asked: Asked, settings: Mapping[str, Any], work: Workload) -> dict[str, Plan]:
    """The plan of each method whose steps can be timed, as a run would have it."""
    assert asked.inputs.model is not None
    data = DataSpec(asked.inputs.data or "", asked.inputs.test, dict(asked.inputs.columns))
    given = {**settings, "batch_size": work.training.batch_size, "max_length": work.training.max_length}
    if not asked.inputs.data:  # rows are made up, as long as they may be
        given["max_length"] = max(round(work.length), SHORTEST)
    task = work.task if work.task and asked.inputs.data else "generation"
    return {
        method: Plan(method, task, data, model=asked.inputs.model, params=_known(method, given))
        for method in methods
        if method in TIMED
    }


def _known(method: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that this method has."""
    import executors

    names = {item.name for item in fields(executors.method(method).Params)}
    return {name: value for name, value in settings.items() if name in names}
