"""Nothing is learnt from held-out rows: a canary in them is found nowhere in what a method keeps, other held-out rows
make the same artifact to the byte, and labels dealt at random name no winner."""

from __future__ import annotations

import csv
import json
import random
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import executors
from advisor.prove.choice import choose
from executors.base import DataSpec, Event, Job, Plan, Row
from executors.data import load_dataset
from executors.metrics.compare import row_values
from executors.run import read_predictions, run_plan
from tests.conftest import DEMO
from tests.fakes import FirstWordExecutor, FirstWordPredictor
from tests.tiny import write_tiny, write_tiny_encoder

CANARY = "zqxwren"
SCORING = ("predictions.jsonl", "triage.json", "removed.jsonl")  # told after the fact: of the score, not of the method
PLACES = {"billing": "the invoice of {}", "delivery": "a parcel to {}", "repair": "my heater in {}"}
TOWNS = ("Oslo", "Bergen", "Lima", "Quito", "Porto", "Turin", "Basel", "Lyon", "Graz", "Brno", "Leeds", "Cork")
TRAINED = {"epochs": 0.5, "min_steps": 4, "batch_size": 2, "max_length": 128, "compare": 0, "forgetting": False}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    folder = tmp_path_factory.mktemp("models")
    return {"model": write_tiny(folder / "tiny"), "embedder": write_tiny_encoder(folder / "encoder")}


# -- the canary ----------------------------------------------------------------------------------------


def requests(folder: Path, held_out: str) -> DataSpec:
    """Training rows that are always the same, and held-out ones with `held_out` in every text."""
    rows = [(PLACES[label].format(town), label) for town in TOWNS for label in PLACES]
    test = [(f"{held_out} writes about {PLACES[label].format(town)} {n}", label)
            for n, town in enumerate(TOWNS[:4]) for label in PLACES]  # fmt: skip
    return written(folder, ("text", "label"), rows, test)


def questions(folder: Path, held_out: str) -> DataSpec:
    """Questions and answers; held-out ones have `held_out` in both, so that it can come in as a target, too."""
    rows = [(f"Who repairs the heaters of {town}?", f"The firm of {town}, by Friday") for town in TOWNS]
    test = [(f"Which {held_out} lives at {n} Main Street?", f"{held_out} number {n}") for n in range(6)]
    return written(folder, ("question", "answer"), rows, test)


def written(folder: Path, columns: tuple[str, str], *sides: Iterable[tuple[str, str]]) -> DataSpec:
    folder.mkdir(exist_ok=True)
    for name, rows in zip(("train", "test"), sides, strict=True):
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([columns, *rows])
    return DataSpec(str(folder / "train.csv"), str(folder / "test.csv"))


def documents(folder: Path) -> str:
    if folder.is_dir():  # an index keeps the time at which a document was written
        return str(folder)
    folder.mkdir(parents=True)
    for town in TOWNS:
        text = f"# {town}\n\nHeaters of {town} are repaired by the firm of {town}, by Friday.\n"
        (folder / f"{town}.md").write_text(text, encoding="utf-8")
    return str(folder)


@dataclass
class Watch:
    """A reporter that looks for the canary in all that a run has written so far: checkpoints are gone at its end."""

    folder: Path
    looked_at: int = 0

    def __call__(self, event: Event) -> None:
        self.look()

    def look(self) -> None:
        kept = [path for path in self.folder.rglob("*") if path.is_file() and path.name not in SCORING]
        self.looked_at += len(kept)
        found = [str(path.relative_to(self.folder)) for path in kept if holds(path)]
        assert found == []


def holds(path: Path) -> bool:
    """Whether the canary stands in a file or its name, in any case and in the encodings that are written here."""
    try:
        content = path.read_bytes().lower()
    except FileNotFoundError:  # a temporary file that has just become the one it was for
        return False
    return any(CANARY.encode(coding) in content for coding in ("utf-8", "utf-16-le")) or CANARY in path.name.lower()


Case = tuple[str, str, Callable[[Path, str], DataSpec], dict[str, Any]]
CASES: dict[str, Case] = {
    "baseline": ("baseline", "classification", requests, {}),
    "nearest": ("baseline", "question_answering", questions, {}),
    "probe": ("probe", "classification", requests, {}),
    "probe on layers": ("probe", "classification", requests, {"model": "language", "layer": "best"}),
    "prompt": ("prompt", "classification", requests, {"shots": 3}),
    "retrieved": ("prompt", "classification", requests, {"shots": 3, "selection": "nearest"}),
    "answering": ("prompt", "question_answering", questions, {"shots": 2, "max_tokens": 4}),
    "rag": ("rag", "question_answering", questions, {"reader": "quote"}),
    "small_encoder": ("small_encoder", "classification", requests, {"epochs": 0.5}),
    "peft": ("peft", "classification", requests, TRAINED),
}


def plan_of(case: str, folder: Path, held_out: str, models: Mapping[str, str]) -> Plan:
    method, task, made, params = CASES[case]
    docs = documents(folder / "docs") if method == "rag" else None
    return Plan(method, task, made(folder, held_out), docs=docs, params=params, **models)


