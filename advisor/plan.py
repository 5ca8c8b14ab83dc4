"""From a decision to a plan that can be run: every value with its reason; plans as files that a person can edit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

import executors
from advisor.cards import load_cards
from advisor.decision import Decision, Inputs
from advisor.endpoints import check_use, disclosure
from advisor.facts import load_vocabulary
from advisor.parameters import choose_parameters
from advisor.profile.data import DataProfile, data_spec, measure_data
from advisor.profile.documents import measure_documents
from advisor.profile.model import measure_model
from advisor.prompting import Ground
from advisor.texts import read_knowledge, text
from executors.base import (
    SCHEMA_VERSION,
    DataSpec,
    Plan,
    Problem,
    Text,
    UserError,
    did_you_mean,
    parse_params,
    to_dict,
    write_atomic,
)

TEXT_MODELS = ("prompt", "long_context", "rag", "peft", "full", "cpt", "preference")  # use the plan's language model
ENCODERS = ("probe", "small_encoder", "rag")  # methods that use its sentence encoder
RUNNABLE_FORMS = {  # of each method's forms, those this version runs; the first stands in for the others
    "prompt": ("few_shot", "zero_shot", "calibrated", "many_shot", "retrieved", "chain_of_thought"),
    "rag": ("retrieval", "tuned_reader"),
    "probe": ("mean_pooling", "cls_pooling", "per_layer"),
    "small_encoder": ("setfit", "head_and_all", "last_layers", "first_frozen", "continued"),
    "peft": (
        *("lora", "qlora", "rslora", "dora", "ia3"),
        *("prompt_tuning", "prefix_tuning", "bottleneck_adapters"),
    ),
    "full": ("all", "last_layers", "first_frozen", "from_scratch"),
    "cpt": ("replay", "low_rank"),
    "preference": ("dpo",),
}

TRAINED_MODELS = ("peft", "full", "cpt", "preference")  # methods that change, or add to, the model's weights

NOTHING: Mapping[str, Any] = MappingProxyType({})

HEADER = """\
# What `advisor run` does, in full. Edit a value and run this very file: advisor run {path}
# `params` holds what differs from the method's defaults; `reasons` says why each value is what it is.
"""


@dataclass(frozen=True)
class Choice:
    """The method that runs first, why, and what is left for later."""

    method: str
    reason: Text


def make_plan(
    decision: Decision,
    inputs: Inputs,
    method: str | None = None,
    settings: Mapping[str, Any] = NOTHING,
    endpoint: Mapping[str, Any] = NOTHING,
) -> Plan:
    """The plan for the decision's first runnable method, or for `method`, with the caller's `settings` over its own
    parameters and `endpoint` as the way a model behind one is asked.

    Raises `UserError` for a method that cannot be run, naming the nearest that can, for data or documents that are
    missing, with the command that gives them, and for data that cannot be used.
    """
    choice = choose_method(decision, method)
    require(choice.method, decision, inputs)
    if inputs.model and choice.method in TEXT_MODELS:
        check_use(decision, choice.method, inputs.model)
    data = measure_data(inputs, _said_task(decision))
    if data.task not in executors.method(choice.method).tasks:
        raise _other_task(choice.method, data.task, decision)
    if choice.method == "preference":
        _check_pairs(inputs, data.task)
    model, embedder = inputs.model or Plan.model, inputs.embedder or _default_embedder(choice.method, inputs)
    ground = Ground(decision, data, model, settings, endpoint, inputs.docs)
    params, param_reasons = choose_parameters(choice.method, ground)
    param_reasons |= {name: text("plan.set", value=str(value)) for name, value in settings.items()}
    reasons = {"executor": choice.reason, **_form_reason(decision, choice.method)}
    reasons |= {**_task_reason(decision, data), **_data_reasons(data)}
    needs_docs = executors.method(choice.method).needs_docs
    if needs_docs:
        reasons["docs"] = _docs_reason(choice.method, str(inputs.docs), model)
    if choice.method in TEXT_MODELS:
        reasons["model"] = _model_reason(inputs.model, model)
        reasons |= disclosure(model)
    if choice.method in ENCODERS:
        default = "plan.embedder_default" if embedder == Plan.embedder else "plan.embedder_int8"
        reasons["embedder"] = text("plan.given" if inputs.embedder else default, name=embedder)
    if choice.method in TRAINED_MODELS:
        check_start(choice.method, model)
    if choice.method == "probe":
        reasons["params.pooling"] = text("plan.pooling", name=embedder)
    return Plan(
        executor=choice.method,
        task=data.task,
        data=data_spec(inputs),
        docs=inputs.docs if needs_docs else None,
        model=model,
        embedder=embedder,
        params={**params, **settings},
        endpoint=endpoint,
        reasons={**reasons, **{f"params.{name}": reason for name, reason in param_reasons.items()}},
    )


def _default_embedder(method: str, inputs: Inputs) -> str:
    if method != "rag" or not inputs.docs:
        return Plan.embedder
    from advisor.encoders import default_encoder

    return default_encoder(Path(inputs.docs))


def holds_chain(path: Path) -> bool:
    """Whether the plan's file at `path` is of a chain, which `chains.read_chain` reads."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return False  # `read_plan` says why
    return isinstance(raw, dict) and "stages" in raw


