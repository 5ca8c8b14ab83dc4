"""How well a causal model predicts a text: bits a byte, which texts and tokenizers can be compared by.

Bits per byte are the cross-entropy of the tokens, in bits, over the UTF-8 bytes they stand for (as in Gao et al., The
Pile, 2020); perplexity per token depends on how a tokenizer cuts. Not covered: endpoints, which rarely give the
probabilities of what they are sent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from executors.base import Event, Reporter, silent
from executors.models.device import prepare_torch

WINDOW = 256  # tokens a stretch has: every text is judged with the same context


@dataclass(frozen=True)
class Surprise:
    """The bits a byte of a text, and how many bytes were looked at."""

    bits: float
    bytes: int


def measure_surprise(
    model: Any, tokenizer: Any, texts: Sequence[str], most_bytes: int, report: Reporter = silent
) -> Surprise:
    """The bits a byte of `texts`, one after the other with a blank line between, up to about `most_bytes`.

    The text is cut into stretches of `WINDOW` tokens; the first token of each is given, not judged. Raises `ValueError`
    for a text of fewer than two tokens.
    """
    torch = prepare_torch()
    text = "\n\n".join(texts).encode()[:most_bytes].decode(errors="ignore")
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    stretches = [ids[at : at + WINDOW] for at in range(0, len(ids), WINDOW)]
    stretches = [stretch for stretch in stretches if len(stretch) > 1]
    if not stretches:
        raise ValueError("a text of at least two tokens is needed")
    bits, judged = 0.0, 0
    with torch.inference_mode():
        for done, stretch in enumerate(stretches, 1):
            given = torch.tensor([stretch], device=model.device)
            steps = model(input_ids=given, use_cache=False).logits[0, :-1].float().log_softmax(-1)
            bits -= float(steps.gather(1, given[0, 1:, None]).sum()) / math.log(2)
            judged += _bytes_of(tokenizer, stretch)
            report(Event("surprise", done, len(stretches)))
    return Surprise(bits / judged, judged)


def _bytes_of(tokenizer: Any, stretch: list[int]) -> int:
    """The UTF-8 bytes of a stretch without its first token."""
    whole, first = (len(tokenizer.decode(part).encode()) for part in (stretch, stretch[:1]))
    return max(1, whole - first)
