"""Rows as tokens: what is read, what is trained on, and what had to be cut. Nothing is dropped unsaid.

Prompts come from `executors.messages` and tokens from `executors.models`, the same as in prediction. Only the
answer and the token that ends it are trained on. A conversation is as many rows as it has answers, see
`cleaning.each_turn`: each is trained on once, after the very tokens that precede it in use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from executors.base import Input, Job, Problem, Row, Text, UserError
from executors.data.left_out import LeftOut, of_row
from executors.fitting import shorten
from executors.messages import chat
from executors.models import encode_answer, encode_chat
from executors.tuning.cleaning import Sides, training_sides
from executors.tuning.params import TuningParams

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


@dataclass(frozen=True)
class TokenRows:
    """All rows as tokens, and how many of the given ones were cut, did not fit, or had no answer."""

    rows: tuple[TokenRow, ...]
    limit: int  # tokens a row may have
    cut: int = 0
    too_long: int = 0
    empty: int = 0
    left_out: tuple[LeftOut, ...] = ()  # the rows behind these counts
    longest: int = 0  # tokens of the longest row before anything was cut

    @property
    def given(self) -> int:
        return len(self.rows) + self.too_long + self.empty

    @property
    def trained_tokens(self) -> int:
        return sum(len(row.answer) for row in self.rows)

    @property
    def whole_at(self) -> int:
        """The `params.max_length` at which no row is cut or left out for its length."""
        return -(-self.longest // 64) * 64

    def with_(self, other: TokenRows) -> TokenRows:
        """These rows and those of another side."""
        return TokenRows(
            self.rows + other.rows,
            self.limit,
            self.cut + other.cut,
            self.too_long + other.too_long,
            self.empty + other.empty,
            self.left_out + other.left_out,
            max(self.longest, other.longest),
        )

    def notes(self) -> tuple[Text, ...]:
        """What was cut or left out, in words; empty where nothing was."""
        found: list[Text] = []
        if self.cut:
            whole = self.whole_at
            found.append(
                {
                    "en": f"{self.cut} of {self.given} training inputs were cut to the {self.limit} tokens of "
                    "params.max_length" + (f"; {whole} would keep all whole" if whole else ""),
                    "zh": f"{self.given} 条训练输入中有 {self.cut} 条被截断到 params.max_length 规定的 "
                    f"{self.limit} 个词元" + (f"；设为 {whole} 则无需截断" if whole else ""),
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


@dataclass(frozen=True)
class PreparedRows:
    """What a training works through, and all that must be known of it."""

    train: TokenRows
    watched: TokenRows
    sides: Sides  # the same rows as texts, before any was cut
    left_out: tuple[LeftOut, ...]
    notes: tuple[Text, ...]

    @property
    def all(self) -> TokenRows:
        return self.train.with_(self.watched)


def prepare_rows(job: Job, params: TuningParams, tokenizer: Any, limit: int) -> PreparedRows:
    """A job's rows on their two sides, as tokens. Raises `UserError` where no token is left to train on."""
    found = lay_out(job, params, tokenizer, limit)
    refuse_nothing(found)
    return found


def refuse_nothing(found: PreparedRows) -> None:
    """Raises `UserError` where no token is left to train on."""
    if not found.train.rows:
        raise _nothing_to_train_on(found.train)


def lay_out(job: Job, params: TuningParams, tokenizer: Any, limit: int) -> PreparedRows:
    """As `prepare_rows`, also where nothing is left: to look at what is wrong."""
    sides = training_sides(job, params)
    encode = partial(measure_rows, tokenizer, job.plan.task, job.labels, limit=limit)
    train, watched = encode(rows=sides.train), encode(rows=sides.development)
    every = train.with_(watched)
    return PreparedRows(train, watched, sides, (*sides.left_out, *every.left_out), (*every.notes(), *sides.notes))


def encode_rows(tokenizer: Any, task: str, labels: Sequence[str], rows: Sequence[Row], limit: int) -> TokenRows:
    """All rows as tokens, each at most `limit` long. Raises `UserError` where no token is left to train on."""
    found = measure_rows(tokenizer, task, labels, rows, limit)
    if not found.rows:
        raise _nothing_to_train_on(found)
    return found


def measure_rows(tokenizer: Any, task: str, labels: Sequence[str], rows: Sequence[Row], limit: int) -> TokenRows:
    """All rows as tokens, each at most `limit` long; none where no row has a token to train on."""
    encoded: list[TokenRow] = []
    left: list[LeftOut] = []
    longest = 0
    for row in rows:
        answer = encode_answer(tokenizer, row.target.strip())
        if len(answer) < 2:  # the end alone teaches silence
            left.append(of_row(row, "no_token"))
            continue
        whole = _prompt(tokenizer, task, labels, row.input, row.id)
        longest = max(longest, len(whole) + len(answer))
        if len(whole) + len(answer) <= limit:
            encoded.append(TokenRow(tuple(whole), tuple(answer)))
            continue
        given = shorten(row.input, limit - len(answer), lambda i: len(_prompt(tokenizer, task, labels, i)))
        left.append(of_row(row, "too_long" if given is None else "cut", kept=given is not None))
        if given is not None:
            encoded.append(TokenRow(tuple(_prompt(tokenizer, task, labels, given)), tuple(answer)))
    counts = Counter(one.reason for one in left)
    return TokenRows(tuple(encoded), limit, counts["cut"], counts["too_long"], counts["no_token"], tuple(left), longest)


def _nothing_to_train_on(found: TokenRows) -> UserError:
    reasons = [f"{found.empty} have an answer without tokens"] if found.empty else []
    reasons += [f"{found.too_long} do not fit {found.limit} tokens"] if found.too_long else []
    reasons_zh = [f"{found.empty} 条的答案没有任何词元"] if found.empty else []
    reasons_zh += [f"{found.too_long} 条放不进 {found.limit} 个词元"] if found.too_long else []
    return UserError(
        f"there is no token to train on: of {found.given} training rows, {' and '.join(reasons) or 'none is left'}",
        "raise params.max_length, or look at the label column: advisor run --columns label=NAME"
        if found.too_long
        else "look at the label column: --columns label=NAME",
        Problem(
            f"没有可训练的词元：{found.given} 条训练数据中，{'，'.join(reasons_zh) or '没有剩下任何一条'}",
            "请增大 params.max_length，或检查标签列：advisor run --columns label=列名"
            if found.too_long
            else "请检查标签列：--columns label=列名",
        ),
    )


def _prompt(tokenizer: Any, task: str, labels: Sequence[str], given: Input, name: str = "") -> list[int]:
    """Raises `UserError` where the model's template refuses the turns, as some do that must take turns strictly."""
    from jinja2 import TemplateError

    try:
        return encode_chat(tokenizer, chat(task, labels, given))
    except TemplateError as error:
        row = f"row {name}: " if name else ""
        raise UserError(
            f"{row}the model's chat template refuses its turns: {error}",
            "correct the turns of this row (user and assistant in turn, beginning with user), or name another model",
            Problem(
                f"{f'{name}：' if name else ''}模型的对话模板不接受这些轮次：{error}",
                "请更正该行的轮次（user 与 assistant 交替，以 user 开头），或换一个模型",
            ),
        ) from error
