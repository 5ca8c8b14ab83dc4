"""The only reader of the terminal: questionary asks, rich shows."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from advisor.interview.asking import Measured, Option, Prompt, Reply, Signal
from advisor.texts import say
from executors.base import Problem, UserError

if TYPE_CHECKING:
    from rich.console import Console

POINTER = "›"
STYLE = (
    ("pointer", "fg:ansicyan bold"),
    ("highlighted", "fg:ansicyan bold"),
    ("instruction", "fg:ansibrightblack"),
    ("separator", "fg:ansibrightblack"),
)
LINE_STYLE = (("qmark", "fg:ansibrightblack nobold"), ("question", "fg:ansicyan bold"), ("answer", "fg:ansicyan"))


class TerminalAsker:
    """Asks in the terminal. `input` and `output` are prompt_toolkit's, for tests; else the terminal's own.

    Every prompt is erased once it is answered and leaves question, reason and answer behind.
    """

    def __init__(self, lang: str, console: Console | None = None, input: Any = None, output: Any = None) -> None:
        from rich.console import Console

        self.lang = lang
        self.console = console or Console(highlight=False)
        self._streams = {"input": input, "output": output} if input is not None else {}

    def ask(self, prompt: Prompt) -> Reply:
        """Put a question. Raises `UserError` where there is no terminal to put it to."""
        if not self._streams and not (sys.stdin and sys.stdin.isatty()):
            raise UserError(*_no_terminal("en"), Problem(*_no_terminal("zh")))
        show_question(self.console, prompt, self.lang)
        reply = self._read(prompt)
        show_reply(self.console, prompt, reply, self.lang)
        return reply

    def fault(self, error: UserError) -> None:
        told = error.told(self.lang)
        self._hang("  ✗ ", told.message, "red")
        for line in filter(None, told.hint.split("\n")):
            self._hang("    → ", line)

    def measured(self, lines: Sequence[Measured]) -> None:
        show_measured(self.console, lines, self.lang)

    def warn(self, text: str) -> None:
        show_warning(self.console, text)

    def note(self, text: str) -> None:
        from rich.text import Text

        self.console.print(Text(text, style="dim", overflow="fold"))

    def _hang(self, mark: str, text: str, style: str = "") -> None:
        """A text behind a mark, its further lines indented to stand below the first."""
        from rich.text import Text

        folded = fold(text, self.console.width - len(mark) - 1, " " * len(mark))
        self.console.print(Text(mark + folded, style=style))

    def busy(self, text: str) -> AbstractContextManager[object]:
        return self.console.status(f"[dim]{text}[/dim]", spinner="dots")

    def _read(self, prompt: Prompt) -> Reply:
        question = self._select(prompt) if prompt.kind == "select" else self._line(prompt)
        try:
            reply = question.unsafe_ask()
        except (KeyboardInterrupt, EOFError):
            return Signal.QUIT
        if isinstance(reply, Signal):
            return reply
        typed = str(reply).strip()
        if typed == "<" and prompt.kind != "select":
            return Signal.BACK if prompt.back else Signal.SKIP if prompt.skip else typed
        return typed if typed or prompt.skip is None else Signal.SKIP

    def _select(self, prompt: Prompt) -> Any:
        import questionary

        width = max(20, self.console.width - 4)
        choices = [questionary.Choice(fold(_title(option), width), option.value) for option in prompt.options]
        extra = [questionary.Choice(fold(title, width), signal) for signal, title in _ways_out(prompt, self.lang)]
        if extra:
            choices += [questionary.Separator(" "), *extra]
        known = {option.value for option in prompt.options}
        question = questionary.select(
            "",
            choices,
            default=prompt.default if prompt.default in known else None,
            qmark="",
            pointer=POINTER,
            style=questionary.Style(list(STYLE)),
            instruction=say("interview.keys_select" if prompt.back else "interview.keys_select_first", self.lang),
            erase_when_done=True,
            **self._streams,
        )
        keys = question.application.key_bindings
        _bind(keys, Signal.BACK, ("left", "b") if prompt.back else ())
        _bind(keys, Signal.QUIT, ("q",) if prompt.leave else ())
        return question

    def _line(self, prompt: Prompt) -> Any:
        import questionary
        from prompt_toolkit.key_binding import KeyBindings, merge_key_bindings

        keys = say("interview.keys_text" if prompt.kind == "text" else "interview.keys_path", self.lang)
        shared: dict[str, Any] = {"default": prompt.default, "erase_when_done": True, **self._streams}
        # the prompt's mark carries the keys, on a line of their own, so that they are erased with it
        shared |= {"qmark": fold(keys, self.console.width - 1, "") + "\n", "style": questionary.Style(list(LINE_STYLE))}
        if prompt.kind == "text":
            question = questionary.text(POINTER, **shared)
        else:
            question = questionary.path(POINTER, only_directories=prompt.kind == "folder", **shared)
        own = KeyBindings()
        _bind(own, Signal.BACK, ("f1", "c-b") if prompt.back else ())
        question.application.key_bindings = merge_key_bindings([question.application.key_bindings, own])
        return question


def _no_terminal(lang: str) -> tuple[str, str]:
    return say("interview.no_terminal", lang), say("interview.no_terminal_hint", lang)


def _bind(bindings: Any, signal: Signal, keys: Sequence[str]) -> None:
    def leave(event: Any) -> None:
        event.app.exit(result=signal)

    for key in keys:
        bindings.add(key, eager=True)(leave)


def _title(option: Option) -> str:
    return f"{option.label}  · {option.help}" if option.help else option.label


def _ways_out(prompt: Prompt, lang: str) -> list[tuple[Signal, str]]:
    ways = [(Signal.SKIP, _title(prompt.skip))] if prompt.skip else []
    if prompt.back:
        ways.append((Signal.BACK, say("interview.back", lang)))
    if prompt.leave:
        ways.append((Signal.QUIT, _title(Option("", say("interview.quit", lang), say("interview.quit_help", lang)))))
    return ways


def fold(text: str, width: int, indent: str = "     ") -> str:
    """`text` over several lines of at most `width` columns, further ones indented; Chinese counts double."""
    from rich.console import Console
    from rich.text import Text

    lines = Text(text).wrap(Console(width=width), width, overflow="fold")
    return f"\n{indent}".join(line.plain.rstrip() for line in lines)


# -- what stays on the screen ----------------------------------------------------------------------------


def show_question(console: Console, prompt: Prompt, lang: str) -> None:
    """The question, how far along it is, and why it is asked."""
    from rich.text import Text

    console.print()
    if prompt.again:
        console.print(Text(prompt.question, style="bold", overflow="fold"))
        return
    if prompt.number:
        key = "interview.count" if prompt.total > prompt.number else "interview.count_last"
        count = say(key, lang, number=prompt.number, total=prompt.total)
        console.rule(Text(count, style="dim"), align="left", style="dim")
    console.print(Text(prompt.question, style="bold", overflow="fold"))
    console.print(Text(say("interview.why", lang, why=prompt.why), style="dim", overflow="fold"))
    if prompt.help:
        console.print(Text(prompt.help, style="dim italic", overflow="fold"))


def show_reply(console: Console, prompt: Prompt, reply: Reply, lang: str) -> None:
    """The answer in words."""
    from rich.text import Text

    if reply is Signal.QUIT:
        return
    said = (
        {
            Signal.BACK: say("interview.went_back", lang),
            Signal.SKIP: prompt.skip.label if prompt.skip else "",
        }.get(reply)
        if isinstance(reply, Signal)
        else _label(prompt, reply)
    )
    style = "dim" if isinstance(reply, Signal) else "bold cyan"
    console.print(Text(f"  {POINTER} {said}", style=style, overflow="fold"))


def show_measured(console: Console, lines: Sequence[Measured], lang: str) -> None:
    """Facts that need not be asked; those seen in the same place stand together above what was seen."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console.print(Text(f"  ✓ {say('interview.measured', lang)}", style="green"))
    for evidence in dict.fromkeys(line.evidence for line in lines):
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for line in (line for line in lines if line.evidence == evidence):
            said = f" ({say('interview.measured_was', lang, said=line.said)})" if line.said else ""
            table.add_row(
                Text(line.name, overflow="fold"),
                Text(line.value + said, style="bold yellow" if said else "bold cyan", overflow="fold"),
            )
        console.print(Padding(table, (0, 0, 0, 4), expand=False))
        console.print(Padding(Text(evidence, style="dim", overflow="fold"), (0, 0, 0, 4), expand=False))


def show_warning(console: Console, text: str) -> None:
    from rich.text import Text

    console.print(Text(f"  ! {text}", style="yellow", overflow="fold"))


def _label(prompt: Prompt, reply: str) -> str:
    return next((option.label for option in prompt.options if option.value == reply), reply)
