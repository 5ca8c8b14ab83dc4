"""How fast labels are scored by their likelihood, beside each full prompt-and-label sequence anew."""

from __future__ import annotations

import copy
import random
import subprocess
import sys
from collections.abc import Sequence
from statistics import mean

from executors.models import LocalModel, encode_answer, encode_chat
from tests.benchmarks.harness import ROOT, Figure
from tests.benchmarks.prompting.data import banking77, drawn
from tests.benchmarks.prompting.shared import COMMAND, Chat, against, common, fresh, load, timed, times_faster, turns

INTENT = "Name the intent of the request."
ROWS, PEER_ROWS = 20, 3
DEMONSTRATIONS = 8  # of each request its own, as retrieved ones are: prompts share their instruction only
PEER_BATCH = 16
MANY = 2_000


def labels() -> list[Figure]:
    """77 labels by likelihood; of the peer's two ways, one by one and in batches, the faster on a row counts."""
    base, limit = load()
    names = sorted({row["label"] for row in banking77("train")})
    answers = [encode_answer(base.tokenizer, name) for name in names]
    chats = _requests(DEMONSTRATIONS)
    prompts = [encode_chat(base.tokenizer, chat) for chat in chats]
    fresh(base).score(chats[:1], names)
    limit.measure()
    seconds, ours = timed(lambda: fresh(base).score(chats, names))
    size = _faster_way(base, prompts[0], answers)
    peer = [timed(lambda p=p: _anew(base, p, answers, size)) for p in prompts[:PEER_ROWS]]
    limit.measure()
    ratio, interval = times_faster([one for one, _ in peer], seconds / ROWS)
    about = {"command": COMMAND + "labels"}
    return [
        Figure("labels: times the throughput of each sequence anew", ratio, 10, ">=", PEER_ROWS, interval, **about),
        *_differences(ours, [found for _, found in peer]),
        _from_float64(ours, prompts, answers),
        Figure("labels: seconds a row, each sequence anew", mean(one for one, _ in peer), n=PEER_ROWS, **about),
        Figure("labels: sequences at a time, as is faster there", size, **about),
        Figure("labels: the same ratio without demonstrations", _bare(names, answers), n=PEER_ROWS, **about),
        Figure("labels: tokens of a prompt", mean(map(len, prompts)), n=ROWS, **about),
        Figure("labels: tokens of the labels as a tree", len(_begins(answers)), n=len(names), **about),
        Figure("labels: this CPU's matrix rate, GFLOP/s", limit.rate / 1e9, n=2, **about),
        *against(limit, "labels", limit.operations(_passes(prompts, answers)), seconds, ROWS, about),
    ]


def _differences(ours: Sequence[Sequence[float]], anew: Sequence[Sequence[float]]) -> list[Figure]:
    """Between the scores of the two, and whether they name the same label.

    Scores are sums of up to 46, which float32 rounds on both sides: what is barred is our distance from float64.
    """
    pairs = list(zip(ours, anew, strict=False))
    apart = [abs(a - b) for mine, theirs in pairs for a, b in zip(mine, theirs, strict=True)]
    same = mean(mine.index(max(mine)) == theirs.index(max(theirs)) for mine, theirs in pairs)
    command = COMMAND + "labels"
    return [
        Figure("labels: largest difference of a score, both in float32", max(apart), n=len(apart), command=command),
        Figure("labels: share of rows with the same best label", same, 1, ">=", len(pairs), command=command),
    ]


def _from_float64(ours: Sequence[Sequence[float]], prompts: list[list[int]], answers: list[list[int]]) -> Figure:
    """From each sequence anew in float64, for every eighth label of two rows: both ways round in float32."""
    base, _ = load()
    some = range(0, len(answers), 8)
    exact = LocalModel(copy.deepcopy(base.model).double(), base.tokenizer, base.name)
    truth = [_anew(exact, prompt, [answers[i] for i in some], 1) for prompt in prompts[:2]]
    apart = [abs(mine[i] - t) for mine, row in zip(ours, truth, strict=False) for i, t in zip(some, row, strict=True)]
    name = "labels: largest difference from float64, each sequence anew"
    return Figure(name, max(apart), 1e-4, "<=", len(apart), command=COMMAND + "labels")


