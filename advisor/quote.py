"""Quotes: memory, time and money of a method, as ranges with their formulas, from facts alone.

Nothing is downloaded and no machine is asked. What is unknown is assumed and said: a range is only as good as its
assumptions, which come with it. GB is 1e9 bytes; times are wall-clock on the named machine; money is USD.

Sources of the formulas: 6·N FLOPs a trained token and 2·N a read one (Kaplan et al. 2020, arXiv 2001.08361); 16 bytes
a parameter for AdamW in mixed precision (Rajbhandari et al. 2020, arXiv 1910.02054); activations of
34·tokens·width·layers bytes in bfloat16 without recomputation, 2·… with it (Korthikanti et al. 2022, arXiv 2205.05198).
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from advisor.facts import Facts
from advisor.hardware import (
    REFERENCE_CORES,
    USABLE,
    Figure,
    Range,
    Rig,
    api_prices,
    cluster,
    is_stale,
    own_accelerator,
    reference_cpu,
    rent,
    stale_after_days,
)
from advisor.texts import text
from executors.base import Text, to_dict

REFERENCE_PARAMETERS = 8e9
ENCODER = (10.6e6, 22.7e6)  # MiniLM-L6: parameters that compute, and all (the rest is the table of embeddings)
SMALL_ENCODER = ((10.6e6, 22.7e6), (85e6, 110e6))  # from MiniLM to BERT-base
LORA_RANK = 16
ROWS_UNKNOWN = 500  # training pairs from which PEFT is advised
EPOCHS = 3
BATCH = 8  # rows in flight at most while training, and answers generated together
SHOTS = 8
PASSAGES, PASSAGE_TOKENS = 5, 200
INSTRUCTION_TOKENS = 60
DOMAIN_TOKENS_UNKNOWN = 100e6
KNOWLEDGE_TOKENS_UNKNOWN = 32_000  # given whole in a prompt
CORPUS_TOKENS_UNKNOWN = 1e6  # searched
CPU_AT_MOST = 1.5e9  # parameters; a larger model on a CPU is possible and useless
CPU_MEMORY_GB = 32.0
RUNTIME_GB = (0.5, 1.2)  # the interpreter, the libraries, and on a GPU the driver's context
CACHED = 0.1  # of the input price, for a prompt's repeated beginning
PRETRAIN_TOKENS = (20, 2000)  # a parameter: compute-optimal (Hoffmann 2022) to what recent small models were given
PRETRAIN_CLUSTER = ("h100", 64)
FORMULA_SOURCES = (
    "https://arxiv.org/abs/2001.08361",
    "https://arxiv.org/abs/1910.02054",
    "https://arxiv.org/abs/2205.05198",
)

TOKENS = {  # task -> tokens of one input and of one answer, typical of public data sets
    "classification": (60, 5),
    "regression": (60, 4),
    "extraction": (300, 80),
    "question_answering": (60, 30),
    "summarisation": (1500, 150),
    "translation": (80, 80),
    "generation": (100, 200),
    "dialogue": (400, 120),
    "structured_output": (300, 120),
    "reasoning": (120, 250),
}
TOKENS_UNKNOWN = (200, 100)


@dataclass(frozen=True)
class Quote:
    """What a method costs. Every range is (low, high).

    `memory_gb` is the peak while training or building, `serve_memory_gb` while answering (0 where a provider does it);
    `train_hours` on `hardware`; `per_1000_usd` and `per_1000_hours` are for a thousand answers.
    """

    method: str
    memory_gb: Range
    serve_memory_gb: Range
    train_hours: Range
    train_usd: Range
    per_1000_usd: Range
    per_1000_hours: Range
    hardware: Text
    formula: str
    assumptions: tuple[Text, ...]
    sources: tuple[str, ...]  # of the formulas
    prices: tuple[Figure, ...] = ()
    stale: bool = False  # one of the prices is too old to be relied on


@dataclass(frozen=True)
class Situation:
    """The facts a quote is made from, with what stands in for unknown ones; the texts tell of it."""

    facts: Facts
    parameters: float
    rows: float
    input_tokens: float
    answer_tokens: float
    about_model: tuple[Text, ...]
    about_rows: tuple[Text, ...]
    about_tokens: Text

    def number(self, fact: str) -> float | None:
        return _number(self.facts, fact)


@dataclass(frozen=True)
class Work:
    """What a method asks of a machine, before the machine is known."""

    weight_bytes: Range  # bytes a parameter while training, on a GPU
    cpu_bytes: float  # the same on a CPU in float32
    flops: Range  # of all training
    flops_text: str
    prompt_tokens: float  # read for one answer
    tokens_in_flight: Range  # while training: smallest and largest batch; (0, 0) where nothing is trained
    extra: tuple[Text, ...] = ()


def quotes(facts: Facts, methods: Iterable[str], today: datetime.date | None = None) -> dict[str, Any]:
    """The quotes of several methods as plain data, keyed by method."""
    return {method: to_dict(make_quote(facts, method, today)) for method in methods}


def make_quote(facts: Facts, method: str, today: datetime.date | None = None) -> Quote:
    """What `method` costs for these facts. Raises `KeyError` for a method that does not exist."""
    quote = QUOTES[method](_situation(facts))
    told = {said["en"]: said for said in quote.assumptions}  # training and serving may assume the same
    return _with_staleness(replace(quote, assumptions=tuple(told.values())), today or datetime.date.today())


def _situation(facts: Facts) -> Situation:
    parameters, rows = _number(facts, "model_parameters"), _number(facts, "labelled_examples")
    tokens_in, tokens_out = TOKENS.get(str(facts.value("task")), TOKENS_UNKNOWN)
    return Situation(
        facts=facts,
        parameters=parameters or REFERENCE_PARAMETERS,
        rows=rows or ROWS_UNKNOWN,
        input_tokens=tokens_in,
        answer_tokens=tokens_out,
        about_model=() if parameters else (text("quote.model_assumed"),),
        about_rows=() if rows else (text("quote.rows_assumed", rows=f"{ROWS_UNKNOWN:,}"),),
        about_tokens=text("quote.tokens_assumed", input=tokens_in, output=tokens_out),
    )


# -- the methods ---------------------------------------------------------------------------------------


def _baseline(known: Situation) -> Quote:
    return Quote(
        method="baseline",
        memory_gb=(0.1, 0.5),
        serve_memory_gb=(0.1, 0.5),
        train_hours=_rounded((0, _hours(10))),
        train_usd=(0, 0),
        per_1000_usd=(0, 0),
        per_1000_hours=_rounded((0, _hours(10))),
        hardware=text("quote.any_machine"),
        formula="no model: counts and word overlap",
        assumptions=(),
        sources=(),
    )


def _prompt(known: Situation) -> Quote:
    labelled = known.number("labelled_examples")
    shots = 0 if labelled == 0 else min(SHOTS, labelled or SHOTS)
    demonstrations = shots * (known.input_tokens + known.answer_tokens)
    said = text("quote.prompt_tokens", shots=f"{shots:.0f}", tokens=f"{_prompted(known) + demonstrations:.0f}")
    return _untrained(known, "prompt", _prompted(known) + demonstrations, cached=demonstrations, said=(said,))


def _long_context(known: Situation) -> Quote:
    size = known.number("knowledge_tokens")
    tokens = size or KNOWLEDGE_TOKENS_UNKNOWN
    key = "quote.long_context" if size else "quote.long_context_assumed"
    said = text(key, tokens=f"{tokens:,.0f}", cached=f"{CACHED:.0%}")
    return _untrained(known, "long_context", tokens + _prompted(known), cached=tokens, said=(said,))


def _rag(known: Situation) -> Quote:
    size = known.number("knowledge_tokens")
    tokens = size or CORPUS_TOKENS_UNKNOWN
    said = [text("quote.rag", passages=PASSAGES, tokens=PASSAGE_TOKENS)]
    if not size:
        said.append(text("quote.rag_assumed", tokens=_count(tokens)))
    quote = _untrained(known, "rag", PASSAGES * PASSAGE_TOKENS + _prompted(known), cached=0, said=tuple(said))
    seconds = _seconds((2 * ENCODER[0] * tokens,) * 2, reference_cpu())
    index_gb = tokens / PASSAGE_TOKENS * 384 * 4 / 1e9
    return replace(
        quote,
        memory_gb=_plus(_memory_of_encoder(ENCODER), index_gb),
        train_hours=_rounded(_scaled(seconds, 1 / 3600)),
        train_usd=_rounded((0, _hours(seconds[1]) * reference_cpu().usd_hour[1])),
        formula=f"index = 2 × {_count(ENCODER[0])} × {_count(tokens)} tokens ÷ speed; {quote.formula}",
    )


def _probe(known: Situation) -> Quote:
    return _encoder(known, "probe", (ENCODER, ENCODER), k=2, epochs=1)


def _small_encoder(known: Situation) -> Quote:
    return _encoder(known, "small_encoder", SMALL_ENCODER, k=6, epochs=EPOCHS)


def _peft(known: Situation) -> Quote:
    trainable = lora_parameters(known.parameters)
    per_weight = 16 * trainable / known.parameters
    nf4 = text("quote.nf4", gb=_gb(0.6 * known.parameters / 1e9))
    tokens, why = _training_tokens(known)
    work = Work(
        weight_bytes=(2 + per_weight, 2 + per_weight),
        cpu_bytes=4 + per_weight,
        flops=(4 * known.parameters * tokens, 6 * known.parameters * tokens),
        flops_text=f"4–6 × {_count(known.parameters)} × {_count(tokens)} tokens",
        prompt_tokens=_prompted(known),
        tokens_in_flight=_in_flight(known),
        extra=(why, text("quote.lora", rank=LORA_RANK, trainable=_count(trainable)), nf4),
    )
    return _trained(
        known, "peft", work, f"2 bytes × {_count(known.parameters)} + 16 bytes × {_count(trainable)} trainable"
    )


def _full(known: Situation) -> Quote:
    tokens, why = _training_tokens(known)
    work = Work(
        weight_bytes=(8, 16),
        cpu_bytes=16,
        flops=(6 * known.parameters * tokens, 8 * known.parameters * tokens),
        flops_text=f"6–8 × {_count(known.parameters)} × {_count(tokens)} tokens",
        prompt_tokens=_prompted(known),
        tokens_in_flight=_in_flight(known),
        extra=(why, text("quote.full")),
    )
    return _trained(known, "full", work, f"8–16 bytes × {_count(known.parameters)}")


def _cpt(known: Situation) -> Quote:
    size = known.number("unlabelled_tokens")
    tokens = size or DOMAIN_TOKENS_UNKNOWN
    key = "quote.cpt" if size else "quote.cpt_assumed"
    work = Work(
        weight_bytes=(8, 16),
        cpu_bytes=16,
        flops=(6 * known.parameters * tokens, 8 * known.parameters * tokens),
        flops_text=f"6–8 × {_count(known.parameters)} × {_count(tokens)} tokens",
        prompt_tokens=_prompted(known),
        tokens_in_flight=(1024, BATCH * 1024),
        extra=(text(key, tokens=_count(tokens)),),
    )
    return _trained(known, "cpt", work, f"8–16 bytes × {_count(known.parameters)}")


def _preference(known: Situation) -> Quote:
    """DPO with LoRA: each pair is two answers, read by the model that learns and by the one it started as."""
    trainable = lora_parameters(known.parameters)
    per_weight = 16 * trainable / known.parameters
    tokens, why = _training_tokens(known, epochs=1)
    work = Work(
        weight_bytes=(2 + per_weight, 4 + per_weight),
        cpu_bytes=4 + per_weight,
        flops=(2 * (4 + 2) * known.parameters * tokens, 2 * (6 + 2) * known.parameters * tokens),
        flops_text=f"2 × (4–6 + 2) × {_count(known.parameters)} × {_count(tokens)} tokens",
        prompt_tokens=_prompted(known),
        tokens_in_flight=_scaled(_in_flight(known), 2),
        extra=(why, text("quote.preference")),
    )
    return _trained(
        known, "preference", work, f"2–4 bytes × {_count(known.parameters)} + 16 bytes × {_count(trainable)} trainable"
    )


def _pretrain(known: Situation) -> Quote:
    n = known.parameters
    rig = cluster(*PRETRAIN_CLUSTER)
    flops = (6 * n * PRETRAIN_TOKENS[0] * n, 6 * n * PRETRAIN_TOKENS[1] * n)
    hours = flops[0] / (rig.flops[1] * rig.count) / 3600, flops[1] / (rig.flops[0] * rig.count) / 3600
    serving = _self_hosted(known, _prompted(known))
    return Quote(
        method="pretrain",
        memory_gb=_rounded((16 * n / 1e9, 20 * n / 1e9)),
        serve_memory_gb=serving.memory,
        train_hours=_rounded(hours),
        train_usd=_rounded((hours[0] * rig.count * rig.usd_hour[0], hours[1] * rig.count * rig.usd_hour[1])),
        per_1000_usd=serving.usd,
        per_1000_hours=serving.hours,
        hardware=text("quote.rented", name=rig.name),
        formula=(
            f"time = 6 × {_count(n)} × (20–2,000 × {_count(n)} tokens) ÷ ({rig.count} × {rig.peak_tflops[0]:g} TFLOP/s "
            f"× {_percent(rig.share)}); memory = 16 bytes × {_count(n)}, over all accelerators"
        ),
        assumptions=(*known.about_model, known.about_tokens, text("quote.pretrain"), *serving.said),
        sources=(*FORMULA_SOURCES, "https://arxiv.org/abs/2203.15556"),
        prices=tuple(dict.fromkeys((*rig.prices, *serving.prices))),
    )


QUOTES: Mapping[str, Callable[[Situation], Quote]] = {
    "baseline": _baseline,
    "prompt": _prompt,
    "long_context": _long_context,
    "rag": _rag,
    "probe": _probe,
    "small_encoder": _small_encoder,
    "peft": _peft,
    "full": _full,
    "cpt": _cpt,
    "preference": _preference,
    "pretrain": _pretrain,
}


# -- kinds of methods ----------------------------------------------------------------------------------


def _untrained(known: Situation, method: str, prompt_tokens: float, cached: float, said: tuple[Text, ...]) -> Quote:
    """A method that only asks a model: through a provider where data may go there, else on a machine."""
    serving = _by_api(known, prompt_tokens, cached) if _may_use_api(known) else _self_hosted(known, prompt_tokens)
    return Quote(
        method=method,
        memory_gb=serving.memory,
        serve_memory_gb=serving.memory,
        train_hours=(0, 0),
        train_usd=(0, 0),
        per_1000_usd=serving.usd,
        per_1000_hours=serving.hours,
        hardware=serving.hardware,
        formula=serving.formula,
        assumptions=(known.about_tokens, *said, *serving.said),
        sources=FORMULA_SOURCES[:1],
        prices=serving.prices,
    )


def _trained(known: Situation, method: str, work: Work, memory_text: str) -> Quote:
    """A method that trains a language model and then serves it itself."""
    rig, hardware, why = _rig_for(known, lambda kind: training_memory(known.parameters, work, kind)[0])
    memory = training_memory(known.parameters, work, rig.kind)
    seconds = _seconds(work.flops if rig.kind == "gpu" else (work.flops[0],) * 2, rig)
    hours = _rounded(_scaled(seconds, 1 / 3600))
    serving = _self_hosted(known, work.prompt_tokens)
    if rig.kind == "cpu":
        memory_text = f"{work.cpu_bytes:.2g} bytes × {_count(known.parameters)} (float32)"
    return Quote(
        method=method,
        memory_gb=_rounded(memory),
        serve_memory_gb=serving.memory,
        train_hours=hours,
        train_usd=_rounded((hours[0] * rig.count * rig.usd_hour[0], hours[1] * rig.count * rig.usd_hour[1])),
        per_1000_usd=serving.usd,
        per_1000_hours=serving.hours,
        hardware=hardware,
        formula=f"memory = {memory_text} + activations; time = {work.flops_text} ÷ ({_speed(rig)}); {serving.formula}",
        assumptions=(*known.about_model, *known.about_rows, known.about_tokens, *why, *work.extra, *serving.said),
        sources=FORMULA_SOURCES,
        prices=tuple(dict.fromkeys((*rig.prices, *serving.prices))),
    )


def _encoder(known: Situation, method: str, sizes: tuple[Range, Range], k: int, epochs: int) -> Quote:
    """A method on a sentence encoder, which a CPU serves well: (computing, all) parameters of the smallest, largest."""
    rig = reference_cpu()
    tokens = known.rows * known.input_tokens * epochs
    seconds = _seconds((k * sizes[0][0] * tokens, k * sizes[1][0] * tokens), rig)
    answers = _seconds((2 * sizes[0][0] * known.input_tokens * 1000, 2 * sizes[1][0] * known.input_tokens * 1000), rig)
    low, high = (_memory_of_encoder(size, trained=k > 2) for size in sizes)
    hours, per_1000 = _scaled(seconds, 1 / 3600), _scaled(answers, 1 / 3600)
    sizes_text = _count(sizes[0][0]) if sizes[0] == sizes[1] else f"{_count(sizes[0][0])}–{_count(sizes[1][0])}"
    return Quote(
        method=method,
        memory_gb=_rounded((low[0], high[1])),
        serve_memory_gb=_rounded((_memory_of_encoder(sizes[0])[0], _memory_of_encoder(sizes[1])[1])),
        train_hours=_rounded(hours),
        train_usd=_rounded((hours[0] * rig.usd_hour[0], hours[1] * rig.usd_hour[1])),
        per_1000_usd=_rounded((per_1000[0] * rig.usd_hour[0], per_1000[1] * rig.usd_hour[1])),
        per_1000_hours=_rounded(per_1000),
        hardware=text("quote.cpu", cores=REFERENCE_CORES),
        formula=f"time = {k} × {sizes_text} × {_count(tokens)} tokens ÷ ({_speed(rig)})",
        assumptions=(*known.about_rows, known.about_tokens, text("quote.encoder", rows=f"{known.rows:,.0f}")),
        sources=FORMULA_SOURCES[:1],
        prices=rig.prices,
    )


# -- memory ----------------------------------------------------------------------------------------------


def lora_parameters(parameters: float, rank: int = LORA_RANK) -> float:
    """Trainable parameters of LoRA on every linear layer: about 20·rank·width a layer of a modern decoder."""
    width, layers = shape(parameters)
    return 20 * rank * width * layers


def shape(parameters: float) -> tuple[float, float]:
    """Width and layers of a typical decoder of this size: N = 12·layers·width², width = 128·layers."""
    width = (parameters * 128 / 12) ** (1 / 3)
    return width, width / 128


def training_memory(parameters: float, work: Work, kind: str) -> Range:
    """Peak GB of training: states, activations (recomputed and one row; kept and a full batch), logits, runtime."""
    wide = 2 if kind == "cpu" else 1  # float32 activations are twice bfloat16's
    states = (work.cpu_bytes, work.cpu_bytes) if kind == "cpu" else work.weight_bytes
    width, layers = shape(parameters)
    few, many = work.tokens_in_flight
    low = 2 * width * layers * few + 34 * width * few
    high = 34 * width * layers * many + _logits_bytes(parameters, many)
    return (
        (states[0] * parameters + wide * low) / 1e9 + RUNTIME_GB[0],
        (states[1] * parameters + wide * high) / 1e9 + RUNTIME_GB[1],
    )


def serving_memory(parameters: float, tokens: float, kind: str) -> Range:
    """GB while answering: the weights, and the keys and values of one row or of a batch."""
    width_bytes = 4 if kind == "cpu" else 2
    width, layers = shape(parameters)
    cache = 2 * layers * width * width_bytes * tokens  # grouped queries keep 1/4 to 1/8 of it
    weights = width_bytes * parameters
    return (weights + cache / 8) / 1e9 + RUNTIME_GB[0], (weights + BATCH * cache / 4) / 1e9 + RUNTIME_GB[1]


def _logits_bytes(parameters: float, tokens: float) -> float:
    """Logits in 16 and 32 bits with their gradients: 12 bytes a token and word of the vocabulary."""
    return 12 * tokens * (128_000 if parameters >= 1e9 else 50_000)


def _memory_of_encoder(size: tuple[float, float], *, trained: bool = False) -> Range:
    weights = (16 if trained else 4) * size[1] / 1e9
    return weights + RUNTIME_GB[0], weights + RUNTIME_GB[1] + (1 if trained else 0.3)


# -- machines and time -----------------------------------------------------------------------------------


def _rig_for(known: Situation, needed: Callable[[str], float]) -> tuple[Rig, Text, tuple[Text, ...]]:
    """The machine a job of `needed(kind)` GB would run on, its name, and why: the user's own where it fits."""
    memory, count = known.number("gpu_memory_gb"), int(known.number("gpu_count") or 1)
    gb = _gb(needed("gpu"))
    if memory:
        own = own_accelerator(memory, count)
        if needed("gpu") <= memory * count * USABLE:
            return own, text("quote.own", gb=f"{memory:g}", name=own.name), (text("quote.as_if_rented"),)
        other = rent(needed("gpu"))
        why = text("quote.too_small", needed=gb, have=f"{count} × {memory:g}")
        return other, text("quote.rented", name=other.name), (why,)
    if memory == 0 and known.parameters <= CPU_AT_MOST and needed("cpu") <= CPU_MEMORY_GB:
        cpu = reference_cpu()
        return cpu, text("quote.cpu", cores=REFERENCE_CORES), (text("quote.cpu_reference"),)
    rented = rent(needed("gpu"))
    why = text("quote.no_gpu" if memory == 0 else "quote.gpu_unknown", needed=gb, name=rented.name)
    return rented, text("quote.rented", name=rented.name), (why,)


