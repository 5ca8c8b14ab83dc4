"""One pass over a file of rows, whatever its size: counts, hashes, and a sample.

Memory: 16 bytes a row for the hashes, sorted once at the end (about 48 bytes a row then); the counts of at most
`MOST_CLASSES` labels; a seeded sample of `SAMPLE` rows, texts cut at `CUT` characters. Not covered: what needs all rows
side by side, which is told from the sample.
"""

from __future__ import annotations

import heapq
import random
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from executors.base import Row
from executors.data import Stream, input_key, parse_row

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE = 20_000  # rows kept
CUT = 2000  # characters kept of each text, passage and target
MOST_CLASSES = 100_000  # labels counted apart
DAMAGED = "\ufffd"  # what stands for a character that was lost in an earlier conversion
LONGEST = 5  # rows with the longest inputs, and with the longest answers, that are kept beside the sample


@dataclass(frozen=True)
class Sampled:
    """One row of the sample, its texts cut; `input_size` and `target_size` are characters before that."""

    line: int
    text: str
    context: str
    target: str
    input_size: int
    target_size: int

    @property
    def input(self) -> str:
        return f"{self.text} {self.context}".strip()


@dataclass
class Scan:
    """What a pass leaves. Of each usable row: `keys` and `targets`, hashes of its input and target, and its line."""

    path: Path
    columns: Mapping[str, str]
    task: str
    rows: int = 0
    faults: Counter[str] = field(default_factory=Counter)  # empty_text, empty_label, not_a_number, ragged
    labels: Counter[str] = field(default_factory=Counter)
    uncounted: int = 0  # rows of labels beyond `MOST_CLASSES`
    keys: array[int] = field(default_factory=lambda: array("Q"))
    targets: array[int] = field(default_factory=lambda: array("I"))
    lines: array[int] = field(default_factory=lambda: array("I"))
    sample: list[Sampled] = field(default_factory=list)
    longest: list[Sampled] = field(default_factory=list)
    characters: int = 0
    damaged: int = 0  # of `characters`

    @property
    def usable(self) -> int:
        return len(self.keys)


def scan_rows(stream: Stream, columns: Mapping[str, str], task: str, seed: int = 0, size: int = SAMPLE) -> Scan:
    """Read every row of `stream` once. Raises `UserError` for a file that turns out broken on the way."""
    scan = Scan(stream.head.path, columns, task)
    rng = random.Random(seed)
    longest: tuple[list[Any], list[Any]] = ([], [])
    for line, cells in stream.rows():
        scan.rows += 1
        row = parse_row("", cells, columns, task)
        if isinstance(row, str):
            scan.faults[row] += 1
            continue
        _count(scan, row, line)
        place = scan.usable - 1 if scan.usable <= size else rng.randrange(scan.usable)  # reservoir sampling
        if place < size:
            _keep(scan.sample, place, _sampled(row, line))
        for heap, characters in zip(longest, (_input_size(row), len(row.target)), strict=True):
            if len(heap) < LONGEST or characters > heap[0][0]:
                _push(heap, (characters, -line, _sampled(row, line)))
    scan.longest = [entry[2] for heap in longest for entry in heap]
    scan.faults["ragged"] += len(stream.ragged)
    scan.rows += len(stream.ragged)
    return scan


def _count(scan: Scan, row: Row, line: int) -> None:
    scan.keys.append(int.from_bytes(input_key(row)[:8], "little"))
    scan.targets.append(zlib.crc32("\0".join(row.targets).encode(errors="surrogatepass")))
    scan.lines.append(line)
    scan.characters += _input_size(row)
    scan.damaged += row.input.text.count(DAMAGED) + row.input.context.count(DAMAGED)
    if scan.task == "classification":
        if row.target in scan.labels or len(scan.labels) < MOST_CLASSES:
            scan.labels[row.target] += 1
        else:
            scan.uncounted += 1


def _input_size(row: Row) -> int:
    return len(row.input.text) + len(row.input.context)


def _sampled(row: Row, line: int) -> Sampled:
    text, context, target = (part[:CUT] for part in (row.input.text, row.input.context, row.target))
    return Sampled(line, text, context, target, _input_size(row), len(row.target))


def _keep(sample: list[Sampled], place: int, row: Sampled) -> None:
    if place == len(sample):
        sample.append(row)
    else:
        sample[place] = row


def _push(heap: list[Any], entry: Any) -> None:
    heapq.heappush(heap, entry)
    if len(heap) > LONGEST:
        heapq.heappop(heap)


# -- repetitions ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Repeats:
    """How rows repeat. `pairs` are lines of two rows with one input and two targets, the earliest first."""

    distinct: int  # inputs
    duplicates: int  # rows that repeat another one, target and all
    repeated: int  # inputs that stand in several rows
    conflicting: int  # inputs with several targets
    conflicting_rows: int
    pairs: tuple[tuple[int, int], ...] = ()


def find_repeats(scan: Scan, shown: int = 3) -> Repeats:
    """Rows with equal hashes, found by sorting them once. Two inputs hardly ever share 64 bits by chance."""
    import numpy as np

    keys, targets = np.frombuffer(scan.keys, np.uint64), np.frombuffer(scan.targets, np.uint32)
    order = np.lexsort((targets, keys))
    keys, targets = keys[order], targets[order]
    same_input = keys[1:] == keys[:-1]
    same_row = same_input & (targets[1:] == targets[:-1])
    differs = same_input & ~same_row
    conflicting = np.unique(keys[1:][differs])
    return Repeats(
        distinct=len(keys) - int(same_input.sum()),
        duplicates=int(same_row.sum()),
        repeated=len(np.unique(keys[1:][same_input])),
        conflicting=len(conflicting),
        conflicting_rows=int(np.isin(keys, conflicting).sum()),
        pairs=_earliest(np.frombuffer(scan.lines, np.uint32), order, keys, differs, shown),
    )


def _earliest(lines: Any, order: Any, keys: Any, differs: Any, shown: int) -> tuple[tuple[int, int], ...]:
    """The first pair of lines of the `shown` conflicting inputs that are complete soonest in the file."""
    import numpy as np

    places = np.flatnonzero(differs)
    both = np.sort(np.stack([lines[order[places]], lines[order[places + 1]]], axis=1), axis=1)
    found: dict[int, tuple[int, int]] = {}
    for place in np.argsort(both[:, 1], kind="stable"):
        found.setdefault(int(keys[places[place]]), (int(both[place, 0]), int(both[place, 1])))
        if len(found) == shown:
            break
    return tuple(found.values())


def find_shared(scan: Scan, other: Scan) -> tuple[int, int]:
    """(rows, distinct inputs) of `scan` whose input stands in `other` as well."""
    import numpy as np

    own: NDArray[Any] = np.frombuffer(scan.keys, np.uint64)
    shared = own[np.isin(own, np.frombuffer(other.keys, np.uint64))]
    return len(shared), len(np.unique(shared))


def rows_at(stream: Stream, lines: Iterable[int]) -> dict[int, dict[str, str]]:
    """The cells of some rows by line; reading stops at the last of them."""
    wanted = set(lines)
    found: dict[int, dict[str, str]] = {}
    for line, cells in stream.rows() if wanted else ():
        if line in wanted:
            found[line] = cells
            if len(found) == len(wanted):
                break
    return found
