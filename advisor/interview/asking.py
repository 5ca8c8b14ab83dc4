"""What is asked and what comes back: the seam between the interview's logic and whoever answers."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from executors.base import UserError

Kind = Literal["select", "text", "path", "folder"]


class Signal(enum.Enum):
    """Replies that are no answer."""

    SKIP = "skip"  # "I don't know"
    BACK = "back"
    QUIT = "quit"


Reply = str | Signal


@dataclass(frozen=True)
class Option:
    """One choice: what it stands for, how it reads, and a remark."""

    value: str
    label: str
    help: str = ""


@dataclass(frozen=True)
class Prompt:
    """One question as it is put. Texts are in the interview's language."""

    id: str
    kind: Kind
    question: str
    why: str
    help: str = ""
    options: tuple[Option, ...] = ()
    default: str = ""
    skip: Option | None = None  # how not answering reads; None: it must be answered
    back: bool = False  # there is a question before
    leave: bool = True  # quitting is offered
    again: bool = False  # the last reply could not be used
    number: int = 0  # of this question; 0: not counted
    total: int = 0  # how many there will be, as far as can be told


@dataclass(frozen=True)
class Measured:
    """One fact that was measured, as it reads; `said` is a different answer given before."""

    name: str
    value: str
    evidence: str
    said: str = ""


class Asker(Protocol):
    """Puts questions to whoever answers them, and shows what was found."""

    def ask(self, prompt: Prompt) -> Reply:
        """The value of an option, a text as typed, or a signal."""

    def fault(self, error: UserError) -> None:
        """The reply cannot be used; the question comes again."""

    def measured(self, lines: Sequence[Measured]) -> None:
        """Facts that need not be asked."""

    def warn(self, text: str) -> None:
        """Something to know before going on."""

    def note(self, text: str) -> None:
        """A remark."""

    def busy(self, text: str) -> AbstractContextManager[object]:
        """Something is being measured while this is open."""
