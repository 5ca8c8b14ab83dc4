"""The whole profile, as `advisor profile` shows it: this machine, the model, the rows, the documents, and trials.

`measure` in the package finds the facts that a decision needs, quickly; here everything that can be known is looked at.
Nothing here downloads weights, unless trials are asked for.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from advisor import formats
from advisor.decision import Inputs
from advisor.endpoints import disclosure, find_endpoint
from advisor.facts import Fact, Facts
from advisor.profile import Faults, domain, foreign, trial
from advisor.profile.data import LARGE, DataProfile, data_facts
from advisor.profile.documents import DocumentsProfile, document_facts, measure_documents
from advisor.profile.domain import Domain
from advisor.profile.lengths import find_counter
from advisor.profile.machine import Machine, machine_facts, measure_machine
from advisor.profile.model import ModelProfile, describe_model, measure_model, model_facts
from advisor.profile.rows import Outline, RowsProfile, examine_rows, token_counts
from advisor.profile.trial import Trial
from advisor.texts import LANGUAGES, text
from executors.base import SCHEMA_VERSION, Plan, Problem, Reporter, Row, Text, silent
from executors.data.reading import check_file

NOISY = 0.01  # share of the inputs with several labels from which the labels count as noisy,
CONFLICTS = 3  # where there are as many of them
CHARACTERS_A_TOKEN = 4
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Examination:
    """What was found. Parts that nothing was given for are None."""

    machine: Machine
    facts: Facts
    model: ModelProfile | None = None
    embedder: ModelProfile | None = None
    data: DataProfile | None = None
    rows: RowsProfile | None = None
    embedder_cut: float | None = None  # share of the inputs that the embedder does not read to their end
    documents: DocumentsProfile | None = None
    trial: Trial | None = None
    domain: Domain | None = None
    warnings: tuple[Text, ...] = ()
    schema_version: int = field(default=SCHEMA_VERSION)


def examine(
    inputs: Inputs,
    trials: bool = False,
    report: Reporter = silent,
    announce: Callable[[Text], None] = lambda told: None,
    large: int = LARGE,
    endpoint: Mapping[str, Any] = NOTHING,
) -> Examination:
    """Look at everything that `inputs` point at; with `trials`, the model is run on it, its time announced before.

    `endpoint`: the limits under which a model behind one is asked. Raises `UserError` with every fault of every input.
    """
    machine = measure_machine()
    parts = _look(inputs, trials, report, large)
    tried = _try(inputs, parts, report, announce, endpoint) if trials else (None, None)
    return Examination(
        machine,
        _facts(machine, parts, tried),
        parts.model,
        parts.embedder,
        parts.outline.data if parts.outline else None,
        parts.rows,
        _cut(parts.outline, parts.embedder),
        parts.documents,
        *tried,
        warnings=_warnings(inputs, parts),
    )


@dataclass(frozen=True)
class _Parts:
    """What was looked at; None where nothing was given."""

    model: ModelProfile | None
    embedder: ModelProfile | None
    outline: Outline | None
    rows: RowsProfile | None
    documents: DocumentsProfile | None


def _look(inputs: Inputs, trials: bool, report: Reporter, large: int) -> _Parts:
    """Every input, or every fault of them."""
    faults = Faults()
    model = faults.of(lambda: describe_model(inputs.model) if inputs.model else None)
    embedder = faults.of(lambda: describe_model(inputs.embedder, "embedder") if inputs.embedder else None)
    counter = find_counter(inputs.model or Plan.model)
    window = model.window if model else measure_model(Plan.model).window if not inputs.model else None
    found = None
    if inputs.data and _are_there(inputs, faults):
        found = faults.of(lambda: examine_rows(inputs, counter, window, report=report, large=large))
    documents = faults.of(
        lambda: measure_documents(inputs.docs, counter, report, tolerant=True) if inputs.docs else None
    )
    faults.problems += _incomplete(inputs, trials)
    faults.refuse()
    outline, rows = found or (None, None)
    return _Parts(model, embedder, outline, rows, documents)


def _are_there(inputs: Inputs, faults: Faults) -> bool:
    """Whether the files of rows are files that can be read; each that is not is a fault of its own."""
    names = [name for name in (inputs.data, inputs.test) if name]
    return None not in [faults.of(partial(check_file, Path(name))) for name in names]


def _incomplete(inputs: Inputs, trials: bool) -> list[Problem]:
    """Options that need another one."""
    problems = []
    if inputs.test and not inputs.data:
        zh = Problem("--test：没有 --data，无从比较", "请用 --data 给出训练数据")
        problems.append(Problem("--test: nothing to compare it with", "give the rows to learn from with --data", zh))
    if inputs.columns and not inputs.data:
        zh = Problem("--columns：没有 --data", "请用 --data 给出数据文件")
        problems.append(Problem("--columns: no rows were given", "give them with --data", zh))
    if trials and not inputs.data and inputs.docs and inputs.model and find_endpoint(inputs.model):
        zh = Problem(
            f"--measure：只有文档时要看文本的似然，而“{inputs.model}”不提供", "请用 --data 给出数据，或改用本地模型"
        )
        message = f"--measure: of documents alone likelihoods are measured, and '{inputs.model}' tells none"
        problems.append(Problem(message, "give rows with --data, or a model whose weights are here", zh))
    if trials and not (inputs.data or inputs.docs):
        zh = Problem("--measure：没有可供模型试用的文本", "请给出 --data 文件 或 --docs 文件夹")
        problems.append(Problem("--measure: no text to try the model on", "give --data FILE or --docs DIR", zh))
    return problems


def _facts(machine: Machine, parts: _Parts, tried: tuple[Trial | None, Domain | None]) -> Facts:
    facts, data = machine_facts(machine), parts.outline.data if parts.outline else None
    for found in (
        model_facts(parts.model) if parts.model else Facts(),
        document_facts(parts.documents) if parts.documents else Facts(),
        data_facts(data, Facts()) if data else Facts(),
        _quality(data.task, parts.rows) if data and parts.rows else Facts(),
        trial.trial_facts(tried[0]) if tried[0] else Facts(),
        domain.domain_facts(tried[1]) if tried[1] else Facts(),
    ):
        facts = facts.with_(*found.values())
    return facts


def _quality(task: str, rows: RowsProfile) -> Facts:
    """`label_quality`, only where conflicts show noise: that there are none proves nothing."""
    count, distinct = rows.repeats.conflicting, rows.repeats.distinct
    if task != "classification" or count < max(CONFLICTS, NOISY * distinct):
        return Facts()
    told = text("profile.noisy", count=count, distinct=f"{distinct:,}")
    return Facts().with_(Fact("label_quality", "noisy", "measured", told))


def _cut(outline: Outline | None, embedder: ModelProfile | None) -> float | None:
    """The share of the sample's inputs that are longer than the embedder's window."""
    if outline is None or embedder is None or not embedder.window:
        return None
    inputs, _ = token_counts(outline.train.sample, find_counter(embedder.name))
    return sum(tokens > embedder.window for tokens in inputs) / len(inputs)


def _warnings(inputs: Inputs, parts: _Parts) -> tuple[Text, ...]:
    model, data = parts.model, parts.outline.data if parts.outline else None
    unknown = model.warnings if model and model.evidence is None else ()
    return (*unknown, *(data.notes if data else ()), *foreign(inputs, data, parts.documents))


# -- trials --------------------------------------------------------------------------------------------


def _try(
    inputs: Inputs,
    parts: _Parts,
    report: Reporter,
    announce: Callable[[Text], None],
    endpoint: Mapping[str, Any],
) -> tuple[Trial | None, Domain | None]:
    """A model behind an endpoint is not judged by its likelihoods: it tells none."""
    from executors.models.catalogue import cache_folder

    model, outline = inputs.model or Plan.model, parts.outline
    prepared = trial.prepare(outline.sides, outline.data.task, model, endpoint=endpoint) if outline else None
    announce(_estimate(prepared[0] if prepared else None, model))
    tried = None
    if prepared and outline:
        tried = trial.run(*prepared, outline.data.test, inputs.docs is not None, report)
    if find_endpoint(model):
        return tried, None
    languages = outline.data.languages if outline else parts.documents.languages if parts.documents else {}
    texts = list(_texts(outline.sides[0] if outline else (), inputs.docs))
    folder = cache_folder() / "profile"
    return tried, domain.measure_domain(model, texts, domain.language_of(languages), folder, report)


def _texts(rows: Sequence[Row], docs: str | None, seed: int = 0) -> Iterator[str]:
    """Texts to judge, drawn from rows and documents, as many characters of each as are judged at most."""
    rng = random.Random(seed)
    parts = [[f"{row.input.text}\n{row.input.context}" for row in rng.sample(list(rows), min(len(rows), 400))]]
    if docs:
        parts.append(list(_document_texts(docs, rng)))
    for part in parts:
        size = 0
        for content in part:
            if size > domain.BYTES / len(parts):
                break
            size += len(content.encode(errors="ignore"))
            yield content[: domain.BYTES // 4]


def _document_texts(docs: str, rng: random.Random) -> Iterator[str]:
    from executors.retriever.documents import Document, find_files, read_document

    root, files = find_files(Path(docs))
    for path in rng.sample(files, min(len(files), 40)):
        read = read_document(path, root)
        if isinstance(read, Document):
            yield read.text


def _estimate(plan: Plan | None, model: str) -> Text:
    """About how long the trials take here, weights being here already; of an endpoint, what they cost and where to."""
    if plan and find_endpoint(model):
        from advisor.estimate import estimate_text

        return text("profile.estimate_endpoint", forecast=estimate_text(plan), sent=disclosure(model)["endpoint"])
    from advisor.estimate import START, estimate_seconds, rig_of, rows_of
    from advisor.profile.data import measure_data
    from advisor.profile.machine import measure_tflops
    from advisor.quote import REFERENCE_PARAMETERS

    machine = measure_machine()
    measured = None if machine.gpu_memory_gb else measure_tflops()
    slow, fast = rig_of(machine, measured).flops
    tokens = 2 * domain.BYTES / CHARACTERS_A_TOKEN
    flops = 2 * (measure_model(model).parameters or REFERENCE_PARAMETERS) * tokens
    low, high = START[0] + flops / fast, START[1] + 3 * flops / slow  # other scripts: more tokens, one more text
    count = 0
    if plan:
        data = measure_data(Inputs(plan.data.path, plan.data.test, columns=plan.data.columns), plan.task, plan.seed)
        asked = estimate_seconds(plan, rows_of(data), machine, measured)
        low, high, count = low + asked[0], high + asked[1], data.test
    time = {lang: formats.seconds(low, high, lang) for lang in LANGUAGES}
    return text("profile.estimate", time=time, model=model, rows=count, size=f"{domain.BYTES:,}")
