"""Rows from files: formats and encodings, which column is what, and the two sides of a split.

`reading` makes a `Table` of a file, `streaming` reads one that is larger than memory, `columns` says what its columns
are, `splits` makes a `Dataset` of it, `near` finds rows of one side that nearly stand on the other.
"""

from __future__ import annotations

from executors.data.columns import ROLES, guess_task, parse_targets, recognise_columns
from executors.data.numbers import find_numbers, parse_number
from executors.data.pairs import Pair, Pairs, load_pairs
from executors.data.reading import FORMATS, Table, read_table, squad_paragraphs
from executors.data.splits import Dataset, columns_of_test, input_key, load_dataset, parse_row, read_inputs
from executors.data.streaming import Stream, open_stream
from executors.data.texts import read_texts

__all__ = [
    "FORMATS", "ROLES", "Dataset", "Pair", "Pairs", "Stream", "Table", "columns_of_test", "find_numbers", "guess_task",
    "input_key", "load_dataset", "load_pairs", "open_stream", "parse_number", "parse_row", "parse_targets",
    "read_inputs", "read_table", "read_texts", "recognise_columns", "squad_paragraphs",
]  # fmt: skip