def _seconds(flops: Range, rig: Rig) -> Range:
    slow, fast = rig.flops
    return flops[0] / (fast * rig.count), flops[1] / (slow * rig.count)


def _training_tokens(known: Situation, epochs: int = EPOCHS) -> tuple[float, Text]:
    """Tokens read while training, at least 100 steps of a batch each."""
    rows = max(known.rows * epochs, 100 * BATCH)
    length = _prompted(known) + known.answer_tokens
    told = text("quote.training", rows=f"{known.rows:,.0f}", passes=f"{rows / known.rows:.3g}", length=f"{length:.0f}")
    return rows * length, told


def _in_flight(known: Situation) -> Range:
    length = _prompted(known) + known.answer_tokens
    return length, BATCH * length


def _prompted(known: Situation) -> float:
    return INSTRUCTION_TOKENS + known.input_tokens


# -- answers ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Serving:
    """What a thousand answers take, and from whom."""

    memory: Range
    hours: Range
    usd: Range
    hardware: Text
    formula: str
    said: tuple[Text, ...]
    prices: tuple[Figure, ...]


def _may_use_api(known: Situation) -> bool:
    """Whether a provider answers: unless data must stay, or weights that the user names are at hand."""
    if known.facts.value("privacy") in ("own_cloud", "on_premises"):
        return False
    return not (known.facts.value("weights_access") is True and known.number("model_parameters"))


