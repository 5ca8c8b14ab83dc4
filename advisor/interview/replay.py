"""Replays a recorded interview, visibly: the questions of the terminal with the recorded answers."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from advisor.interview.asking import Measured, Prompt, Reply, Signal
from advisor.interview.terminal import show_measured, show_question, show_reply, show_warning
from advisor.texts import KNOWLEDGE, read_knowledge
from executors.base import Text, UserError

if TYPE_CHECKING:
    from rich.console import Console

PAUSE = 0.6  # seconds before an answer appears, where someone watches
FILES = ("data", "docs")


@dataclass(frozen=True)
class Recording:
    """Answers by step: fact ids, and ``data``, ``test``, ``docs``, ``model``, ``machine``, ``review``."""

    title: Text
    story: Text
    answers: Mapping[str, str]


def load_recording(name: str) -> Recording:
    """One interview of `knowledge/demo/interview.yaml`, its files found from the current folder."""
    entry = read_knowledge("demo/interview.yaml")["interviews"][name]
    answers = {step: str(answer) for step, answer in entry["answers"].items()}
    answers |= {step: _from_here(KNOWLEDGE / "demo" / answers[step]) for step in FILES if step in answers}
    return Recording(entry["title"], entry["story"], answers)


def _from_here(path: Path) -> str:
    """The shorter of the absolute path and the one relative to the current folder."""
    return min(str(path), os.path.relpath(path), key=len)


class ReplayAsker:
    """Answers from a recording. What was not recorded is skipped, as someone who does not know would do."""

    def __init__(self, recording: Recording, lang: str, console: Console, pause: float = PAUSE) -> None:
        self.recording, self.lang, self.console = recording, lang, console
        self._pause = pause if console.is_terminal else 0.0

    def ask(self, prompt: Prompt) -> Reply:
        show_question(self.console, prompt, self.lang)
        self._show_options(prompt)
        time.sleep(self._pause)
        reply: Reply = self.recording.answers.get(prompt.id, Signal.SKIP)
        show_reply(self.console, prompt, reply, self.lang)
        return reply

    def fault(self, error: UserError) -> None:
        """A recording cannot answer again: a fault in it is the user's to see at once."""
        raise error

    def measured(self, lines: Sequence[Measured]) -> None:
        show_measured(self.console, lines, self.lang)

    def warn(self, text: str) -> None:
        show_warning(self.console, text)

    def note(self, text: str) -> None:
        self.console.print(text, style="dim", markup=False)

    def busy(self, text: str) -> AbstractContextManager[object]:
        return contextlib.nullcontext()

    def _show_options(self, prompt: Prompt) -> None:
        """On one line; one below the other where each is a fact."""
        from rich.text import Text

        separator = "\n  " if prompt.id == "review" else " · "
        if prompt.options:
            labels = separator.join(option.label for option in prompt.options)
            self.console.print(Text(f"  {labels}", style="dim", overflow="fold"))
