"""`advisor fetch`: weights, ahead of time."""

from __future__ import annotations

import click

from advisor.commands.shared import console, lang_option, language
from advisor.progress import Progress
from advisor.texts import say

DEFAULTS = ("smollm2-135m-instruct", "all-minilm-l6-v2")


@click.command(
    "fetch", epilog="\b\nExamples:\n  advisor fetch\n  advisor fetch qwen2.5-0.5b-instruct bge-small-zh-v1.5"
)
@click.argument("models", nargs=-1)
@lang_option
def command(models: tuple[str, ...], lang: str | None) -> None:
    """Fetch model weights into the cache (default: the two that the product starts with) and check their SHA-256."""
    from executors.models.catalogue import aliases
    from executors.models.fetch import locate, resolve

    screen, tongue = console(stderr=True), language(lang)
    packages = [alias.package for name in models or DEFAULTS if (alias := aliases().get(name)) and not locate(name)]
    if any(packages):
        size = sum(package.bytes for package in packages if package) // 1_000_000
        screen.print(say("command.fetch", tongue, size=size), markup=False)
    with Progress(tongue, screen) as progress:
        folders = [(name, resolve(name, progress)) for name in models or DEFAULTS]
    for name, folder in folders:
        click.echo(f"{name}\t{folder}")
