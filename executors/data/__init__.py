"""Rows from files: formats and encodings, which column is what, and the two sides of a split.

`reading` makes a `Table` of a file, `columns` says what its columns are, `splits` makes a `Dataset` of it.
"""

from __future__ import annotations

from executors.data.columns import ROLES, guess_task, parse_targets, recognise_columns
from executors.data.numbers import find_numbers, parse_number
from executors.data.reading import FORMATS, Table, read_table, squad_paragraphs
from executors.data.splits import Dataset, load_dataset, read_inputs

__all__ = [
    "FORMATS", "ROLES", "Dataset", "Table", "find_numbers", "guess_task", "load_dataset", "parse_number",
    "parse_targets", "read_inputs", "read_table", "recognise_columns", "squad_paragraphs",
]  # fmt: skip
