"""`advisor prove` as it is asked for: what is refused, and the same command again after one that was broken off."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from advisor.decision import Inputs
from advisor.prove import until
from advisor.prove.asked import FILE, Asked, command_of
from advisor.prove.records import FILE as RACE
from advisor.prove.records import FOLDER
from advisor.report.prove import Proved, section, use_command
from advisor.runs import all_runs
from executors.base import write_json
from tests import races
from tests.races import DONE, RUNNING
from tests.test_until import write_rows

Advisor = Callable[..., tuple[int, str, str]]


def begun(inputs: Inputs, race: object = RUNNING, name: str = "r1", **options: object) -> tuple[Asked, Path]:
    """A run in whose folder a race is recorded, and how it was asked for."""
    asked = Asked({f"--{key}": value for key, value in options.items()}, inputs)
    folder = Path("runs") / name
    asked.record(folder)
    write_json(folder / FOLDER / RACE, race)
    return asked, folder


def test_the_same_command_again_goes_on_with_the_run_that_was_broken_off(advisor: Advisor, workdir: Path) -> None:
    inputs = write_rows(workdir)
    command = ["prove", "--data", str(inputs.data), "--test", str(inputs.test), "--minutes", "0.0001", "--lang", "en"]
    code, _, err = advisor(*command)
    assert code == 1
    assert "too little for any pilot" in err
    (run,) = all_runs()
    code, _, err = advisor(*command)
    assert code == 1
    assert all_runs() == [run]
    assert f"run {run.name} of this command was broken off; it goes on" in err


@pytest.mark.parametrize("status", ["running", "interrupted"])  # killed, or stopped
def test_an_unfinished_race_of_the_same_rows_is_found_again(status: str, workdir: Path) -> None:
    inputs = write_rows(workdir)
    asked, folder = begun(inputs, dataclasses.replace(RUNNING, status=status), minutes=2.0)  # type: ignore[arg-type]
    assert asked.unfinished() == folder
    assert Asked({"--minutes": 20.0}, inputs).unfinished() == folder  # it goes on with more
    assert Asked({"--metric": "macro_f1"}, inputs).unfinished() is None  # another race
    assert Asked({"--until": 0.9}, inputs).unfinished() is None
    assert Asked({}, dataclasses.replace(inputs, test=None)).unfinished() is None
    assert Asked({}).unfinished() is None


def test_what_is_finished_is_not_taken_up_nor_what_files_have_changed_since(workdir: Path) -> None:
    inputs = write_rows(workdir)
    asked, folder = begun(inputs, DONE)
    assert asked.unfinished() is None
    begun(inputs)
    assert asked.unfinished() == folder
    after = (folder / FOLDER / FILE).stat().st_mtime + 10
    os.utime(str(inputs.test), (after, after))
    assert asked.unfinished() is None


def test_a_climb_is_found_again_apart_from_races(workdir: Path) -> None:
    inputs = write_rows(workdir)
    asked = Asked({"--until": 0.8}, inputs)
    asked.record(Path("runs/r1"))
    place = Path("runs/r1") / until.FOLDER / until.FILE
    write_json(place, dataclasses.replace(races.CLIMB, status="interrupted"))
    assert asked.unfinished() == Path("runs/r1")
    write_json(place, races.CLIMB)
    assert asked.unfinished() is None


def test_a_damaged_record_is_only_not_found_again(workdir: Path) -> None:
    asked, folder = begun(write_rows(workdir))
    (folder / FOLDER / FILE).write_text("{")
    assert asked.unfinished() is None
    assert command_of(folder) == "advisor prove r1"


def test_the_command_that_goes_on_brings_all_that_was_asked_for(workdir: Path) -> None:
    """Without its metric or seed it would be another race, without its minutes one that ends at once."""
    asked, folder = begun(write_rows(workdir), metric="macro_f1", minutes=8.0, seed=3)
    assert asked.again("r1") == command_of(folder) == "advisor prove r1 --metric macro_f1 --minutes 8 --seed 3"
    told = str(section(Proved(RUNNING, again=command_of(folder)), "r1", "en"))
    assert command_of(folder) in told


def test_what_an_until_does_not_go_with_is_told_at_once(advisor: Advisor) -> None:
    given = ["--metric", "macro_f1", "--target", "0.7", "--margin", "0.1"]
    code, _, err = advisor("prove", "--data", "x.csv", "--until", "0.8", *given, "--lang", "en")
    assert code == 1
    for name in ("metric", "target", "margin"):
        assert f"--{name} does not go with --until" in err


def test_what_was_run_to_the_end_can_be_used_as_it_is() -> None:
    assert use_command(Proved(DONE, place="runs/r1/prove")) == 'advisor predict runs/r1/prove/probe/full "…"'
    assert use_command(Proved(DONE)) == ""  # its folder is not known
    part = dataclasses.replace(DONE, choice=dataclasses.replace(races.CHOICE, chosen="small_encoder"))
    floor = dataclasses.replace(DONE, choice=dataclasses.replace(races.CHOICE, chosen="baseline"))
    assert use_command(Proved(part, place="p")) == use_command(Proved(floor, place="p")) == ""
