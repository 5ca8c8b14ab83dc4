"""What to do with a decision: the form of each method, the ladder of steps, warnings and risks. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from advisor.cards import Memory, load_cards
from advisor.decision import Inputs, Rung, in_words, methods_in_words
from advisor.facts import Assuming, Fact
from advisor.texts import text
from executors import EXECUTORS
from executors.base import Text

PILOT = 50  # rows labelled before labels are bought
LEAST_EVALUATION = 20  # rows; below that a score says nothing
TELLING_EVALUATION = 200  # rows; tells about 5 points apart
CAPABLE_PARAMETERS = 3e9  # below, in-context learning and chain-of-thought are weak
FEW_SHOTS = 50  # from here on examples are chosen for each input
LORA_BYTES, LORA_SPARE_GB = 2.2, 2.0  # bfloat16 base and adapters; more memory than 4 bit needs
TRAINED_WHOLE = 64  # labels a class from which an encoder is tuned in the usual way
RISKS = ("staleness", "leakage", "bias", "forgetting", "licence")

ORDER = ("prompt", "long_context", "rag", "pretrain", "cpt", "probe", "small_encoder", "peft", "full", "preference")
"""The order in which the parts of a hybrid are built: what retrieves, what reads, what is then tuned."""


# -- forms -------------------------------------------------------------------------------------------


def variants(methods: Sequence[str], view: Assuming) -> dict[str, str]:
    """The form of each method that has several: an entry of its card's `variants`."""
    return {method: _variant(method, view) for method in methods if load_cards()[method].variants}


def _variant(method: str, view: Assuming) -> str:
    forms: dict[str, Callable[[Assuming], str]] = {
        "prompt": _prompt_form,
        "rag": lambda v: "tools" if v.value("needs_actions") or v.value("knowledge_change") == "live" else "retrieval",
        "probe": lambda v: "mean_pooling",
        "small_encoder": lambda v: "head_and_all" if _labels_per_class(v) >= TRAINED_WHOLE else "setfit",
        "peft": _peft_form,
        "full": lambda v: "all",
        "cpt": lambda v: "low_rank" if v.value("low_resource_language") else "replay",
        "preference": lambda v: "verifiable_rewards" if v.value("feedback") == "verifiable" else "dpo",
    }
    return forms[method](view)


def _prompt_form(view: Assuming) -> str:
    labels = _number(view, "labelled_examples")
    if not labels:
        return "zero_shot"
    return "retrieved" if labels >= FEW_SHOTS else "few_shot"


def _peft_form(view: Assuming) -> str:
    memory = Memory(LORA_BYTES, LORA_SPARE_GB, cpu_parameters=2e9)
    return "lora" if memory.holds(view) else "qlora"


def _labels_per_class(view: Assuming) -> float:
    return _number(view, "labelled_examples") / (_number(view, "classes") or 1)


def _number(view: Assuming, fact: str) -> float:
    return float(view.value(fact) or 0)


# -- the ladder --------------------------------------------------------------------------------------


def ladder(
    methods: Sequence[str], view: Assuming, facts: Mapping[str, Fact], run: str, inputs: Inputs
) -> tuple[Rung, ...]:
    """The steps from here to the target, cheapest first, each with its gate, its cost and its command."""
    command = _Commands(run or "last", inputs)
    target = in_words("target_score", facts["target_score"].value)
    rungs = [_evaluation_rung(facts, command), _prompt_rung(target, command)]
    if _labels_would_help(view):
        rungs.append(_pilot_rung(facts, command))
    built = [method for method in ORDER if method in methods and method != "prompt"]
    rungs += [_method_rung(method, target, command, last=method == built[-1]) for method in built]
    rungs.append(_use_rung(command))
    return tuple(rungs)


class _Commands:
    """Commands of this run; what was not given yet stands as a placeholder."""

    def __init__(self, run: str, inputs: Inputs) -> None:
        self.run, self.inputs = run, inputs

    def method(self, method: str) -> str:
        data = "" if self.inputs.data else " --data FILE"
        docs = " --docs DIR" if method == "rag" and not self.inputs.docs else ""
        return f"advisor run {self.run} --method {method}{data}{docs}"


