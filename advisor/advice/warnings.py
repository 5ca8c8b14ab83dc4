"""What a person should be told before following a decision. Pure functions; its steps are in `ladder`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from advisor.advice.forms import CAPABLE_PARAMETERS
from advisor.cards import load_cards
from advisor.decision import in_words, methods_in_words
from advisor.facts import Fact
from advisor.texts import text
from executors.base import Text

LEAST_EVALUATION = 20  # rows; below that a score says nothing
TELLING_EVALUATION = 200  # rows; tells about 5 points apart
IN_CONTEXT = ("prompt", "long_context", "rag")  # methods that stand or fall with what a model makes of its prompt


def warnings(methods: Sequence[str], facts: Mapping[str, Fact]) -> tuple[Text, ...]:
    """What a person should be told before following the advice."""
    known = {name: fact.value for name, fact in facts.items() if fact.origin != "assumed"}
    told: list[Text] = []
    for check in (_about_answers, _about_data, _about_serving, _about_feedback):
        told += check(methods, _Lookup(known))
    return tuple(told)


class _Lookup:
    """Known values with convenient types; an unknown number is None and compares with nothing."""

    def __init__(self, known: Mapping[str, object]) -> None:
        self.known = known

    def __getitem__(self, fact: str) -> object:
        return self.known.get(fact)

    def below(self, fact: str, bound: float) -> bool:
        return fact in self.known and self.number(fact) < bound

    def number(self, fact: str) -> float:
        value = self.known.get(fact)
        return float(value) if isinstance(value, (int, float)) else math.nan


def _about_answers(methods: Sequence[str], known: _Lookup) -> Iterator[Text]:
    """Answers that sit oddly together."""
    gap = known.number("baseline_score") - known.number("target_score")
    if known["failure"] == "none" and gap < 0:
        yield text("decision.warn_none_below", baseline=known["baseline_score"], target=known["target_score"])
    if known["failure"] not in (None, "none") and gap >= 0:
        yield text("decision.warn_above_target", baseline=known["baseline_score"], target=known["target_score"])
    if known.number("target_score") >= 1:
        yield text("decision.warn_perfect")
    if known["classes"] and known["task"] not in (None, "classification"):
        yield text("decision.warn_classes_ignored", task=in_words("task", str(known["task"])))
    if known.number("labelled_examples") < known.number("classes"):
        yield text("decision.warn_fewer_labels", labels=known["labelled_examples"], classes=known["classes"])
    if known["privacy"] == "on_premises" and known["weights_access"] is False:
        yield text("decision.warn_no_local_model")
    if "pretrain" in methods:
        yield text("decision.warn_pretrain")
    fast = known["knowledge_change"] in ("weekly", "daily", "live")
    if fast and known["knowledge_tokens"] is None and "rag" not in methods:
        yield text("decision.warn_no_text", change=in_words("knowledge_change", str(known["knowledge_change"])))


def _about_data(methods: Sequence[str], known: _Lookup) -> Iterator[Text]:
    """What the rows at hand cannot show."""
    if known.below("evaluation_examples", LEAST_EVALUATION):
        yield text("decision.warn_evaluation", had=known["evaluation_examples"], least=LEAST_EVALUATION)
    elif known["error_cost"] == "high" and known.below("evaluation_examples", TELLING_EVALUATION):
        had = known.number("evaluation_examples")
        points = f"{100 * 1.96 * math.sqrt(0.25 / had):.0f}"
        yield text("decision.warn_interval", had=known["evaluation_examples"], points=points)
    trained = [method for method in methods if load_cards()[method].trains]
    if known["label_quality"] in ("noisy", "synthetic"):
        yield text(f"decision.warn_{known['label_quality']}")
    if known["team_skill"] == "none" and trained:
        yield text("decision.warn_first_training", methods=methods_in_words(trained))


def _about_serving(methods: Sequence[str], known: _Lookup) -> Iterator[Text]:
    """What the place of work makes harder."""
    if known.below("model_parameters", CAPABLE_PARAMETERS):
        yield _about_size(methods, known)
    if known["gpu_memory_gb"] == 0 and known["model_parameters"] is None and {"peft", "full"} & set(methods):
        yield text("decision.warn_cpu")
    if known["privacy"] == "on_premises":
        yield text("decision.warn_on_premises")
    if known["privacy"] == "public_api" and known["knowledge_private"] is True:
        yield text("decision.warn_private_to_api")
    if known["needs_actions"] is True or ("rag" in methods and known["knowledge_change"] == "live"):
        yield text("decision.warn_tools", what=load_cards()["tools"].what)
    if known["error_cost"] == "high":
        yield text("decision.warn_error_cost")


def _about_size(methods: Sequence[str], known: _Lookup) -> Text:
    """A small model prompts badly: said of what is recommended, or of prompting, which always stays possible."""
    in_context = [method for method in methods if method in IN_CONTEXT]
    return text(
        "decision.warn_small_model" if in_context else "decision.warn_small_beside",
        methods=methods_in_words(in_context or ["prompt"]),
        size=in_words("model_parameters", known["model_parameters"]),  # type: ignore[arg-type]  # a number
        least=in_words("model_parameters", int(CAPABLE_PARAMETERS)),
    )


def _about_feedback(methods: Sequence[str], known: _Lookup) -> Iterator[Text]:
    """Rewards that a program gives are explained wherever they are possible, recommended or not."""
    if known["feedback"] == "verifiable":
        forms = load_cards()["preference"].variants
        form, cheaper = forms["verifiable_rewards"], forms["rejection_sampling"]
        parts = {"title": form.title, "what": form.what, "when": form.when, "limit": form.limit}
        yield text("decision.warn_verifiable", **parts, cheaper=cheaper.title)
