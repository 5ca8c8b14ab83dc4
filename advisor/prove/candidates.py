"""Who takes part in a race: the floor, plain prompting, and every method that the facts allow, as plans to the end.

Covered: the viable methods of a decision, those that only wait for more labels (how many are enough is what a race can
measure), recommended hybrids, and the reader tuned on what was retrieved where both its parts take part. A method that
cannot be run on these inputs is listed with the reason.
Not covered: other forms of one method (`advisor run --set variant=…` tries those).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import executors
from advisor.cards import METHODS, load_cards
from advisor.decision import Decision, Inputs
from advisor.estimate import estimate_plan
from advisor.facts import Assuming, Facts
from advisor.plan import make_plan, stages_of
from advisor.profile.documents import measure_documents
from advisor.profile.machine import measure_machine, measure_tflops
from advisor.profile.model import measure_model
from advisor.prove.records import Standing
from advisor.texts import LANGUAGES, text
from executors.base import Plan, Problem, UserError

if TYPE_CHECKING:
    from executors.chain import Chain

FLOOR = "baseline"
TUNED_READER = ("rag", "peft")
OPEN = ("recommended", "viable")
MEASURABLE = frozenset({"labels"})  # needs of a card whose bound is a rule of thumb that held-out rows can check


@dataclass(frozen=True)
class Candidate:
    """One that is raced. `plan` is of a full run; `seconds` what that is foretold to take."""

    name: str
    methods: tuple[str, ...]
    verdict: str
    plan: Plan | Chain
    seconds: float

    def standing(self) -> Standing:
        return Standing(self.name, self.methods, self.verdict, seconds_full=self.seconds)


def candidates(
    decision: Decision, inputs: Inputs, seed: int = 0, endpoint: Mapping[str, Any] | None = None
) -> tuple[list[Candidate], list[Standing]]:
    """(those that can be raced, cheapest first, the floor before all; those that cannot, with the reason).

    Raises `UserError` where the data itself cannot be used.
    """
    floor = _floor(decision, inputs, seed)
    found, refused = [floor], []
    for name, methods, verdict in _entries(decision):
        try:
            plan = _plan(name, decision, inputs, methods, endpoint or {}, seed)
            found.append(Candidate(name, methods, verdict, plan, foretold(plan)))
        except UserError as error:
            why = {lang: error.told(lang).message for lang in LANGUAGES}
            refused.append(Standing(name, methods, verdict, "failed", why=text("race.refused", why=why)))
    return in_order(found), refused


def in_order(found: Iterable[Candidate]) -> list[Candidate]:
    """Cheapest first, the floor before all."""
    return sorted(found, key=lambda one: (one.name != FLOOR, one.seconds))


def run_command(run: str, name: str) -> str:
    """The command that runs a candidate to the end."""
    return f"advisor run {run} --method {name}"


def foretold(plan: Plan | Chain) -> float:
    """Seconds that a plan, or all stages of a chain, are foretold to take in a process that has the libraries."""
    estimates = [estimate_plan(stage, warm=True, tflops=_rate()) for stage in _stages(plan)]
    return sum(one.point or 1.0 for one in estimates)  # 1: of a method that was just added


@functools.cache
def _rate() -> float | None:
    """The CPU's rate, measured once: two of them, at different loads, would not compare."""
    return None if measure_machine().gpu_memory_gb else measure_tflops()


def _stages(plan: Plan | Chain) -> Iterable[Plan]:
    if isinstance(plan, Plan):
        return (plan,)
    from executors.chain import unbound

    return (unbound(stage, plan) for stage in plan.main)


def _entries(decision: Decision) -> Iterable[tuple[str, tuple[str, ...], str]]:
    """Name, methods and verdict of all that could take part."""
    verdicts = {ranked.method: str(ranked.verdict) for ranked in decision.ranking}
    waiting = waiting_for_labels(decision)
    allowed = [m for m in METHODS if m in executors.EXECUTORS and (verdicts.get(m) in OPEN or m in waiting)]
    parts = stages_of(decision)
    for method in dict.fromkeys(("prompt", *allowed)):
        alone = "recommended" if parts == (method,) else "not_yet" if method in waiting else "viable"
        yield method, (method,), alone
    hybrids = [parts] if len(parts) > 1 else []
    hybrids += [TUNED_READER] if set(TUNED_READER) <= {*allowed} and set(parts) != {*TUNED_READER} else []
    for methods in hybrids:
        yield "+".join(methods), methods, "recommended" if methods == parts else "viable"


def waiting_for_labels(decision: Decision) -> frozenset[str]:
    """The methods that lack nothing but labels."""
    facts = Facts(decision.facts)
    view = Assuming(facts.believed(), presumed=facts.presumed())
    lacking = {
        name: {need.id for need in card.needs if need.that.holds(view) is False} for name, card in load_cards().items()
    }
    return frozenset(name for name, needs in lacking.items() if needs and needs <= MEASURABLE)


def _floor(decision: Decision, inputs: Inputs, seed: int) -> Candidate:
    plan = dataclasses.replace(make_plan(decision, inputs, FLOOR), seed=seed)
    return Candidate(FLOOR, (FLOOR,), "floor", plan, foretold(plan))


def _plan(
    name: str, decision: Decision, inputs: Inputs, methods: tuple[str, ...], endpoint: Mapping[str, Any], seed: int
) -> Plan | Chain:
    """The plan of one entry, as `advisor run --method` makes it. Raises `UserError` where it cannot be run."""
    from executors.run import check_plan

    if len(methods) > 1:
        return _chain(decision, inputs, methods, endpoint, seed)
    plan = dataclasses.replace(make_plan(decision, inputs, methods[0], {}, endpoint), seed=seed)
    problems = check_plan(plan) or too_long(plan)
    if problems:
        raise UserError.of(problems)
    return plan


def too_long(plan: Plan) -> list[Problem]:
    """That documents read whole are foretold to fill the model's window: the run would count them, and refuse."""
    if plan.executor != "long_context" or not plan.docs:
        return []
    tokens, window = measure_documents(plan.docs).tokens, measure_model(plan.model).window
    if not window or tokens < window:
        return []
    told = text("race.too_long", tokens=f"{tokens:,}", window=f"{window:,}", model=plan.model)
    return [Problem(told["en"], "", Problem(told["zh"]))]


def _chain(
    decision: Decision, inputs: Inputs, methods: tuple[str, ...], endpoint: Mapping[str, Any], seed: int
) -> Chain:
    """A chain by itself: what its parts bring is told by the other candidates."""
    from advisor.chains import make_chain
    from executors.chain import check_chain

    chain = make_chain(decision, inputs, methods, {}, endpoint)
    stages = tuple(dataclasses.replace(s, plan=dataclasses.replace(s.plan, seed=seed)) for s in chain.main)
    chain = dataclasses.replace(chain, stages=stages, without=())
    problems = check_chain(chain)
    if problems:
        raise UserError.of(problems)
    return chain
