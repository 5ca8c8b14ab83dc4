"""The interview in a real terminal, driven key by key."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
import yaml

ENTER, UP, CTRL_C = "\r", "\x1b[A", "\x03"


@pytest.fixture
def terminal(workdir: Path) -> Iterator[pexpect.spawn]:
    child = pexpect.spawn(sys.executable, ["-m", "advisor", "--lang", "en"], dimensions=(50, 100), timeout=30)
    yield child
    child.close(force=True)


def _runs() -> list[Path]:
    return sorted(Path("runs").glob("*"))


def test_it_opens_with_budget_labels_and_freshness_and_quitting_loses_nothing(terminal: pexpect.spawn) -> None:
    terminal.expect("What may one training run cost")
    terminal.send(ENTER)
    terminal.expect("How many labelled examples")
    terminal.send(f"350{ENTER}")
    terminal.expect("How often do the facts")
    terminal.expect("Practically never")
    terminal.send(CTRL_C)
    terminal.expect("your answers are kept in")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 130
    kept = yaml.safe_load((_runs()[0] / "answers.yaml").read_text(encoding="utf-8"))
    assert kept["labelled_examples"] == 350
    assert "training_budget" in kept


def test_leaving_before_the_first_answer_leaves_nothing(terminal: pexpect.spawn) -> None:
    terminal.expect("What may one training run cost")
    terminal.expect("Nothing: no training")
    terminal.send(CTRL_C)
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 130
    assert _runs() == []


def test_a_refused_file_leaves_nothing(workdir: Path) -> None:
    call = ["-m", "advisor", "ask", "--interview", "--data", "nowhere.csv"]
    child = pexpect.spawn(sys.executable, call, timeout=30)
    child.expect("nowhere.csv")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 1
    assert _runs() == []
