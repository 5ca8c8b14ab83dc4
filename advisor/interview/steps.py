"""The steps of the interview, as values: which one is next is a pure function of what has been answered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.cells import cell_len, set_cell_size

from advisor import formats, words
from advisor.answers import contradictions
from advisor.decision import Inputs, next_question
from advisor.facts import Assuming, Fact, Facts, FactSpec, load_vocabulary, parse_value
from advisor.interview.asking import Option, Prompt, Reply, Signal
from advisor.interview.gauge import Gauge
from advisor.texts import LANGUAGES, say
from executors.base import Text, UserError

OPENING = ("training_budget", "labelled_examples", "knowledge_change")
WITHOUT_DOCUMENTS = ("classification", "regression")  # tasks whose answers quote no documents
HELD_OUT_NAMES = ("test", "dev", "valid", "eval")
ROLES = ("text", "label")
DEFAULT_MODEL = "smollm2-135m-instruct"
FURTHER_AT_MOST = 20  # questions looked ahead for the count


@dataclass(frozen=True)
class State:
    """All that has been answered. `settled` are steps that need not come again, `skipped` facts left unknown."""

    facts: Facts = field(default_factory=Facts)
    inputs: Inputs = field(default_factory=Inputs)
    settled: frozenset[str] = frozenset()
    skipped: frozenset[str] = frozenset()
    columns: tuple[str, ...] = ()  # of the data file, where their roles must be asked
    correcting: str = ""  # the fact the user wants to change
    warnings: tuple[Text, ...] = ()  # about the inputs

    def settle(self, *steps: str) -> State:
        return replace(self, settled=self.settled | set(steps))


class Step(ABC):
    """One question: how it is put, and what a reply makes of the state."""

    id: str

    @abstractmethod
    def prompt(self, state: State, gauge: Gauge, lang: str) -> Prompt:
        """The question as it reads."""

    @abstractmethod
    def apply(self, state: State, reply: Reply, gauge: Gauge) -> State:
        """The state after a reply (an answer or `SKIP`). Raises `UserError` for one that cannot be used."""


def begin(prefilled: Facts) -> State:
    return State(facts=prefilled)


def absorb(state: State, inputs: Inputs, gauge: Gauge) -> State:
    """The state with inputs that were given beforehand, measured."""
    state = replace(state, inputs=inputs)
    given = [name for name in ("data", "docs", "model") if getattr(inputs, name)]
    return measured(state, gauge).settle(*given, "test") if given else state


def next_step(state: State) -> Step | None:
    """The first step that is still open; None when the recommendation can be made."""
    return next(_open(state), None)


def remaining(state: State) -> int:
    """How many questions are still to come, this one included, if every further one were skipped."""
    count = sum(1 for step in _open(state) if isinstance(step, (InputStep, ReviewStep)) or step.id in OPENING)
    ahead = state
    for _ in range(FURTHER_AT_MOST):
        fact = _next_fact(ahead)
        if fact is None:
            break
        count += fact.id not in OPENING
        ahead = replace(ahead, skipped=ahead.skipped | {fact.id})
    return max(1, count)


def _open(state: State) -> Iterator[Step]:
    """The open steps in order. Of the chart's questions only the next: which one follows depends on its answer."""
    if state.correcting:
        yield FactStep(load_vocabulary()[state.correcting])
    for name in OPENING:
        if name not in state.facts and name not in state.skipped:
            yield FactStep(load_vocabulary()[name])
    yield from (step for step in _input_steps(state) if step.id not in state.settled)
    question = _next_fact(state)
    if question is not None:
        yield question
    if "review" not in state.settled:
        yield ReviewStep()


def _input_steps(state: State) -> Iterator[Step]:
    yield DataStep()
    if state.columns:
        yield from map(ColumnStep, ROLES)
    if state.inputs.data and held_out_beside(state.inputs.data):
        yield HeldOutStep()
    if state.facts.value("task") not in WITHOUT_DOCUMENTS:
        yield DocumentsStep()
    yield ModelStep()
    if "model_other" in state.settled:
        yield ModelNameStep()
    if "gpu_memory_gb" not in state.facts:
        yield MachineStep()


def _next_fact(state: State) -> FactStep | None:
    question = next_question(state.facts, state.skipped)
    return None if question is None else FactStep(load_vocabulary()[question.fact], question.why)


# -- facts ---------------------------------------------------------------------------------------------


