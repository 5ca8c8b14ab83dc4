"""`advisor chat`: ask a finished run one question after another; what was said before is not read again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import click

from advisor import runs
from advisor.commands.answering import news, open_run, spending_of
from advisor.commands.shared import console, lang_option, language
from advisor.progress import Progress
from advisor.screen.answer import as_text, show_answer
from advisor.texts import say
from executors.base import Input, Prediction, Predictor, Text, UserError, silent, to_dict

if TYPE_CHECKING:
    from rich.console import Console

EPILOG = """\b
Examples:
  advisor chat last                                   questions at a prompt; /quit, an empty line or Ctrl-D ends
  advisor chat last --refresh                         take in documents that changed, then ask
  printf 'where is it?\\nwho pays?\\n' | advisor chat last    line by line, each answered as it comes
  advisor chat last --json < questions.txt            a JSON object an answer, for other programs
"""
POINTER = "› "
QUIT = ("/quit", "/exit", "/q")
FAILED = 1  # exit status where a question of a pipe could not be answered


@click.command("chat", epilog=EPILOG)
@click.argument("run", default="last")
@click.option("--refresh", is_flag=True, help="First take in the documents that changed since they were indexed.")
@click.option("--max-cost", type=float, metavar="USD", help="The most this chat may cost, with an endpoint's model.")
@click.option("--endpoint", "limits", multiple=True, metavar="NAME=VALUE", help="How it is asked, e.g. timeout=30.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object an answer, with its sources.")
@lang_option
def command(
    run: str, refresh: bool, max_cost: float | None, limits: tuple[str, ...], as_json: bool, lang: str | None
) -> None:
    """Ask a finished run one question after another; each answer stands above its sources.

    RUN is an id, a unique prefix of one, a folder, or `last`; any method will do. In a terminal /quit, an empty line
    or Ctrl-D ends it. From a pipe every line is a question and empty ones are passed over; where one cannot be
    answered that is said, the others are, and the exit status is 1. Each question is answered by itself: what was said
    before is not read again.
    """
    from executors.run import read_about

    folder, tongue, screen = runs.find_run(run), language(lang), console(stderr=True)
    read_about(folder)  # an unfinished run is said before anything is loaded
    typed, again = sys.stdin.isatty(), f"advisor chat {folder.name}"
    with spending_of(folder, again, limits, max_cost) as spent:
        with Progress(tongue, screen) as progress:
            predictor, notes = open_run(folder, again, refresh, progress)
        talk = Talk(predictor, tongue, screen, as_json)
        talk.tell([*notes, *news(folder, predictor)])
        if typed:
            screen.print(say("chat.start", tongue, run=folder.name), style="dim", markup=False)
        failed = talk.converse(_typed() if typed else _piped())
        talk.tell(spent.notes.tell(spent))
    if failed and not typed:
        click.get_current_context().exit(FAILED)


class Talk:
    """Questions answered one by one: answers on standard output, everything else beside it."""

    def __init__(self, predictor: Predictor, lang: str, screen: Console, as_json: bool) -> None:
        self._predictor, self._lang, self._screen, self._as_json = predictor, lang, screen, as_json
        self._report = silent if screen.is_terminal else Progress(lang, screen)
        self._known = set(map(str, predictor.notes))

    def converse(self, questions: Iterable[str]) -> int:
        """Answer each as it comes; the number of those that could not be answered."""
        failed = 0
        for question in questions:
            given = Input(question)
            try:
                with self._busy():
                    answer = self._predictor.predict([given], self._report)[0]
            except UserError as error:  # e.g. longer than the model's window: the next may be answered
                failed += 1
                self._fault(given, error)
                continue
            self._show(given, answer)
            self.tell([note for note in self._predictor.notes if str(note) not in self._known])
            self._known.update(map(str, self._predictor.notes))
        return failed

    def tell(self, notes: Sequence[Text]) -> None:
        for note in notes:
            self._screen.print(f"• {note[self._lang]}", style="dim", markup=False)

    def _busy(self) -> AbstractContextManager[object]:
        status = self._screen.status(f"[dim]{say('stage.predict', self._lang)}[/dim]", spinner="dots")
        return status if self._screen.is_terminal else nullcontext()

    def _show(self, given: Input, answer: Prediction) -> None:
        if self._as_json:
            click.echo(json.dumps({"input": given.text, **to_dict(answer)}, ensure_ascii=False))
        elif sys.stdout.isatty():
            show_answer(answer, self._lang, console())
        else:
            click.echo(as_text(answer, self._lang))

    def _fault(self, given: Input, error: UserError) -> None:
        told = error.told(self._lang)
        if self._as_json:  # a line a question, so that both can be read side by side
            click.echo(json.dumps({"input": given.text, "error": told.message}, ensure_ascii=False))
        else:
            self._screen.print(f"✗ {told.message}", style="red", markup=False)
            self._screen.print(f"  → {told.hint}" if told.hint else "", markup=False)


def _piped() -> Iterator[str]:
    """The lines of standard input as they come, up to its end or /quit."""
    for line in sys.stdin:
        question = line.strip()
        if question in QUIT:
            return
        if question:
            yield question


def _typed() -> Iterator[str]:
    """What is typed at the prompt; the arrow keys bring earlier questions back."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.output import create_output

    session: PromptSession[str] = PromptSession(POINTER, output=create_output(always_prefer_tty=True))
    while True:
        try:
            question = session.prompt().strip()
        except EOFError:  # Ctrl-D
            return
        if not question or question in QUIT:
            return
        yield question
