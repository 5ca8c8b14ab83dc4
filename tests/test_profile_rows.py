"""What is in a file of rows: hand-counted repetitions, conflicts, classes, leaks, lengths; in one pass, lazily."""

from __future__ import annotations

import csv
import json
import math
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from advisor.decision import Inputs
from advisor.profile.data import measure_data
from advisor.profile.lengths import FRAME, Counter, find_counter, share_beyond, spread
from advisor.profile.rows import RowsProfile, balance_of, examine_rows
from advisor.profile.scan import CUT, find_repeats, find_shared, rows_at, scan_rows
from executors.base import Event, UserError
from executors.data import Stream, Table, open_stream
from executors.data.near import find_near_duplicates

WORDS = Counter(lambda texts: [len(text.split()) for text in texts], "words")

ROWS = [
    ("where is my parcel", "parcel"),  # line 2
    ("where is my parcel", "parcel"),  # the same row
    ("Where  is my PARCEL", "parcel"),  # the same but for case and spacing
    ("where is my parcel", "refund"),  # a conflict: four rows, two labels
    ("i want my money back", "refund"),
    ("my money is not back", "refund"),
    ("change the address", "address"),
    ("change the address", "parcel"),  # another conflict
    ("", "parcel"),  # no text
    ("no label", ""),
    ("sch\ufffdn", "other"),  # one lost character of five
]


def write(path: Path, rows: list[tuple[str, str]]) -> str:
    with path.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([("text", "label"), *rows])
    return str(path)


def examine(path: str, test: str | None = None, **options: object) -> RowsProfile:
    inputs = Inputs(data=path, test=test)
    return examine_rows(inputs, WORDS, options.pop("window", None), "classification", **options)[1]  # type: ignore[arg-type]


# -- rows, repetitions, conflicts ------------------------------------------------------------------------


def test_rows_are_counted_by_what_is_wrong_with_them(tmp_path: Path) -> None:
    rows = examine(write(tmp_path / "rows.csv", ROWS * 3), large=1)
    assert (rows.rows, rows.usable) == (33, 27)
    assert rows.faults == {"empty_text": 3, "empty_label": 3}
    assert rows.names == ("text", "label")
    assert rows.format == "csv"


def test_duplicates_conflicts_and_inputs_are_counted_as_by_hand(tmp_path: Path) -> None:
    repeats = examine(write(tmp_path / "rows.csv", ROWS * 3), large=1).repeats
    assert repeats.distinct == 5  # parcel, money back, not back, address, schn
    assert repeats.duplicates == 27 - 7  # of seven different rows one each is kept
    assert repeats.repeated == 5
    assert (repeats.conflicting, repeats.conflicting_rows) == (2, 12 + 6)


def test_conflicts_are_shown_with_their_lines_and_labels(tmp_path: Path) -> None:
    conflicts = examine(write(tmp_path / "rows.csv", ROWS), large=1).conflicts
    assert [(c.text, c.lines, set(c.targets)) for c in conflicts] == [
        ("where is my parcel", (2, 5), {"parcel", "refund"}),
        ("change the address", (8, 9), {"address", "parcel"}),
    ]


def test_without_repetition_nothing_is_found(tmp_path: Path) -> None:
    rows = [(f"text {n} about {n * n}", "ab"[n % 2]) for n in range(30)]
    repeats = examine(write(tmp_path / "rows.csv", rows)).repeats
    assert (repeats.distinct, repeats.duplicates, repeats.repeated, repeats.conflicting) == (30, 0, 0, 0)
    assert repeats.pairs == ()


def test_characters_lost_before_are_a_share_of_all(tmp_path: Path) -> None:
    rows = [("abcd\ufffd", "a"), ("abcde", "b")] * 10
    assert examine(write(tmp_path / "rows.csv", rows), large=1).damaged == pytest.approx(0.1)


# -- classes -------------------------------------------------------------------------------------------


def test_balance_is_as_computed_by_hand() -> None:
    balance = balance_of({"a": 16, "b": 8, "c": 8})
    assert balance is not None
    entropy = -(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25))
    assert balance.evenness == round(entropy / math.log(3), 3) == 0.946
    assert (balance.largest, balance.smallest, balance.ratio) == (("a", 16), ("c", 8), 2.0)
    assert (balance.rare, balance.rare_count) == ((), 0)


def test_classes_with_fewer_than_eight_rows_are_named_smallest_first() -> None:
    balance = balance_of({"many": 50, "seven": 7, "eight": 8, "one": 1})
    assert balance is not None
    assert (balance.rare, balance.rare_count) == (("one", "seven"), 2)


def test_equal_classes_are_even_and_no_labels_have_no_balance() -> None:
    even = balance_of({"a": 5, "b": 5})
    assert even is not None
    assert (even.evenness, even.ratio) == (1.0, 1.0)
    assert balance_of({}) is None


# -- two sides -----------------------------------------------------------------------------------------

