"""The form of each recommended method: an entry of its card's `variants`, chosen by the facts. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from advisor.advice.quadrants import form_of
from advisor.cards import Memory, load_cards
from advisor.facts import Assuming

CAPABLE_PARAMETERS = 3e9  # below, in-context learning and chain-of-thought are weak
FEW_SHOTS = 50  # labelled examples; from here on demonstrations are chosen for each input
MANY_SHOTS = 300  # labelled examples that fill a long window usefully
LONG_WINDOW = 100_000  # tokens that hold some hundred demonstrations
MANY_CLASSES = 20  # where accuracy goes on rising with the number of demonstrations
CONTRASTIVE_BELOW = 8  # labels a class; from here on a plain head that begins as a probe did as well where measured
LORA_BYTES, LORA_SPARE_GB = 2.2, 2.0  # bfloat16 base and adapters; more memory than 4 bit needs
TUNED_READERS = frozenset({"peft", "full", "preference"})


def variants(methods: Sequence[str], view: Assuming) -> dict[str, str]:
    """The form of each method that has several."""
    forms: dict[str, Callable[[Assuming], str]] = {
        "prompt": _prompt,
        "rag": lambda v: _retrieval(methods, v),
        "probe": lambda v: "mean_pooling",
        "small_encoder": _small_encoder,
        "peft": _adapter,
        "full": lambda v: form_of("full", v.value),
        "cpt": lambda v: "low_rank" if v.value("low_resource_language") else "replay",
        "preference": lambda v: "verifiable_rewards" if v.value("feedback") == "verifiable" else "dpo",
    }
    return {method: forms[method](view) for method in methods if load_cards()[method].variants}


def _prompt(view: Assuming) -> str:
    """How to prompt: by the task first, then by how many examples there are and what the model can hold of them."""
    labels = _number(view, "labelled_examples")
    if view.value("task") == "reasoning" and is_capable(view) is not False:
        return "chain_of_thought"
    if not labels:
        return "zero_shot"
    if labels >= FEW_SHOTS:
        return "many_shot" if labels >= MANY_SHOTS and _holds_many(view) else "retrieved"
    return "calibrated" if view.value("task") == "classification" and not is_capable(view) else "few_shot"


def is_capable(view: Assuming) -> bool | None:
    """Whether the model is large enough to learn from its prompt and to reason in it; None where no size is known."""
    if not view.known("model_parameters"):
        return None
    return _number(view, "model_parameters") >= CAPABLE_PARAMETERS


def _holds_many(view: Assuming) -> bool:
    """Many labels to tell apart, a window known to hold hundreds of examples, and time to read them."""
    long = view.known("context_window") and _number(view, "context_window") >= LONG_WINDOW
    many = view.value("task") == "classification" and _number(view, "classes") >= MANY_CLASSES
    return long and many and view.value("latency") != "tight"


def _retrieval(methods: Sequence[str], view: Assuming) -> str:
    if view.value("needs_actions") or view.value("knowledge_change") == "live":
        return "tools"
    return "tuned_reader" if TUNED_READERS & set(methods) else "retrieval"


def _small_encoder(view: Assuming) -> str:
    """Contrastive pairs where labels are very few, else by quadrant."""
    labels = _number(view, "labelled_examples") / (_number(view, "classes") or 1)
    return "setfit" if labels < CONTRASTIVE_BELOW else form_of("small_encoder", view.value)


def _adapter(view: Assuming) -> str:
    memory = Memory(LORA_BYTES, LORA_SPARE_GB, cpu_parameters=2e9)
    return "lora" if memory.holds(view) else "qlora"


def _number(view: Assuming, fact: str) -> float:
    return float(view.value(fact) or 0)