@pytest.mark.parametrize("case", CASES)
def test_what_stands_in_held_out_rows_is_kept_nowhere_and_changes_nothing(
    case: str, tmp_path: Path, models: Mapping[str, str]
) -> None:
    artifacts = []
    for name, held_out in (("one", CANARY), ("other", "somebody")):
        plan = plan_of(case, tmp_path / "data", held_out, models)
        watch = Watch(tmp_path / name)
        result = run_plan(plan, watch.folder, watch)
        watch.look()
        assert result.status == "done"
        assert watch.looked_at > 0
        artifacts.append(contents(watch.folder / "artifact"))
    assert artifacts[0]
    assert artifacts[0].keys() == artifacts[1].keys()
    assert [name for name, content in artifacts[0].items() if content != artifacts[1][name]] == []


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of an artifact, but for the stamp of the plan, which is of both files of rows, and the list of
    documents, which keeps times (it is searched for the canary)."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    about = json.loads(found["about.json"])
    about.pop("stamp")
    found.pop("index/index.sqlite", None)
    return {**found, "about.json": json.dumps(about).encode()}


def test_a_prompt_that_is_searched_for_is_compared_on_training_rows_alone(
    tmp_path: Path, models: Mapping[str, str]
) -> None:
    plan = plan_of("prompt", tmp_path / "data", CANARY, models)
    watch = Watch(tmp_path / "run")
    run_plan(replace(plan, params={"search_seconds": 4.0}), watch.folder, watch)
    watch.look()


class PeekingExecutor(FirstWordExecutor):
    """Keeps the held-out rows, which it can reach only by taking the leak check apart."""

    def build(self, job: Job) -> FirstWordPredictor:
        peeked: list[Row] = job.leaks.keywords["held_out"]  # type: ignore[attr-defined]
        return FirstWordPredictor({row.input.text: row.target for row in peeked})


def test_a_method_that_peeks_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(executors.EXECUTORS, "peeking", f"{__name__}:PeekingExecutor")
    watch = Watch(tmp_path / "run")
    run_plan(Plan("peeking", "classification", requests(tmp_path / "data", CANARY)), watch.folder)
    with pytest.raises(AssertionError, match="artifact"):
        watch.look()


def test_a_method_is_given_no_held_out_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with only a part of the rows learnt from, and of the others scored, as in pilots."""
    given: list[Row] = []

    class Seen(FirstWordExecutor):
        def build(self, job: Job) -> FirstWordPredictor:
            given.extend(job.rows)
            return super().build(job)

    monkeypatch.setattr(sys.modules[__name__], "PeekingExecutor", Seen)
    monkeypatch.setitem(executors.EXECUTORS, "peeking", f"{__name__}:PeekingExecutor")
    for n, sizes in enumerate(({}, {"rows": 12, "scored": 4}, {"rows": 24})):
        spec = replace(requests(tmp_path / "data", CANARY), **sizes)
        run_plan(Plan("peeking", "classification", spec), tmp_path / str(n))
    assert len(given) == 36 + 12 + 24
    assert not any(CANARY in str(row) for row in given)


# -- labels dealt at random ------------------------------------------------------------------------------


def permuted(folder: Path, seed: int) -> DataSpec:
    """The demo's requests with each side's intents in an order of chance."""
    sides = []
    for name in ("requests-train.csv", "requests-test.csv"):
        with (DEMO / name).open(encoding="utf-8") as file:
            rows = [(row["text"], row["intent"]) for row in csv.DictReader(file)]
        labels = [label for _, label in rows]
        random.Random(seed).shuffle(labels)
        sides.append([(text, label) for (text, _), label in zip(rows, labels, strict=True)])
    return written(folder, ("text", "label"), *sides)


def test_of_labels_dealt_at_random_nothing_wins(tmp_path: Path) -> None:
    data = permuted(tmp_path / "data", seed=1)
    entries = {"baseline": ("baseline", 0), "probe": ("probe", 120), "probe, half": ("probe", 60)}
    answered = {}
    for name, (method, rows) in entries.items():
        run_plan(Plan(method, "classification", replace(data, rows=rows, scored=80)), tmp_path / name)
        answered[name] = read_predictions(tmp_path / name / "predictions.jsonl")
    everything = load_dataset(data, "classification", 0).test
    test = [row for row in everything if row.id in answered["probe"]]
    values = {
        name: row_values("classification", "accuracy", test, [given[row.id] for row in test])
        for name, given in answered.items()
    }
    assert len(test) == 80
    found = choose(values, {"baseline": 0.0, "probe": 1.0, "probe, half": 0.5}, "baseline", 0.02, None, {})
    assert found.winner == ""
    assert (found.chosen, found.rule) == ("baseline", "floor")
    assert "nothing here has been learnt" in found.why["en"]
    assert json.loads((tmp_path / "probe" / "result.json").read_text(encoding="utf-8"))["status"] == "done"
