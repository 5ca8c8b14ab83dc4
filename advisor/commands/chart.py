"""`advisor chart`: the decision chart drawn, bare or with the path of a run."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import click

from advisor.commands.shared import console, lang_option, language, load_decision, write_output

if TYPE_CHECKING:
    from rich.console import Console

    from advisor.decision import Decision
    from advisor.drawing.scene import Scene

FILE_COLUMNS = 100  # of an outline that is written to a file

EPILOG = """\b
Examples:
  advisor chart                                      the whole chart, as an outline
  advisor chart last                                 with the path of the latest run
  advisor chart last --format svg --output path.svg  a picture
  advisor chart --format mermaid > chart.mmd         for a wiki or a README
"""


@click.command("chart", epilog=EPILOG)
@click.argument("run", required=False)
@click.option("--format", "kind", type=click.Choice(["text", "mermaid", "svg"]), default="text", show_default=True)
@click.option("--output", type=click.Path(dir_okay=False), help="Write here instead, and print the path.")
@lang_option
def command(run: str | None, kind: str, output: str | None, lang: str | None) -> None:
    """Draw the chart by which methods are chosen; with RUN, the path that run took in it.

    RUN is an id, a unique prefix of one, a folder, or `last`.
    """
    from advisor.drawing.scene import scene
    from advisor.flowchart import load_chart

    tongue = language(lang)
    decision = _decision(run) if run else None
    drawn = scene(load_chart(), tongue, decision)
    if output is None and kind == "text":
        _show(drawn, decision, console())
        return
    text = _text(drawn, decision, kind)
    if output is None:
        click.echo(text.rstrip("\n"))
        return
    write_output(Path(output), text)
    click.echo(output)


def _decision(run: str) -> Decision:
    from advisor import runs

    return load_decision(runs.find_run(run))


def _text(drawn: Scene, decision: Decision | None, kind: str) -> str:
    if kind == "mermaid":
        from advisor.drawing.mermaid import draw_mermaid

        return draw_mermaid(drawn)
    if kind == "svg":
        from advisor.drawing.svg import draw_chart_file

        return draw_chart_file(drawn)
    from rich.console import Console

    page = Console(file=io.StringIO(), width=FILE_COLUMNS, no_color=True, highlight=False)
    with page.capture() as captured:
        _show(drawn, decision, page)
    return captured.get()


def _show(drawn: Scene, decision: Decision | None, page: Console) -> None:
    from rich.text import Text

    from advisor import words
    from advisor.drawing.outline import draw_outline
    from advisor.texts import say

    lang = drawn.lang
    page.print(Text(drawn.title, style="bold"))
    legend = say("chart.legend", lang)
    page.print(Text(f"{legend}   {say('chart.legend_walked', lang)}" if decision else legend, style="dim"))
    page.print()
    page.print(draw_outline(drawn))
    if decision:
        methods = words.methods_name(decision.methods, lang)
        page.print(Text(f"\n{say('chart.outcome', lang, methods=methods)}", style="bold green"))
