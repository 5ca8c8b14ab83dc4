"""The parameters of a prompt's plan: what the recommended form demands, and the time to search for the rest.

What stands in a plan's `params` stays: the search leaves it alone. So where a search runs, only what the form demands
is put there (no demonstrations, hundreds of them, steps of reasoning, what the window holds), and the rest explained.
Not covered: which prompts a search compares (`executors.prompt.candidates`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from advisor import formats
from advisor.decision import Decision
from advisor.texts import LANGUAGES, text
from executors.base import DataSpec, Plan, Text, parse_params

if TYPE_CHECKING:
    from advisor.hardware import Range
    from advisor.profile.data import DataProfile

MANY_SHOT_LIMIT = 500  # demonstrations, at most: all of them are read with every batch of inputs
RETRIEVED_SHOTS, RETRIEVED_GROUNDED = 5, 2  # nearest rows beside an input; with passages of their own
SHOTS_SHARE = 0.5  # of the model's window that demonstrations may fill
WINDOW_UNKNOWN = 2048
REQUIRED_BY = {"format": "format_strict", "style": "style"}  # requirement -> the fact that asks for it
SECONDS, MOST_SECONDS = 120, 600  # of a search: by default, and at most where its first round takes longer
SAYS_NOTHING = frozenset(
    {"label", "labels", "y", "target", "targets", "class", "classes", "category", "categories", "type", "tag", "output"}
    | {"answer", "answers", "response", "completion", "result", "value", "gold", "ground", "truth", "reference", "text"}
    | {"标签", "类别", "分类", "类型", "目标", "输出", "答案", "回答", "结果"}
)
WORD = re.compile(r"[^\W\d_]+")

Chosen = tuple[dict[str, Any], dict[str, Text]]
"""Parameters that differ from the defaults, and reasons by parameter name."""


@dataclass(frozen=True)
class Ground:
    """What a plan's parameters are chosen by. `settings` and `endpoint` are what the caller sets over them."""

    decision: Decision
    data: DataProfile
    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    endpoint: Mapping[str, Any] = field(default_factory=dict)
    docs: str | None = None


def choose_prompt(ground: Ground) -> Chosen:
    """The parameters of a prompt for these rows and this model, each with its reason."""
    from executors.prompt.params import PromptParams

    if parse_params(PromptParams, ground.settings)[1]:
        return {}, {}  # the plan's check says what is wrong with them
    form = ground.decision.variants.get("prompt", "few_shot")
    params, told = _required(ground)
    demanded, why = _demanded(form, ground)
    params, told = {**params, **demanded}, {**told, **why}
    tight, about_tight = _tight(form, ground) if "shots" not in {**params, **ground.settings} else ({}, {})
    seconds, about_search = _search({**params, **tight, **ground.settings}, ground)
    own, reasons = (tight, about_tight) if seconds else _unsearched(form, ground)
    params, told = {**own, **params}, {**reasons, **told, "search_seconds": about_search}
    if seconds:
        params["search_seconds"] = seconds
        told = {**_searched_reasons(form, {**params, **ground.settings}, ground), **told}
    return _with_cue(params, told, ground), {**_calibration_reason(params, seconds, ground), **told}


def _calibration_reason(params: Mapping[str, Any], seconds: float, ground: Ground) -> dict[str, Text]:
    """What becomes of labels' priors where labels are compared by likelihood."""
    given = {**params, **ground.settings}
    if not _scores_labels(given, ground) or given.get("candidates") == "shown":
        return {}
    return {"calibration": text("plan.calibrated_searched" if seconds else "plan.calibrated")}


# -- what the facts and the form demand ----------------------------------------------------------------


def _required(ground: Ground) -> Chosen:
    """What the facts say an answer must also be; labels and numbers have neither format nor style."""
    if ground.data.task in ("classification", "regression"):
        return {}, {}
    known = {name: fact.value for name, fact in ground.decision.facts.items() if fact.origin != "assumed"}
    found = {name: fact for name, fact in REQUIRED_BY.items() if known.get(fact) is True}
    if not found:
        return {}, {}
    return {"requirements": list(found)}, {"requirements": text("plan.requirements", facts=", ".join(found.values()))}