def _by_api(known: Situation, prompt_tokens: float, cached: float) -> Serving:
    prices = api_prices()
    rest = prompt_tokens - cached
    low = min(p["input"] * (rest + CACHED * cached) + p["output"] * known.answer_tokens for p in prices.values())
    high = max(p["input"] * prompt_tokens + p["output"] * known.answer_tokens for p in prices.values())
    return Serving(
        memory=(0, 0),
        hours=(0, 0),
        usd=_rounded((low * 1000 / 1e6, high * 1000 / 1e6)),
        hardware=text("quote.provider"),
        formula=f"1,000 answers = 1,000 × ({prompt_tokens:,.0f} × price in + {known.answer_tokens:g} × price out)",
        said=(text("quote.api", names=", ".join(prices)),),
        prices=tuple(Figure(name, str(p["as_of"]), (p["source"],)) for name, p in prices.items()),
    )


def _self_hosted(known: Situation, prompt_tokens: float) -> Serving:
    n = known.parameters
    tokens = prompt_tokens + known.answer_tokens
    rig, hardware, why = _rig_for(known, lambda kind: serving_memory(n, tokens, kind)[0])
    seconds = serving_seconds(n, 1000, prompt_tokens, known.answer_tokens, rig)
    hours = _scaled(seconds, 1 / 3600)
    usd = hours[0] * rig.count * rig.usd_hour[0], hours[1] * rig.count * rig.usd_hour[1]
    said = [*known.about_model, *why, text("quote.serving", batch=BATCH)]
    requests = known.number("requests_per_day")
    if requests and rig.kind == "gpu":
        always_on = tuple(24 * rig.count * price * 1000 / requests for price in rig.usd_hour)
        usd = usd[0], max(usd[1], always_on[1])
        said.append(text("quote.always_on", requests=f"{requests:,.0f}", usd=f"{always_on[0]:.2g}–{always_on[1]:.2g}"))
    return Serving(
        memory=_rounded(serving_memory(n, tokens, rig.kind)),
        hours=_rounded(hours),
        usd=_rounded(usd),
        hardware=hardware,
        formula=_serving_formula(n, prompt_tokens, known.answer_tokens, rig),
        said=tuple(said),
        prices=rig.prices,
    )


