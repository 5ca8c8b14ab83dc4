"""`advisor export`: a tuned run's weights for others, once they answer as the run does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from advisor import runs
from advisor.commands.shared import console, lang_option, language
from advisor.progress import Progress
from advisor.screen.export import show_export
from executors.base import Problem, UserError, to_dict

if TYPE_CHECKING:
    from executors.export import Form, Precision

EPILOG = """\b
Examples:
  advisor export last --to merged                     safetensors, for transformers, vLLM and others
  advisor export last --to adapter --out my-adapter   the adapter alone, for peft
  advisor export last --to gguf --precision q8_0      one file, for llama.cpp and what is built on it
"""


@click.command("export", epilog=EPILOG)
@click.argument("run", default="last")
@click.option("--to", "form", type=click.Choice(["merged", "adapter", "gguf"]), required=True, help="What to write.")
@click.option("--out", type=click.Path(file_okay=False), help="Folder to write to (default: export/ in the run's).")
@click.option("--precision", type=click.Choice(["f16", "q8_0", "f32"]), help="Of a GGUF file (default f16).")
@click.option("--force", is_flag=True, help="Replace an earlier export.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@lang_option
def command(
    run: str, form: Form, out: str | None, precision: Precision | None, force: bool, as_json: bool, lang: str | None
) -> None:
    """Export the weights that RUN tuned, with a model card.

    What was written is loaded again with nothing but transformers and peft and compared with the run on golden
    prompts: tokens, template, end token, logits, text. Where it answers otherwise, nothing is kept.
    """
    if precision and form != "gguf":
        zh = Problem(f"--precision：只用于 --to gguf，此处为 --to {form}", "去掉 --precision")
        raise UserError(f"--precision: goes with --to gguf, here it is --to {form}", "leave it out", zh)
    from executors.export import export_run

    folder, tongue = runs.find_run(run), language(lang)
    with Progress(tongue, console(stderr=True)) as progress:
        target = Path(out) if out else None
        found = export_run(folder, form, target, precision or "f16", progress, force)
    if as_json:
        click.echo(json.dumps(to_dict(found), ensure_ascii=False))
    else:
        show_export(found, tongue, console())
