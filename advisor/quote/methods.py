"""Quotes of the methods that train no language model, and of pre-training one, which nobody here will do."""

from __future__ import annotations

from dataclasses import replace

from advisor import formats
from advisor.advice.forms import variants
from advisor.facts import Assuming
from advisor.hardware import REFERENCE_CORES, Range, cluster, reference_cpu
from advisor.prompting import MANY_SHOT_LIMIT, RETRIEVED_SHOTS, SHOTS_SHARE, WINDOW_UNKNOWN
from advisor.quote.duration import seconds
from advisor.quote.figures import count, percent, rounded, scaled, speed, usd_of
from advisor.quote.memory import encoder_memory
from advisor.quote.record import FORMULA_SOURCES, Quote
from advisor.quote.serving import by_api, may_use_api, self_hosted
from advisor.quote.situation import Situation
from advisor.retrieving import MOST_SECONDS
from advisor.texts import LANGUAGES, text
from executors.base import Text

ENCODER = (10.6e6, 22.7e6)  # MiniLM-L6: parameters that compute, and all (the rest is the table of embeddings)
SMALL_ENCODER = ((10.6e6, 22.7e6), (85e6, 110e6))  # from MiniLM to BERT-base
SHOTS = 8
REASONING_TOKENS = 128  # of steps and answer: half of what a plan allows
PASSAGES, PASSAGE_TOKENS = 5, 200
CUTS = 5  # ways to cut the documents that are compared; each embeds them anew
VECTOR_BYTES = 384 * 4
KNOWLEDGE_TOKENS_UNKNOWN = 32_000  # given whole in a prompt
CORPUS_TOKENS_UNKNOWN = 1e6  # searched
PRETRAIN_TOKENS = (20, 2000)  # a parameter: compute-optimal (Hoffmann 2022) to what recent small models were given
PRETRAIN_CLUSTER = ("h100", 64)


def baseline(known: Situation) -> Quote:
    return Quote(
        method="baseline",
        memory_gb=(0.1, 0.5),
        serve_memory_gb=(0.1, 0.5),
        train_hours=rounded((0, 10 / 3600)),
        train_usd=(0, 0),
        per_1000_usd=(0, 0),
        per_1000_hours=rounded((0, 10 / 3600)),
        hardware=text("quote.any_machine"),
        formula="no model: counts and word overlap",
        assumptions=(),
        sources=(),
        memory_point_gb=0.2,
    )


def prompt(known: Situation) -> Quote:
    """In the form that the facts speak for: retrieved demonstrations differ from prompt to prompt, so no cache holds
    them; a chain of thought is written before each answer."""
    form = _prompt_form(known)
    each = known.work.input_tokens + known.work.answer_tokens
    shots = _shots(known, form, each)
    tokens = known.work.prompt_tokens + shots * each
    said = [text("quote.prompt_tokens", shots=f"{shots:.0f}", tokens=f"{tokens:.0f}")]
    if form == "retrieved":
        said.append(text("quote.prompt_retrieved"))
    if form == "chain_of_thought":
        written = max(known.work.answer_tokens, REASONING_TOKENS)
        known = replace(known, work=replace(known.work, answer_tokens=written))
        said.append(text("quote.prompt_reasoned", tokens=f"{written:.0f}"))
    return _untrained(known, "prompt", tokens, cached=0 if form == "retrieved" else shots * each, said=tuple(said))


def _prompt_form(known: Situation) -> str:
    """As the advice chooses it; by itself only where the number of labels is known."""
    if not known.facts.value("labelled_examples"):
        return "few_shot"
    view = Assuming(known.facts.believed(), presumed=known.facts.presumed())
    return variants(("prompt",), view)["prompt"]


def _shots(known: Situation, form: str, each: float) -> float:
    """Demonstrations in a prompt of this form."""
    labelled = known.number("labelled_examples")
    if form == "many_shot":
        held = SHOTS_SHARE * (known.number("context_window") or WINDOW_UNKNOWN) / each
        return min(MANY_SHOT_LIMIT, labelled or 0, held)
    usual = RETRIEVED_SHOTS if form == "retrieved" else SHOTS
    return 0 if labelled == 0 else min(usual, labelled or usual)


def long_context(known: Situation) -> Quote:
    size = known.number("knowledge_tokens")
    tokens = size or KNOWLEDGE_TOKENS_UNKNOWN
    key = "quote.long_context" if size else "quote.long_context_assumed"
    said = text(key, tokens=f"{tokens:,.0f}")
    return _untrained(known, "long_context", tokens + known.work.prompt_tokens, cached=tokens, said=(said,))


def rag(known: Situation) -> Quote:
    size = known.number("knowledge_tokens")
    tokens = size or CORPUS_TOKENS_UNKNOWN
    choice = {lang: formats.seconds(MOST_SECONDS, None, lang) for lang in LANGUAGES}
    said = [text("quote.rag", passages=PASSAGES, tokens=PASSAGE_TOKENS, choice=choice)]
    if not size:
        said.append(text("quote.rag_assumed", tokens=count(tokens)))
    prompted = PASSAGES * PASSAGE_TOKENS + known.work.prompt_tokens
    quote = _untrained(known, "rag", prompted, cached=0, said=tuple(said))
    rig = reference_cpu()
    low_s, high_s = seconds((2 * ENCODER[0] * tokens,) * 2, rig)
    hours = scaled((low_s, high_s + min(high_s * CUTS, MOST_SECONDS)), 1 / 3600)
    index_gb = tokens / PASSAGE_TOKENS * VECTOR_BYTES / 1e9
    low, high = encoder_memory(ENCODER[1])
    return replace(
        quote,
        memory_gb=rounded((low + index_gb, high + index_gb)),
        memory_point_gb=rounded(((low + high) / 2 + index_gb,) * 2)[0],
        train_hours=rounded(hours),
        train_usd=rounded((0, hours[1] * rig.usd_hour[1])),
        formula=f"index = 2 × {count(ENCODER[0])} × {count(tokens)} tokens ÷ speed; {quote.formula}",
    )


