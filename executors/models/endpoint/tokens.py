"""How many tokens a text may have where the model's tokenizer is not here.

Two figures. `estimate` is for windows and forecasts and errs upwards: DeepSeek's rule of thumb is 0.3 tokens a Latin
and 0.6 a Chinese character (https://api-docs.deepseek.com/quick_start/token_usage); a third and one are counted here,
and one for each digit and mark, which many tokenizers keep apart. `bound` is for money: byte-level tokenizers never
make more tokens than the text has UTF-8 bytes, since every token stands for at least one of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

LETTERS = re.compile(r"[A-Za-z \n\t]")
OTHER_ASCII = re.compile(r"[\x00-\x7f]")
EAST_ASIAN = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]")
FRAME = 8  # tokens around a message: role, marks and line ends of chat templates
FRAME_BOUND = 32


def estimate(text: str) -> int:
    """Tokens of a text, rather too many than too few."""
    letters = len(LETTERS.findall(text))
    others = len(OTHER_ASCII.findall(text)) - letters
    wide = len(EAST_ASIAN.findall(text))
    rest = len(text) - letters - others - wide
    return math.ceil(letters / 3 + others + wide + 1.5 * rest)


def estimate_chat(chat: Sequence[Mapping[str, str]]) -> int:
    """Tokens of a chat up to where the answer begins, rather too many than too few."""
    return FRAME + sum(estimate(message["content"]) + FRAME for message in chat)


def bound(chat: Sequence[Mapping[str, str]]) -> int:
    """More tokens than a chat can have."""
    return FRAME_BOUND + sum(len(message["content"].encode(errors="replace")) + FRAME_BOUND for message in chat)
