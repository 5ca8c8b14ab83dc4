"""`advisor presets`: typical situations, as a list or one as a page."""

from __future__ import annotations

import json
from typing import Any

import click

from advisor.commands.shared import console, lang_option, language
from advisor.presets import Preset, advise, find_preset, load_presets
from executors.base import to_dict

EPILOG = """\b
Examples:
  advisor presets                                        what there is
  advisor presets customer-support                       its page
  advisor ask --preset customer-support --interview      start from it, correct it
  advisor ask --preset customer-support --data faq.csv   what can be measured stands over it
"""


@click.command("presets", epilog=EPILOG)
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with both languages.")
@lang_option
def command(name: str | None, as_json: bool, lang: str | None) -> None:
    """List typical situations with what is recommended for them, or show the page of one.

    A page says what the situation is, which answers stand for it and why, what the advisor makes of them today,
    what usually goes wrong, and when another fits better.
    """
    if as_json:
        shown = _page(find_preset(name)) if name else [_entry(preset) for preset in load_presets().values()]
        click.echo(json.dumps(shown, ensure_ascii=False, indent=2))
        return
    from advisor.screen.presets import show_preset, show_presets

    if name:
        preset = find_preset(name)
        show_preset(preset, advise(preset), language(lang), console())
    else:
        entries = [(preset, advise(preset)) for preset in load_presets().values()]
        show_presets(entries, language(lang), console())


def _entry(preset: Preset) -> dict[str, Any]:
    return {"name": preset.name, "title": preset.title, "line": preset.line, "methods": advise(preset).methods}


def _page(preset: Preset) -> dict[str, Any]:
    decision = to_dict(advise(preset))
    kept = ("methods", "variant", "summary", "confidence", "flips")
    return {**to_dict(preset), "recommended": {name: decision[name] for name in kept}}
