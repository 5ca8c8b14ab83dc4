"""The X-ray of a training set: what the model will really be trained on, token by token, before any training.

Covered: tokens trained on and masked, rows that were cut or have nothing to train on, the token that ends an answer and
whether generation stops at it, the chat template, a beginning-of-text token written twice, and some rows as they are.
Needs a tokenizer, no weights. Not covered: whether the answers are right.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from executors.base import Plan, Text, to_dict
from executors.data.left_out import count_removed
from executors.models.adapters import virtual_tokens
from executors.models.language import tokens_window
from executors.models.template import answer_end, stop_ids, template_end
from executors.tuning.rows import PreparedRows, TokenRow, TokenRows

SHOWN = 5  # rows that are shown whole
FEW_TRAINED = 0.001  # share of trained tokens below which something is likely wrong


@dataclass(frozen=True)
class Span:
    """Tokens in a row, as text, that are all trained on or all masked."""

    text: str
    trained: bool


@dataclass(frozen=True)
class ShownRow:
    """A row as the model gets it."""

    tokens: int
    trained: int
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Xray:
    """What a training set comes to. Counts are over both sides, rows trained on and rows watched."""

    model: str
    task: str
    given: int  # rows, each answer of a conversation being one
    rows: int  # of these, those that have something to train on
    trained_tokens: int
    masked_tokens: int
    cut: int
    too_long: int
    no_token: int
    limit: int  # tokens a row may have
    whole_at: int  # `params.max_length` at which no row is cut
    window: int  # tokens the model can read
    template: bool  # whether the model has a chat template; else rows are plain lines
    end: str  # the token that ends an answer
    template_end: str  # what the template itself ends one with; empty without such a token
    ended: int  # rows whose trained part ends with `end`
    stops: bool  # whether generation stops there
    repeated_begin: int  # rows that begin with the beginning-of-text token twice
    removed: dict[str, int]  # rows left out, by reason
    doubtful: dict[str, int]  # rows that are used all the same, by reason
    shown: tuple[ShownRow, ...]

    @property
    def trained_share(self) -> float:
        total = self.trained_tokens + self.masked_tokens
        return self.trained_tokens / total if total else 0.0

    @property
    def cut_share(self) -> float:
        """The share of rows that were cut, or left out as too long."""
        return (self.cut + self.too_long) / self.given if self.given else 0.0


def xray(
    model: str, task: str, prepared: PreparedRows, tokenizer: Any, window: int, stops: frozenset[int], seed: int = 0
) -> Xray:
    """Look at rows that are ready to be trained on. `stops`: the tokens at which generation ends."""
    every = prepared.all
    end, of_template = answer_end(tokenizer), template_end(tokenizer)
    return Xray(
        model=model,
        task=task,
        given=every.given,
        rows=len(every.rows),
        trained_tokens=every.trained_tokens,
        masked_tokens=sum(len(row.prompt) for row in every.rows),
        cut=every.cut,
        too_long=every.too_long,
        no_token=every.empty,
        limit=every.limit,
        whole_at=every.whole_at,
        window=window,
        template=bool(tokenizer.chat_template),
        end=tokenizer.decode([end]),
        template_end="" if of_template is None else tokenizer.decode([of_template]),
        ended=sum(row.answer[-1] == end for row in every.rows),
        stops=end in stops,
        repeated_begin=_count_repeated(every, tokenizer.bos_token_id),
        removed=count_removed(prepared.left_out),
        doubtful=dict(Counter(one.reason for one in prepared.left_out if one.kept)),
        shown=tuple(_show(row, tokenizer) for row in _some(every.rows, seed)),
    )


def look(plan: Plan, prepared: PreparedRows, model: Any, tokenizer: Any) -> Xray:
    """The X-ray of rows that are about to train `model`."""
    stops = stop_ids(model.generation_config.eos_token_id, tokenizer)
    window = tokens_window(model.config, tokenizer) - virtual_tokens(model)
    return xray(plan.model, plan.task, prepared, tokenizer, window, stops, plan.seed)


def _count_repeated(rows: TokenRows, begin: int | None) -> int:
    if begin is None:
        return 0
    return sum(row.tokens[:2] == (begin, begin) for row in rows.rows)


def _some(rows: Sequence[TokenRow], seed: int) -> list[TokenRow]:
    places = sorted(random.Random(seed).sample(range(len(rows)), min(SHOWN, len(rows))))
    return [rows[place] for place in places]


def _show(row: TokenRow, tokenizer: Any) -> ShownRow:
    parts = ((row.prompt, False), (row.answer, True))
    spans = tuple(Span(str(tokenizer.decode(ids)), trained) for ids, trained in parts if ids)
    return ShownRow(len(row), len(row.answer), spans)


def xray_record(found: Xray) -> dict[str, Any]:
    """An X-ray as plain values, with its shares and what looks wrong."""
    shares = {"trained_share": round(found.trained_share, 6), "cut_share": round(found.cut_share, 6)}
    return {**to_dict(found), **shares, "faults": to_dict(xray_faults(found))}


# -- in words ------------------------------------------------------------------------------------------


def xray_notes(found: Xray) -> tuple[Text, ...]:
    """What a training leaves on record: how much it is trained on, and what looks wrong; rows that do not fit are told
    by `TokenRows.notes`."""
    share = f"{found.trained_share:.1%}"
    summary: Text = {
        "en": f"{found.trained_tokens:,} tokens in {found.rows:,} rows are trained on, {found.masked_tokens:,} only "
        f"read ({share} trained)",
        "zh": f"训练了 {found.rows:,} 行中的 {found.trained_tokens:,} 个词元，另有 {found.masked_tokens:,} 个只作为输入"
        f"（训练占比 {share}）",
    }
    return (summary, *_told(found, (_template_fault, _end_fault, _begin_fault, _share_fault)))


def xray_faults(found: Xray) -> tuple[Text, ...]:
    """What looks wrong, each with what to do about it; nothing where all is well."""
    return _told(found, (_template_fault, _end_fault, _begin_fault, _window_fault, _share_fault))


def _told(found: Xray, checks: Sequence[Callable[[Xray], Text | None]]) -> tuple[Text, ...]:
    return tuple(fault for check in checks if (fault := check(found)) is not None)


def _template_fault(found: Xray) -> Text | None:
    if found.template:
        return None
    return {
        "en": f"{found.model} has no chat template: rows are plain 'User: … Assistant: …' lines, and other programs "
        "must ask it in the same lines; an instruction model with a template is the better start",
        "zh": f"{found.model} 没有对话模板：数据按“User: … Assistant: …”的纯文本行训练，其他程序也必须这样提问；"
        "最好换用带模板的指令模型",
    }


def _end_fault(found: Xray) -> Text | None:
    if found.ended < found.rows or not found.stops:
        what, what_zh = (
            ("generation does not stop at it", "生成时不会在此停止")
            if not found.stops
            else (f"{found.rows - found.ended} rows do not end with it", f"有 {found.rows - found.ended} 行不以它结尾")
        )
        return {
            "en": f"the token {found.end} should end every answer, but {what}: answers will run on",
            "zh": f"每个答案都应以 {found.end} 结尾，但{what_zh}：回答会停不下来",
        }
    if found.template and not found.template_end:
        return {
            "en": f"the chat template of {found.model} ends an answer with no token of its own; {found.end} is trained "
            "on in its place",
            "zh": f"{found.model} 的对话模板没有自己的答案结束符；改用 {found.end} 训练",
        }
    return None


def _begin_fault(found: Xray) -> Text | None:
    if not found.repeated_begin:
        return None
    return {
        "en": f"{found.repeated_begin} rows begin with the beginning-of-text token twice: the template writes it, and "
        "the tokenizer adds another",
        "zh": f"有 {found.repeated_begin} 行开头的起始符出现了两次：模板写了一个，分词器又加了一个",
    }


def _window_fault(found: Xray) -> Text | None:
    lost = found.cut + found.too_long
    if not lost:
        return None
    share = f"{found.cut_share:.1%}"
    fits = found.whole_at <= found.window
    what = f"params.max_length={found.whole_at} keeps all whole"
    what_zh = f"设 params.max_length={found.whole_at} 则无需截断"
    if not fits:
        what = f"the longest needs {found.whole_at:,} tokens, {found.model} reads {found.window:,}: shorten the rows"
        what_zh = f"最长的一行需要 {found.whole_at:,} 个词元，而 {found.model} 只能读 {found.window:,} 个：请缩短数据"
    return {
        "en": f"{lost:,} of {found.given:,} rows ({share}) do not fit {found.limit:,} tokens ({found.cut:,} cut, "
        f"{found.too_long:,} left out); {what}",
        "zh": f"{found.given:,} 行中有 {lost:,} 行（{share}）超过 {found.limit:,} 个词元（截断 {found.cut:,} 行，"
        f"排除 {found.too_long:,} 行）；{what_zh}",
    }


def _share_fault(found: Xray) -> Text | None:
    if not found.rows or found.trained_share >= FEW_TRAINED:
        return None
    return {
        "en": f"only {found.trained_share:.2%} of the tokens are trained on: is the right column the target?",
        "zh": f"只有 {found.trained_share:.2%} 的词元参与训练：目标列选对了吗？",
    }