def _serving_formula(parameters: float, prompt_tokens: float, answer_tokens: float, rig: Rig) -> str:
    size, width_bytes = _count(parameters), 4 if rig.kind == "cpu" else 2
    reading = f"2 × {size} × {prompt_tokens:,.0f} ÷ ({_speed(rig)})"
    bandwidth = f"{rig.bandwidth[0] / 1e9:.3g}–{rig.bandwidth[1] / 1e9:.3g} GB/s"
    writing = f"{answer_tokens:g} × {width_bytes} bytes × {size} ÷ ({bandwidth} × {BATCH} at a time)"
    return f"1,000 answers = 1,000 × ({reading} + {writing})"


def serving_seconds(parameters: float, answers: int, prompt_tokens: float, answer_tokens: float, rig: Rig) -> Range:
    """Seconds for `answers`: prompts are bound by arithmetic, generation by reading the weights for every token."""
    reading = _seconds((2 * parameters * prompt_tokens * answers,) * 2, rig)
    width_bytes = 4 if rig.kind == "cpu" else 2
    writing = width_bytes * parameters * answer_tokens * answers / (BATCH * rig.count)
    return reading[0] + writing / rig.bandwidth[1], reading[1] + writing / rig.bandwidth[0]


# -- staleness and small change -----------------------------------------------------------------------------


