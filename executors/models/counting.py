"""A language model without its weights: its tokenizer and window, to count and to show what it would be given.

Covered: models on this machine, and models behind an endpoint, whose tokens are estimated. Not covered: asking it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from executors.base import Event, Reporter, UserError, silent
from executors.models.catalogue import name_problems
from executors.models.device import prepare_transformers
from executors.models.endpoint import EndpointLimits, endpoint_of, is_endpoint
from executors.models.endpoint.names import name_faults
from executors.models.endpoint.tokens import estimate, estimate_chat
from executors.models.fetch import resolve
from executors.models.language import GREEDY, Chat, Completion, LanguageModel, Sampling, encode_chat, tokens_window

QUIET = {"add_special_tokens": False, "verbose": False}


class CountingModel(LanguageModel):
    """Counts as the model would. Without a `tokenizer` it estimates, rather too many than too few."""

    def __init__(self, name: str, window: int, tokenizer: Any = None) -> None:
        self.name, self.window, self.tokenizer = name, window, tokenizer
        self.can_score = tokenizer is not None

    @property
    def estimates(self) -> bool:
        """Whether counts are estimates: the tokenizer is not here."""
        return self.tokenizer is None

    def count(self, text: str) -> int:
        return estimate(text) if self.estimates else len(self.tokenizer(text, **QUIET)["input_ids"])

    def count_chat(self, chat: Chat) -> int:
        return estimate_chat(chat) if self.estimates else len(encode_chat(self.tokenizer, chat))

    def raw(self, chat: Chat) -> str:
        """The text that the model reads, special tokens and all; empty where only its provider knows the template."""
        if self.estimates:
            return ""
        ids = encode_chat(self.tokenizer, chat)
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def generate(
        self, chats: Sequence[Chat], max_tokens: int, report: Reporter = silent, sampling: Sampling = GREEDY
    ) -> list[Completion]:
        self._refuse()

    def score(
        self, chats: Sequence[Chat], continuations: Sequence[str], report: Reporter = silent
    ) -> list[list[float]]:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise TypeError(f"{self.name}: only its tokenizer was loaded, so it cannot be asked")


def load_counting(name: str, limits: EndpointLimits | None = None, report: Reporter = silent) -> CountingModel:
    """The tokenizer and window of `name`. Raises `UserError` as `resolve` does, and for a faulty name.

    `limits` may name the window of a model behind an endpoint. Nothing is sent there.
    """
    if is_endpoint(name):
        endpoint = endpoint_of(name)
        if endpoint is None:
            raise UserError.of(name_faults(name))
        return CountingModel(name, (limits.window if limits else None) or endpoint.window)
    problems = name_problems(name, "language")
    if problems:
        raise UserError.of(problems)
    folder = resolve(name, report)
    report(Event("load", 0, 1, name))
    transformers = prepare_transformers()
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    report(Event("load", 1, 1, name))
    return CountingModel(name, tokens_window(config, tokenizer), tokenizer)
