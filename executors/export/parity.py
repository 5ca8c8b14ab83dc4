"""Whether two models answer alike: the same greedy text, and logits that differ by no more than a stated bound.

A run's answers to a few golden prompts are its reference. Another model is asked for the logits at the very same
places, so that one early difference does not hide what comes after; and it writes its own answers as well.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from executors.base import Problem, Text

if TYPE_CHECKING:
    from torch import Tensor

ANSWER_TOKENS = 16  # of each golden answer, at most: an export is compared in seconds


@dataclass(frozen=True)
class Bound:
    """How far an export may be from its run. `logit`: the largest difference, in the logits' own unit; with it the text
    must be the same, too, save where the run's two likeliest tokens were closer than twice that. `share`: of the
    answers' tokens that must be the likeliest, where no bound on logits would mean anything."""

    logit: float | None = None
    share: float | None = None


BOUNDS = {
    "adapter": Bound(logit=5e-4),  # the same weights, loaded by others
    "merged": Bound(logit=5e-4),  # float32: what adding the adapter to the matrices rounds away
    "f32": Bound(logit=5e-4),
    "f16": Bound(logit=0.1),  # 11 bits of each weight; .04 on SmolLM2
    "q8_0": Bound(share=0.9),  # 8 bits: logits move by about 1, the likeliest token seldom changes
}


@dataclass(frozen=True)
class Answer:
    """A golden prompt's answer: `logits` ``[len(tokens), vocabulary]`` are those each token was chosen by."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    logits: Tensor


@dataclass(frozen=True)
class Parity:
    """What came of a comparison. `logit` is the largest difference of any logit at `tokens` places."""

    prompts: int
    tokens: int
    same_text: int  # prompts with the very same answer
    ties: int  # with another one, where the run itself had two tokens as likely as the bound can tell
    share: float  # of the places where the likeliest token is the same
    logit: float
    bound: Bound


def answer(model: Any, prompts: Sequence[Sequence[int]], stops: Sequence[int]) -> list[Answer]:
    """The greedy answer of `model` to each prompt (token ids), each by itself, so that no padding has a say."""
    import torch

    settings = {
        "do_sample": False,
        "num_beams": 1,
        "repetition_penalty": 1.0,  # a model's own settings may have another: it would not be its likeliest token
        "max_new_tokens": ANSWER_TOKENS,
        "eos_token_id": list(stops),
        "pad_token_id": stops[0],
        "return_dict_in_generate": True,
        "output_logits": True,
    }
    found = []
    for prompt in prompts:
        ids = torch.tensor([list(prompt)], device=model.device)
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Position ids are not supported")  # peft, of prompts without padding
            out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **settings)
        tokens = tuple(out.sequences[0, len(prompt) :].tolist())
        found.append(Answer(tuple(prompt), tokens, torch.cat(out.logits).float().cpu()))
    return found


def judge(model: Any, reference: Sequence[Answer]) -> list[Tensor]:
    """The logits of `model` where the reference chose its tokens: ``[tokens, vocabulary]`` for each answer."""
    import torch

    found = []
    for one in reference:
        ids = torch.tensor([[*one.prompt, *one.tokens[:-1]]], device=model.device)
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0, -len(one.tokens) :]
        found.append(logits.float().cpu())
    return found


def compare(
    reference: Sequence[Answer], logits: Sequence[Tensor], bound: Bound, own: Sequence[Answer] | None = None
) -> Parity:
    """The reference beside another model's `logits` at the same places, and the answers it wrote itself, if it did."""
    likeliest = [found.argmax(-1) for found in logits]
    alike = sum(int((best == one.logits.argmax(-1)).sum()) for best, one in zip(likeliest, reference, strict=True))
    gaps = [float((found - one.logits).abs().max()) for found, one in zip(logits, reference, strict=True)]
    tokens = sum(len(one.tokens) for one in reference)
    written = [tuple(best.tolist()) for best in likeliest] if own is None else [one.tokens for one in own]
    same = [text == one.tokens for text, one in zip(written, reference, strict=True)]
    ties = [not alike and is_tie(one, text, bound) for alike, one, text in zip(same, reference, written, strict=True)]
    logit = max(gaps, key=lambda gap: math.inf if math.isnan(gap) else gap)
    return Parity(len(reference), tokens, sum(same), sum(ties), alike / tokens, logit, bound)


def is_tie(one: Answer, other: Sequence[int], bound: Bound) -> bool:
    """Whether `other` parts from the answer where the two tokens were as likely as `bound` can tell."""
    place = next((n for n, (a, b) in enumerate(zip(one.tokens, other, strict=False)) if a != b), None)
    if place is None or bound.logit is None:  # one goes on where the other has ended
        return False
    here = one.logits[place]
    return float(here[one.tokens[place]] - here[other[place]]) <= 2 * bound.logit


def faults(found: Parity, what: Text) -> list[Problem]:
    """Where `found` is beyond its bound; `what` was compared with the run."""
    bound, problems = found.bound, []
    if bound.logit is not None and not found.logit <= bound.logit:  # not a number is no better than too much
        problems.append(
            _problem(
                what,
                f"logits differ by up to {found.logit:.2g}, allowed are {bound.logit:g}",
                f"logits 相差最多 {found.logit:.2g}，上限为 {bound.logit:g}",
            )
        )
    changed = found.prompts - found.same_text - found.ties
    if bound.logit is not None and changed:
        problems.append(
            _problem(
                what,
                f"another text for {changed} of {found.prompts} golden prompts",
                f"{found.prompts} 个基准提示中有 {changed} 个的回答不同",
            )
        )
    if bound.share is not None and found.share < bound.share:
        problems.append(
            _problem(
                what,
                f"the likeliest token is the same at {found.share:.0%} of {found.tokens} places, "
                f"needed are {bound.share:.0%}",
                f"{found.tokens} 个位置中最可能的 token 相同的占 {found.share:.0%}，要求 {bound.share:.0%}",
            )
        )
    return problems


def _problem(what: Text, message: str, message_zh: str) -> Problem:
    return Problem(f"{what['en']}: {message}", zh=Problem(f"{what['zh']}：{message_zh}"))