def probe(known: Situation) -> Quote:
    return _encoder(known, "probe", (ENCODER, ENCODER), k=2, epochs=1)


def small_encoder(known: Situation) -> Quote:
    return _encoder(known, "small_encoder", SMALL_ENCODER, k=6, epochs=known.work.training.epochs)


def pretrain(known: Situation) -> Quote:
    n = known.parameters
    rig = cluster(*PRETRAIN_CLUSTER)
    slow, fast = (rate * rig.count for rate in rig.flops)
    hours = 6 * n * PRETRAIN_TOKENS[0] * n / fast / 3600, 6 * n * PRETRAIN_TOKENS[1] * n / slow / 3600
    serving = self_hosted(known, known.work.prompt_tokens)
    return Quote(
        method="pretrain",
        memory_gb=rounded((16 * n / 1e9, 20 * n / 1e9)),
        memory_point_gb=rounded((18 * n / 1e9,) * 2)[0],
        serve_memory_gb=serving.memory,
        train_hours=rounded(hours),
        train_usd=usd_of(hours, rig),
        per_1000_usd=serving.usd,
        per_1000_hours=serving.hours,
        hardware=text("quote.rented", name=rig.name),
        formula=(
            f"time = 6 × {count(n)} × (20–2,000 × {count(n)} tokens) ÷ ({rig.count} × {rig.peak_tflops[0]:g} TFLOP/s "
            f"× {percent(rig.share)}); memory = 16 bytes × {count(n)}, over all accelerators"
        ),
        assumptions=(*known.about_model, *known.work.about, text("quote.pretrain"), *serving.said),
        sources=(*FORMULA_SOURCES, "https://arxiv.org/abs/2203.15556"),
        prices=tuple(dict.fromkeys((*rig.prices, *serving.prices))),
    )


def _untrained(known: Situation, method: str, prompt_tokens: float, cached: float, said: tuple[Text, ...]) -> Quote:
    """A method that only asks a model: through a provider where data may go there, else on a machine."""
    api = may_use_api(known)
    serving = by_api(known, prompt_tokens, cached) if api else self_hosted(known, prompt_tokens, cached)
    return Quote(
        method=method,
        memory_gb=serving.memory,
        memory_point_gb=rounded((sum(serving.memory) / 2,) * 2)[0],
        serve_memory_gb=serving.memory,
        train_hours=(0, 0),
        train_usd=(0, 0),
        per_1000_usd=serving.usd,
        per_1000_hours=serving.hours,
        hardware=serving.hardware,
        formula=serving.formula,
        assumptions=(*known.work.about, *said, *serving.said),
        sources=FORMULA_SOURCES[:1],
        prices=serving.prices,
        provider=api,
    )


def _encoder(known: Situation, method: str, sizes: tuple[Range, Range], k: int, epochs: float) -> Quote:
    """A method on a sentence encoder, which a CPU serves well: (computing, all) parameters of the smallest, largest."""
    rig = known.rig if known.rig and known.rig.kind == "cpu" else reference_cpu()
    tokens = known.work.rows * known.work.input_tokens * epochs
    asked = 2 * known.work.input_tokens * 1000
    hours = scaled(seconds((k * sizes[0][0] * tokens, k * sizes[1][0] * tokens), rig), 1 / 3600)
    per_1000 = scaled(seconds((asked * sizes[0][0], asked * sizes[1][0]), rig), 1 / 3600)
    low, high = encoder_memory(sizes[0][1], trained=k > 2)[0], encoder_memory(sizes[1][1], trained=k > 2)[1]
    sizes_text = count(sizes[0][0]) if sizes[0] == sizes[1] else f"{count(sizes[0][0])}–{count(sizes[1][0])}"
    rows = text("quote.encoder", rows=f"{known.work.rows:,.0f}")
    return Quote(
        method=method,
        memory_gb=rounded((low, high)),
        memory_point_gb=rounded(((low + high) / 2,) * 2)[0],
        serve_memory_gb=rounded((encoder_memory(sizes[0][1])[0], encoder_memory(sizes[1][1])[1])),
        train_hours=rounded(hours),
        train_usd=usd_of(hours, rig),
        per_1000_usd=usd_of(per_1000, rig),
        per_1000_hours=rounded(per_1000),
        hardware=text("quote.cpu", cores=rig.cores or REFERENCE_CORES),
        formula=f"time = {k} × {sizes_text} × {count(tokens)} tokens ÷ ({speed(rig)})",
        assumptions=(*known.about_rows, *known.work.about, rows),
        sources=FORMULA_SOURCES[:1],
        prices=rig.prices,
    )