def _begins(answers: Sequence[Sequence[int]]) -> set[tuple[int, ...]]:
    """What answers begin with: the nodes of their tree."""
    return {tuple(answer[:end]) for answer in answers for end in range(1, len(answer))}


def _passes(prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> list[tuple[int, int, int]]:
    """The beginning once, then every prompt's own part, then every node of the labels' tree after every prompt."""
    prefix = common(prompts)
    depths = [len(begin) for begin in _begins(answers)]
    trees = [(len(prompt) + depth - 1, 1, 1) for prompt in prompts for depth in depths]
    return [(0, prefix, 0), *((prefix, len(prompt) - prefix, 1) for prompt in prompts), *trees]


def _requests(demonstrations: int) -> list[Chat]:
    """Requests, each with demonstrations of its own."""
    train, chance = banking77("train"), random.Random(0)
    return [turns(INTENT, chance.sample(train, demonstrations), row["text"]) for row in drawn(banking77("test"), ROWS)]


def _faster_way(base: LocalModel, prompt: list[int], answers: list[list[int]]) -> int:
    """Sequences at a time: one, or a batch, whichever is faster here."""
    return min((1, PEER_BATCH), key=lambda size: timed(lambda: _anew(base, prompt, answers, size))[0])


def _bare(names: list[str], answers: list[list[int]]) -> float:
    """How many times faster without demonstrations, where the least is shared."""
    base, _ = load()
    chats = _requests(0)
    ours, _ = timed(lambda: fresh(base).score(chats, names))
    prompts = [encode_chat(base.tokenizer, chat) for chat in chats[:PEER_ROWS]]
    size = _faster_way(base, prompts[0], answers)
    theirs, _ = timed(lambda: [_anew(base, prompt, answers, size) for prompt in prompts])
    return theirs / len(prompts) / (ours / len(chats))


def _anew(base: LocalModel, prompt: list[int], answers: list[list[int]], size: int) -> list[float]:
    """Each answer's log-probability from its whole sequence, `size` sequences of like length at a time."""
    import torch

    scores: dict[int, float] = {}
    order = sorted(range(len(answers)), key=lambda i: len(answers[i]))
    with torch.inference_mode():
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            longest = max(len(answers[i]) for i in batch)
            pads = [longest - len(answers[i]) for i in batch]
            ids = torch.tensor([[0] * pad + prompt + answers[i] for pad, i in zip(pads, batch, strict=True)])
            mask = torch.tensor([[0] * pad + [1] * (ids.shape[1] - pad) for pad in pads])
            positions = (mask.cumsum(-1) - 1).clamp(min=0)
            out = base.model(
                input_ids=ids,
                attention_mask=mask if size > 1 else None,
                position_ids=positions,
                use_cache=False,
                logits_to_keep=longest + 1,
            )
            steps = out.logits[:, :-1].log_softmax(-1).gather(2, ids[:, -longest:, None])[..., 0]
            scores |= {i: float(row[-len(answers[i]) :].sum()) for i, row in zip(batch, steps, strict=True)}
    return [scores[i] for i in range(len(answers))]


# -- very many labels ----------------------------------------------------------------------------------


def many_labels() -> list[Figure]:
    """2,000 labels that begin alike, in a process of its own: its peak memory, model included."""
    call = [sys.executable, "-m", "tests.benchmarks.prompting.many", str(MANY)]
    done = subprocess.run(call, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    seconds, peak, apart = map(float, done.stdout.split())
    about = {"command": COMMAND + "many-labels"}
    return [
        Figure("2,000 labels: peak memory of the process, GB", peak, 2, "<=", MANY, **about),
        Figure("2,000 labels: largest difference from labels scored alone", apart, 1e-4, "<=", 20, **about),
        Figure("2,000 labels: seconds a row", seconds, n=MANY, **about),
    ]
