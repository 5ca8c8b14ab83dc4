"""`advisor report`: a run as a page."""

from __future__ import annotations

from pathlib import Path

import click

from advisor import runs
from advisor.commands.shared import lang_option, language, load_decision, write_output

EPILOG = """\b
Examples:
  advisor report last                        Markdown on the screen
  advisor report last --format html --open   the page, in a browser
  advisor report last --format json | jq .decision.methods
"""


@click.command("report", epilog=EPILOG)
@click.argument("run", default="last")
@click.option("--format", "kind", type=click.Choice(["md", "html", "json"]), default="md", show_default=True)
@click.option("--output", type=click.Path(dir_okay=False), help="Write here instead (`-`: print).")
@click.option("--open", "show", is_flag=True, help="Open the HTML page in a browser.")
@lang_option
def command(run: str, kind: str, output: str | None, show: bool, lang: str | None) -> None:
    """Show why a run recommends what it does, what it costs, and what was measured.

    RUN is an id, a unique prefix of one, a folder, or `last`. Markdown and JSON are printed; HTML is written
    into the run's folder and its path printed.
    """
    folder = runs.find_run(run)
    page = render(folder, kind, language(lang))
    if output in (None, "-") and (kind != "html" or output == "-"):
        click.echo(page.rstrip("\n"))
        return
    target = Path(output) if output else folder / "report.html"
    write_output(target, page)
    click.echo(target)
    if show:
        click.launch(str(target))


def render(folder: Path, kind: str, lang: str) -> str:
    """The report of a run's folder, as md, html or json."""
    from advisor import report
    from advisor.prove.until import read_climb
    from advisor.report.chain import read_chain_record
    from advisor.report.prove import read_proved
    from advisor.report.search import read_search
    from advisor.report.training import read_training
    from advisor.report.triage import read_triage
    from executors.judging import read_judged
    from executors.run import read_result

    result, floor = read_result(folder), read_result(folder / "floor")
    records = read_search(folder), read_triage(folder), read_chain_record(folder), read_training(folder, result)
    measured = read_proved(folder), read_climb(folder), read_judged(folder)
    return report.render(load_decision(folder), result, floor, kind, lang, *records, *measured)


def write_reports(folder: Path, lang: str) -> Path:
    """Write `report.md` and `report.html` into the run's folder; the path of the latter."""
    for kind in ("md", "html"):
        (folder / f"report.{kind}").write_text(render(folder, kind, lang), encoding="utf-8")
    return folder / "report.html"
