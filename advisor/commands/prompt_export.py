"""`advisor prompt export`: the finished prompt for LangChain, for OpenAI-compatible servers, or as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from advisor import runs
from advisor.commands.prompt_show import held_out_row
from advisor.commands.shared import console, lang_option, language, write_output
from advisor.progress import Progress
from advisor.texts import say
from executors.base import Input, Problem, Reporter, UserError

if TYPE_CHECKING:
    from executors.prompt import Prompt
    from executors.prompt.opened import OpenedPrompt

EPILOG = """\b
Examples:
  advisor prompt export last --to langchain --out prompt.json    LangChain loads it, without this product
  advisor prompt export last --to openai --all --out rows.jsonl  the messages of every held-out row, without answers
  advisor prompt export last --to openai --row 3
  advisor prompt export last --to text                           with {text} where the input goes
"""


@click.command("export", epilog=EPILOG)
@click.argument("run", default="last")
@click.option("--to", "kind", type=click.Choice(["langchain", "openai", "text"]), required=True)
@click.option("--out", "--output", type=click.Path(dir_okay=False), help="Write here instead of printing.")
@click.option("--row", type=int, help="The prompt of the N-th held-out row, not the template.")
@click.option("--all", "every", is_flag=True, help="The prompts of all held-out rows.")
@click.option("--force", is_flag=True, help="Overwrite the file.")
@lang_option
def command(run: str, kind: str, out: str | None, row: int | None, every: bool, force: bool, lang: str | None) -> None:
    """Hand over the prompt of RUN: a template, or the prompts of held-out rows without their answers.

    In the template {text} stands for the input and {context} for its passage, where inputs bring one. Demonstrations
    chosen for each input cannot stand in a template: LangChain's then takes them as `demonstrations`, and with --out
    those there are to choose from are written beside it, as FILE.demonstrations.jsonl.
    """
    folder, tongue, screen = runs.find_run(run), language(lang), console(stderr=True)
    target = Path(out) if out else None
    _check(kind, row, every)
    from executors.prompt.opened import open_prompt, read_plan

    plan = read_plan(folder)
    if row is not None:
        held_out_row(plan, row)  # what is wrong is said before anything is loaded
    beside = target.with_name(f"{target.name}.demonstrations.jsonl") if target else None
    for path in (target, beside):
        _refuse_existing(path, force)
    with Progress(tongue, screen) as progress:
        opened = open_prompt(folder, progress)
        told = _export(opened, kind, row, every, progress)
    written = _write(target, told)
    if beside and kind == "langchain" and opened.predictor.pool is not None:
        written += _write(beside, _examples(opened))
    for path in written:
        screen.print(say("prompt.exported", tongue, path=path), markup=False)
    for line in _notes(opened, kind, target, folder.name, tongue):
        screen.print(f"• {line}", style="dim", markup=False, soft_wrap=True)  # its commands are copied


def _check(kind: str, row: int | None, every: bool) -> None:
    if row is not None and every:
        zh = Problem("同时给出了 --row 和 --all", "请只给出一个")
        raise UserError("both --row and --all were given", "give one of them", zh)
    if kind == "langchain" and (row is not None or every):
        zh = Problem("--to langchain 导出的是模板，不含具体数据", "--row 和 --all 用于 --to openai 或 --to text")
        hint = "--row and --all go with --to openai or --to text"
        raise UserError("--to langchain writes a template, not the prompts of rows", hint, zh)


def _refuse_existing(path: Path | None, force: bool) -> None:
    if path and path.exists() and not force:
        zh = Problem(f"{path} 已存在", "换一个文件名，或用 --force 覆盖")
        raise UserError(f"{path} is there already", "name another file, or overwrite it with --force", zh)


def _export(opened: OpenedPrompt, kind: str, row: int | None, every: bool, report: Reporter) -> str:
    from executors.prompt import export
    from executors.prompt.opened import held_out

    renderer = opened.predictor.renderer
    if row is not None or every:
        rows = held_out(opened.plan) if every else (held_out_row(opened.plan, row)[1],)
        asked = opened.render([one.input for one in rows], report)
        chats: Sequence[export.Chat] = [one.chat for one in asked]
        return export.to_openai(chats) if kind == "openai" else export.to_text(chats)
    grounded = export.is_grounded(renderer, _inputs(opened))
    if kind == "langchain":
        return export.to_langchain(renderer, grounded)
    if renderer.prompt.params.retrieves:
        zh = Problem("该提示的示例按输入选取，没有固定的模板", "请用 --row N、--all，或 --to langchain")
        message = "the demonstrations of this prompt are chosen for each input, so there is no one template"
        raise UserError(message, "give --row N or --all, or export it --to langchain", zh)
    chat = export.template_chat(renderer, grounded)
    return export.to_openai([chat]) if kind == "openai" else export.to_text([chat])


def _inputs(opened: OpenedPrompt) -> list[Input]:
    """The held-out inputs; none where their file is gone: then the demonstrations alone tell of passages."""
    if not Path(opened.plan.data.test or opened.plan.data.path).is_file():
        return []
    from executors.prompt.opened import held_out

    return [row.input for row in held_out(opened.plan)]


def _examples(opened: OpenedPrompt) -> str:
    from executors.prompt import export

    assert opened.predictor.pool is not None
    return export.to_openai(export.examples(opened.predictor.renderer, opened.predictor.pool.rows))


def _write(target: Path | None, told: str) -> list[Path]:
    if target is None:
        click.echo(told.rstrip("\n"))
        return []
    write_output(target, told)
    return [target]


# -- what no file of prompts can carry -----------------------------------------------------------------


def _notes(opened: OpenedPrompt, kind: str, target: Path | None, run: str, lang: str) -> list[str]:
    prompt, predictor = opened.predictor.prompt, opened.predictor
    told = []
    if kind == "langchain":
        told.append(say("prompt.load_langchain", lang, path=target or "FILE"))
        if predictor.pool is not None:
            selection = say(f"search.selection_{prompt.params.selection}", lang)
            rows = len(predictor.pool)
            told.append(say("prompt.placeholder", lang, selection=selection, shots=prompt.shots, rows=rows))
    temperature, tokens = f"{prompt.params.temperature:g}", predictor.budget.answer
    told.append(say("prompt.decoding", lang, temperature=temperature, tokens=tokens))
    return [*told, *_lost(opened, prompt, lang), say("prompt.runnable", lang, run=run)]


def _lost(opened: OpenedPrompt, prompt: Prompt, lang: str) -> list[str]:
    """What of the run's method stays behind."""
    from executors.prompt.reasoning import MARKER

    told = [say("prompt.ensemble", lang, count=1 + len(prompt.others))] if prompt.others else []
    if opened.predictor.scores_labels:
        told.append(say("prompt.calibrated" if prompt.offsets else "prompt.likelihood", lang))
    spelled = opened.predictor.renderer.spelled
    other = next((label for label, written in spelled.items() if label != written), None)
    if other is not None:
        told.append(say("prompt.spelled", lang, label=other, words=spelled[other]))
    if prompt.schema is not None:
        told.append(say("prompt.repaired", lang))
    if prompt.params.chain_of_thought:
        told.append(say("prompt.reasoned", lang, mark=MARKER[prompt.lang].strip()))
    return told
