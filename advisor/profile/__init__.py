"""Measures facts instead of asking for them: from the data, the documents, this machine, the model's configuration.

Nothing here imports torch or downloads anything. What is measured is what a run would find.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from advisor.decision import Inputs
from advisor.facts import Facts
from advisor.profile.data import DataProfile, data_facts, measure_data
from advisor.profile.documents import DocumentsProfile, document_facts, measure_documents
from advisor.profile.machine import Machine, machine_facts, measure_machine
from advisor.profile.model import ModelProfile, measure_model, model_facts
from advisor.texts import text
from executors.base import Plan, Problem, Reporter, Text, UserError, silent

__all__ = ["DataProfile", "DocumentsProfile", "Machine", "ModelProfile", "Profile", "measure", "measure_machine"]

T = TypeVar("T")

MATTERS = 0.2  # share of texts in a language the model does not serve from which it is warned of
SHOWN = 2  # models named as a remedy


@dataclass(frozen=True)
class Profile:
    """What was measured: facts (origin ``measured``, with evidence) and what lies behind them."""

    facts: Facts
    machine: Machine
    data: DataProfile | None = None
    documents: DocumentsProfile | None = None
    model: ModelProfile | None = None
    warnings: tuple[Text, ...] = ()


def measure(inputs: Inputs, asked: Facts | None = None, report: Reporter = silent) -> Profile:
    """Measure what `inputs` point at, and this machine.

    `asked` is what the user has said: a task that was said is not guessed, and accelerators that were said are those of
    the machine the work is meant for, which need not be this one. Raises `UserError` for inputs that cannot be used.
    """
    said, faults = asked or Facts(), Faults()
    machine = measure_machine()
    model = faults.of(lambda: measure_model(inputs.model) if inputs.model else None)
    documents = faults.of(lambda: measure_documents(inputs.docs) if inputs.docs else None)
    data = faults.of(lambda: measure_data(inputs, _task(said), report=report) if inputs.data else None)
    faults.refuse()
    facts = Facts() if "gpu_memory_gb" in said or "gpu_count" in said else machine_facts(machine)
    for found in (
        model_facts(model) if model else Facts(),
        document_facts(documents) if documents else Facts(),
        data_facts(data, said) if data else Facts(),
    ):
        facts = facts.with_(*found.values())
    warnings = (*(model.warnings if model else ()), *(data.notes if data else ()), *foreign(inputs, data, documents))
    return Profile(facts, machine, data, documents, model, warnings)


def _task(asked: Facts) -> str | None:
    value = asked.value("task")
    return None if value is None else str(value)


class Faults:
    """What is wrong with several inputs, gathered, so that a person is told all of it at once."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def of(self, work: Callable[[], T]) -> T | None:
        """What `work` returns; None where it raises `UserError`, which is kept."""
        try:
            return work()
        except UserError as error:
            self.problems.append(error.problem)
            return None

    def refuse(self) -> None:
        """Raise `UserError` where anything was wrong."""
        if self.problems:
            raise UserError.of(self.problems)


def foreign(inputs: Inputs, data: DataProfile | None, documents: DocumentsProfile | None) -> tuple[Text, ...]:
    """A warning for each model that does not serve the language of the data or the documents."""
    found: dict[str, float] = {}
    for part in (data, documents):
        for name, share in (part.languages if part else {}).items():
            found[name] = max(found.get(name, 0), share)
    spoken = [name for name, share in found.items() if share >= MATTERS and name != "latin"]
    names = {"language": inputs.model or Plan.model, "embedder": inputs.embedder or Plan.embedder}
    return tuple(
        warning for kind, name in names.items() for language in spoken if (warning := _serves(name, kind, language))
    )


def _serves(name: str, kind: str, language: str) -> Text | None:
    """None where the model serves the language or nothing is known of it; else a warning with a remedy."""
    from executors.models.catalogue import alias_of, aliases

    alias = alias_of(name)
    if alias is None or language in alias.languages:
        return None
    others = [a.name for a in aliases().values() if a.kind == kind and language in a.languages]
    option = "--model" if kind == "language" else "--embedder"
    remedy = text("profile.remedy", option=option, names=" / ".join(others[:SHOWN])) if others else _no_remedy(option)
    spoken = _language_name(language)
    return text("profile.language", name=name, language=spoken, serves=_and(alias.languages), remedy=remedy)


def _no_remedy(option: str) -> Text:
    return text("profile.no_remedy", option=option)


def _and(languages: tuple[str, ...]) -> Text:
    named = [_language_name(language) for language in languages]
    return {"en": ", ".join(n["en"] for n in named), "zh": "、".join(n["zh"] for n in named)}


def _language_name(language: str) -> Mapping[str, str]:
    return text(f"profile.lang_{language}")