def _demanded(form: str, ground: Ground) -> Chosen:
    """What makes the form what it is; the search keeps it."""
    if form == "zero_shot":
        return {"shots": 0}, {"shots": text("plan.zero_shot")}
    if form == "chain_of_thought" and ground.data.task != "structured_output":
        return {"chain_of_thought": True}, {"chain_of_thought": text("plan.chain_of_thought")}
    if form == "many_shot":
        shots = min(MANY_SHOT_LIMIT, ground.data.train, _fitting(ground))
        demanded = {"shots": shots, "selection": "balanced"}
        return demanded, {"shots": _shots_told(shots, ground), "selection": text("plan.many_shot")}
    return {}, {}


def _tight(form: str, ground: Ground) -> Chosen:
    """The number of demonstrations where the window holds fewer than usual; nothing where it holds them."""
    shots = _usual(form, ground)
    if shots < _fitting(ground):
        return {}, {}
    return {"shots": shots}, {"shots": text("plan.shots_window", shots=shots, window=f"{window_of(ground.model):,}")}


def _unsearched(form: str, ground: Ground) -> Chosen:
    """Demonstrations where no search chooses them."""
    if form in ("zero_shot", "many_shot"):
        return {}, {}
    shots = _usual(form, ground)
    if form != "retrieved" or not shots or not _may_retrieve(ground.settings):
        return {"shots": shots}, {"shots": _shots_told(shots, ground)}
    params: dict[str, Any] = {"shots": shots, "selection": "nearest"}
    told = {
        "shots": text("plan.shots_nearest", shots=shots),
        "selection": text("plan.retrieved", rows=ground.data.train),
    }
    if _compares_shown(ground) and _scores_labels(ground.settings, ground):
        params["candidates"] = "shown"
        told["candidates"] = text("plan.candidates_shown", labels=len(ground.data.labels))
    return params, told


def _may_retrieve(settings: Mapping[str, Any]) -> bool:
    """Whether nothing that is set says which rows are shown, or that none are."""
    return settings.get("shots") != 0 and not {"selection", "demonstrations"} & set(settings)


def _usual(form: str, ground: Ground) -> int:
    """Demonstrations of this form, as many as fit half of the window."""
    from advisor.estimate import usual_shots

    data, grounded = ground.data, bool(ground.data.columns.get("context"))
    wanted = usual_shots(data.task, len(data.labels), grounded)
    if form == "retrieved":
        wanted = RETRIEVED_GROUNDED if grounded else RETRIEVED_SHOTS
    return min(wanted, data.train, _fitting(ground))


def _fitting(ground: Ground) -> int:
    return math.floor(SHOTS_SHARE * window_of(ground.model) / _each(ground.data))


def _each(data: DataProfile) -> float:
    return max(data.input_tokens + data.answer_tokens, 1)


def _shots_told(shots: int, ground: Ground) -> Text:
    data = ground.data
    key = "plan.shots_balanced" if data.task == "classification" else "plan.shots" if shots else "plan.shots_none"
    tokens = f"{shots * _each(data):,.0f}"
    return text(key, shots=shots, labels=len(data.labels), rows=data.train, tokens=tokens)


def _compares_shown(ground: Ground) -> bool:
    from executors.prompt.candidates import SHOWN_FROM

    return bool(ground.data.task == "classification" and len(ground.data.labels) >= SHOWN_FROM)


def _scores_labels(given: Mapping[str, Any], ground: Ground) -> bool:
    """Whether labels are chosen by likelihood, which an endpoint does not tell and reasoning does not use."""
    from advisor.endpoints import find_endpoint

    local = find_endpoint(ground.model) is None
    return ground.data.task == "classification" and local and not given.get("chain_of_thought")


# -- the cue -------------------------------------------------------------------------------------------


def _with_cue(params: dict[str, Any], told: dict[str, Text], ground: Ground) -> dict[str, Any]:
    """`params` with the label column's own name as the word before the answer, where that says what answers are.

    Only where a wording has a place for it: those of the search have, the plain one has none.
    """
    wording = ground.settings.get("wording", "plain")
    column = ground.data.columns.get("label", "")
    cue = cue_of(column, chinese=ground.data.languages.get("zh", 0.0) > 0.5)
    if not cue or (wording == "plain" and ("wording" in ground.settings or "search_seconds" not in params)):
        return params
    told["cue"] = text("plan.cue", cue=cue, column=column)
    return {**params, "cue": cue}


def cue_of(column: str, *, chinese: bool = False) -> str:
    """A column's name as a cue in the texts' language, "intent" as "Intent"; empty where it only says "label"."""
    words = WORD.findall(column)
    cue = " ".join(words)
    if not 0 < len(words) <= 3 or SAYS_NOTHING.issuperset(word.lower() for word in words) or chinese == cue.isascii():
        return ""
    return cue[:1].upper() + cue[1:]


