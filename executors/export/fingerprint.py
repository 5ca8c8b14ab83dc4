"""What decides how a chat becomes tokens and where an answer ends: the template, the end tokens, the vocabulary.

A model whose template or end token is another one than in training reads prompts it was never trained on, or writes on
after its answer. Neither raises an error anywhere, so both are recorded beside the weights and compared in an export.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from executors.base import Problem
from executors.models import Chat, encode_chat

FINGERPRINT = "fingerprint.json"  # in a run's artifact, as training ended


@dataclass(frozen=True)
class Fingerprint:
    """`template` and `rendered` are SHA-256: of the template's text (empty without one), and of the tokens that a few
    fixed chats become. `stops` are the tokens at which a model's own settings end its generation."""

    template: str
    rendered: str
    begin_token: str
    end_token: str
    end_id: int
    stops: tuple[int, ...]
    tokens: int


FIXED: tuple[Chat, ...] = (
    [{"role": "user", "content": "What is 12 + 345?"}],
    [
        {"role": "system", "content": "Answer in one word."},
        {"role": "user", "content": "Is it raining?  It's 7:30,\n\ntoday — 今天下雨吗？"},
    ],
    [
        {"role": "system", "content": "Reply to the user, helpfully and briefly."},
        {"role": "user", "content": "My parcel is late."},
        {"role": "assistant", "content": "I am sorry to hear that. What is its number?"},
        {"role": "user", "content": "AB-2041"},
    ],
)
"""Chats that every export is compared on, whatever the run was trained on: digits, a system turn, Chinese, turns."""


def take(tokenizer: Any, model: Any = None) -> Fingerprint:
    """The fingerprint of a tokenizer and, where one is given, of where its model stops; else the tokenizer's end."""
    template = tokenizer.chat_template or ""
    rendered = json.dumps([encode_chat(tokenizer, chat) for chat in FIXED])
    return Fingerprint(
        template=_sha256(template) if template else "",
        rendered=_sha256(rendered),
        begin_token=tokenizer.bos_token or "",
        end_token=tokenizer.eos_token or "",
        end_id=-1 if tokenizer.eos_token_id is None else int(tokenizer.eos_token_id),
        stops=_named(model) if model is not None else stop_ids(tokenizer),
        tokens=len(tokenizer),
    )


def stop_ids(tokenizer: Any, model: Any = None) -> tuple[int, ...]:
    """The tokenizer's end token, and those that the model's generation settings name."""
    named = _named(model) if model is not None else ()
    return tuple(sorted({i for i in (tokenizer.eos_token_id, *named) if i is not None}))


def _named(model: Any) -> tuple[int, ...]:
    named = model.generation_config.eos_token_id
    return tuple(named) if isinstance(named, list) else () if named is None else (named,)


def end_by_tokenizer(model: Any, tokenizer: Any) -> None:
    """Make the model's generation settings stop at the tokenizer's end token, the one that answers were trained with.

    Others generate by these settings alone: where they do not name it, an answer would not end.
    """
    ends = list(stop_ids(tokenizer, model))
    model.generation_config.eos_token_id = ends[0] if len(ends) == 1 else ends
    if model.generation_config.pad_token_id is None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id


def differences(run: Fingerprint, export: Fingerprint) -> list[Problem]:
    """What the export does otherwise than the run, each as a sentence."""
    found = []
    if run.template != export.template:
        found.append(Problem("the chat template differs from the run's", zh=Problem("对话模板与运行时不同")))
    elif run.rendered != export.rendered:
        found.append(
            Problem(
                "the same chat becomes other tokens than in the run", zh=Problem("同一段对话得到的 token 与运行时不同")
            )
        )
    if (run.end_token, run.end_id) != (export.end_token, export.end_id):
        ours, theirs = f"{run.end_token!r} ({run.end_id})", f"{export.end_token!r} ({export.end_id})"
        found.append(
            Problem(
                f"the end token is {theirs}, in the run {ours}",
                zh=Problem(f"结束标记为 {theirs}，运行时为 {ours}"),
            )
        )
    if run.end_id not in export.stops:
        found.append(
            Problem(
                f"generation does not stop at the run's end token {run.end_token!r}: the settings name {export.stops}",
                zh=Problem(f"生成不会在运行的结束标记 {run.end_token!r} 处停止：设置为 {export.stops}"),
            )
        )
    return found


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