TRAIN = [(f"what is the price of item number {n * 7919}", "price") for n in range(10)] + [
    ("How do I change my address?", "address"),
    ("Please cancel the order I made this morning", "cancel"),
    ("The parcel has not arrived yet", "late"),
]
TEST = [
    ("how do i change my address", "address"),  # punctuation apart the same: a near-duplicate
    ("Please cancel the order I made this morning!", "cancel"),
    ("The parcel has not arrived yet", "late"),  # exactly the same: a leak
    ("Something else altogether, with no likeness", "late"),
]


def test_leaks_and_near_duplicates_across_files_are_told_apart(tmp_path: Path) -> None:
    train, test = write(tmp_path / "train.csv", TRAIN), write(tmp_path / "test.csv", TEST)
    rows = examine(train, test)
    assert rows.shared == 1
    assert (rows.near.found, rows.near.compared, rows.near.against) == (2, 4, 12)  # the leak is left out of training
    assert {(p.test, p.train, p.similarity) for p in rows.near.examples} == {
        ("test.csv:2", "train.csv:12", 1.0),
        ("test.csv:3", "train.csv:13", 1.0),
    }


def test_similarity_is_jaccards_coefficient_of_trigrams() -> None:
    # " abcde " has 5 trigrams, " abcdef " 6; four are common, seven are there: 4/7, below the threshold
    found = find_near_duplicates([("a", "abcde")], [("b", "abcdef")])
    assert found.found == 0
    # twenty letters against the same and one more: 19 common of 20 + 21 - 19 = 22
    long = "abcdefghijklmnopqrst"
    found = find_near_duplicates([("a", long)], [("b", long + "u")])
    assert found.examples[0].similarity == round(19 / 22, 3)


def test_chinese_is_compared_by_its_characters() -> None:
    found = find_near_duplicates(
        [("a", "请问我的包裹什么时候能够送到北京？"), ("b", "怎么开发票")],
        [("c", "请问我的包裹什么时候能够送到北京"), ("d", "怎么退货")],
    )
    assert [(p.test, p.train) for p in found.examples] == [("c", "a")]


def test_many_rows_are_drawn_and_it_is_said(tmp_path: Path) -> None:
    train = [(str(n), f"text number {n}") for n in range(20_100)]
    found = find_near_duplicates(train, [("t", "nothing like it")])
    assert (found.against, found.of_train) == (20_000, 20_100)


def test_a_file_in_one_pass_has_the_sizes_a_split_comes_to(tmp_path: Path) -> None:
    rows = [(f"text number {n} of {label}", label) for n in range(50) for label in ("cat", "dog")]
    path = write(tmp_path / "rows.csv", [*rows, rows[0], rows[1]])
    exact = measure_data(Inputs(data=path))
    passed = measure_data(Inputs(data=path), large=1)
    assert (passed.train, passed.test) == (exact.train, exact.test) == (80, 20)
    assert (passed.task, passed.labels, passed.removed) == (exact.task, exact.labels, exact.removed)
    assert passed.estimated
    assert not exact.estimated
    assert passed.input_tokens == pytest.approx(exact.input_tokens, abs=0.3)


def test_a_test_file_in_one_pass_takes_its_leak_away(tmp_path: Path) -> None:
    train, test = write(tmp_path / "train.csv", TRAIN), write(tmp_path / "test.csv", TEST)
    exact, passed = (measure_data(Inputs(data=train, test=test), "classification", large=n) for n in (1 << 20, 1))
    assert (passed.train, passed.test) == (exact.train, exact.test) == (12, 4)


# -- lengths -------------------------------------------------------------------------------------------


def test_lengths_are_percentiles_by_nearest_rank() -> None:
    assert spread([float(n) for n in range(1, 101)]) == spread([float(n) for n in range(100, 0, -1)])
    assert (spread(list(range(1, 101))).median, spread(list(range(1, 101))).p95) == (50, 95)
    assert spread([7.0]) == spread([7.0, 7.0])
    assert spread([1, 2, 3]).longest == 3


def test_the_share_that_does_not_fit_counts_input_answer_and_frame() -> None:
    assert share_beyond([10, 100], [5, 5], FRAME + 15) == 0.5
    assert share_beyond([10, 100], [5, 5], FRAME + 105) == 0.0
    assert share_beyond([10, 100], [5, 6], FRAME + 105) == 0.5
    assert share_beyond([10, 100], [5, 5], None) is None


def test_inputs_and_answers_are_measured_against_the_window(tmp_path: Path) -> None:
    rows = [("one two three", "a b"), ("word " * 300, "a b"), *[(f"say {n}", "c d") for n in range(18)]]
    found = examine(write(tmp_path / "rows.csv", rows), window=200).lengths
    assert (found.inputs.median, found.inputs.longest, found.answers.longest) == (2, 300, 2)
    assert found.beyond == 0.05
    assert (found.counted_by, found.rows) == ("words", 20)


def test_what_was_cut_in_the_sample_counts_in_full(tmp_path: Path) -> None:
    long = ("word " * 2000).strip()
    rows = [(long, "a"), *[(f"say {n}", "b") for n in range(19)]]
    assert len(long) > CUT
    assert examine(write(tmp_path / "rows.csv", rows), large=1).lengths.inputs.longest == 2000


