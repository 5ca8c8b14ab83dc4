"""The interview: asks what is missing and matters, measures what can be measured, and lets nothing get lost.

Covered: the order of the questions, going back, skipping, correcting, quitting. What a question looks like is the
asker's: `TerminalAsker` (the only reader of the terminal) or `ReplayAsker` (a recording). What follows from the
answers is not decided here.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from advisor import words
from advisor.decision import Decision, Inputs
from advisor.facts import Facts
from advisor.interview.asking import Asker, Measured, Option, Prompt, Reply, Signal
from advisor.interview.gauge import Gauge, Profiler
from advisor.interview.replay import Recording, ReplayAsker, load_recording
from advisor.interview.steps import InputStep, State, Step, absorb, begin, next_step, remaining
from advisor.interview.terminal import TerminalAsker
from advisor.texts import say
from executors.base import Text, UserError

__all__ = [
    "Asker",
    "Gauge",
    "Option",
    "Prompt",
    "Recording",
    "ReplayAsker",
    "Reply",
    "Session",
    "Signal",
    "TerminalAsker",
    "load_recording",
    "offer_run",
    "resume_command",
    "run",
]

Save = Callable[[Facts, Inputs], None]


@dataclass(frozen=True)
class Session:
    """What an interview brought. `quit`: it was left early; what was answered by then is here all the same."""

    facts: Facts
    inputs: Inputs
    quit: bool = False
    warnings: tuple[Text, ...] = ()


def run(
    lang: str,
    prefilled: Facts,
    inputs: Inputs,
    ask: Asker,
    gauge: Gauge | None = None,
    save: Save | None = None,
) -> Session:
    """Ask until nothing that is still unknown matters.

    `prefilled` facts are not asked, `inputs` that are given are measured at once. `save` is called after every
    answer, so that even a killed terminal loses nothing. Raises `UserError` only for inputs that were given.
    """
    gauge = gauge or Profiler()
    state = begin(prefilled)
    given = sum(fact.preset != "" for fact in prefilled.values())
    if given:
        ask.note(say("presets.started", lang, count=given))
    if given < len(prefilled):
        ask.note(say("interview.resumed", lang, count=len(prefilled) - given))
    talk = _Talk(lang, ask, gauge, save, state)
    try:
        with talk.busy(inputs != Inputs()):
            talk.state = absorb(state, inputs, gauge)
        _tell(ask, lang, state, talk.state)
        while talk.turn():
            pass
    except KeyboardInterrupt:  # also while something is being measured
        return talk.session(quit=True)
    return talk.session(quit=talk.left)


class _Talk:
    """One interview under way. Earlier states are kept whole, so going back is taking the last one."""

    def __init__(self, lang: str, ask: Asker, gauge: Gauge, save: Save | None, state: State) -> None:
        self.lang, self.ask, self.gauge, self.save, self.state = lang, ask, gauge, save, state
        self.left = False
        self._earlier: list[State] = []
        self._taken: dict[str, str] = {}  # step -> its last reply, offered again when the user goes back to it
        self._refused = ""  # the reply just refused, offered for mending

    def turn(self) -> bool:
        """Ask one question and take the reply; False when there is none left, or the user has left."""
        step = next_step(self.state)
        if step is None:
            return False
        reply = self.ask.ask(self._prompt(step))
        self._refused = ""
        if reply is Signal.QUIT:
            self.left = True
            return False
        if reply is Signal.BACK:
            self.state = self._earlier.pop() if self._earlier else self.state
            return True
        self._take(step, reply)
        return True

    def busy(self, measuring: bool) -> AbstractContextManager[object]:
        return self.ask.busy(say("interview.measuring", self.lang)) if measuring else nullcontext()

    def session(self, quit: bool) -> Session:
        return Session(self.state.facts, self.state.inputs, quit, self.state.warnings)

    def _prompt(self, step: Step) -> Prompt:
        prompt = step.prompt(self.state, self.gauge, self.lang)
        number = len(self._earlier) + 1
        total = number + remaining(self.state) - 1
        known = step.id in self.state.facts  # what it is now stands over what was once replied
        default = self._refused or (prompt.default if known else self._taken.get(prompt.id, prompt.default))
        again, back = bool(self._refused), bool(self._earlier)
        return replace(prompt, number=number, total=total, default=default, again=again, back=back)

    def _take(self, step: Step, reply: str | Signal) -> None:
        try:
            with self.busy(isinstance(step, InputStep)):
                after = step.apply(self.state, reply, self.gauge)
        except UserError as error:
            self.ask.fault(error)
            self._refused = str(reply)
            return
        _tell(self.ask, self.lang, self.state, after)
        self._earlier.append(self.state)
        self.state = after
        if isinstance(reply, str):
            self._taken[step.id] = reply
        if self.save:
            self.save(after.facts, after.inputs)


def _tell(ask: Asker, lang: str, before: State, after: State) -> None:
    """Show what was measured between two states, beside what had been said, and what to know about it."""
    lines = []
    for name, fact in after.facts.items():
        old = before.facts.get(name)
        if fact.origin != "measured" or fact == old:
            continue
        differs = old is not None and old.origin == "asked" and old.value != fact.value
        said = words.value_text(name, old.value, lang) if old and differs else ""
        value = words.value_text(name, fact.value, lang)
        lines.append(Measured(words.fact_name(name, lang), value, fact.evidence.get(lang, ""), said))
    if lines:
        ask.measured(lines)
    for warning in after.warnings:
        if warning not in before.warnings:
            ask.warn(warning[lang])


def offer_run(decision: Decision, lang: str, ask: Asker) -> bool:
    """“Run it now?” under the recommendation. Leaving is a no."""
    options = (
        Option("yes", say("interview.run_yes", lang)),
        Option("no", say("interview.run_no", lang), say("interview.run_no_help", lang)),
    )
    question, why = say("interview.run_now", lang), say("interview.run_now_why", lang)
    try:
        return ask.ask(Prompt("run_now", "select", question, why, options=options, leave=False)) == "yes"
    except KeyboardInterrupt:
        return False


def resume_command(answers: Path, inputs: Inputs) -> str:
    """The command that goes on from the answers kept in a file, with the same data, documents and model."""
    parts = ["advisor", "ask", "--answers", str(answers)]
    for name in ("data", "test", "docs", "model", "embedder"):
        value = getattr(inputs, name)
        parts += [f"--{name}", value] if value else []
    if inputs.columns:
        parts += ["--columns", ",".join(f"{role}={column}" for role, column in inputs.columns.items())]
    return shlex.join(parts)
