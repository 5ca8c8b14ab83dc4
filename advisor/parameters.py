"""The parameters of a plan that are no defaults, each with its reason: the form of a prompt, layers, passes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import executors
from advisor.advice.forms import variants
from advisor.advice.quadrants import FORMS, enough, is_similar, quadrant
from advisor.cards import load_cards
from advisor.decision import Decision
from advisor.facts import Assuming, Fact, load_vocabulary
from advisor.profile.data import DataProfile
from advisor.profile.model import measure_model
from advisor.prompting import Chosen, Ground, choose_prompt
from advisor.retrieving import choose_retrieval
from advisor.texts import text
from executors.base import Text

PARAMETERS_UNKNOWN = 8_000_000_000
QUICKLY_READ = 3e13  # FLOPs of a language model over the training texts: some three minutes of two CPU cores
NEW_LANGUAGE_REPLAY = 0.25  # share of general text where the documents' language is new to the model
LIKE_LORA = ("lora", "qlora", "rslora", "dora")  # variants that take LoRA's rate
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
    """The variant that is recommended, or that fits the memory where nothing was said of it; then as any training."""
    form = _form("peft", ground.decision)
    if _is_encoder(ground.model):
        return ({"variant": form} if form != "lora" else {}), {"variant": text("plan.encoder_model", name=ground.model)}
    if form == "lora":
        return _tuned("peft", ground.data, ground.model, {})
    params, reasons = _tuned("peft", ground.data, ground.model, {"variant": form})
    card = load_cards()["peft"].variants[form]
    told = text("plan.variant_qlora") if form == "qlora" else text("plan.variant", form=card.title, when=card.when)
    return params, {**reasons, "variant": told}


def _form(method: str, decision: Decision) -> str:
    """The form of a method: as it was recommended, else what the facts say of it."""
    recommended = decision.variants.get(method)
    if recommended:
        return recommended
    known = {name: fact.value for name, fact in decision.facts.items() if fact.origin != "assumed"}
    return variants((method,), Assuming(known))[method]


def _probe(ground: Ground) -> Chosen:
    """The encoder's vector of a text, or the language model's where that tells more and is soon known; the encoder's
    layers one by one only where that is recommended."""
    if ground.decision.variants.get("probe") == "per_layer":
        return {"layer": "best"}, {"layer": text("plan.best_layer")}
    if {"model", "layer", "pooling"} & {*ground.settings} or not _quickly_read(ground.data, ground.model):
        return {}, {}
    return {"model": "best"}, {"model": text("plan.best_features", name=ground.model)}


def _quickly_read(data: DataProfile, model: str) -> bool:
    """Whether a model that runs here without a download reads the training texts, as many as are looked at, soon."""
    from advisor.work_heads import LAYER_SAMPLE
    from executors.models.catalogue import aliases, local_folder

    if model not in aliases() and local_folder(model) is None:
        return False
    parameters = measure_model(model).parameters or PARAMETERS_UNKNOWN
    return 2 * parameters * min(data.train, LAYER_SAMPLE) * data.input_tokens <= QUICKLY_READ


def _small_encoder(ground: Ground) -> Chosen:
    """The variant goes by the rows at hand, which the run counts; only what is recommended for a new domain is set."""
    data = ground.data
    if not data.labels:
        return {}, {"variant": text("plan.encoder_number")}
    return {}, {"variant": text("plan.encoder_variant", rows=f"{data.train:,}", classes=len(data.labels))}


def _cpt(ground: Ground) -> Chosen:
    """All weights with a little general text among the documents, or low-rank updates and more of it."""
    low_rank = _form("cpt", ground.decision) == "low_rank"
    params: dict[str, Any] = {"weights": "low_rank", "replay": NEW_LANGUAGE_REPLAY} if low_rank else {}
    settings = dataclasses.replace(executors.method("cpt").Params(), **params)
    reasons = {
        "epochs": text("plan.epochs_cpt", steps=settings.min_steps),
        "learning_rate": _rate("cpt", settings, ground.model),
        "replay": text("plan.replay", share=f"{100 * settings.replay:.0f}"),
    }
    return params, {**reasons, "weights": text("plan.low_rank")} if low_rank else reasons


def _preference(ground: Ground) -> Chosen:
    return _tuned("preference", ground.data, ground.model, {})


def _full(ground: Ground) -> Chosen:
    """The layers that the rows at hand are enough to move, then as any training."""
    layers, told = _layers(ground.decision, ground.data)
    if _is_encoder(ground.model):
        return layers, {"layers": told, "variant": text("plan.encoder_model", name=ground.model)}
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
    from executors.tuning.params import count_steps

    params = {**params, **({"epochs": 1.0} if data.train >= ONE_PASS else {})}
    settings = dataclasses.replace(executors.method(method).Params(), **params)
    steps = count_steps(settings, data.train)
    passes = steps * settings.batch_size / max(data.train, 1)
    told = {
        "epochs": text(
            "plan.epochs",
            steps=steps,
            batch=settings.batch_size,
            rows=data.train,
            passes=f"{passes:.1f}",
            least=settings.min_steps,
        ),
        "learning_rate": _rate(method, settings, model),
    }
    return params, told


def _rate(method: str, settings: Any, model: str) -> Text:
    """The learning rate, and why it is that: of a tuned start the same as of any pre-trained one."""
    from executors.models.tuned import tuned_run
    from executors.tuning.params import rate_of

    rate, form = f"{rate_of(settings, _parameters(model)):g}", getattr(settings, "variant", None) or "lora"
    if tuned_run(model):
        return text("plan.rate_from_run", rate=rate)
    if form not in LIKE_LORA:
        return text("plan.rate_variant", rate=rate, form=load_cards()["peft"].variants[form].title)
    low_rank = method == "cpt" and settings.weights == "low_rank"
    return text("plan.rate_low_rank" if low_rank else f"plan.rate_{method}", rate=rate)


def _is_encoder(model: str) -> bool:
    """Whether what is tuned is an encoder with a head, and no language model."""
    from executors.tuning.encoder.names import is_encoder

    return is_encoder(model)


def _parameters(model: str) -> int:
    return measure_model(model).parameters or PARAMETERS_UNKNOWN


PARAMETERS: Mapping[str, Callable[[Ground], Chosen]] = {
    "prompt": choose_prompt,
    "rag": choose_retrieval,
    "probe": _probe,
    "small_encoder": _small_encoder,
    "peft": _peft,
    "full": _full,
    "cpt": _cpt,
    "preference": _preference,
}
