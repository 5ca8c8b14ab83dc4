"""How fast the local model answers prompts, beside LangChain's pipeline, and what a row costs.

Weights, prompts and tokens are the same on both sides; a beginning that was kept from an earlier call is forgotten
before what is timed, unless the figure says otherwise.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from executors.models import LocalModel, encode_chat
from tests.benchmarks.harness import OUT, Figure
from tests.benchmarks.prompting.data import drawn, few_a_class, sst2
from tests.benchmarks.prompting.shared import (
    COMMAND,
    Chat,
    Row,
    against,
    common,
    fresh,
    load,
    timed,
    times_faster,
    turns,
)

PEER = "langchain-huggingface 1.2.3"
PEERS = OUT / "peers"
INSTALL = f"{sys.executable} -m pip install --no-deps --target {PEERS} {PEER.replace(' ', '==')}"
SENTIMENT = "Is the review positive or negative? Answer with one word."
ROWS, DEMONSTRATIONS, MOST = 200, 32, 8  # rows, demonstrations of each, tokens an answer may have
PEER_ROWS = 40  # of the same rows, asked one by one: all of them would take ten minutes
FEW, SOME, MANY = 8, 32, 128  # demonstrations over which the cost of a row is compared
TIMED_ROWS = 60


# -- generation ----------------------------------------------------------------------------------------


def generation(count: int = ROWS, peer_count: int = PEER_ROWS) -> list[Figure]:
    """Short rows with fixed demonstrations: ours at once, LangChain's pipeline one by one."""
    base, limit = load()
    chats = _reviews(DEMONSTRATIONS, drawn(sst2("dev"), count))
    ask = _pipeline(base)
    ask(chats[0])  # neither side pays for its first pass
    fresh(base).generate(chats[:1], 1)
    limit.measure()
    seconds, ours = timed(lambda: fresh(base).generate(chats, MOST))
    theirs = [timed(lambda chat=chat: ask(chat)) for chat in chats[:peer_count]]
    limit.measure()
    ratio, interval = times_faster([one for one, _ in theirs], seconds / count)
    equal = mean(answer.text == text for answer, (_, text) in zip(ours, theirs, strict=False))
    about = {"peer_version": PEER, "command": COMMAND + "generation"}
    prefix = common([encode_chat(base.tokenizer, chat) for chat in chats])
    usage = [answer.usage for answer in ours]
    lengths, answers = [u.prompt_tokens for u in usage], [u.completion_tokens for u in usage]
    needed = limit.operations([(0, prefix, 0), *_decoded(lengths, answers, prefix)])
    theirs_needed = limit.operations(_decoded(lengths[:peer_count], answers[:peer_count], 0))
    return [
        Figure("generation: times the throughput of HuggingFacePipeline, row by row", ratio, 4, ">=", peer_count,
               interval, **about),
        Figure("generation: share of answers equal to its answers", equal, 1, ">=", peer_count, **about),
        Figure("generation: tokens of the demonstrations", prefix, n=count, **about),
        Figure("generation: this CPU's matrix rate, GFLOP/s", limit.rate / 1e9, n=2, **about),
        *against(limit, "generation", needed, seconds, count, about),
        *against(limit, "generation, HuggingFacePipeline", theirs_needed, sum(s for s, _ in theirs), peer_count, about),
    ]  # fmt: skip


