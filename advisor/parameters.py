"""The parameters of a plan that are no defaults, each with its reason: the form of a prompt, layers, passes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import executors
from advisor.advice.quadrants import FORMS, enough, is_similar, quadrant
from advisor.decision import Decision
from advisor.facts import Fact, load_vocabulary
from advisor.profile.data import DataProfile
from advisor.profile.model import measure_model
from advisor.prompting import Chosen, Ground, choose_prompt
from advisor.retrieving import choose_retrieval
from advisor.texts import text
from executors.base import Text

PARAMETERS_UNKNOWN = 8_000_000_000
ONE_PASS = 20_000  # training rows from which one pass is enough
LAYERS: Mapping[str, Mapping[str, str]] = {  # parameters of `full` for each of its forms
    "all": {},
    "last_layers": {"layers": "last"},
    "first_frozen": {"layers": "first_frozen"},
}


def choose_parameters(method: str, ground: Ground) -> Chosen:
    """The parameters of `method` for these rows and this model. Where nothing depends on them the defaults hold."""
    choose = PARAMETERS.get(method)
    return choose(ground) if choose else ({}, {})


def _peft(ground: Ground) -> Chosen:
    return _tuned("peft", ground.data, ground.model, {})


def _full(ground: Ground) -> Chosen:
    """The layers that the rows at hand are enough to move, then as any training."""
    layers, told = _layers(ground.decision, ground.data)
    params, reasons = _tuned("full", ground.data, ground.model, layers)
    return params, {**reasons, "layers": told}


def _layers(decision: Decision, data: DataProfile) -> tuple[dict[str, Any], Text]:
    """Which layers are trained, by the quadrant of these rows (not of those hoped for) and of the domain."""
    fact = decision.facts.get("domain_similarity")
    place = quadrant(data.train >= enough("full"), is_similar(fact.value if fact else None))
    known = fact is not None and fact.origin != "assumed"
    domain = text("plan.domain_known" if known else "plan.domain_assumed", domain=_domain(fact))
    told = text(f"plan.layers_{place}", rows=f"{data.train:,}", enough=f"{enough('full'):,}", domain=domain)
    return dict(LAYERS[FORMS["full"][place]]), told


def _domain(fact: Fact | None) -> Text:
    """How near the domain is, in words."""
    value = fact.value if fact else "medium"
    return dict(load_vocabulary()["domain_similarity"].option_texts[str(value)])


def _tuned(method: str, data: DataProfile, model: str, params: dict[str, Any]) -> Chosen:
    """Passes over the rows: the default, at least 100 steps, and one where rows are very many."""
    from executors.tuning.params import count_steps, rate_of

    params = {**params, **({"epochs": 1.0} if data.train >= ONE_PASS else {})}
    settings = dataclasses.replace(executors.method(method).Params(), **params)
    steps = count_steps(settings, data.train)
    passes = steps * settings.batch_size / max(data.train, 1)
    told = {
        "epochs": text("plan.epochs", steps=steps, batch=settings.batch_size, rows=data.train, passes=f"{passes:.1f}"),
        "learning_rate": text(f"plan.rate_{method}", rate=f"{rate_of(settings, _parameters(model)):g}"),
    }
    return params, told


def _parameters(model: str) -> int:
    return measure_model(model).parameters or PARAMETERS_UNKNOWN


PARAMETERS: Mapping[str, Callable[[Ground], Chosen]] = {
    "prompt": choose_prompt,
    "rag": choose_retrieval,
    "peft": _peft,
    "full": _full,
}
