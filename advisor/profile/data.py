"""The user's rows: how many there are to learn from and to score on, the task, the classes, the languages.

The rows are cleaned and split exactly as a run does it, so that the counts are those the run will have. A file too
large to be held is read in one pass instead (see `rows`), and the sizes of its two sides are then estimated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from advisor.decision import Inputs
from advisor.facts import Fact, Facts
from advisor.profile.language import count_tokens, languages_of
from advisor.texts import text
from executors.base import DataSpec, Reporter, Row, Text, silent

if TYPE_CHECKING:
    from executors.data import Dataset

LARGE = 1 << 26  # bytes of a file from which it is read in one pass
SAMPLE = 500  # rows that lengths are averaged over
LABELLED = ("classification", "regression")  # tasks whose target is not a text


@dataclass(frozen=True)
class DataProfile:
    """What a run will find in the data. Lengths are estimates in tokens, averaged over training rows.

    `estimated`: the file was too large to be split, so `train` and `test` are what a split will come to, about.
    """

    path: str
    task: str
    task_reason: Text  # empty where the task was said
    train: int
    test: int
    labels: tuple[str, ...]
    columns: Mapping[str, str]  # role -> the file's own name
    column_reasons: Mapping[str, Text]
    removed: Mapping[str, int]  # reason -> rows left out
    languages: Mapping[str, float]  # of the inputs
    input_tokens: float
    answer_tokens: float
    test_path: str | None = None
    notes: tuple[Text, ...] = field(default=())
    estimated: bool = False
    layout: str = ""  # the shape the rows are kept in, see `executors.data.layout`; empty where only a part was read
    layout_reason: Text = field(default_factory=dict)
    passage_tokens: float = 0.0  # of an input: the passage that rows bring, where all do
    alike: float = 1.0  # so many rows bring the same one


def measure_data(
    inputs: Inputs, task: str | None = None, seed: int = 0, large: int = LARGE, report: Reporter = silent
) -> DataProfile:
    """Read, clean and split `inputs.data`. `task` is used where it is known, else guessed.

    Raises `UserError` for data that cannot be used, with every fault in it.
    """
    return (
        _pass_over(inputs, task, seed, large, report) if is_large(inputs, large) else split_data(inputs, task, seed)[0]
    )


def _pass_over(inputs: Inputs, task: str | None, seed: int, large: int, report: Reporter) -> DataProfile:
    """One pass costs a minute a gigabyte, and a command asks several times: kept until a file has changed."""
    from advisor.profile.rows import outline

    stamps = tuple(Path(name).stat().st_mtime_ns for name in (inputs.data, inputs.test) if name)
    key = (inputs.data, inputs.test, *sorted(inputs.columns.items()), task, seed, large, stamps)
    if key not in _PASSED:
        _PASSED[key] = outline(inputs, task, seed, report, large).data
    return _PASSED[key]


_PASSED: dict[object, DataProfile] = {}


def is_large(inputs: Inputs, large: int = LARGE) -> bool:
    """Whether a file of rows is too large to be held in memory as a whole."""
    paths = (Path(name) for name in (inputs.data, inputs.test) if name)
    return any(path.is_file() and path.stat().st_size > large for path in paths)


def split_data(inputs: Inputs, task: str | None = None, seed: int = 0) -> tuple[DataProfile, Dataset]:
    """The profile of data that is held in memory, and its two sides."""
    from executors.data import guess_task, load_dataset, read_table, recognise_columns
    from executors.data.layout import recognise_layout

    assert inputs.data is not None
    table = read_table(Path(inputs.data))
    reason: Text = {}
    if task is None:
        task, reason = guess_task(table, recognise_columns(table, inputs.columns)[0])
    columns, reasons = recognise_columns(table, inputs.columns, task)
    layout, layout_reason = recognise_layout(table, columns, task)
    dataset = load_dataset(data_spec(inputs), task, seed)
    rows = dataset.train
    passage_tokens, alike = _passages(rows)
    profile = DataProfile(
        path=inputs.data,
        task=task,
        task_reason=reason,
        train=len(rows),
        test=len(dataset.test),
        labels=dataset.labels,
        columns=dataset.columns,
        column_reasons=reasons,
        removed=dataset.removed,
        languages=languages_of(row.input.text for row in rows),
        input_tokens=mean_tokens([f"{row.input.text} {row.input.context}" for row in rows[:SAMPLE]]),
        answer_tokens=mean_tokens(_targets(rows[:SAMPLE])),
        passage_tokens=passage_tokens,
        alike=alike,
        test_path=inputs.test,
        notes=dataset.notes,
        layout=layout,
        layout_reason=layout_reason,
    )
    return profile, dataset


def data_spec(inputs: Inputs) -> DataSpec:
    """Where the rows are, for a plan."""
    assert inputs.data is not None
    return DataSpec(inputs.data, inputs.test, dict(inputs.columns))


def data_facts(data: DataProfile, asked: Facts) -> Facts:
    """Counts as a run will have them; the task only where nobody said it."""
    left_out = sum(data.removed.values())
    key = "profile.rows_test_file" if data.test_path else "profile.rows_split"
    told = text(
        key, path=data.path, train=data.train, test=data.test, test_path=data.test_path or "", left_out=left_out
    )
    if data.estimated:
        told = text("profile.rows_estimated", told=told)
    facts = Facts().with_(
        Fact("labelled_examples", data.train, "measured", told),
        Fact("evaluation_examples", data.test, "measured", told),
    )
    if asked.value("task") is None:
        facts = facts.with_(Fact("task", data.task, "measured", data.task_reason))
    if data.task == "classification":
        facts = facts.with_(Fact("classes", len(data.labels), "measured", text("profile.classes", path=data.path)))
    return facts


def _targets(rows: Sequence[Row]) -> list[str]:
    return [row.target for row in rows if row.targets]


def _passages(rows: Sequence[Row]) -> tuple[float, float]:
    """(tokens of a passage, rows that bring the same one); (0, 1) where a row has none."""
    passages = [row.input.context for row in rows]
    if not passages or not all(passages):
        return 0.0, 1.0
    return mean_tokens(passages[:SAMPLE]), len(passages) / len(set(passages))


def mean_tokens(texts: Sequence[str]) -> float:
    return round(sum(map(count_tokens, texts)) / len(texts), 1) if texts else 0.0