class FactStep(Step):
    """Asks one fact of the vocabulary. `why` is the chart's reason, where it has one of its own."""

    def __init__(self, spec: FactSpec, why: Text | None = None) -> None:
        self.id, self.spec, self.why = spec.id, spec, why or spec.why

    def prompt(self, state: State, gauge: Gauge, lang: str) -> Prompt:
        numeric = self.spec.type in ("integer", "number")
        known = state.facts.value(self.id)
        if known is None and not numeric:  # a list points at what would be assumed
            known = Assuming(state.facts.believed(), presumed=state.facts.presumed()).value(self.id)
        return Prompt(
            id=self.id,
            kind="text" if numeric else "select",
            question=self.spec.question[lang],
            why=self.why[lang],
            help=self.spec.help.get(lang) or (self._unit(lang) if numeric else ""),
            options=tuple(self._options(lang)),
            default="" if known is None else str(known).lower() if isinstance(known, bool) else str(known),
            skip=Option("", say("interview.unknown", lang), say("interview.unknown_help", lang)),
        )

    def apply(self, state: State, reply: Reply, gauge: Gauge) -> State:
        state = replace(state, correcting="")
        if isinstance(reply, Signal):
            return replace(state, facts=state.facts.without(self.id), skipped=state.skipped | {self.id})
        name = {lang: words.fact_name(self.id, lang) for lang in LANGUAGES}
        fact = Fact(self.id, parse_value(self.spec, reply, name), "asked")
        facts = state.facts.with_(fact)
        new = [problem for problem in contradictions(facts) if problem not in contradictions(state.facts)]
        if new:
            raise UserError.of(new)
        return replace(state, facts=facts, skipped=state.skipped - {self.id})

    def _options(self, lang: str) -> Iterator[Option]:
        if self.spec.type == "boolean":
            yield Option("true", say("interview.yes", lang))
            yield Option("false", say("interview.no", lang))
        for option in self.spec.options:
            yield Option(option, self.spec.option_texts[option][lang])

    def _unit(self, lang: str) -> str:
        unit = self.spec.unit.get(lang)
        return say("interview.number_hint_unit", lang, unit=unit) if unit else say("interview.number_hint", lang)


class ReviewStep(Step):
    """Shows all that is known, each line a choice: choosing one corrects it."""

    id = "review"
    GO = "go"

    def prompt(self, state: State, gauge: Gauge, lang: str) -> Prompt:
        named = {fact.id: words.fact_name(fact.id, lang) for fact in state.facts.values()}
        width = max(map(cell_len, named.values()), default=0)
        lines = (
            Option(
                name,
                f"{set_cell_size(named[name], width)}  {words.value_text(name, fact.value, lang)}",
                words.label("origin", fact.origin, lang),
            )
            for name, fact in state.facts.items()
        )
        question, why = say("interview.review", lang), say("interview.review_why", lang)
        go = Option(self.GO, say("interview.review_go", lang))
        return Prompt(self.id, "select", question, why, options=(go, *lines))

    def apply(self, state: State, reply: Reply, gauge: Gauge) -> State:
        if reply in state.facts:
            return replace(state, correcting=str(reply))
        return state.settle(self.id)


# -- inputs --------------------------------------------------------------------------------------------


class InputStep(Step):
    """Asks for something to measure. Skipping leaves it for `advisor run`."""

    kind = "path"

    def prompt(self, state: State, gauge: Gauge, lang: str) -> Prompt:
        return Prompt(
            id=self.id,
            kind=self.kind,  # type: ignore[arg-type]  # a literal in every subclass
            question=say(f"interview.{self.id}", lang),
            why=say(f"interview.{self.id}_why", lang),
            help=say(f"interview.{self.id}_help", lang),
            skip=_later(lang),
        )

    def apply(self, state: State, reply: Reply, gauge: Gauge) -> State:
        if isinstance(reply, Signal):
            return state.settle(self.id)
        return self.take(state, tidy_path(reply), gauge).settle(self.id)

    @abstractmethod
    def take(self, state: State, reply: str, gauge: Gauge) -> State:
        """The state with this input, measured."""


class DataStep(InputStep):
    """The labelled rows."""

    id = "data"

    def take(self, state: State, reply: str, gauge: Gauge) -> State:
        inputs = replace(state.inputs, data=reply, test=None, columns={})
        return _data_settled(replace(state, inputs=inputs, columns=gauge.columns(reply)), gauge)


class ColumnStep(InputStep):
    """Which column is what, where the names do not tell."""

    def __init__(self, role: str) -> None:
        self.role, self.id = role, f"columns_{role}"

    def prompt(self, state: State, gauge: Gauge, lang: str) -> Prompt:
        left = [name for name in state.columns if name not in state.inputs.columns.values()]
        question, why = say(f"interview.{self.id}", lang), say("interview.columns_why", lang)
        return Prompt(self.id, "select", question, why, options=tuple(Option(name, name) for name in left))

    def apply(self, state: State, reply: Reply, gauge: Gauge) -> State:
        return self.take(state, str(reply), gauge).settle(self.id)

    def take(self, state: State, reply: str, gauge: Gauge) -> State:
        columns = {**state.inputs.columns, self.role: reply}
        return _data_settled(replace(state, inputs=replace(state.inputs, columns=columns)), gauge)


class HeldOutStep(InputStep):
    """A file of held-out rows that lies beside the data."""

    id = "test"

    def prompt(self, state: State, gauge: Gauge, lang: str) -> Prompt:
        path = held_out_beside(state.inputs.data or "")
        options = (Option("use", say("interview.test_use", lang)), Option("share", say("interview.test_share", lang)))
        question = say("interview.test", lang, path=Path(path).name)
        return Prompt(self.id, "select", question, say("interview.test_why", lang), options=options)

    def take(self, state: State, reply: str, gauge: Gauge) -> State:
        test = held_out_beside(state.inputs.data or "") if reply == "use" else None
        return measured(replace(state, inputs=replace(state.inputs, test=test)), gauge)


