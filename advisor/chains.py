"""From a decision of several methods to a chain of plans: which stages, on what each is built, and chains as files.

Covered: continued pre-training, then one of LoRA-class and full tuning, then preferences, and retrieval or the whole
documents around the model that comes of it; the reader of a RAG is tuned on what the index finds. Beside the chain
stand the stages that answer without one of its parts, as far as no stage of the chain does already.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

import executors
from advisor.decision import Decision, Inputs
from advisor.plan import NOTHING, make_plan, plan_faults, plan_of, read_mapping, require
from advisor.texts import text
from executors.base import Plan, Problem, Text, UserError, did_you_mean, to_dict, write_atomic
from executors.chain import Chain, Stage, Without

ORDER = ("cpt", "peft", "full", "preference", "rag", "long_context")
"""The methods a chain can be made of, in the order in which each is built on the one before."""
TUNERS = ("peft", "full")
KNOWING = ("rag", "long_context")
PASSAGES = 3  # in a tuned reader's prompts: as many as the reader that writes is given
WITHOUT = "contributions"  # the setting that says which parts are left out to compare: all, or those that cost nothing
CHOICES = ("all", "free")

HEADER = """\
# What `advisor run` does, stage by stage. Edit a value and run this very file: advisor run {path}
# A stage names an earlier one as its model or its retriever. `final` answers; `without` says which stage stands for the
# chain without a part.
"""


def chain_faults(methods: Sequence[str]) -> list[Problem]:
    """Why no chain can be made of these methods; empty where one can."""
    problems = []
    for method in methods:
        if method not in ORDER or method not in executors.EXECUTORS:
            known = ", ".join(m for m in ORDER if m in executors.EXECUTORS)
            meant, meant_zh = did_you_mean(method, ORDER), did_you_mean(method, ORDER, "zh")
            zh = Problem(f"“{method}”不能作为链的一部分{meant_zh}", f"可以组成链的方法：{known}")
            problems.append(Problem(f"'{method}' can be no part of a chain{meant}", f"parts of a chain: {known}", zh))
    for method in sorted({method for method in methods if list(methods).count(method) > 1}):
        zh = Problem(f"“{method}”在链中出现两次", "每种方法只能出现一次")
        problems.append(Problem(f"'{method}' is in the chain twice", "name each method once", zh))
    for group in (TUNERS, KNOWING):
        both = [method for method in group if method in methods]
        if len(both) > 1:
            zh = Problem(f"{'和'.join(both)}：一条链只能包含其中之一", f"例如去掉 {both[1]}")
            problems.append(Problem(f"{' and '.join(both)}: a chain has one of them", f"leave {both[1]} out", zh))
    return problems


def make_chain(
    decision: Decision,
    inputs: Inputs,
    methods: Sequence[str],
    settings: Mapping[str, Any] = NOTHING,
    endpoint: Mapping[str, Any] = NOTHING,
) -> Chain:
    """The chain of `methods`. A setting goes to every stage that has such a parameter, or as ``peft.epochs`` to one.

    Raises `UserError` as `make_plan` does, for methods that no chain can be made of, and for a setting of no stage.
    """
    faults = chain_faults(methods)
    if faults:
        raise UserError.of(faults)
    parts = tuple(methods)
    require("+".join(parts), decision, inputs)
    which = str(settings.get(WITHOUT, CHOICES[0]))
    given = {name: value for name, value in settings.items() if name != WITHOUT}
    _check_settings(parts, given, which)
    build = _Builder(decision, inputs, given, endpoint)
    final = build.add(parts)
    without = [
        found for part in parts if len(parts) > 1 and (found := build.add_without(part, parts, free=which == "free"))
    ]
    return Chain(parts, tuple(build.stages), final, tuple(without))


def _check_settings(methods: Sequence[str], settings: Mapping[str, Any], which: str) -> None:
    problems = []
    if which not in CHOICES:
        zh = Problem(f"{WITHOUT}：应为 {' 或 '.join(CHOICES)}，收到 {which}")
        problems.append(Problem(f"{WITHOUT}: {' or '.join(CHOICES)}, got {which}", "", zh))
    for name in settings:
        if not any(own_settings(method, {name: None}) for method in methods):
            zh = Problem(f"--set {name}：链中没有哪个阶段有这个参数", f"例如 --set {methods[0]}.参数=值")
            told = f"--set {name}: no stage of the chain has such a parameter"
            problems.append(Problem(told, f"of one stage: --set {methods[0]}.NAME=VALUE", zh))
    if problems:
        raise UserError.of(problems)


def own_settings(method: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the settings that are parameters of `method`, be they meant for it alone or for every stage."""
    fields = {one.name for one in dataclasses.fields(executors.method(method).Params)}
    named = {
        name.removeprefix(f"{method}."): value for name, value in settings.items() if name.startswith(f"{method}.")
    }
    return {name: value for name, value in {**settings, **named}.items() if name in fields}


