"""What a model's chat template does, as far as training and prediction must agree on it: how it ends an answer, whether
it takes a system turn, and at which tokens generation stops.

Where a template ends an assistant turn with a special token of its own (Gemma's ``<end_of_turn>``, Qwen's
``<|im_end|>`` beside ``<|endoftext|>``), that is what the model must learn to write, not the tokenizer's end of text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|endoftext|>")
SAID = "0123456789"  # a text that is looked for in what a template makes of it


@dataclass(frozen=True)
class Template:
    """What is known of a chat template. `end`: the special token it ends an answer with, if it is one."""

    source: object
    end: int | None
    takes_system: bool


_KNOWN: WeakKeyDictionary[Any, Template] = WeakKeyDictionary()


def template_of(tokenizer: Any) -> Template:
    """The tokenizer's chat template, looked at once."""
    known = _KNOWN.get(tokenizer)
    if known is None or known.source != tokenizer.chat_template:
        known = Template(tokenizer.chat_template, _find_end(tokenizer), _finds_system(tokenizer))
        _KNOWN[tokenizer] = known
    return known


def _rendered(tokenizer: Any, *turns: tuple[str, str]) -> str:
    """The chat as text; empty where there is no template, or it refuses these turns."""
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        return ""
    try:
        chat = [{"role": role, "content": content} for role, content in turns]
        return str(tokenizer.apply_chat_template(chat, tokenize=False))
    except TemplateError:
        return ""


def _find_end(tokenizer: Any) -> int | None:
    _, found, after = _rendered(tokenizer, ("user", "?"), ("assistant", SAID)).rpartition(SAID)
    ids = tokenizer(after, add_special_tokens=False)["input_ids"] if found else []
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return int(ids[0]) if ids and ids[0] in special else None


def _finds_system(tokenizer: Any) -> bool:
    """Whether a system turn comes through; some templates refuse it, and some leave it out without a word."""
    if not tokenizer.chat_template:
        return True
    return SAID in _rendered(tokenizer, ("system", SAID), ("user", "?"))


def template_end(tokenizer: Any) -> int | None:
    """The id of the special token that the chat template writes after an answer; None without one."""
    return template_of(tokenizer).end


def answer_end(tokenizer: Any) -> int:
    """The id of the token that ends an answer: the template's where it has one, else the tokenizer's end of text."""
    end = template_end(tokenizer)
    return int(tokenizer.eos_token_id) if end is None else end


def as_taken(tokenizer: Any, chat: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The chat as the template takes it: a system turn it does not take stands at the head of the first user turn."""
    messages = [dict(message) for message in chat]
    if len(messages) < 2 or messages[0]["role"] != "system" or template_of(tokenizer).takes_system:
        return messages
    system, first, *rest = messages
    if first["role"] != "user":
        return messages
    return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]


def stop_ids(named: int | list[int] | None, tokenizer: Any) -> frozenset[int]:
    """Tokens that end an answer in generation: `named` in the model's generation settings, the answer's own end, and
    the usual ends of a turn."""
    ids = {tokenizer.eos_token_id, answer_end(tokenizer), *(named if isinstance(named, list) else [named])}
    vocabulary = tokenizer.get_vocab()
    ids |= {vocabulary[token] for token in END_OF_TURN if token in vocabulary}
    return frozenset(i for i in ids if i is not None)
