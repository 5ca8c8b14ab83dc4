"""A part of the rows: the same for the same seed, each class in its share, and a smaller part within every larger one.

So what is learnt from 50 rows and from 200 differs by 150 more rows, and by nothing else.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from executors.base import Row


def draw(rows: Sequence[Row], count: int, seed: int, task: str) -> list[Row]:
    """`count` of the rows, or all where that is 0 or more than there are, in the order given.

    Of a classification one row of every class comes first, as far as `count` goes; then classes have equal shares of
    their own rows.
    """
    if not 0 < count < len(rows):
        return list(rows)
    rng = random.Random(seed)
    classes: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        classes[row.target if task == "classification" and row.targets else ""].append(place)
    order: list[tuple[float, float, int]] = []
    for name in sorted(classes):
        places = rng.sample(classes[name], len(classes[name]))
        order += [(rank and (rank + rng.random()) / len(places), rng.random(), p) for rank, p in enumerate(places)]
    return [rows[place] for place in sorted(place for _, _, place in sorted(order)[:count])]
