"""A run is found by id, prefix, folder or `last`."""

from __future__ import annotations

from pathlib import Path

import pytest

from advisor import runs
from executors.base import UserError


@pytest.fixture
def three(workdir: Path) -> list[Path]:
    folders = [Path("runs") / name for name in ("20260101-000000-aaaa", "20260101-000001-abcd", "20260202-000000-ffff")]
    for folder in folders:
        folder.mkdir(parents=True)
    return folders


def test_found_by_id_prefix_folder_and_last(three: list[Path]) -> None:
    assert runs.find_run("20260101-000000-aaaa") == three[0]
    assert runs.find_run("202602") == three[2]
    assert runs.find_run(str(three[1])) == three[1]
    assert runs.find_run("last") == three[2]


def test_an_ambiguous_prefix_names_the_candidates(three: list[Path]) -> None:
    with pytest.raises(UserError, match="aaaa, 20260101-000001-abcd"):
        runs.find_run("202601")


def test_a_misspelt_id_gets_a_suggestion(three: list[Path]) -> None:
    with pytest.raises(UserError, match="did you mean '20260202-000000-ffff'"):
        runs.find_run("20260202-000000-fff0")


def test_without_runs_the_next_command_is_named(workdir: Path) -> None:
    with pytest.raises(UserError) as error:
        runs.find_run("last")
    assert "advisor ask" in error.value.hint


def test_a_new_run_is_the_last(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVISOR_RUNS", "elsewhere")
    folder = runs.new_run()
    assert folder.parent == Path("elsewhere")
    assert runs.find_run("last") == folder


def test_runs_made_at_once_are_in_the_order_they_were_made(workdir: Path) -> None:
    made = [runs.new_run() for _ in range(100)]
    assert len(set(made)) == 100
    assert runs.all_runs() == made