def _evaluation_rung(facts: Mapping[str, Fact], command: _Commands) -> Rung:
    had = facts["evaluation_examples"]
    enough = had.origin != "assumed" and float(had.value) >= LEAST_EVALUATION
    key = "decision.step_floor" if enough else "decision.step_evaluation"
    return Rung(
        text=text(key, least=LEAST_EVALUATION, telling=TELLING_EVALUATION),
        gate=text("decision.gate_floor" if enough else "decision.gate_evaluation", least=LEAST_EVALUATION),
        cost=text("decision.cost_floor" if enough else "decision.cost_evaluation"),
        command=command.method("baseline"),
    )


def _prompt_rung(target: Text, command: _Commands) -> Rung:
    return Rung(
        text=text("decision.step_prompt"),
        gate=text("decision.gate_target", target=target),
        cost=text("decision.cost_prompt"),
        command=command.method("prompt"),
    )


def _labels_would_help(view: Assuming) -> bool:
    """Whether fewer than a pilot's rows are known, and some method waits for nothing but labels."""
    if view.known("labelled_examples") and _number(view, "labelled_examples") >= PILOT:
        return False
    waiting = ({n.id for n in card.needs if n.that.holds(view) is False} for card in load_cards().values())
    return {"labels"} in waiting


def _pilot_rung(facts: Mapping[str, Fact], command: _Commands) -> Rung:
    """A pilot before labels are bought: with a head where labels are plain, else with demonstrations."""
    plain = facts["task"].value in ("classification", "regression")
    method = "probe" if plain and facts["training_budget"].value != "none" else "prompt"
    return Rung(
        text=text("decision.step_pilot", rows=PILOT),
        gate=text("decision.gate_pilot"),
        cost=text("decision.cost_pilot", rows=PILOT),
        command=command.method(method),
    )


def _method_rung(method: str, target: Text, command: _Commands, *, last: bool) -> Rung:
    card = load_cards()[method]
    runs = method in EXECUTORS
    key = "decision.step_method" if runs else "decision.step_nearest"
    return Rung(
        text=text(key, method=card.title, what=card.what, nearest=load_cards()[card.nearest or method].title),
        gate=text("decision.gate_last" if last else "decision.gate_target", target=target),
        cost=card.cost_training,
        command=command.method(method if runs else card.nearest),
    )


def _use_rung(command: _Commands) -> Rung:
    return Rung(
        text=text("decision.step_use"),
        gate=text("decision.gate_use"),
        cost=text("decision.cost_use"),
        command=f"advisor predict {command.run} --input FILE",
    )


# -- warnings and risks ------------------------------------------------------------------------------


def risks(methods: Sequence[str]) -> tuple[Text, ...]:
    """The risks every report names, then those of the recommended methods."""
    own = [risk for method in methods for risk in load_cards()[method].risks]
    return (*(text(f"decision.risk_{name}") for name in RISKS), *own)


def warnings(methods: Sequence[str], facts: Mapping[str, Fact]) -> tuple[Text, ...]:
    """What a person should be told before following the advice."""
    known = {name: fact.value for name, fact in facts.items() if fact.origin != "assumed"}
    told: list[Text] = []
    for check in (_about_answers, _about_data, _about_serving):
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
    in_context = [method for method in methods if method in ("prompt", "long_context", "rag")]
    if in_context and known.below("model_parameters", CAPABLE_PARAMETERS):
        yield text(
            "decision.warn_small_model",
            size=in_words("model_parameters", known["model_parameters"]),  # type: ignore[arg-type]  # a number
            least=in_words("model_parameters", int(CAPABLE_PARAMETERS)),
        )
    if known["gpu_memory_gb"] == 0 and known["model_parameters"] is None and {"peft", "full"} & set(methods):
        yield text("decision.warn_cpu")
    if known["privacy"] == "on_premises":
        yield text("decision.warn_on_premises")
    if known["privacy"] == "public_api" and known["knowledge_private"] is True:
        yield text("decision.warn_private_to_api")
    if "rag" in methods and (known["needs_actions"] is True or known["knowledge_change"] == "live"):
        yield text("decision.warn_tools", what=load_cards()["tools"].what)
    if known["error_cost"] == "high":
        yield text("decision.warn_error_cost")