# -- the method ----------------------------------------------------------------------------------------


def choose_method(decision: Decision, method: str | None = None) -> Choice:
    """`method` if it can be run, else the stage of the recommendation that runs first."""
    if method is not None:
        if _stand_in(method):
            raise _not_yet(method, decision)
        executors.method(method)  # says what it knows where this is nothing
        same = set(decision.methods) - {"prompt"} == {method} or decision.methods == (method,)
        return Choice(method, text("plan.recommended" if same else "plan.asked_method", method=method))
    stages = [m for m in decision.methods if m in executors.EXECUTORS]
    if not stages:
        raise _not_yet(decision.methods[0], decision)
    first = min(stages, key=_stage)
    later = [m for m in decision.methods if m != first and m != "prompt"]
    if not later:
        return Choice(first, text("plan.recommended", method=first))
    missing = [m for m in later if m not in executors.EXECUTORS]
    if missing:
        return Choice(first, text("plan.first_of_missing", method=first, missing=", ".join(missing)))
    return Choice(first, text("plan.first_of", method=first, later=", ".join(later)))


def stages_of(decision: Decision) -> tuple[str, ...]:
    """The methods of a recommendation that run as one chain; at most one where it is no hybrid that is run here."""
    from advisor.chains import chain_faults

    parts = tuple(method for method in decision.methods if method != "prompt")  # it is part of every other method
    return parts if len(parts) > 1 and not chain_faults(parts) else parts[:1]


def _stage(method: str) -> int:
    """What supplies the facts first, because what is tuned later is tuned with them; prompting alone last."""
    return {"rag": 0, "long_context": 0, "prompt": 2}.get(method, 1)


def _form_reason(decision: Decision, method: str) -> dict[str, Text]:
    """Says where the recommended form of the method is not the one that runs."""
    form, runnable = decision.variants.get(method, ""), RUNNABLE_FORMS.get(method, ())
    if not form or not runnable or form in runnable:
        return {}
    forms = read_knowledge(f"methods/{method}.yaml")["variants"]
    return {"form": text("plan.form_later", form=forms[form]["title"], runs=forms[runnable[0]]["title"])}


def _stand_in(method: str) -> str:
    """What runs in place of a method that has no executor yet; empty for any other name."""
    card = load_cards().get(method)
    return card.nearest if card and method not in executors.EXECUTORS else ""


def _not_yet(method: str, decision: Decision) -> UserError:
    """What to run instead: what the ladder has in its place, where the facts allow no near relative; else that."""
    nearest, how = _stand_in(method), load_cards()[method].nearest_how
    instead = next((rung.runs for rung in decision.ladder if rung.method == method), nearest)
    if instead != nearest:
        how = text("plan.instead", nearest=nearest)
    return UserError(
        f"'{method}' cannot be run by this version; in its place runs '{instead}': {how['en']}",
        f"advisor run {_run(decision)} --method {instead}",
        Problem(f"本版本还不能运行“{method}”，可先运行“{instead}”：{how['zh']}"),
    )


def _other_task(method: str, task: str, decision: Decision) -> UserError:
    """What to run for a task that the method cannot do here: what the ladder has in its place."""
    tasks = executors.method(method).tasks
    instead = next((r.runs for r in decision.ladder if r.method == method and r.runs not in ("", method)), "prompt")
    return UserError(
        f"task: '{method}' cannot do {task}, only {', '.join(sorted(tasks))}; in its place runs '{instead}'",
        f"advisor run {_run(decision)} --method {instead}",
        Problem(f"task：“{method}”不能用于 {task}，只支持 {'、'.join(sorted(tasks))}；可先运行“{instead}”"),
    )


