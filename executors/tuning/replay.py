"""Replay: general rows among the training rows, so that a model goes on doing what it could do before.

The rows are bundled and ours (`knowledge/reference/general_replay.jsonl`), other ones than those that forgetting is
measured on. Rehearsal of earlier material is the oldest remedy against forgetting in networks (Robins, 1995); how much
it helps is measured, see `forgetting`.
"""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any

from executors.base import Text
from executors.models import encode_answer, encode_chat
from executors.models.catalogue import KNOWLEDGE
from executors.tuning.rows import TokenRow


@cache
def replay_pairs() -> tuple[tuple[str, str], ...]:
    """(request, answer) of every bundled row."""
    lines = (KNOWLEDGE / "reference" / "general_replay.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple((row["prompt"], row["answer"]) for row in map(json.loads, lines))


def replay_rows(tokenizer: Any, rows: int, share: float, seed: int) -> list[TokenRow]:
    """So many general rows that they are `share` of all rows beside `rows` of the user's; drawn anew once all are
    used."""
    wanted = round(rows * share / (1 - share))
    pairs = list(replay_pairs())
    chance = random.Random(f"replay {seed}")
    drawn: list[tuple[str, str]] = []
    while len(drawn) < wanted:
        drawn += chance.sample(pairs, min(len(pairs), wanted - len(drawn)))
    return [_encoded(tokenizer, request, answer) for request, answer in drawn]


def _encoded(tokenizer: Any, request: str, answer: str) -> TokenRow:
    prompt = encode_chat(tokenizer, [{"role": "user", "content": request}])
    return TokenRow(tuple(prompt), tuple(encode_answer(tokenizer, answer)))


def replay_note(general: int, own: int) -> tuple[Text, ...]:
    """How many general rows stand beside the user's own; nothing where none does."""
    if not general:
        return ()
    return (
        {
            "en": f"{general} general rows were mixed into the {own} training rows, so that less is forgotten",
            "zh": f"在 {own} 条训练数据中混入了 {general} 条一般数据，以减轻遗忘",
        },
    )
