"""Training rows held out to watch a training on: stratified, and with no row that stands on the training side too.

Rows that share their input or their passage go to one side together, and so do near-duplicates (see `near`), as far as
that leaves enough to watch; where it does not, `development_notes` says how many nearly stand on both sides. Nothing
here depends on anything but the rows and the seed. Not covered: paraphrases.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence

from executors.base import Row, Text
from executors.data.near import find_leaks, join, near_groups
from executors.data.splits import input_key

COMPARED = 12_000  # rows up to which every one is compared with every other; of more, only the held-out ones are
ENOUGH = 0.5  # share of the rows asked for that must be left once near-duplicates are kept together
NAMED = 5  # classes named in a note

Group = tuple[int, ...]
"""Places of rows that go to one side together."""


def split_development(
    rows: Sequence[Row], held: int, seed: int, task: str, near: Sequence[int] | None = None
) -> tuple[list[Row], list[Row]]:
    """(rows to train on, `held` rows or fewer to watch), both in the order given.

    Of a classification every class has its share of both sides, and one that has two rows or more is never missing
    from the training side. Fewer than `held` are held out where groups or classes do not allow more. `near`: the rows'
    groups by `near_groups`, where they are known already.
    """
    if held <= 0 or len(rows) < 2:
        return list(rows), []
    if near is None and len(rows) <= COMPARED:
        near = near_groups(rows)
    chosen = _choose(rows, _groups(rows, near), held, seed, task)
    if len(chosen) < ENOUGH * held:  # e.g. rows made from one template: nearly all of them are one group
        chosen = _choose(rows, _groups(rows, None), held, seed, task)
    elif near is None:
        chosen = _without_near(rows, chosen)
    train = [row for n, row in enumerate(rows) if n not in chosen]
    return train, [row for n, row in enumerate(rows) if n in chosen]


def development_notes(train: Sequence[Row], development: Sequence[Row], task: str) -> tuple[Text, ...]:
    """What a reader of the curve must know: classes that are not watched, rows that nearly stand on both sides."""
    if not development:
        return ()
    return (*_missing_classes(train, development, task), *_near_note(train, development))


def _missing_classes(train: Sequence[Row], development: Sequence[Row], task: str) -> tuple[Text, ...]:
    if task != "classification":
        return ()
    missing = sorted({row.target for row in train} - {row.target for row in development})
    if not missing:
        return ()
    named = ", ".join(missing[:NAMED]) + (", …" if len(missing) > NAMED else "")
    few = len(missing)
    return (
        {
            "en": f"{few} {'class is' if few == 1 else 'classes are'} missing from the development rows ({named}): "
            "how the training does on them is not watched",
            "zh": f"开发集中缺少 {few} 个类别（{named}）：训练过程中无法观察这些类别的效果",
        },
    )


def _near_note(train: Sequence[Row], development: Sequence[Row]) -> tuple[Text, ...]:
    count = len(find_leaks(development, train))
    if not count:
        return ()
    return (
        {
            "en": f"{count} of {len(development)} development rows nearly equal a row trained on: the development loss "
            "looks better than it is",
            "zh": f"{len(development)} 条开发数据中有 {count} 条与训练数据几乎相同：开发集损失会偏乐观",
        },
    )


# -- groups --------------------------------------------------------------------------------------------


def _groups(rows: Sequence[Row], near: Sequence[int] | None) -> list[Group]:
    """The rows in groups that share an input or a passage, or a group of `near`."""
    import numpy as np

    first: dict[Hashable, int] = {}
    links = [(place, first.setdefault(key, place)) for place, row in enumerate(rows) for key in _keys(row)]
    links += [(place, first.setdefault(number, place)) for place, number in enumerate(near or ())]
    left, right = np.array(links).T
    found: dict[int, list[int]] = defaultdict(list)
    for place, number in enumerate(join(len(rows), [(left, right)])):
        found[number].append(place)
    return [tuple(places) for places in found.values()]


def _keys(row: Row) -> Iterator[Hashable]:
    yield input_key(row)
    if row.input.context:
        yield row.input.context


# -- the draw ------------------------------------------------------------------------------------------


def _choose(rows: Sequence[Row], groups: Sequence[Group], held: int, seed: int, task: str) -> set[int]:
    """Places of the rows held out: groups in random order, each where all its classes can still give as many."""
    classes = [row.target if task == "classification" else "" for row in rows]
    sizes = Counter(classes)
    quota = _quotas(sizes, min(held, len(rows) - 1))
    order = random.Random(seed).sample(list(groups), len(groups))
    chosen: set[int] = set()
    taken: Counter[str] = Counter()
    for group in order:
        wanted = Counter(classes[place] for place in group)
        if all(taken[name] + count <= quota[name] for name, count in wanted.items()):
            chosen.update(group)
            taken += wanted
    return chosen


def _quotas(sizes: Counter[str], held: int) -> Counter[str]:
    """How many rows of each class to hold out: its share of `held`; the rest goes where rounding down took most.

    A class keeps at least one row to train on.
    """
    total = sizes.total()
    exact = {name: held * size / total for name, size in sizes.items()}
    quota = Counter({name: min(int(share), sizes[name] - 1) for name, share in exact.items()})
    lost = sorted(exact, key=lambda name: (quota[name] - exact[name], -sizes[name], name))
    for name in lost[: max(0, held - quota.total())]:
        quota[name] = min(quota[name] + 1, sizes[name] - 1)
    return quota


def _without_near(rows: Sequence[Row], chosen: set[int]) -> set[int]:
    """`chosen` without those that nearly equal a row left to train on, until there are none."""
    while chosen:
        inside = {rows[place].id: place for place in chosen}
        leaking = find_leaks([rows[p] for p in sorted(chosen)], [r for n, r in enumerate(rows) if n not in chosen])
        if not leaking:
            break
        chosen = chosen - {inside[name] for name in leaking}
    return chosen