def _with_staleness(quote: Quote, today: datetime.date) -> Quote:
    """The quote with a warning that names each price in it that is too old."""
    old = [price for price in quote.prices if is_stale(price, today)]
    if not old:
        return quote
    named = ", ".join(f"{price.name} ({price.as_of})" for price in old)
    warning = text("quote.stale", prices=named, days=stale_after_days())
    return replace(quote, assumptions=(*quote.assumptions, warning), stale=True)


def _number(facts: Facts, fact: str) -> float | None:
    value = facts.value(fact)
    return None if value is None else float(value)


def _hours(seconds: float) -> float:
    return seconds / 3600


def _scaled(pair: Range, factor: float) -> Range:
    return pair[0] * factor, pair[1] * factor


def _plus(pair: Range, more: float) -> Range:
    return _rounded((pair[0] + more, pair[1] + more))


def _rounded(pair: Range) -> Range:
    """Three significant digits: a quote has no more."""
    return float(f"{pair[0]:.3g}"), float(f"{pair[1]:.3g}")


def _count(value: float) -> str:
    """``134.5 M``, ``8 B``, ``12 k``."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.4g} {letter}"
    return f"{value:.0f}"


def _gb(value: float) -> str:
    return f"{value:.2g}" if value < 100 else f"{value:,.0f}"


def _percent(share: Range) -> str:
    return f"{share[0]:.0%}–{share[1]:.0%}"


def _speed(rig: Rig) -> str:
    low, high = rig.peak_tflops
    peak = f"{low:g}" if low == high else f"{low:g}–{high:g}"
    return f"{f'{rig.count} × ' if rig.count > 1 else ''}{peak} TFLOP/s × {_percent(rig.share)}"
