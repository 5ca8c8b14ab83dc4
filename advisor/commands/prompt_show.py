"""`advisor prompt show`: the prompt of one input as the model sees it, its tokens by part, and its price."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from advisor import runs
from advisor.commands.shared import console, lang_option, language
from advisor.progress import Progress
from executors.base import Input, Plan, Problem, Reporter, Row, UserError, to_dict

if TYPE_CHECKING:
    from advisor.rendered import Rendered

EPILOG = """\b
Examples:
  advisor prompt show last                            of the first held-out row
  advisor prompt show last --row 3
  advisor prompt show last --text "where is my parcel?"
  advisor prompt show last --raw                      the text after the model's chat template, nothing else
  advisor prompt show last --json | jq .parts
"""


@click.command("show", epilog=EPILOG)
@click.argument("run", default="last")
@click.option("--row", type=int, help="Of the N-th held-out row, counted from 1 (default 1).")
@click.option("--text", help="Of this text instead.")
@click.option("--raw", is_flag=True, help="Print the text after the chat template, nothing else.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: messages, tokens by part, prices.")
@lang_option
def command(run: str, row: int | None, text: str | None, raw: bool, as_json: bool, lang: str | None) -> None:
    """Show the prompt of a run exactly as the model sees it, where its tokens go, and what 1,000 requests cost.

    RUN is an id, a unique prefix of one, a folder, or `last`. The model itself is not loaded and not asked.
    """
    folder, tongue = runs.find_run(run), language(lang)
    if row is not None and text is not None:
        zh = Problem("同时给出了 --row 和 --text", "请只给出一个")
        raise UserError("both --row and --text were given", "give one of them", zh)
    with Progress(tongue, console(stderr=True)) as progress:
        rendered = _rendered(folder, row, text, progress)
    if as_json:
        click.echo(json.dumps({"run": folder.name, **to_dict(rendered)}, ensure_ascii=False, indent=2))
    elif raw:
        click.echo(_raw(rendered))
    else:
        from advisor.screen.prompt import show_prompt

        show_prompt(rendered, folder.name, tongue, console())


def _rendered(folder: Path, row: int | None, text: str | None, report: Reporter) -> Rendered:
    from advisor.rendered import render
    from executors.prompt.opened import open_prompt, read_plan

    if text is not None and not text.strip():
        zh = Problem("--text：文本为空", '例如 --text "我的包裹在哪里？"')
        raise UserError("--text: the text is empty", 'e.g. --text "where is my parcel?"', zh)
    plan = read_plan(folder)
    if text is not None:
        return render(open_prompt(folder, report), Input(text.strip()), report=report)
    number, chosen = held_out_row(plan, row)  # what is wrong is said before anything is loaded
    return render(open_prompt(folder, report), chosen.input, number, chosen, folder, report)


def held_out_row(plan: Plan, row: int | None) -> tuple[int, Row]:
    """The N-th held-out row with its number, counted from 1. Raises `UserError` where there is no such row."""
    from executors.prompt.opened import held_out

    rows, number = held_out(plan), 1 if row is None else row
    if not 1 <= number <= len(rows):
        last = f"{len(rows):,}"
        zh = Problem(f"--row：应为 1 到 {last}，收到 {number}", f"该运行共有 {last} 条留出数据")
        raise UserError(f"--row: 1 to {last}, got {number}", f"the run has {last} held-out rows", zh)
    return number, rows[number - 1]


def _raw(rendered: Rendered) -> str:
    if rendered.raw:
        return rendered.raw
    zh = Problem(f"{rendered.model} 的对话模板由服务商套用，这里看不到", "不加 --raw 可查看发送的消息")
    message = f"--raw: the chat template of {rendered.model} is applied by who serves it, and is not known here"
    raise UserError(message, "without --raw the messages are shown, which is what is sent", zh)
