"""`advisor prompt`: what a finished prompt says, how it was found, and handing it over."""

from __future__ import annotations

import click

from advisor.commands.prompt_export import command as export
from advisor.commands.prompt_show import command as show
from advisor.commands.prompt_trials import command as trials

EPILOG = """\b
Examples:
  advisor prompt show last --row 3                    the prompt of the third held-out row, its tokens and price
  advisor prompt trials last                          every prompt that the search tried
  advisor prompt export last --to langchain --out prompt.json
"""


@click.group("prompt", epilog=EPILOG)
def command() -> None:
    """Show the prompt of a run as the model sees it, the search that found it, or export it."""


for subcommand in (show, trials, export):
    command.add_command(subcommand)