def test_a_models_own_tokenizer_counts_where_it_is_here(tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "parcel": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.enable_truncation(2)  # as some tokenizers' files say; a length is counted all the same
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    counter = find_counter(str(tmp_path))
    assert counter.name == str(tmp_path)
    assert counter.count(["where is my parcel", ""]) == [4, 0]


def test_without_the_tokenizer_tokens_are_estimated_and_it_is_said(tmp_path: Path) -> None:
    counter = find_counter(str(tmp_path))
    assert (counter.name, counter.count(["a" * 40])) == ("", [10])


# -- one pass, lazily ----------------------------------------------------------------------------------


class Cells(dict[str, str]):
    """Cells that can be watched."""


def test_a_pass_holds_no_more_rows_than_its_sample(tmp_path: Path) -> None:
    watched: list[weakref.ref[Cells]] = []
    most = 0

    def rows() -> Iterator[tuple[int, dict[str, str]]]:
        nonlocal most
        for n in range(3000):
            cells = Cells(text=f"text {n}", label="ab"[n % 2])
            watched.append(weakref.ref(cells))
            most = max(most, sum(ref() is not None for ref in watched[-50:]))
            yield n + 2, cells

    head = Table(tmp_path / "rows.csv", ("text", "label"), [], "utf-8", "csv", [])
    scan = scan_rows(Stream(head, rows, lazy=True), {"text": "text", "label": "label"}, "classification", size=100)
    assert scan.usable == 3000
    assert len(scan.sample) == 100
    assert most <= 2
    assert len({row.line for row in scan.sample}) == 100
    assert max(row.line for row in scan.sample) > 2000  # drawn from all of it, not its beginning


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_a_stream_reads_as_far_as_it_is_asked(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{ending}"
    lines = ["text,label"] if ending == "csv" else []
    for n in range(60_000):
        lines.append(f"text {n},a" if ending == "csv" else json.dumps({"text": f"text {n}", "label": "a"}))
    path.write_text("\n".join(lines), encoding="utf-8")
    events: list[Event] = []
    stream = open_stream(path, events.append, head=10)
    assert (stream.lazy, len(stream.head.rows)) == (True, 10)
    rows = stream.rows()
    assert events == []
    for _ in range(20_001):
        next(rows)
    assert [e.stage for e in events] == ["scan"]
    assert 0 < events[0].done < 0.5 * path.stat().st_size
    assert sum(1 for _ in rows) == 60_000 - 20_001
    assert events[-1].done == events[-1].total == path.stat().st_size
    assert sum(1 for _ in stream.rows()) == 60_000  # anew


def test_a_stream_reads_the_same_as_a_table(tmp_path: Path) -> None:
    from executors.data import read_table

    path = tmp_path / "rows.tsv"
    path.write_bytes('文本\t标签\n你好 "世界\ta\n\n再见\tb\t \n多\t出\t来\n少\n好\tc\n'.encode("gb18030"))
    stream, table = open_stream(path), read_table(path)
    assert list(stream.rows()) == list(zip(table.lines, table.rows, strict=True))
    assert stream.ragged == list(table.ragged) == [5]
    assert (stream.head.columns, stream.head.encoding) == (table.columns, table.encoding)


def test_a_json_document_is_read_whole_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"text": "a", "label": "b"}] * 3), encoding="utf-8")
    stream = open_stream(path, head=2)
    assert (stream.lazy, len(stream.head.rows), len(list(stream.rows()))) == (False, 2, 3)


def test_a_line_that_breaks_off_late_is_a_users_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a", "label": "b"}\n' * 20 + '{"text": "cut', encoding="utf-8")
    with pytest.raises(UserError, match="line 21"):
        measure_data(Inputs(data=str(path), columns={}), "classification", large=1)


def test_hashes_tell_inputs_apart_and_rows_are_found_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    write(path, [("a", "x"), ("a", "y"), ("b", "x"), ("b", "x"), ("c", "x")])
    columns = {"text": "text", "label": "label"}
    scan = scan_rows(open_stream(path), columns, "classification")
    repeats = find_repeats(scan)
    assert (repeats.distinct, repeats.duplicates, repeats.conflicting, repeats.pairs) == (3, 1, 1, ((2, 3),))
    assert rows_at(open_stream(path), [3, 6]) == {3: {"text": "a", "label": "y"}, 6: {"text": "c", "label": "x"}}
    assert find_shared(scan, scan) == (5, 3)


def test_a_large_file_is_passed_over_once_with_progress_until_it_changes(tmp_path: Path) -> None:
    path, events = tmp_path / "rows.csv", list[Event]()
    inputs = Inputs(data=write(path, ROWS * 2000))
    first = measure_data(inputs, large=1, report=events.append)
    assert {event.stage for event in events} == {"scan"}
    assert events[-1].done == events[-1].total == path.stat().st_size
    seen = len(events)
    assert measure_data(inputs, large=1, report=events.append) is first
    assert len(events) == seen
    write(path, ROWS * 2001)
    assert measure_data(inputs, large=1, report=events.append) is not first
    assert len(events) > seen