def require(method: str, decision: Decision, inputs: Inputs) -> None:
    """Raise `UserError` with one command that gives everything the method, or the parts of a chain, still need."""
    wanted, parts = [], method.split("+")
    if not inputs.data:
        zh = f"data：“{method}”需要带正确答案的数据，用于评分"
        wanted.append((f"data: '{method}' needs rows with their right answers, to score on", zh, "--data FILE"))
    if any(executors.method(part).needs_docs for part in parts) and not inputs.docs:
        zh = f"docs：“{method}”需要回答所依据的文档文件夹"
        wanted.append((f"docs: '{method}' needs the folder of documents that answers draw on", zh, "--docs DIR"))
    if wanted:
        chosen = "" if set(parts) <= set(decision.methods) else f" --method {method}"
        command = f"advisor run {_run(decision)}{chosen} {' '.join(option for _, _, option in wanted)}"
        raise UserError.of([Problem(en, command, Problem(zh)) for en, zh, _ in wanted])


def _run(decision: Decision) -> str:
    return decision.run or "last"


# -- values and their reasons --------------------------------------------------------------------------


def _said_task(decision: Decision) -> str | None:
    """The task that was said; None where it was only guessed or assumed, as data given now tells more."""
    fact = decision.facts.get("task")
    return str(fact.value) if fact and fact.origin == "asked" else None


def _task_reason(decision: Decision, data: DataProfile) -> dict[str, Text]:
    said = _said_task(decision) is not None
    return {"task": text("plan.task_said", task=data.task) if said else data.task_reason}


def _model_reason(given: str | None, model: str) -> Text:
    from executors.models.tuned import tuned_run

    run = tuned_run(model)
    if run is not None:
        return text("plan.model_run", name=model, base=run.base)
    return text("plan.given" if given else "plan.model_default", name=model)


def _docs_reason(method: str, folder: str, model: str) -> Text:
    """What is done with the documents."""
    if method == "long_context":
        return _whole_docs(folder, model)
    return text("plan.docs_read" if method == "cpt" else "plan.docs", folder=folder)


def _whole_docs(folder: str, model: str) -> Text:
    """How much of the window the documents take, by estimate; the run counts, and refuses what does not fit."""
    tokens, window = measure_documents(folder).tokens, measure_model(model).window
    if not window:
        return text("plan.docs_whole", folder=folder, tokens=f"{tokens:,}")
    key = "plan.docs_fit" if tokens < window else "plan.docs_too_long"
    return text(key, folder=folder, tokens=f"{tokens:,}", window=f"{window:,}", name=model)


def _data_reasons(data: DataProfile) -> dict[str, Text]:
    key = "plan.data_test_file" if data.test_path else "plan.data_split"
    told = text(key, train=data.train, test=data.test, left_out=sum(data.removed.values()))
    columns = {f"columns.{role}": reason for role, reason in data.column_reasons.items()}
    return {"data": told, **columns}


def _check_pairs(inputs: Inputs, task: str) -> None:
    """Raise `UserError` where the data has no pairs of a better and a worse answer."""
    from executors.data.pairs import load_pairs

    load_pairs(data_spec(inputs), 0, task)


def check_start(method: str, model: str) -> None:
    """Raise `UserError` where training would go on from a run that cannot become a dense model."""
    from executors.models.tuned import check_mergeable, tuned_run

    run = tuned_run(model)
    if run is not None and run.adapter is not None:
        check_mergeable(model, run)


# -- files ---------------------------------------------------------------------------------------------


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan as YAML that `read_plan` reads back as the same plan."""
    body = yaml.safe_dump(to_dict(plan), sort_keys=False, allow_unicode=True, width=120)
    write_atomic(path, HEADER.format(path=path) + body)


def read_plan(path: Path) -> Plan:
    """A plan's file. Raises `UserError` with every fault in it."""
    raw = read_mapping(path)
    problems = plan_faults(raw)
    if problems:
        raise UserError.of([Problem(f"{path}: {p.message}", p.hint) for p in problems])
    return plan_of(raw)


def plan_of(raw: Mapping[str, Any]) -> Plan:
    """A plan from what a file says of it, which has no faults."""
    given = {name: raw[name] for name in _names(Plan) if raw.get(name) is not None}
    data = {name: value for name, value in raw["data"].items() if value is not None}
    return Plan(**{**given, "data": DataSpec(**data)})


