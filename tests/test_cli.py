"""The command line itself: help, errors, exit status."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from advisor import cli
from advisor.cli import COMMANDS
from executors.base import UserError

Advisor = Callable[..., tuple[int, str, str]]


def _raising(error: BaseException) -> click.Command:
    def body() -> None:
        raise error

    return click.command("broken")(body)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, advisor: Advisor) -> Callable[[BaseException], tuple[int, str, str]]:
    """The outcome of a command that raises the given error."""

    def call(error: BaseException) -> tuple[int, str, str]:
        monkeypatch.setitem(COMMANDS, "broken", "Breaks.")
        monkeypatch.setattr(cli.Commands, "get_command", lambda *_: _raising(error))
        return advisor("broken")

    return call


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str, advisor: Advisor) -> None:
    status, out, _ = advisor(name, "--help")
    assert status == 0
    assert "Usage: advisor" in out
    assert "Options:" in out


def test_a_misspelt_command_gets_a_suggestion(advisor: Advisor) -> None:
    status, _, err = advisor("reprot")
    assert status == 2
    assert "did you mean 'report'" in err


def test_without_a_terminal_the_bare_command_shows_help(advisor: Advisor) -> None:
    status, out, _ = advisor()
    assert status == 0
    assert "Commands:" in out


def test_a_users_error_is_one_line_and_the_next_step(failing: Callable[[BaseException], tuple[int, str, str]]) -> None:
    assert failing(UserError("no such thing", "try another")) == (1, "", "error: no such thing\n  → try another\n")


def test_a_full_disk_is_a_users_error(failing: Callable[[BaseException], tuple[int, str, str]]) -> None:
    status, _, err = failing(OSError(errno.ENOSPC, "No space left on device", "runs/x/result.json"))
    assert status == 1
    assert "no space left on the disk: runs/x/result.json" in err
    assert "resumes" in err


def test_ctrl_c_exits_130_and_says_what_is_kept(failing: Callable[[BaseException], tuple[int, str, str]]) -> None:
    status, _, err = failing(KeyboardInterrupt("kept: all of it"))
    assert status == 130
    assert "kept: all of it" in err


def test_a_bug_keeps_its_traceback(failing: Callable[[BaseException], tuple[int, str, str]]) -> None:
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError("a bug"))


def test_a_reader_that_leaves_the_pipe_is_no_error(workdir: Path) -> None:
    call = f"{sys.executable} -m advisor --help | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", call], capture_output=True, text=True)
    assert done.stderr == ""


def test_output_that_is_not_a_terminal_has_no_colour(advisor: Advisor) -> None:
    Path("a.yaml").write_text("training_budget: none\nlabelled_examples: 0\nknowledge_change: daily\n")
    status, out, _ = advisor("ask", "--answers", "a.yaml")
    assert status == 0
    assert "\x1b[" not in out


def test_a_screen_that_cannot_show_chinese_gets_question_marks_not_a_traceback(workdir: Path) -> None:
    Path("a.yaml").write_text("training_budget: none\n")
    call = [sys.executable, "-m", "advisor", "ask", "--answers", "a.yaml", "--lang", "zh"]
    environment = {"PYTHONIOENCODING": "ascii", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(call, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    assert b"?" in done.stdout


def test_a_setting_is_read_as_the_number_or_text_it_looks_like() -> None:
    from advisor.commands.shared import parse_settings

    given = ("learning_rate=2e-4", "k=5", "instruction=Be brief", "layers=last", "watch=true")
    expected = {"learning_rate": 2e-4, "k": 5, "instruction": "Be brief", "layers": "last", "watch": True}
    assert parse_settings(given) == expected
