"""What several commands share: options, consoles, and the records of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from advisor.decision import Decision, Inputs
from advisor.texts import choose_language
from executors.base import Problem, UserError, write_json

if TYPE_CHECKING:
    from rich.console import Console

F = TypeVar("F", bound=Callable[..., Any])

INPUT_OPTIONS = (
    click.option("--data", help="Labelled rows: CSV, TSV, JSONL, JSON or .xlsx."),
    click.option("--test", help="Held-out rows, where they are a file of their own (else a share of --data)."),
    click.option("--docs", help="Folder of documents that answers must draw on."),
    click.option("--model", help="Language model: alias, hub id, folder, or PROVIDER:MODEL."),
    click.option("--embedder", help="Sentence encoder: alias, hub id or folder."),
    click.option("--columns", help="Which column is what, e.g. text=body,label=intent."),
)


def input_options(function: F) -> F:
    """The options that say what the user has."""
    for option in reversed(INPUT_OPTIONS):
        function = option(function)
    return function


def lang_option(function: F) -> F:
    """`--lang`, accepted after a command as well as before it."""
    return click.option("--lang", type=click.Choice(["en", "zh"]), help="Language (default: the locale's).")(function)


def language(lang: str | None) -> str:
    """The language of this call: the command's `--lang`, else the group's, else the locale's."""
    context = click.get_current_context()
    return choose_language(lang or (context.find_root().obj or {}).get("lang"))


def answers_source(name: str) -> Path:
    """The answers' file. Standard input is taken through a file descriptor's path, so one reader serves both."""
    return Path("/dev/stdin") if name == "-" else Path(name)


def parse_columns(text: str | None) -> dict[str, str]:
    """``text=body,label=intent`` as a mapping. Raises `UserError` naming every part that is not ``role=column``."""
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    wrong = [part for part in parts if "=" not in part]
    if wrong:
        example = "--columns text=body,label=intent"
        raise UserError.of(
            [
                Problem(
                    f"--columns: '{part}' is not role=column",
                    f"e.g. {example}",
                    Problem(f"--columns：“{part}”不是“角色=列名”的形式", f"例如 {example}"),
                )
                for part in wrong
            ]
        )
    return {role.strip(): name.strip() for role, _, name in (part.partition("=") for part in parts)}


def parse_settings(settings: tuple[str, ...], option: str = "--set", example: str = "--set epochs=3") -> dict[str, Any]:
    """``("k=5", "instruction=Be brief")`` as a mapping; values are read as YAML where they can be.

    Raises `UserError` naming every part given to `option` that is not ``name=value``.
    """
    import yaml

    wrong = [s for s in settings if "=" not in s]
    if wrong:
        hint, hint_zh = f"e.g. {example}", f"例如 {example}"
        told = [(f"{option}: '{s}' is not name=value", f"{option}：“{s}”不是“名称=值”的形式") for s in wrong]
        raise UserError.of([Problem(en, hint, Problem(zh, hint_zh)) for en, zh in told])
    parsed = {}
    for name, _, value in (s.partition("=") for s in settings):
        try:
            parsed[name.strip()] = _number(yaml.safe_load(value))
        except yaml.YAMLError:
            parsed[name.strip()] = value
    return parsed


def _number(value: Any) -> Any:
    """``2e-4``, which YAML takes for a text, as the number it is; anything else as it stands."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def merge_inputs(base: Inputs, **given: Any) -> Inputs:
    """`base` with what this call names put over it."""
    import dataclasses

    return dataclasses.replace(base, **{name: value for name, value in given.items() if value})


def console(stderr: bool = False) -> Console:
    """Where people read. Width follows the terminal; piped output is not wrapped at 80 and has no colour."""
    from rich.console import Console

    plain = Console(stderr=stderr, highlight=False)
    return plain if plain.is_terminal else Console(stderr=stderr, highlight=False, width=110, no_color=True)


def write_output(target: Path, text: str) -> None:
    """What `--output` asks for. Raises `UserError` where its folder is missing."""
    if not target.parent.is_dir():
        zh = Problem(f"--output：没有文件夹 {target.parent}", "请先创建它，或换一个路径")
        raise UserError(f"--output: there is no folder {target.parent}", "make it first, or name another", zh)
    target.write_text(text, encoding="utf-8")


def save_decision(folder: Path, decision: Decision) -> None:
    write_json(folder / "decision.json", decision)


def load_decision(folder: Path) -> Decision:
    """The decision of a run. Raises `UserError` where it has none or it cannot be read."""
    path = folder / "decision.json"
    if not path.is_file():
        raise UserError(f"{folder.name} has no decision", "make one with: advisor ask --answers FILE")
    from advisor.decision import read_decision

    try:
        return read_decision(path)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {error}", "make it again with: advisor ask --answers FILE") from error