def read_mapping(path: Path) -> Mapping[str, Any]:
    """What a plan's file holds. Raises `UserError` where it is no YAML, or no mapping."""
    hint, hint_zh = "make a plan with: advisor run last --dry-run", "生成计划：advisor run last --dry-run"
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no plan {path}", hint, Problem(f"找不到计划 {path}", hint_zh)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        why = " ".join(str(error).split())
        raise UserError(f"{path} is not YAML: {why}", hint, Problem(f"{path} 不是 YAML：{why}", hint_zh)) from None
    if not isinstance(raw, dict):
        kind = type(raw).__name__
        zh = Problem(f"{path}：应为含 executor、task 和 data 的映射，收到 {kind}", hint_zh)
        raise UserError(f"{path}: expected a mapping with executor, task and data, got {kind}", hint, zh)
    return raw


def plan_faults(raw: Mapping[str, Any]) -> list[Problem]:
    """Every fault in what a file says of one plan."""
    problems = [*_unknown(raw, _names(Plan), ""), *_wrong_types(raw, PLAN_TYPES, "")]
    problems += [Problem(f"{name}: missing") for name in ("executor", "task", "data") if raw.get(name) is None]
    if isinstance(raw.get("data"), dict):
        problems += [*_unknown(raw["data"], _names(DataSpec), "data."), *_wrong_types(raw["data"], DATA_TYPES, "data.")]
        if raw["data"].get("path") is None:
            problems.append(Problem("data.path: missing"))
        problems += _held_out(raw["data"].get("held_out"))
    problems += _task_faults(raw.get("task"))
    version = raw.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        problems.append(
            Problem(f"schema_version: {version} is newer than {SCHEMA_VERSION}", "update adaptation-advisor")
        )
    if isinstance(raw.get("endpoint"), dict) and raw["endpoint"]:
        from executors.models.endpoint import limits_of

        problems += limits_of(raw["endpoint"])[1]
    return problems + _method_faults(raw.get("executor"), raw.get("params"))


PLAN_TYPES: Mapping[str, tuple[type, ...]] = {
    "executor": (str,),
    "task": (str,),
    "data": (dict,),
    "docs": (str,),
    "model": (str,),
    "embedder": (str,),
    "seed": (int,),
    "params": (dict,),
    "endpoint": (dict,),
    "reasons": (dict,),
    "schema_version": (int,),
}
DATA_TYPES: Mapping[str, tuple[type, ...]] = {
    "path": (str,),
    "test": (str,),
    "columns": (dict,),
    "held_out": (int, float),
    "folds": (int,),
}


def _names(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _unknown(raw: Mapping[Any, Any], names: list[str], prefix: str) -> list[Problem]:
    return [
        Problem(f"{prefix}{key}: unknown entry{did_you_mean(str(key), names)}", f"known entries: {', '.join(names)}")
        for key in raw
        if key not in names
    ]


def _wrong_types(raw: Mapping[str, Any], types: Mapping[str, tuple[type, ...]], prefix: str) -> list[Problem]:
    called = {str: "a text", int: "a whole number", float: "a number", dict: "a mapping"}
    problems = []
    for name, kinds in types.items():
        value = raw.get(name)
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            problems.append(Problem(f"{prefix}{name}: expected {called[kinds[-1]]}, got {value!r}"))
    return problems


def _held_out(share: object) -> list[Problem]:
    if isinstance(share, (int, float)) and not 0 < share < 1:
        return [Problem(f"data.held_out: must be between 0 and 1, got {share}")]
    return []


def _task_faults(task: object) -> list[Problem]:
    tasks = load_vocabulary()["task"].options
    if not isinstance(task, str) or task in tasks:
        return []
    return [Problem(f"task: unknown '{task}'{did_you_mean(task, tasks)}", f"tasks: {', '.join(tasks)}")]


def _method_faults(method: object, params: object) -> list[Problem]:
    if not isinstance(method, str):
        return []
    if method not in executors.EXECUTORS:
        known = ", ".join(executors.EXECUTORS)
        return [Problem(f"executor: unknown '{method}'{did_you_mean(method, executors.EXECUTORS)}", f"known: {known}")]
    return parse_params(executors.method(method).Params, params)[1] if isinstance(params, dict) else []
