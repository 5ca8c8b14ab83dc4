"""The README's command help is what the commands print. `python -m tests.test_readme` writes it anew."""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import CliRunner

from advisor.cli import COMMANDS, cli

README = Path(__file__).resolve().parent.parent / "README.md"
BLOCK = re.compile(r"(<!-- help:begin -->\n).*?(<!-- help:end -->)", re.DOTALL)


def rendered() -> str:
    """Every command's help, as the README shows it."""
    calls = [[], *([name] for name in COMMANDS)]
    parts = []
    for call in calls:
        shown = CliRunner().invoke(cli, [*call, "--help"], prog_name="advisor", terminal_width=100).output
        title = " ".join(["advisor", *call])
        parts.append(f"<details><summary><code>{title}</code></summary>\n\n```\n{shown.strip()}\n```\n\n</details>\n")
    return "\n".join(parts)


def with_help(text: str) -> str:
    return BLOCK.sub(lambda m: m[1] + rendered() + m[2], text)


def test_the_command_help_in_the_readme_is_current() -> None:
    text = README.read_text(encoding="utf-8")
    assert BLOCK.search(text)
    assert with_help(text) == text, "run: python -m tests.test_readme"


def test_the_readme_names_the_two_commands_that_do_everything() -> None:
    text = README.read_text(encoding="utf-8")
    assert "make demo" in text
    assert "make test" in text


if __name__ == "__main__":
    README.write_text(with_help(README.read_text(encoding="utf-8")), encoding="utf-8")