@dataclass
class _Builder:
    """Collects stages: first those of the chain, then those that answer without one of its parts."""

    decision: Decision
    inputs: Inputs
    settings: Mapping[str, Any]
    endpoint: Mapping[str, Any]
    stages: list[Stage] = field(default_factory=list)

    def add(self, methods: Sequence[str], prefix: str = "", note: Text | None = None) -> str:
        """Add the stages of a chain of `methods`, those that are there already left out; the name of the last."""
        model, index, last = "", "", ""
        number = 0
        for method, role in _roles(methods):
            number += 1
            plan = self._plan(method, role, model, index)
            last, new = self._place(f"{prefix}{number}-{method}", plan, note)
            number -= not new and bool(prefix)
            if method in KNOWING:
                index = last
            else:
                model = last
        return last

    def add_without(self, part: str, parts: Sequence[str], *, free: bool) -> Without | None:
        """Add what answers without `part`; None where that would be more work and only what is `free` is wanted."""
        before = len(self.stages)
        rest = [method for method in parts if method != part]
        last = self.add(rest, f"without-{part}/", text("chain.stage_without", method=part))
        if free and len(self.stages) > before:
            del self.stages[before:]
            return None
        return Without(part, last)

    def _plan(self, method: str, role: str, model: str, index: str) -> Plan:
        """The plan of one stage, on the stage called `model` and with the index of the one called `index`."""
        own = own_settings(method, self.settings)
        plan = make_plan(self.decision, self.inputs, method, own, self.endpoint)
        params, reasons = dict(plan.params), {**plan.reasons, "executor": text(f"chain.stage_{role}")}
        docs = plan.docs
        if role == "tuned_reader":
            params = {"passages": PASSAGES, **params, "retriever": index}
            docs = self.inputs.docs
            reasons["docs"] = text("chain.passages", index=index, passages=params["passages"])
        if role == "read_anew":
            params = {**_but(params, "search_seconds", own), "reader": "generate", **own, "retriever": index}
            reasons = {name: reason for name, reason in reasons.items() if name != "params.search_seconds"}
            reasons["params.retriever"] = text("chain.index", index=index)
            reasons["params.reader"] = text("chain.reader", model=model)
        if model:
            reasons["model"] = text("chain.model", model=model)
        return replace(plan, model=model or plan.model, params=params, docs=docs, reasons=reasons)

    def _place(self, name: str, plan: Plan, note: Text | None) -> tuple[str, bool]:
        """The stage with this plan, which may be there already, and whether it is new."""
        for stage in self.stages:
            if replace(stage.plan, reasons={}) == replace(plan, reasons={}):
                return stage.name, False
        indexed = next((s.name for s in self.stages if s.plan.executor == plan.executor == "rag"), "")
        if indexed and not plan.params.get("retriever"):  # the same documents, cut and searched as before
            params = {**_but(plan.params, "search_seconds", {}), "retriever": indexed}
            plan = replace(plan, params=params, reasons={**plan.reasons, "docs": text("chain.index", index=indexed)})
        reasons = {**plan.reasons, "executor": note} if note else plan.reasons
        self.stages.append(Stage(name, replace(plan, reasons=reasons)))
        return name, True


def _but(params: Mapping[str, Any], name: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """`params` without `name`, unless it was asked for."""
    return {key: value for key, value in params.items() if key != name or key in own}


def _roles(methods: Sequence[str]) -> list[tuple[str, str]]:
    """The stages of a chain: method and what it does there. A reader that is tuned needs the index before it."""
    found = [(method, "adapted" if method == "cpt" else "tuned") for method in ORDER[:4] if method in methods]
    reads = next((method for method in KNOWING if method in methods), "")
    tuner = next((n for n, (method, _) in enumerate(found) if method in TUNERS), None)
    if reads == "rag" and tuner is not None:
        return [
            *found[:tuner],
            ("rag", "indexed"),
            (found[tuner][0], "tuned_reader"),
            *found[tuner + 1 :],
            ("rag", "read_anew"),
        ]
    return [*found, (reads, "read")] if reads else found


# -- files ---------------------------------------------------------------------------------------------


def write_chain(path: Path, chain: Chain) -> None:
    """Write a chain as YAML that `read_chain` reads back as the same."""
    plain = to_dict(chain)
    body = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120)
    write_atomic(path, HEADER.format(path=path) + body)


def read_chain(path: Path) -> Chain:
    """A chain's file. Raises `UserError` with every fault in it."""
    raw = read_mapping(path)
    problems = _faults(raw)
    if problems:
        raise UserError.of([Problem(f"{path}: {p.message}", p.hint) for p in problems])
    stages = tuple(Stage(str(one["name"]), plan_of(one["plan"])) for one in raw["stages"])
    without = tuple(Without(str(one["method"]), str(one["stage"])) for one in raw.get("without") or ())
    return Chain(tuple(raw["methods"]), stages, str(raw["final"]), without, raw.get("reasons") or {})


def _faults(raw: Mapping[str, Any]) -> list[Problem]:
    known = [one.name for one in dataclasses.fields(Chain)]
    problems = [
        Problem(f"{key}: unknown entry{did_you_mean(str(key), known)}", f"known entries: {', '.join(known)}")
        for key in raw
        if key not in known
    ]
    problems += [Problem(f"{name}: missing") for name in ("methods", "stages", "final") if not raw.get(name)]
    stages = raw.get("stages")
    if not isinstance(stages, list) or not all(_is_stage(stage) for stage in stages):
        return [*problems, Problem("stages: expected a list of stages, each with name and plan")]
    if not isinstance(raw.get("without") or [], list) or not isinstance(raw.get("methods"), list):
        problems.append(Problem("methods and without: expected lists"))
    return [
        *problems,
        *(Problem(f"{s['name']}: {p.message}", p.hint) for s in stages for p in plan_faults(s["plan"])),
    ]


def _is_stage(stage: object) -> bool:
    return isinstance(stage, dict) and isinstance(stage.get("plan"), dict) and bool(stage.get("name"))
