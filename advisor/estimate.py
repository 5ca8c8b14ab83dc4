"""How long a plan takes on this machine, said before it runs: a range, from the rows and the formulas of a quote."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from advisor import formats, work_heads, work_training
from advisor.decision import Inputs
from advisor.endpoints import Asked, find_endpoint, forecast
from advisor.hardware import Range, Rig, own_accelerator, reference_cpu
from advisor.profile.data import DataProfile, measure_data
from advisor.profile.documents import measure_documents
from advisor.profile.machine import Machine, is_busy, measure_machine, measure_tflops
from advisor.profile.model import measure_model
from advisor.quote import REFERENCE_PARAMETERS, duration, serving_seconds
from advisor.quote.memory import answering_memory, training_memory
from advisor.texts import LANGUAGES, text
from advisor.work import (
    INSTRUCTION_TOKENS,
    TURN_TOKENS,
    Rows,
    add,
    answers,
    embedded,
    instruction,
    over,
    params_of,
    shape_of,
    times,
)
from executors.base import Plan, Text

if TYPE_CHECKING:
    from executors.prompt.params import PromptParams

START = (duration.START[0], duration.START[2])  # seconds to import the libraries
BASELINE = (0.05, 1.0)  # .02 s at 210 rows, .1 at 770 and 77 classes
REASONED = (0.25, 1.0)  # of the tokens that steps of reasoning and their answer may have: a small model fills them
SHOTS, MOST_SHOTS, TEXT_SHOTS = 8, 24, 4  # demonstrations: of labels and numbers, at most, of free text
TRIED = 12  # training questions that readers are compared on
KNOWN = 100  # training questions that the threshold of abstention is set on
QUOTED = 2  # times the passages' tokens that are read to quote a sentence of them: each with the one before it
EXTRACT_TOKENS = (220, 550)  # scored to mark one answer in what was retrieved: on XQuAD's and the demo's questions
CALIBRATED = 48  # training texts that labels are calibrated on
TOGETHER = (32, 8)  # rows that are answered beside one another, most and least


@dataclass(frozen=True)
class Estimate:
    """What is foretold of a run: a sentence, and the figures that can be compared with what it takes (None: unknown).
    Seconds and GB (1e9 bytes), each from low to high."""

    told: Text
    seconds: Range | None = None
    memory_gb: Range | None = None

    @property
    def point(self) -> float | None:
        """Seconds that are likely: the geometric middle, as both ends are off by factors."""
        return math.sqrt(self.seconds[0] * self.seconds[1]) if self.seconds else None


def estimate_text(plan: Plan) -> Text:
    """One sentence: about how long the plan takes here, and what it costs where an endpoint is asked.

    Raises `UserError` for data that cannot be used.
    """
    return estimate_plan(plan).told


def estimate_plan(plan: Plan, *, warm: bool = False, tflops: float | None = None) -> Estimate:
    """About how long the plan takes here, and where a language model is trained its peak memory. `warm`: in a process
    that has run another one, and has the libraries; `tflops`: the CPU's rate, where it was measured before.

    Raises `UserError` for data that cannot be used.
    """
    data, rows = _rows_of_plan(plan)
    if plan.executor not in ESTIMATES:  # a method that was just added
        return Estimate(text("quote.no_estimate", train=data.train, test=data.test))
    if plan.executor in PROMPT_TOKENS and find_endpoint(plan.model):
        return Estimate(forecast(plan, asked_of(plan, rows)))
    machine, busy = measure_machine(), tflops is None and is_busy()  # before the rate is measured, which is work too
    measured = None if machine.gpu_memory_gb else tflops or measure_tflops()
    rounds = plan.data.folds + 1 if plan.data.folds else 1  # a training a fold, and one on all rows
    share = replace(rows, test=-(-rows.test // rounds))
    low, high = times(rounds, estimate_seconds(plan, share, machine, measured, warm=warm, busy=busy))
    time = {lang: formats.seconds(low, high, lang) for lang in LANGUAGES}
    told = text("quote.estimate", time=time, machine=_machine_name(machine), train=data.train, test=data.test)
    language = plan.executor in ("peft", "full") and not _tunes_encoder(plan)
    memory = _tuned_memory(plan, rows, rig_of(machine, measured)) if language else None
    return Estimate(told, (low, high), memory)


def estimate_all(plans: Sequence[Plan]) -> Text:
    """One sentence: about how long all of these take here, one after the other; empty where one cannot be told."""
    spans = [found for n, plan in enumerate(plans) if (found := estimate_plan(plan, warm=n > 0).seconds)]
    if len(spans) < len(plans):
        return {}
    low, high = sum(low for low, _ in spans), sum(high for _, high in spans)
    time = {lang: formats.seconds(low, high, lang) for lang in LANGUAGES}
    return text("chain.estimate", time=time, machine=_machine_name(measure_machine()))


def _rows_of_plan(plan: Plan) -> tuple[DataProfile, Rows]:
    """What is known of a plan's data, and what a run of it works through."""
    inputs = Inputs(plan.data.path, plan.data.test, plan.docs, columns=plan.data.columns)
    data = measure_data(inputs, plan.task, plan.seed)
    if plan.data.folds:  # every row is scored once
        every = data.train + data.test
        data = replace(data, train=every - every // plan.data.folds, test=every)
    if plan.data.rows or plan.data.scored:
        limits = ((data.train, plan.data.rows), (data.test, plan.data.scored))
        train, test = (min(have, most) if most else have for have, most in limits)
        data = replace(data, train=train, test=test)
    return data, rows_of(data, measure_documents(plan.docs).tokens if plan.docs else 0)


def rows_of(data: DataProfile, document_tokens: int = 0) -> Rows:
    """What a profile says a run will work through."""
    lengths, grounded = (data.input_tokens, data.answer_tokens), bool(data.columns.get("context"))
    passages = data.passage_tokens, data.alike
    return Rows(data.train, data.test, *lengths, len(data.labels), document_tokens, grounded, *passages)


def estimate_seconds(
    plan: Plan, rows: Rows, machine: Machine, tflops: float | None = None, *, warm: bool = False, busy: bool = False
) -> Range:
    """Seconds (low, high) from start to score, weights being here already. `tflops` is the CPU's rate, if measured;
    `warm`: the libraries are loaded; `busy`: it was measured beside other work, which may end: then it is the least."""
    rig = rig_of(machine, tflops, busy=busy)
    work = (_encoder if _tunes_encoder(plan) else ESTIMATES[plan.executor])(plan, rows, rig)
    started = (0.0, 0.0) if warm or plan.executor == "baseline" else START
    return started[0] + work[0] + BASELINE[0], started[1] + work[1] + BASELINE[1]  # the floor runs beside it


def index_seconds(tokens: float) -> tuple[Range, str | Text]:
    """Seconds (low, high) to embed so many tokens here, from start to end, and what this machine is called."""
    machine = measure_machine()
    rig = rig_of(machine, None if machine.gpu_memory_gb else measure_tflops())
    return add(START, embedded(tokens, rig)), _machine_name(machine)


def _machine_name(machine: Machine) -> str | Text:
    return machine.gpu_names[0] if machine.gpu_names else text("quote.cpu", cores=machine.cores)


def asked_of(plan: Plan, rows: Rows) -> Asked:
    """What a plan asks of an endpoint: a request for each held-out row, and those of the search for a prompt."""
    from executors.messages import answer_tokens

    if plan.executor == "prompt":
        return _prompt_asked(plan, rows)
    shared, own = PROMPT_TOKENS[plan.executor](plan, rows)
    return Asked(rows.test, shared + own, shared, rows.answer_tokens, answer_tokens(plan.task))


def _prompt_asked(plan: Plan, rows: Rows) -> Asked:
    """From the shortest to the longest of the prompts that are compared."""
    from executors.messages import answer_tokens

    params, tried = params_of(plan), prompts_of(plan, rows)
    tokens = [_prompt_tokens(one, rows, plan.task) for one in tried]
    asked, shared = [sum(part) for part in tokens], min(part[0] for part in tokens)
    reasons = params.chain_of_thought
    most = params.max_tokens or answer_tokens("reasoning" if reasons else plan.task)
    answer = REASONED[0] * most if reasons else rows.answer_tokens
    searched = search_requests(len(tried), rows.train) if is_searched(plan, rows) else 0
    return Asked(rows.test, max(asked), shared, answer, most, searched, min(asked))


def rig_of(machine: Machine, tflops: float | None = None, *, busy: bool = False) -> Rig:
    """The machine with its speed; see `reference_cpu` for a rate that was measured on a `busy` one."""
    if machine.gpu_memory_gb:
        return own_accelerator(machine.gpu_memory_gb, 1, machine.gpu_names[0])
    return reference_cpu(machine.cores, machine.memory_gb, tflops, busy=busy)


def _baseline(plan: Plan, rows: Rows, rig: Rig) -> Range:
    return BASELINE


def _prompt(plan: Plan, rows: Rows, rig: Rig) -> Range:
    """The search for at most its budget, then the answers with what it may choose: the cheapest prompt, the dearest."""
    tried = prompts_of(plan, rows)
    each = [_asked_with(plan, one, replace(rows, test=rows.test + _calibrated(plan, one)), rig) for one in tried]
    answered = min(low for low, _ in each), max(high for _, high in each) * _members(plan, tried, rows)
    retrieving = [one.retrieves for one in tried]
    low, high = embedded((rows.train + rows.test) * rows.input_tokens, rig, plan.embedder)
    retrieved = low * all(retrieving), high * any(retrieving)
    searched = (0.0, 0.0)
    if is_searched(plan, rows):
        begun, budget = first_round(plan, rows, rig), float(params_of(plan).search_seconds)
        searched = min(begun[0], budget), max(budget, _one_round(plan, tried[0], rows, rig)[1])
    return add(searched, retrieved, answered)


def _members(plan: Plan, tried: Sequence[PromptParams], rows: Rows) -> int:
    """Prompts that a search may average: those whose labels are all compared by likelihood."""
    scored = plan.task == "classification" and not params_of(plan).chain_of_thought and is_searched(plan, rows)
    joining = sum(one.candidates == "all" for one in tried) if scored else 0
    return max(1, min(int(params_of(plan).ensemble), joining))


def _calibrated(plan: Plan, params: PromptParams) -> int:
    """Training texts that labels are calibrated on: of those compared by likelihood, all of them for every input."""
    scored = plan.task == "classification" and not params.chain_of_thought
    return CALIBRATED if scored and params.calibration != "none" and params.candidates == "all" else 0


def is_searched(plan: Plan, rows: Rows) -> bool:
    """Whether a prompt's plan leaves time for a search, and there are rows to search on."""
    from executors.prompt.search import LEAST_ROWS

    return params_of(plan).search_seconds > 0 and rows.train // 2 >= LEAST_ROWS


def prompts_of(plan: Plan, rows: Rows) -> list[PromptParams]:
    """The prompts that a plan's search compares; without a search the plan's own."""
    from executors.models.endpoint import is_endpoint
    from executors.prompt.candidates import candidates
    from executors.prompt.params import given_names
    from executors.prompt.search import MOST_ROWS

    params: PromptParams = params_of(plan)
    if not is_searched(plan, rows):
        return [params]
    shown = rows.train - min(rows.train // 2, MOST_ROWS)
    scores = not is_endpoint(plan.model)
    return candidates(params, given_names(plan.params), plan.task, rows.labels, shown, rows.grounded, scores)


def first_round(plan: Plan, rows: Rows, rig: Rig) -> Range:
    """Seconds that the first round of a plan's search takes: every prompt on a few rows."""
    return add(*(_one_round(plan, one, rows, rig) for one in prompts_of(plan, rows)))


def search_requests(prompts: int, train: int) -> int:
    """Requests of a whole search by successive halving, at most: half of the prompts on twice the rows, and so on."""
    from executors.prompt.search import FIRST_ROWS, MOST_ROWS

    development = min(train // 2, MOST_ROWS)
    rows, asked = min(FIRST_ROWS, development), 0
    asked = prompts * rows
    while prompts > 1 and rows < development:
        prompts, more = (prompts + 1) // 2, min(2 * rows, development)
        asked, rows = asked + prompts * (more - rows), more
    return asked


def _one_round(plan: Plan, params: PromptParams, rows: Rows, rig: Rig) -> Range:
    from executors.prompt.search import FIRST_ROWS

    return _asked_with(plan, params, replace(rows, test=min(FIRST_ROWS, max(rows.train // 2, 1))), rig)


def _asked_with(plan: Plan, params: PromptParams, rows: Rows, rig: Rig) -> Range:
    """Seconds to answer the held-out rows of `rows` with one prompt."""
    shared, own = _prompt_tokens(params, rows, plan.task)
    if params.chain_of_thought:
        from executors.messages import answer_tokens

        once = over((2 * shape_of(plan).body * shared,) * 2, rig)
        wrote = (share * (params.max_tokens or answer_tokens("reasoning")) for share in REASONED)
        low, high = (serving_seconds(_parameters(plan), rows.test, own, tokens, rig) for tokens in wrote)
        return add(once, (low[0], high[1]))
    if params.candidates == "shown" and params.retrieves:
        rows = replace(rows, labels=min(_shots(params, rows, plan.task), rows.labels))
    return answers(plan, rows, rig, shared=shared, own=own)


def _shown(plan: Plan, rows: Rows) -> Range:
    """Tokens of a plan's prompt: those that all rows share, and a row's own."""
    return _prompt_tokens(params_of(plan), rows, plan.task)


def _prompt_tokens(params: PromptParams, rows: Rows, task: str) -> Range:
    """As `_shown`; retrieved demonstrations are a row's own, so nothing of them is read only once."""
    turns = rows.input_tokens + rows.answer_tokens + 2 * TURN_TOKENS
    demonstrations = _shots(params, rows, task) * turns
    own, shared = rows.input_tokens + TURN_TOKENS, instruction(rows)
    return (shared, own + demonstrations) if params.retrieves else (shared + demonstrations, own)


def _shots(params: PromptParams, rows: Rows, task: str) -> int:
    shots = params.shots if params.shots is not None else usual_shots(task, rows.labels, rows.grounded)
    return min(shots, rows.train)


def usual_shots(task: str, labels: int, grounded: bool) -> int:
    """Demonstrations where nothing names a number: one a label, some of plain texts, none beside long passages."""
    if task == "classification":
        return min(max(SHOTS, labels), MOST_SHOTS)
    if task == "regression":
        return SHOTS
    return 0 if grounded else TEXT_SHOTS


def _with_documents(plan: Plan, rows: Rows) -> Range:
    """As `_shown`, the documents whole in every prompt."""
    turns = rows.input_tokens + rows.answer_tokens + 2 * TURN_TOKENS
    shared = instruction(rows) + rows.document_tokens + params_of(plan).shots * turns
    return shared, rows.input_tokens + TURN_TOKENS


def _with_passages(plan: Plan, rows: Rows) -> Range:
    """As `_shown`, with the passages that are retrieved for a row."""
    params = params_of(plan)
    return instruction(rows), rows.input_tokens + params.passages_read * params.chunk_tokens + TURN_TOKENS


PROMPT_TOKENS: Mapping[str, Callable[[Plan, Rows], Range]] = {  # of methods that can ask an endpoint
    "prompt": _shown,
    "long_context": _with_documents,
    "rag": _with_passages,
}


def _long_context(plan: Plan, rows: Rows, rig: Rig) -> Range:
    """The documents once, as they are kept between prompts; every token after them is compared with all of theirs."""
    shape = shape_of(plan)
    shared, own = _with_documents(plan, rows)
    compared = 4 * shape.layers * shape.attention * shared  # FLOPs of one token's attention to them
    kept = 2 * shape.layers * shape.groups * shared * (4 if rig.kind == "cpu" else 2)  # bytes of keys and values
    steps = max(rows.answer_tokens, 1) * rows.test
    least, most = (3 * kept * steps / together for together in TOGETHER)  # read, and written anew with a token more
    attended = over((compared * (shared / 2 + rows.test * own), compared * (shared + rows.test * own + steps)), rig)
    moved = least / rig.bandwidth[1], most / rig.bandwidth[0]
    return add(answers(plan, rows, rig, shared=shared, own=own), attended, moved)


def choice_seconds(plan: Plan, rows: Rows, rig: Rig) -> Range:
    """Seconds to compare ways to cut and search: what their first round embeds, and all documents in every cut.

    Of a first round the documents are those that its questions ask for, and a share of the others.
    """
    from advisor.retrieving import cuts, questions
    from executors.retriever.chooser import FIRST

    asked = questions(rows.train)
    tokens = rows.document_tokens * cuts(plan) + asked * rows.input_tokens
    first, whole = (embedded(part * tokens, rig, plan.embedder) for part in (min(1.0, FIRST / max(asked, 1)), 1.0))
    return first[0], whole[1]


def _chosen(plan: Plan, rows: Rows, rig: Rig) -> Range:
    """The choice of how to cut and search, within its budget."""
    budget = float(params_of(plan).search_seconds)
    low, high = choice_seconds(plan, rows, rig) if budget else (0.0, 0.0)
    return min(low, budget), min(high, budget)


def _found(plan: Plan, rows: Rows, rig: Rig) -> Range:
    """What each question costs beside its answer: a cross-encoder reads its candidates, the model words it anew."""
    params = params_of(plan)
    reranked = written = (0.0, 0.0)
    if params.rerank:
        pairs = rows.test * params.candidates * (params.chunk_tokens + rows.input_tokens)
        reranked = embedded(pairs, rig)
    if params.rewrite:
        from executors.retriever.rewriting import MOST_TOKENS

        own = rows.input_tokens + INSTRUCTION_TOKENS
        written = serving_seconds(_parameters(plan), rows.test, own, MOST_TOKENS / 2, rig)
    return add(reranked, written)


def _rag(plan: Plan, rows: Rows, rig: Rig) -> Range:
    """The index, how it is cut and searched, then readers tried on training questions and the better one used."""
    params, n = params_of(plan), _parameters(plan)
    tokens = rows.document_tokens + (rows.test + rows.train) * rows.input_tokens
    indexed = add(embedded(tokens, rig, plan.embedder), _chosen(plan, rows, rig), _found(plan, rows, rig))
    if params.reader == "quote":
        read = QUOTED * params.passages_read * params.chunk_tokens * (rows.test + min(rows.train, KNOWN))
        return add(indexed, embedded(read, rig, plan.embedder))
    shared, own = _with_passages(plan, rows)
    asked = replace(rows, test=rows.test + TRIED)
    written = answers(plan, asked, rig, shared=shared, own=own)
    least, most = (2 * n * tokens * asked.test for tokens in EXTRACT_TOKENS)
    marked = over((least, most), rig)
    used = {"generate": (written,), "extract": (marked,)}.get(params.reader, (written, marked))
    return add(indexed, (min(low for low, _ in used), max(high for _, high in used)))


def _encoder(plan: Plan, rows: Rows, rig: Rig) -> Range:
    """The plan's encoder; its model where `peft` or `full` tunes one."""
    return work_heads.encoder(plan, rows, rig, plan.embedder if plan.executor == "small_encoder" else plan.model)


def _tunes_encoder(plan: Plan) -> bool:
    """Whether a method of language models has an encoder as its model here, which is tuned with a head."""
    from executors.tuning.encoder.names import is_encoder

    return plan.executor in ("peft", "full") and is_encoder(plan.model)


def _tuned_memory(plan: Plan, rows: Rows, rig: Rig) -> Range:
    """GB at the peak: of the training, or of answering the held-out rows where that needs more."""
    shape, work = work_training.training(plan, rows)
    training, answering = training_memory(shape, plan.executor, work, rig.kind), answering_memory(shape, work, rig.kind)
    return max(training.ends[0], answering.ends[0]), max(training.ends[2], answering.ends[2])


ESTIMATES: Mapping[str, Callable[[Plan, Rows, Rig], Range]] = {
    "baseline": _baseline,
    "prompt": _prompt,
    "long_context": _long_context,
    "rag": _rag,
    "probe": work_heads.probe,
    "small_encoder": _encoder,
    "peft": work_training.tuned,
    "full": work_training.tuned,
    "cpt": work_training.read_on,
    "preference": work_training.preferred,
}


def _parameters(plan: Plan) -> float:
    return measure_model(plan.model).parameters or REFERENCE_PARAMETERS
