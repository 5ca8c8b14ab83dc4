"""Rows as tokens: what is read, what is trained on, and what had to be cut. Nothing is dropped unsaid.

Prompts come from `executors.messages` and tokens from `executors.models`, the same as in prediction. Only the
answer and the token that ends it are trained on.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from executors.base import Input, Row, Text, UserError
from executors.fitting import shorten
from executors.messages import chat
from executors.models import encode_answer, encode_chat

IGNORED = -100  # the label of a token that is not trained on


@dataclass(frozen=True)
class TokenRow:
    """One row as token ids. `answer` is trained on and ends with the end-of-turn token."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def tokens(self) -> tuple[int, ...]:
        return self.prompt + self.answer

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def split_development(rows: Sequence[TokenRow], held: int, seed: int) -> tuple[list[TokenRow], list[TokenRow]]:
    """Rows to train on, and `held` rows, drawn at random, to watch the loss on."""
    chosen = set(random.Random(seed).sample(range(len(rows)), held))
    return [r for n, r in enumerate(rows) if n not in chosen], [r for n, r in enumerate(rows) if n in chosen]


@dataclass(frozen=True)
class TokenRows:
    """All rows as tokens, and how many of the given ones were cut, did not fit, or had no answer."""

    rows: tuple[TokenRow, ...]
    limit: int  # tokens a row may have
    cut: int = 0
    too_long: int = 0
    empty: int = 0

    @property
    def given(self) -> int:
        return len(self.rows) + self.too_long + self.empty

    @property
    def trained_tokens(self) -> int:
        return sum(len(row.answer) for row in self.rows)

    def notes(self) -> tuple[Text, ...]:
        """What was cut or left out, in words; empty where nothing was."""
        found: list[Text] = []
        if self.cut:
            found.append(
                {
                    "en": f"{self.cut} of {self.given} training inputs were cut to the {self.limit} tokens of "
                    "params.max_length",
                    "zh": f"{self.given} 条训练输入中有 {self.cut} 条被截断到 params.max_length 规定的 "
                    f"{self.limit} 个词元",
                }
            )
        if self.too_long:
            found.append(
                {
                    "en": f"{self.too_long} of {self.given} training rows were left out: the instruction and the "
                    f"answer alone exceed the {self.limit} tokens of params.max_length",
                    "zh": f"{self.given} 条训练数据中有 {self.too_long} 条被排除：仅指令和答案就超过 "
                    f"params.max_length 规定的 {self.limit} 个词元",
                }
            )
        if self.empty:
            found.append(
                {
                    "en": f"{self.empty} of {self.given} training rows were left out: their answer has no token",
                    "zh": f"{self.given} 条训练数据中有 {self.empty} 条被排除：其答案没有任何词元",
                }
            )
        return tuple(found)


def encode_rows(tokenizer: Any, task: str, labels: Sequence[str], rows: Sequence[Row], limit: int) -> TokenRows:
    """All rows as tokens, each at most `limit` long. Raises `UserError` where no token is left to train on."""
    encoded: list[TokenRow] = []
    cut = too_long = empty = 0
    for row in rows:
        answer = encode_answer(tokenizer, row.target.strip())
        if len(answer) < 2:  # the end alone teaches silence
            empty += 1
            continue
        given = shorten(row.input, limit - len(answer), lambda i: len(_prompt(tokenizer, task, labels, i)))
        if given is None:
            too_long += 1
            continue
        cut += given != row.input
        encoded.append(TokenRow(tuple(_prompt(tokenizer, task, labels, given)), tuple(answer)))
    found = TokenRows(tuple(encoded), limit, cut, too_long, empty)
    if not encoded:
        raise _nothing_to_train_on(found)
    return found


def _nothing_to_train_on(found: TokenRows) -> UserError:
    reasons = [f"{found.empty} have an answer without tokens"] if found.empty else []
    reasons += [f"{found.too_long} do not fit {found.limit} tokens"] if found.too_long else []
    return UserError(
        f"there is no token to train on: of {found.given} training rows, {' and '.join(reasons) or 'none is left'}",
        "raise params.max_length, or look at the label column: advisor run --columns label=NAME"
        if found.too_long
        else "look at the label column: --columns label=NAME",
    )


def _prompt(tokenizer: Any, task: str, labels: Sequence[str], given: Input) -> list[int]:
    return encode_chat(tokenizer, chat(task, labels, given))