def _reviews(demonstrations: int, sentences: Sequence[Row]) -> list[Chat]:
    """Chats about sentences, all with the same demonstrations."""
    shown = few_a_class(sst2("train"), demonstrations // 2, seed=0)
    random.Random(0).shuffle(shown)
    return [turns(SENTIMENT, shown, row["text"]) for row in sentences]


def _decoded(lengths: Sequence[int], answers: Sequence[int], cached: int) -> list[tuple[int, int, int]]:
    """The passes of rows that are answered after a beginning in the cache: the prompt, then a token each."""
    steps = [(length + n, 1, 1) for length, answer in zip(lengths, answers, strict=True) for n in range(answer - 1)]
    return [*((cached, length - cached, 1) for length in lengths), *steps]


def _pipeline(model: LocalModel) -> Callable[[Chat], str]:
    """LangChain's pipeline around the very same weights. Raises `SystemExit` where its package is absent."""
    sys.path.append(str(PEERS))
    try:
        from langchain_huggingface import HuggingFacePipeline
    except ImportError as error:
        raise SystemExit(f"{PEER} is absent ({error}); put it beside the environment:\n  {INSTALL}") from error
    import transformers

    transformers.utils.logging.set_verbosity_error()
    pipe = transformers.pipeline(
        "text-generation",
        model=model.model,
        tokenizer=model.tokenizer,
        max_new_tokens=MOST,
        do_sample=False,
        return_full_text=False,
    )
    peer = HuggingFacePipeline(pipeline=pipe)

    def ask(chat: Chat) -> str:
        prompt = model.tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        assert model.tokenizer(prompt)["input_ids"] == encode_chat(model.tokenizer, chat)
        return str(peer.invoke(prompt)).strip()

    return ask


# -- what a row costs ----------------------------------------------------------------------------------


def rows() -> list[Figure]:
    """Seconds a row once the beginning is there: by the number of demonstrations, and by the row's own length."""
    sentences = sorted(sst2("dev"), key=lambda row: len(row["text"].split()))
    half, any_ = len(sentences) // 2, drawn(sentences, TIMED_ROWS)
    costs = {n: _cost(n, any_) for n in (FEW, SOME, MANY)}
    short, long = (_cost(SOME, drawn(part, TIMED_ROWS)) for part in (sentences[:half], sentences[half:]))
    few, some, many = costs.values()
    longer, slower = long.row / short.row, long.seconds / short.seconds
    about = {"n": TIMED_ROWS, "command": COMMAND + "rows"}
    return [
        *(Figure(f"rows: seconds a row after {n} demonstrations", cost.seconds, **about) for n, cost in costs.items()),
        *(Figure(f"rows: tokens before the row, {n} demonstrations", c.before, **about) for n, c in costs.items()),
        _growth("seconds", SOME, some.seconds / few.seconds, 1.5),
        _growth("FLOP", SOME, some.needed / few.needed),
        _growth("seconds", MANY, many.seconds / few.seconds, 3),
        _growth("FLOP", MANY, many.needed / few.needed),
        _growth("tokens", MANY, many.before / few.before),
        Figure("rows: tokens of long rows, times those of short ones", longer, **about),
        Figure("rows: seconds a token of long rows, times those of short ones", slower / longer, 1.25, "<=", **about),
    ]  # fmt: skip


def _growth(what: str, demonstrations: int, value: float, bar: float | None = None) -> Figure:
    name = f"rows: {demonstrations} demonstrations, times the {what} of {FEW}"
    return Figure(name, value, bar, "<=" if bar else "", TIMED_ROWS, command=COMMAND + "rows")


@dataclass(frozen=True)
class Cost:
    """Of a row, once the beginning is there: seconds, tokens before it, its own tokens, operations needed."""

    seconds: float
    before: int
    row: float
    needed: float


def _cost(demonstrations: int, sentences: Sequence[Row]) -> Cost:
    """The best of three runs to the first token of every answer."""
    base, limit = load()
    chats = _reviews(demonstrations, sentences)
    prompts = [encode_chat(base.tokenizer, chat) for chat in chats]
    prefix, lengths = common(prompts), [len(prompt) for prompt in prompts]
    model = fresh(base)
    model.generate(chats[:2], 1)
    seconds = min(timed(lambda: model.generate(chats, 1))[0] for _ in range(3))
    needed = limit.operations(_decoded(lengths, [1] * len(lengths), prefix))
    return Cost(seconds / len(chats), prefix, mean(lengths) - prefix, needed / len(chats))
