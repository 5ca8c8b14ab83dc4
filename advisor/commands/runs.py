"""`advisor runs`: what lies in the folder of runs."""

from __future__ import annotations

import json

import click

from advisor import runs
from advisor.commands.shared import console


@click.command("runs")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """List the runs of this folder, oldest first."""
    rows = [_describe(folder.name, folder) for folder in runs.all_runs()]
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    from rich import box
    from rich.table import Table

    table = Table("run", "recommended", "ran", "status", "score", box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(str(row[name] or "–") for name in ("run", "recommended", "ran", "status", "score")))
    console().print(table if rows else f"no runs in {runs.root()}/ yet; make one with: advisor")


def _describe(name: str, folder: object) -> dict[str, str | None]:
    from pathlib import Path

    from executors.run import read_result

    path = Path(str(folder))
    decision = path / "decision.json"
    methods = json.loads(decision.read_text(encoding="utf-8"))["methods"] if decision.is_file() else []
    result = read_result(path)
    score = result.scores.get(result.metric) if result else None
    return {
        "run": name,
        "recommended": " + ".join(methods) or None,
        "ran": result.executor if result else None,
        "status": result.status if result else None,
        "score": f"{result.metric} {score.value:.3f}" if result and score else None,
    }