class DocumentsStep(InputStep):
    """The folder that answers must draw on."""

    id, kind = "docs", "folder"

    def take(self, state: State, reply: str, gauge: Gauge) -> State:
        return measured(replace(state, inputs=replace(state.inputs, docs=reply)), gauge)


class ModelStep(InputStep):
    """The language model: an alias of the catalogue, or one that is typed next."""

    id, kind = "model", "select"

    def prompt(self, state: State, gauge: Gauge, lang: str) -> Prompt:
        from executors.models.catalogue import aliases

        known = [alias for alias in aliases().values() if alias.kind == "language"]
        options = [Option(a.name, a.name, _about(a.name, a.parameters, a.languages, lang)) for a in known]
        options.append(Option("other", say("interview.model_other", lang), say("interview.model_other_help", lang)))
        question, why = say("interview.model", lang), say("interview.model_why", lang)
        skip = Option("", say("interview.model_skip", lang), say("interview.skip_help", lang))
        return Prompt(self.id, "select", question, why, options=tuple(options), skip=skip)

    def take(self, state: State, reply: str, gauge: Gauge) -> State:
        return state.settle("model_other") if reply == "other" else _with_model(state, reply, gauge)


class ModelNameStep(InputStep):
    """A model that is not in the catalogue."""

    id, kind = "model_name", "text"

    def prompt(self, state: State, gauge: Gauge, lang: str) -> Prompt:
        question, why = say("interview.model_type", lang), say("interview.model_why", lang)
        return Prompt(self.id, "text", question, why, skip=_later(lang))

    def take(self, state: State, reply: str, gauge: Gauge) -> State:
        return _with_model(state, reply, gauge)


class MachineStep(InputStep):
    """Where the work will run: here, where it can be measured, or elsewhere."""

    id, kind = "machine", "select"

    def prompt(self, state: State, gauge: Gauge, lang: str) -> Prompt:
        seen = gauge.machine()["gpu_memory_gb"].evidence[lang]
        elsewhere = say("interview.machine_elsewhere", lang)
        options = (
            Option("here", say("interview.machine_here", lang), seen),
            Option("elsewhere", elsewhere, say("interview.machine_elsewhere_help", lang)),
        )
        question, why = say("interview.machine", lang), say("interview.machine_why", lang)
        skip = Option("", say("interview.unknown", lang), say("interview.unknown_help", lang))
        return Prompt(self.id, "select", question, why, options=options, skip=skip)

    def apply(self, state: State, reply: Reply, gauge: Gauge) -> State:
        if isinstance(reply, Signal):  # who does not know the machine does not know its accelerator either
            state = replace(state, skipped=state.skipped | {"gpu_memory_gb"})
        return super().apply(state, reply, gauge)

    def take(self, state: State, reply: str, gauge: Gauge) -> State:
        return replace(state, facts=state.facts.with_(*gauge.machine().values())) if reply == "here" else state


def tidy_path(typed: str) -> str:
    """A path as it was typed or dropped into the terminal: without quotes, with the home folder spelt out."""
    path = typed.strip()
    if len(path) > 1 and path[0] == path[-1] and path[0] in "'\"":
        path = path[1:-1]
    return str(Path(path).expanduser()) if path.startswith("~") else path


def held_out_beside(data: str) -> str:
    """The file of held-out rows beside ``…train….csv``, or an empty string."""
    path = Path(data)
    if "train" not in path.name:
        return ""
    named = (path.with_name(path.name.replace("train", word)) for word in HELD_OUT_NAMES)
    return next((str(candidate) for candidate in named if candidate.is_file()), "")


def _data_settled(state: State, gauge: Gauge) -> State:
    """Measure the data as soon as nothing about it is left to ask."""
    unknown = state.columns and len(state.inputs.columns) < len(ROLES)
    return state if unknown or held_out_beside(state.inputs.data or "") else measured(state, gauge)


def measured(state: State, gauge: Gauge) -> State:
    """The state with what its inputs show, taken together. A measurement stands over what was said."""
    facts, warnings = gauge.measure(state.inputs, state.facts)
    return replace(state, facts=state.facts.with_(*facts.values()), warnings=warnings)


def _with_model(state: State, name: str, gauge: Gauge) -> State:
    return measured(replace(state, inputs=replace(state.inputs, model=name)), gauge)


def _later(lang: str) -> Option:
    return Option("", say("interview.skip", lang), say("interview.skip_help", lang))


def _about(name: str, parameters: int, languages: Sequence[str], lang: str) -> str:
    size = formats.compact(parameters, lang)
    spoken = say("word.comma", lang).join(say(f"profile.lang_{name}", lang) for name in languages)
    told = say("interview.model_languages", lang, size=size, languages=spoken)
    return say("interview.model_is_default", lang, told=told) if name == DEFAULT_MODEL else told
