"""The user's rows: how many there are to learn from and to score on, the task, the classes, the languages.

The rows are cleaned and split exactly as a run does it, so that the counts are those the run will have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from advisor.decision import Inputs
from advisor.facts import Fact, Facts
from advisor.profile.language import count_tokens, languages_of
from advisor.texts import text
from executors.base import DataSpec, Row, Text

SAMPLE = 500  # rows that lengths are averaged over
LABELLED = ("classification", "regression")  # tasks whose target is not a text


@dataclass(frozen=True)
class DataProfile:
    """What a run will find in the data. Lengths are estimates in tokens, averaged over training rows."""

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


def measure_data(inputs: Inputs, task: str | None = None, seed: int = 0) -> DataProfile:
    """Read, clean and split `inputs.data`. `task` is used where it is known, else guessed.

    Raises `UserError` for data that cannot be used, with every fault in it.
    """
    from executors.data import guess_task, load_dataset, read_table, recognise_columns

    assert inputs.data is not None
    table = read_table(Path(inputs.data))
    reason: Text = {}
    if task is None:
        task, reason = guess_task(table, recognise_columns(table, inputs.columns)[0])
    _, reasons = recognise_columns(table, inputs.columns, task)
    dataset = load_dataset(data_spec(inputs), task, seed)
    rows = dataset.train
    return DataProfile(
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
        input_tokens=_mean_tokens([f"{row.input.text} {row.input.context}" for row in rows[:SAMPLE]]),
        answer_tokens=_mean_tokens(_targets(rows[:SAMPLE])),
        test_path=inputs.test,
        notes=dataset.notes,
    )


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


def _mean_tokens(texts: Sequence[str]) -> float:
    return round(sum(map(count_tokens, texts)) / len(texts), 1) if texts else 0.0
