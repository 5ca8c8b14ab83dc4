"""`advisor demo`: the whole way on the bundled task, for real, in a few minutes."""

from __future__ import annotations

from pathlib import Path

import click

from advisor import runs
from advisor.answers import write_answers
from advisor.commands.ask import complete
from advisor.commands.run import execute
from advisor.commands.shared import console, lang_option, language, save_decision
from advisor.facts import Facts
from advisor.texts import say
from executors.base import Input

QUESTION = "Our company firewall blocks everything. Which TCP port does the Hub need for outgoing traffic?"


@click.command("demo")
@lang_option
def command(lang: str | None) -> None:
    """Watch the whole way on a bundled task.

    Replays a recorded interview, recommends, runs the recommended method and the floor, scores both on held-out
    rows, and answers a question with its source. First for questions on a handbook, then for sorting requests.
    Takes two to four minutes on two cores.
    """
    tongue = language(lang)
    screen = console()
    screen.print(say("command.demo_start", tongue), markup=False)
    handbook = _act("handbook", tongue)
    _answer_one(handbook, tongue)
    requests = _act("requests", tongue)
    pages = [handbook / "report.html", requests / "report.html"]
    screen.print(say("command.demo_end", tongue, handbook=pages[0], requests=pages[1]), markup=False)


def _act(name: str, lang: str) -> Path:
    """One recorded interview, its recommendation, and that recommendation run beside the floor."""
    from advisor.decision import Inputs
    from advisor.interview import ReplayAsker, load_recording
    from advisor.interview import run as converse
    from advisor.plan import make_plan
    from advisor.screen import show_decision

    screen = console()
    recording = load_recording(name)
    screen.rule(recording.title[lang], align="left")
    screen.print(recording.story[lang], markup=False)
    session = converse(lang, Facts(), Inputs(), ReplayAsker(recording, lang, screen))
    folder = runs.new_run()
    decision = complete(session.facts, session.inputs, folder.name, session.warnings)
    write_answers(folder / "answers.yaml", session.facts)
    save_decision(folder, decision)
    show_decision(decision, lang, screen)
    execute(folder, make_plan(decision, decision.inputs), lang)
    return folder


def _answer_one(folder: Path, lang: str) -> None:
    from executors.run import open_predictor

    prediction = open_predictor(folder).predict([Input(QUESTION)])[0]
    screen = console()
    screen.print(f'\n$ advisor predict {folder.name} "{QUESTION}"', style="bold", markup=False)
    screen.print(prediction.text, style="green", markup=False)
    cited = [prediction.passages[number - 1] for number in prediction.cited] or [*prediction.passages]
    for passage in cited[:1]:
        screen.print(f"  ← {passage.place}", style="bold", markup=False)
        screen.print(passage.text, style="dim", markup=False)
