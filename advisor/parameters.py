"""The parameters of a plan that are no defaults, each with its reason: demonstrations, layers, passes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import executors
from advisor.advice.quadrants import FORMS, enough, is_similar, quadrant
from advisor.decision import Decision
from advisor.facts import Fact, load_vocabulary
from advisor.profile.data import DataProfile
from advisor.profile.model import measure_model
from advisor.texts import text
from executors.base import Text

SHOTS, MOST_SHOTS, TEXT_SHOTS = 8, 24, 4  # demonstrations: of labels and numbers, at most, of free text
MANY_SHOT_LIMIT = 500  # demonstrations, at most: all of them are read with every batch of inputs
SHOTS_SHARE = 0.5  # of the model's window that demonstrations may fill
WINDOW_UNKNOWN = 2048
PARAMETERS_UNKNOWN = 8_000_000_000
ONE_PASS = 20_000  # training rows from which one pass is enough
LAYERS: Mapping[str, Mapping[str, str]] = {  # parameters of `full` for each of its forms
    "all": {},
    "last_layers": {"layers": "last"},
    "first_frozen": {"layers": "first_frozen"},
}

Chosen = tuple[dict[str, Any], dict[str, Text]]
"""Parameters that differ from the defaults, and reasons by parameter name."""


def choose_parameters(method: str, decision: Decision, data: DataProfile, model: str) -> Chosen:
    """The parameters of `method` for these rows and this model. Where nothing depends on them the defaults hold."""
    choose = PARAMETERS.get(method)
    return choose(decision, data, model) if choose else ({}, {})


def _prompt(decision: Decision, data: DataProfile, model: str) -> Chosen:
    """Demonstrations from the training rows: one a label, some of plain questions, none beside long passages."""
    if decision.variants.get("prompt") == "zero_shot":
        return {"shots": 0}, {"shots": text("plan.zero_shot")}
    each = max(data.input_tokens + data.answer_tokens, 1)
    fitting = math.floor(SHOTS_SHARE * _window(model) / each)
    many = decision.variants.get("prompt") == "many_shot"
    shots = min(MANY_SHOT_LIMIT if many else _wanted_shots(data), data.train, fitting)
    key = "plan.shots_balanced" if data.task == "classification" else "plan.shots" if shots else "plan.shots_none"
    told = {"shots": text(key, shots=shots, labels=len(data.labels), rows=data.train, tokens=f"{shots * each:,.0f}")}
    if data.task == "classification":
        told["calibration"] = text("plan.calibrated")
    return {"shots": shots}, told


def _wanted_shots(data: DataProfile) -> int:
    if data.task == "classification":
        return min(max(SHOTS, len(data.labels)), MOST_SHOTS)
    if data.task == "regression":
        return SHOTS
    return 0 if "context" in data.columns else TEXT_SHOTS


def _peft(decision: Decision, data: DataProfile, model: str) -> Chosen:
    return _tuned("peft", data, model, {})


def _full(decision: Decision, data: DataProfile, model: str) -> Chosen:
    """The layers that the rows at hand are enough to move, then as any training."""
    layers, told = _layers(decision, data)
    params, reasons = _tuned("full", data, model, layers)
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
    settings = dataclasses.replace(executors.load(method).Params(), **params)
    steps = count_steps(settings, data.train)
    passes = steps * settings.batch_size / max(data.train, 1)
    told = {
        "epochs": text("plan.epochs", steps=steps, batch=settings.batch_size, rows=data.train, passes=f"{passes:.1f}"),
        "learning_rate": text(f"plan.rate_{method}", rate=f"{rate_of(settings, _parameters(model)):g}"),
    }
    return params, told


def _window(model: str) -> int:
    return measure_model(model).window or WINDOW_UNKNOWN


def _parameters(model: str) -> int:
    return measure_model(model).parameters or PARAMETERS_UNKNOWN


PARAMETERS: Mapping[str, Callable[[Decision, DataProfile, str], Chosen]] = {
    "prompt": _prompt,
    "peft": _peft,
    "full": _full,
}
