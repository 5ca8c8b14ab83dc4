"""Nothing is learnt from held-out rows: a canary in them is found nowhere in what a method keeps, other held-out rows
make the same artifact to the byte, but for times and figures of those rows, and labels dealt at random name no winner.
"""

from __future__ import annotations

import csv
import gc
import json
import random
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import executors
from advisor.chains import make_chain
from advisor.decision import Inputs
from advisor.facts import Fact
from advisor.prove.choice import choose
from advisor.prove.records import Choice
from executors.base import DataSpec, Event, Job, Plan, Row
from executors.chain import Chain, run_chain
from executors.data import load_dataset
from executors.metrics.compare import row_values
from executors.run import read_predictions, run_plan
from tests.conftest import DEMO
from tests.fakes import FirstWordExecutor, FirstWordPredictor
from tests.test_plan import decision
from tests.tiny import write_tiny, write_tiny_encoder

CANARY = "zqxwren"
SCORING = ("predictions.jsonl", "triage.json", "removed.jsonl")  # told after the fact: of the score, not of the method
PLACES = {"billing": "the invoice of {}", "delivery": "a parcel to {}", "repair": "my heater in {}"}
TOWNS = (
    *("Oslo", "Bergen", "Lima", "Quito", "Porto", "Turin", "Basel", "Lyon", "Graz", "Brno", "Leeds", "Cork"),
    *("Ghent", "Derry", "Malaga", "Nice", "Trier"),  # with three requests of each, enough to keep some for development
)
READ = TOWNS[:5]  # those with a document
FORMS = (  # of questions, enough to set a threshold by
    "Who repairs the heaters of {}?",
    "Which firm comes by Friday, in {}?",
    "Whom does one call in {} when it is cold?",
    "A heater in {} is out of order: who mends it?",
    "Whose job are the radiators of {}?",
)
STEPS = {"epochs": 1, "min_steps": 4, "batch_size": 8, "checkpoint_steps": 2}  # every row is seen at least once
TRAINED = {**STEPS, "max_length": 128, "compare": 0, "forgetting": False}
CHAINED = {**TRAINED, "contributions": "free"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    folder = tmp_path_factory.mktemp("models")
    made = {"model": write_tiny(folder / "tiny", words=2048), "embedder": write_tiny_encoder(folder / "encoder")}
    gc.freeze()  # a run collects what it leaves, and would go through all that has been imported each time
    yield made
    gc.unfreeze()


# -- the canary ----------------------------------------------------------------------------------------


def requests(folder: Path, held_out: str) -> DataSpec:
    """Training rows that are always the same, and held-out ones with `held_out` in every text and labels by it."""
    rows = [(PLACES[label].format(town), label) for town in TOWNS for label in PLACES]
    asked = [f"{held_out} writes about {PLACES[label].format(town)}" for town in TOWNS[:4] for label in PLACES]
    labels = random.Random(held_out).choices(list(PLACES), k=len(asked))
    return written(folder, ("text", "label"), rows, zip(asked, labels, strict=True))


def questions(folder: Path, held_out: str) -> DataSpec:
    """Questions that the documents answer; held-out ones have `held_out` in them and in an answer, so that it can come
    in as a target, too."""
    rows = [(form.format(town), f"the firm of {town}") for town in READ for form in FORMS]
    test = [
        (f"Which {held_out} lives at 9 Main Street?", f"{held_out} the second"),
        (f"Is {held_out} late?", "the firm of Oslo"),
        (f"Has {held_out} said that?", "the firm of Lima"),
    ]
    return written(folder, ("question", "answer"), rows, test)


def pairs(folder: Path, held_out: str) -> DataSpec:
    """Prompts with a better and a worse answer; held-out ones have `held_out` in all three."""
    rows = [(f"Who is the mayor of {town}?", f"{town} has none.", "I do not care!") for town in TOWNS]
    test = [
        (f"Which {held_out} lives at {n} Main Street?", f"{held_out} number {n}", f"No {held_out}!") for n in range(3)
    ]
    return written(folder, ("prompt", "chosen", "rejected"), rows, test)


def written(folder: Path, columns: tuple[str, ...], *sides: Iterable[tuple[str, ...]]) -> DataSpec:
    folder.mkdir(exist_ok=True)
    for name, rows in zip(("train", "test"), sides, strict=True):
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([columns, *rows])
    return DataSpec(str(folder / "train.csv"), str(folder / "test.csv"))


def documents(folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    for town in READ:
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
    "probe": ("probe", "classification", requests, {"folds": 2}),
    "probe on layers": ("probe", "classification", requests, {"model": "language", "layer": "best", "folds": 2}),
    "prompt": ("prompt", "classification", requests, {"shots": 3}),
    "retrieved": ("prompt", "classification", requests, {"shots": 3, "selection": "nearest"}),
    "answering": ("prompt", "question_answering", questions, {"shots": 2, "selection": "nearest", "max_tokens": 4}),
    "rag": ("rag", "question_answering", questions, {"reader": "quote"}),
    "small_encoder": ("small_encoder", "classification", requests, STEPS),
    "peft": ("peft", "classification", requests, TRAINED),
    "full": ("full", "classification", requests, {**TRAINED, "compare": 2}),
    "preference": ("preference", "question_answering", pairs, {**TRAINED, "sft_first": True}),
    "cpt": ("cpt", "question_answering", questions, {**TRAINED, "replay": 0.0}),
    "long_context": ("long_context", "question_answering", questions, {"shots": 1}),
    "rag+peft": ("rag+peft", "question_answering", questions, {**CHAINED, "max_length": 256, "search_seconds": 0}),
    "cpt+peft": ("cpt+peft", "question_answering", questions, {**CHAINED, "cpt.replay": 0.0}),
}


def work_of(case: str, folder: Path, held_out: str, models: Mapping[str, str]) -> Plan | Chain:
    method, task, made, params = CASES[case]
    data, methods = made(folder, held_out), method.split("+")
    reads = any(executors.method(one).needs_docs for one in methods)
    docs = documents(folder / "docs") if reads else None
    if len(methods) > 1:
        said = decision(*methods, task=Fact("task", task, "asked"))
        return make_chain(said, Inputs(data.path, data.test, docs, **models), methods, params)
    return Plan(method, task, data, docs=docs, params=params, **models)


def kept_by(work: Plan | Chain, folder: Path) -> dict[str, bytes]:
    """What `work` keeps, looked through for the canary. The folder is free again: a stage's artifact names the folders
    of those that it is built on."""
    watch = Watch(folder)
    result = run_chain(work, folder, watch) if isinstance(work, Chain) else run_plan(work, folder, watch)
    watch.look()
    assert result.status == "done"
    assert watch.looked_at > 0
    kept = contents(folder)
    shutil.rmtree(folder)
    return kept


@pytest.mark.parametrize("case", CASES)
def test_what_stands_in_held_out_rows_is_kept_nowhere_and_changes_nothing(
    case: str, tmp_path: Path, models: Mapping[str, str]
) -> None:
    one, other = (
        kept_by(work_of(case, tmp_path / "data", held_out, models), tmp_path / "run")
        for held_out in (CANARY, "somebody else")
    )
    assert one
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of the artifacts in a run's folder, but for those that SQLite has beside its own while it is open."""
    paths = [path for path in folder.rglob("artifact/**/*") if path.is_file() and ".sqlite-" not in path.name]
    return {str(path.relative_to(folder)): content(path) for path in paths}


def content(path: Path) -> bytes:
    """A file as it is compared: without what has a reason to differ."""
    if path.name not in DIFFERING:
        return listed(path) if path.name == "index.sqlite" else path.read_bytes()
    found = json.loads(path.read_text(encoding="utf-8"))
    DIFFERING[path.name](found)
    return json.dumps(found).encode()


def forget_figures(tuned: dict[str, Any]) -> None:
    tuned["notes"] = [note for note in tuned["notes"] if "held-out pairs" not in note["en"]]


DIFFERING: Mapping[str, Callable[[dict[str, Any]], object]] = {
    "about.json": lambda about: about.pop("stamp"),  # of the plan, whose files of rows are both in it
    "aftermath.json": lambda compared: compared.pop("seconds"),
    "preference.json": dict.clear,  # nothing but figures of held-out pairs, by which nothing is chosen
    "tuned.json": forget_figures,  # the same ones, as a note
}


def listed(path: Path) -> bytes:
    """All that the list of documents says, but for when it was written, and when its documents were."""
    with closing(sqlite3.connect(":memory:")) as copy:
        with closing(sqlite3.connect(path)) as kept:
            kept.backup(copy)
        copy.execute("UPDATE meta SET value = json_remove(value, '$.written')")
        for table in ("source", "skipped"):
            copy.execute(f"UPDATE {table} SET mtime_ns = 0")
        return "\n".join(copy.iterdump()).encode()


@pytest.mark.parametrize(("case", "params"), [("prompt", {}), ("rag", {"reader": "quote"})])
def test_what_is_searched_for_is_compared_on_training_rows_alone(
    case: str, params: Mapping[str, Any], tmp_path: Path, models: Mapping[str, str]
) -> None:
    """How far a search comes is a matter of time, so that its outcome is not compared."""
    plan = work_of(case, tmp_path / "data", CANARY, models)
    assert isinstance(plan, Plan)
    kept = kept_by(replace(plan, params={**params, "search_seconds": 2.0}), tmp_path / "run")
    assert "artifact/search.json" in kept


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
    assert len(given) == 51 + 12 + 24
    assert not any(CANARY in str(row) for row in given)


# -- labels dealt at random ------------------------------------------------------------------------------


def demo(folder: Path, seed: int | None) -> DataSpec:
    """The demo's requests; with a seed, each side's intents stand in an order of chance."""
    sides = []
    for name in ("requests-train.csv", "requests-test.csv"):
        with (DEMO / name).open(encoding="utf-8") as file:
            rows = [(row["text"], row["intent"]) for row in csv.DictReader(file)]
        labels = [label for _, label in rows]
        if seed is not None:
            random.Random(seed).shuffle(labels)
        sides.append([(text, label) for (text, _), label in zip(rows, labels, strict=True)])
    return written(folder, ("text", "label"), *sides)


def raced(data: DataSpec, folder: Path, **probes: Mapping[str, Any]) -> Choice:
    """What is chosen of the baseline and of probes by how they are set, on the same held-out rows."""
    plans = {"baseline": Plan("baseline", "classification", replace(data, scored=80))}
    for name, params in probes.items():
        rows = 30 if name == "half" else 60
        plans[name] = Plan("probe", "classification", replace(data, rows=rows, scored=80), params=params)
    for name, plan in plans.items():
        assert run_plan(plan, folder / name).status == "done"
    answered = {name: read_predictions(folder / name / "predictions.jsonl") for name in plans}
    test = [row for row in load_dataset(data, "classification", 0).test if row.id in answered["probe"]]
    assert len(test) == 80
    values = {
        name: row_values("classification", "accuracy", test, [given[row.id] for row in test])
        for name, given in answered.items()
    }
    return choose(values, {name: plan.data.rows for name, plan in plans.items()}, "baseline", 0.02, None, {})


def test_of_labels_dealt_at_random_nothing_wins(tmp_path: Path) -> None:
    found = raced(demo(tmp_path, seed=1), tmp_path, probe={"folds": 2}, half={"c": 1.0})
    assert found.winner == ""
    assert (found.chosen, found.rule) == ("baseline", "floor")
    assert "nothing here has been learnt" in found.why["en"]


def test_of_the_same_rows_with_their_own_labels_something_wins(tmp_path: Path) -> None:
    found = raced(demo(tmp_path, seed=None), tmp_path, probe={"c": 1.0})
    assert (found.winner, found.chosen) == ("probe", "probe")