# -- the search ----------------------------------------------------------------------------------------


def _search(given: Mapping[str, Any], ground: Ground) -> tuple[float, Text]:
    """Seconds for the search, and why; 0 where the rows are too few or its requests would cost what nobody allowed."""
    from executors.prompt.search import LEAST_ROWS

    if "search_seconds" in ground.settings:
        value = float(ground.settings["search_seconds"])
        return value, text("plan.set", value=f"{value:g}")
    rows = ground.data.train
    if rows // 2 < LEAST_ROWS:
        return 0.0, text("plan.search_few", rows=rows, least=2 * LEAST_ROWS)
    plan = _provisional(given, ground, SECONDS)
    refused = _too_dear(plan, ground)
    if refused:
        return 0.0, refused
    return _budget(plan, ground)


def _provisional(given: Mapping[str, Any], ground: Ground, seconds: float) -> Plan:
    data = ground.data
    spec, params = DataSpec(data.path, columns=data.columns), {**given, "search_seconds": seconds}
    return Plan("prompt", data.task, spec, model=ground.model, params=params, endpoint=ground.endpoint)


def _too_dear(plan: Plan, ground: Ground) -> Text | None:
    """Why a search is not made of an endpoint that is paid by the token; None where it may be."""
    from advisor.endpoints import cost_of, find_endpoint, money
    from advisor.estimate import asked_of, rows_of
    from executors.models.endpoint import price_of, read_limits

    endpoint = find_endpoint(plan.model)
    if endpoint is None:
        return None
    limits = read_limits(plan.endpoint)
    price = price_of(endpoint, limits)
    if endpoint.stays_here or (price is not None and not price.output and not price.input):
        return None
    if limits.max_cost is None or price is None:
        return text("plan.search_paid")
    most = cost_of(asked_of(plan, rows_of(ground.data)), price)[1]
    if most > limits.max_cost:
        return text("plan.search_dear", cost=money(most)["usd"], cap=money(limits.max_cost)["usd"])
    return None


def _budget(plan: Plan, ground: Ground) -> tuple[float, Text]:
    """Time for the first round, at the middle of its estimate, where that is not more than `MOST_SECONDS`."""
    from advisor.endpoints import find_endpoint
    from advisor.estimate import prompts_of, rows_of

    rows, prompts = rows_of(ground.data), len(prompts_of(plan, rows_of(ground.data)))
    low, high = _first_round(plan, ground, prompts)
    seconds = float(min(MOST_SECONDS, max(SECONDS, 60 * math.ceil(math.sqrt(low * high) / 60))))
    key = "plan.search" if math.sqrt(low * high) <= seconds else "plan.search_part"
    if find_endpoint(plan.model) is not None:
        key = "plan.search_endpoint"
    time = {lang: formats.seconds(low, high, lang) for lang in LANGUAGES}
    return seconds, text(key, seconds=f"{seconds:g}", prompts=prompts, half=_development(rows.train), time=time)


def _first_round(plan: Plan, ground: Ground, prompts: int) -> Range:
    from advisor.endpoints import find_endpoint, seconds_of
    from advisor.estimate import first_round, rig_of, rows_of
    from advisor.profile.machine import measure_machine
    from executors.models.endpoint import read_limits
    from executors.prompt.search import FIRST_ROWS

    if find_endpoint(plan.model) is not None:
        return seconds_of(prompts * FIRST_ROWS, read_limits(plan.endpoint))
    return first_round(plan, rows_of(ground.data), rig_of(measure_machine()))


def _development(train: int) -> int:
    from executors.prompt.search import MOST_ROWS

    return min(train // 2, MOST_ROWS)


def _searched_reasons(form: str, given: Mapping[str, Any], ground: Ground) -> dict[str, Text]:
    """What the search is left to choose, and where it begins."""
    from executors.prompt.candidates import RETRIEVE_FROM

    told = {} if "shots" in given else {"shots": text("plan.shots_searched", shots=_usual("few_shot", ground))}
    if form != "retrieved" or not _may_retrieve(given):
        return told
    rest = ground.data.train - _development(ground.data.train)
    key = "plan.retrieved_searched" if rest >= RETRIEVE_FROM else "plan.retrieved_few"
    return {**told, "selection": text(key, rest=rest, least=RETRIEVE_FROM, rows=ground.data.train)}


def window_of(model: str) -> int:
    """Tokens the model reads, as far as that is known."""
    from advisor.profile.model import measure_model

    return measure_model(model).window or WINDOW_UNKNOWN
