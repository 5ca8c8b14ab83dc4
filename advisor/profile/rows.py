"""What is in a file of rows: classes and their balance, repetitions, conflicts, leaks, lengths, languages.

Read in one pass, so that a file of any size costs bounded memory (see `scan`). Not covered: what labels mean, and
whether they are right where a text stands only once.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from advisor.decision import Inputs
from advisor.profile import lengths, scan
from advisor.profile.data import LARGE, DataProfile, is_large, mean_tokens, split_data
from advisor.profile.language import languages_of
from advisor.profile.lengths import Lengths
from advisor.profile.scan import Repeats, Sampled, Scan
from advisor.texts import text
from executors.base import DataSpec, Input, Reporter, Row, Text, silent
from executors.data import Stream, columns_of_test, guess_task, near, open_stream, parse_targets, recognise_columns
from executors.data.near import NearDuplicates

FEW = 8  # rows of a class below which a small encoder cannot learn it: see methods/small_encoder.yaml
NAMED = 5
HELD_OUT = 0.1  # share of the sample that stands for held-out rows where a file was not split
SHOWN = 120  # characters of an example


@dataclass(frozen=True)
class Balance:
    """How the rows spread over the classes. `evenness` is their entropy over that of equal classes: 1 is even."""

    classes: int
    largest: tuple[str, int]
    smallest: tuple[str, int]
    ratio: float  # largest to smallest
    evenness: float
    rare: tuple[str, ...]  # the first of those with fewer than `FEW` rows
    rare_count: int


@dataclass(frozen=True)
class Conflict:
    """One text with two targets, and the lines of both."""

    lines: tuple[int, int]
    text: str
    targets: tuple[str, str]


@dataclass(frozen=True)
class RowsProfile:
    """The rows of one file, and how they lie to the held-out ones."""

    path: str
    format: str
    encoding: str
    bytes: int
    names: tuple[str, ...]  # the file's columns
    rows: int
    usable: int
    faults: Mapping[str, int]  # reason -> rows that cannot be used
    repeats: Repeats
    conflicts: tuple[Conflict, ...]
    balance: Balance | None  # of a classification
    shared: int  # rows whose input stands in the test file as well
    near: NearDuplicates
    lengths: Lengths
    languages: Mapping[str, float]
    damaged: float  # share of characters that were lost before
    sampled: int  # rows that lengths, languages and near-duplicates are told from


@dataclass(frozen=True)
class Outline:
    """A file read in one pass: what `data` says of it, and what lies behind that."""

    data: DataProfile
    stream: Stream
    train: Scan
    test: Scan | None
    sides: tuple[list[Row], list[Row]]  # rows to learn from and held-out ones, or samples of them


def examine_rows(
    inputs: Inputs,
    counter: lengths.Counter,
    window: int | None,
    task: str | None = None,
    seed: int = 0,
    report: Reporter = silent,
    large: int = LARGE,
) -> tuple[Outline, RowsProfile]:
    """Everything about the rows of `inputs.data`. Raises `UserError` for data that cannot be used."""
    found = outline(inputs, task, seed, report, large)
    repeats = scan.find_repeats(found.train)
    shared = scan.find_shared(found.train, found.test)[0] if found.test else 0
    learnt, held_out = ([(row.id, row.input.text) for row in side] for side in found.sides)
    near_found = near.find_near_duplicates(learnt, held_out, found.data.train, seed)
    head, sample = found.stream.head, found.train.sample
    return found, RowsProfile(
        path=str(head.path),
        format=head.format,
        encoding=head.encoding,
        bytes=head.path.stat().st_size,
        names=head.columns,
        rows=found.train.rows,
        usable=found.train.usable,
        faults={reason: count for reason, count in found.train.faults.items() if count},
        repeats=repeats,
        conflicts=_conflicts(found, repeats),
        balance=balance_of(found.train.labels),
        shared=shared,
        near=near_found,
        lengths=measure_lengths(sample, found.train.longest, counter, window),
        languages=languages_of(row.input for row in sample),
        damaged=found.train.damaged / max(found.train.characters, 1),
        sampled=len(sample),
    )


def outline(
    inputs: Inputs, task: str | None = None, seed: int = 0, report: Reporter = silent, large: int = LARGE
) -> Outline:
    """Read the files in one pass; those that fit into memory are split as a run splits them."""
    assert inputs.data is not None
    stream = open_stream(Path(inputs.data), report)
    if not is_large(inputs, large):
        data, dataset = split_data(inputs, task, seed)
        train = scan.scan_rows(stream, data.columns, data.task, seed)
        test = _scan_test(inputs, stream, data.columns, data.task, seed, report)
        return Outline(data, stream, train, test, (list(dataset.train), list(dataset.test)))
    reason: Text = {}
    if task is None:
        task, reason = guess_task(stream.head, recognise_columns(stream.head, inputs.columns)[0])
        reason = text("profile.task_from_head", told=reason, rows=f"{len(stream.head.rows):,}")
    columns, reasons = recognise_columns(stream.head, inputs.columns, task)
    train = scan.scan_rows(stream, columns, task, seed)
    test = _scan_test(inputs, stream, columns, task, seed, report)
    data = _estimated(inputs, train, test)
    data = dataclasses.replace(data, task_reason=reason, column_reasons=reasons, notes=stream.head.notes)
    return Outline(data, stream, train, test, _sides(train, test, seed))


def _scan_test(
    inputs: Inputs, stream: Stream, columns: Mapping[str, str], task: str, seed: int, report: Reporter
) -> Scan | None:
    if inputs.test is None:
        return None
    test = open_stream(Path(inputs.test), report)
    return scan.scan_rows(test, columns_of_test(test.head, stream.head, columns), task, seed)


def _estimated(inputs: Inputs, train: Scan, test: Scan | None) -> DataProfile:
    """What a run will have: duplicates and leaks left out, a share held out where there is no test file."""
    repeats = scan.find_repeats(train)
    kept = train.usable - repeats.duplicates
    if test:
        answers = test.usable if train.task in ("classification", "regression") else scan.find_repeats(test).distinct
        learnt, held_out = kept - min(kept, scan.find_shared(train, test)[0]), answers
    else:
        held_out = round(DataSpec.held_out * repeats.distinct)
        learnt = kept - round(DataSpec.held_out * kept)
    sample = train.sample[:500]
    removed = Counter({**train.faults, "duplicate": repeats.duplicates})
    return DataProfile(
        path=str(inputs.data),
        task=train.task,
        task_reason={},
        train=learnt,
        test=held_out,
        labels=tuple(sorted(train.labels)),
        columns=train.columns,
        column_reasons={},
        removed={reason: count for reason, count in removed.items() if count},
        languages=languages_of(row.input for row in train.sample),
        input_tokens=mean_tokens([row.input for row in sample]),
        answer_tokens=mean_tokens([row.target for row in sample]),
        test_path=inputs.test,
        estimated=True,
    )


def _sides(train: Scan, test: Scan | None, seed: int) -> tuple[list[Row], list[Row]]:
    """Samples of both sides. Without a test file a draw of the sample is held out, by its inputs."""
    rows = [_row(train.path, sampled) for sampled in train.sample]
    if test:
        held_out = [_row(test.path, sampled) for sampled in test.sample]
        inputs = {row.input for row in held_out}
        return [row for row in rows if row.input not in inputs], held_out
    random.Random(seed).shuffle(rows)
    count = max(1, round(HELD_OUT * len(rows)))
    inputs = {row.input for row in rows[:count]}
    return [row for row in rows[count:] if row.input not in inputs], rows[:count]


def _row(path: Path, sampled: Sampled) -> Row:
    return Row(f"{path.name}:{sampled.line}", Input(sampled.text, sampled.context), (sampled.target,))


def balance_of(labels: Mapping[str, int]) -> Balance | None:
    """The spread of rows over labels; None without labels."""
    if not labels:
        return None
    ordered = sorted(labels.items(), key=lambda item: (-item[1], item[0]))
    total = sum(labels.values())
    entropy = -sum(count / total * math.log(count / total) for count in labels.values())
    rare = [name for name, count in reversed(ordered) if count < FEW]
    return Balance(
        classes=len(ordered),
        largest=ordered[0],
        smallest=ordered[-1],
        ratio=round(ordered[0][1] / ordered[-1][1], 2),
        evenness=round(entropy / math.log(len(ordered)), 3) if len(ordered) > 1 else 0.0,
        rare=tuple(rare[:NAMED]),
        rare_count=len(rare),
    )


def measure_lengths(
    sample: Sequence[Sampled], longest: Sequence[Sampled], counter: lengths.Counter, window: int | None
) -> Lengths:
    """Tokens of the sample; the longest rows of the file decide the most. What was cut counts at its own rate."""
    inputs, answers = token_counts(sample, counter)
    most_inputs, most_answers = token_counts(longest, counter)
    spreads = []
    for counts, most in ((inputs, most_inputs), (answers, most_answers)):
        found = lengths.spread(counts)
        spreads.append(dataclasses.replace(found, longest=max(found.longest, math.ceil(max(most, default=0)))))
    beyond = lengths.share_beyond(inputs, answers, window)
    return Lengths(counter.name, len(sample), spreads[0], spreads[1], window, beyond)


def token_counts(rows: Sequence[Sampled], counter: lengths.Counter) -> tuple[list[float], list[float]]:
    """Tokens of each row's input and of its answer."""
    inputs = counter.count([row.input for row in rows])
    answers = counter.count([row.target for row in rows])
    return (
        [n * r.input_size / (len(r.text) + len(r.context)) for n, r in zip(inputs, rows, strict=True)],
        [n * r.target_size / len(r.target) for n, r in zip(answers, rows, strict=True)],
    )


def _conflicts(found: Outline, repeats: Repeats) -> tuple[Conflict, ...]:
    """Some of the texts with several targets, as they stand in the file."""
    cells = scan.rows_at(found.stream, [line for pair in repeats.pairs for line in pair])
    columns = found.train.columns
    conflicts = []
    for first, second in repeats.pairs:
        targets = [
            ", ".join(parse_targets(cells[line][columns["label"]], columns["label"], found.train.task))[:SHOWN]
            for line in (first, second)
        ]
        shown = " ".join(cells[first][columns["text"]].split())[:SHOWN]
        conflicts.append(Conflict((first, second), shown, (targets[0], targets[1])))
    return tuple(conflicts)
