"""Where the nodes, labels and bends of a directed acyclic graph go: a layered drawing (Sugiyama, Tagawa and Toda 1981).

Nodes stand in rows by their longest path from the root; between two rows of nodes is one of labels. An edge that skips
rows is led through bends, which edges to the same node share. Each row is ordered by barycentres, then placed by least
squares: every item as near to its neighbours as the least distances allow (isotonic regression).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Size = tuple[float, float]

GAP = 14.0  # between two items of a row
ROW_GAP = 30.0  # between two rows: the curves lie here
BEND = 8.0  # width kept free for an edge passing a row
ORDERINGS = 12  # sweeps, down and up in turn
FALLING, FOLLOWING, HOLDING = 5, 41, 200  # sweeps; with more of them the drawing hardly changes by a pixel
STRAIGHT, HELD = 10.0, 1e6  # how strongly a bend draws what it hangs from, and keeps its place


@dataclass
class Item:
    """A node, a label or a bend: its size, its row, and the centre that is sought."""

    size: Size
    row: int
    bend: bool = False
    above: list[Item] = field(default_factory=list)
    below: list[Item] = field(default_factory=list)
    place: int = 0  # within its row
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True)
class Wire:
    """An edge to be drawn. A label of no width takes no room."""

    start: str
    end: str
    label: Size = (0.0, 0.0)


@dataclass(frozen=True)
class Layout:
    """`nodes` by name; `routes`, one for each wire: the items it passes, its label being the second, its node last."""

    nodes: Mapping[str, Item]
    routes: tuple[tuple[Item, ...], ...]
    rows: tuple[tuple[float, float], ...]  # top and bottom of each
    width: float
    height: float


def arrange(nodes: Mapping[str, Size], wires: Sequence[Wire]) -> Layout:
    """Places everything; the upper left corner is (0, 0). Raises `ValueError` where the wires form a cycle."""
    ranks = _ranks(nodes, wires)
    placed = {name: Item(size, 2 * ranks[name]) for name, size in nodes.items()}
    routes = _route(placed, wires)
    rows = _rows(placed, routes)
    _order(rows)
    _settle(rows)
    left = min(item.x - item.size[0] / 2 for row in rows for item in row)
    right = max(item.x + item.size[0] / 2 for row in rows for item in row)
    for row in rows:
        for item in row:
            item.x = round(item.x - left, 1)
    bands = _bands(rows)
    return Layout(placed, routes, bands, round(right - left, 1), bands[-1][1])


# -- rows --------------------------------------------------------------------------------------------


def _ranks(nodes: Mapping[str, Size], wires: Sequence[Wire]) -> dict[str, int]:
    """The length of the longest path to each node."""
    ranks = dict.fromkeys(nodes, 0)
    for _ in nodes:
        changed = False
        for wire in wires:
            if ranks[wire.end] <= ranks[wire.start]:
                ranks[wire.end] = ranks[wire.start] + 1
                changed = True
        if not changed:
            return ranks
    raise ValueError("the wires form a cycle")


def _route(placed: Mapping[str, Item], wires: Sequence[Wire]) -> tuple[tuple[Item, ...], ...]:
    """The items each wire passes from start to end, linked to one another."""
    shared: dict[tuple[str, int], Item] = {}
    routes = []
    for wire in wires:
        start, end = placed[wire.start], placed[wire.end]
        label = Item((wire.label[0] or BEND, wire.label[1]), start.row + 1)
        bends = [
            shared.setdefault((wire.end, row), Item((BEND, 0.0), row, bend=True))
            for row in range(start.row + 2, end.row)
        ]
        route = (start, label, *bends, end)
        for upper, lower in pairwise(route):
            if all(item is not lower for item in upper.below):
                upper.below.append(lower)
                lower.above.append(upper)
        routes.append(route)
    return tuple(routes)


def _rows(placed: Mapping[str, Item], routes: Sequence[Sequence[Item]]) -> list[list[Item]]:
    """The items of each row, in the order in which a walk from the root meets them."""
    everything = {id(item): item for item in placed.values()}
    everything |= {id(item): item for route in routes for item in route}
    rows: list[list[Item]] = [[] for _ in range(1 + max(item.row for item in everything.values()))]
    seen: set[int] = set()

    def visit(item: Item) -> None:
        if id(item) not in seen:
            seen.add(id(item))
            rows[item.row].append(item)
            for lower in item.below:
                visit(lower)

    for item in everything.values():
        visit(item)
    return rows


# -- order: fewer crossings --------------------------------------------------------------------------


def _order(rows: list[list[Item]]) -> None:
    """Orders each row by the mean place of its neighbours, downwards and upwards, and keeps the best order met.

    After each sweep neighbours in a row change places where that saves crossings.
    """
    _number(rows)
    best, kept = _crossings(rows), [list(row) for row in rows]
    for sweep in range(ORDERINGS):
        down, turn = sweep % 2 == 0, -1 if sweep // 2 % 2 else 1  # every second time equals change places
        for row in rows if down else rows[::-1]:
            row.sort(key=lambda item: (_mean_place(item.above if down else item.below, item), turn * item.place))
            _number([row])
        while sum(map(_switch, rows)):  # ends: each exchange saves a crossing
            pass
        found = _crossings(rows)
        if found < best:
            best, kept = found, [list(row) for row in rows]
    for row, order in zip(rows, kept, strict=True):
        row[:] = order
    _number(rows)


def _switch(row: list[Item]) -> bool:
    """Exchanges neighbours where fewer edges then cross; whether any were."""
    changed = False
    for n, (left, right) in enumerate(pairwise(row[:])):
        left = row[n]  # it may have come from further left
        if _between(left, right) > _between(right, left):
            row[n], row[n + 1] = right, left
            changed = True
    _number([row])
    return changed


def _between(left: Item, right: Item) -> int:
    """How often the edges of two items cross when one stands left of the other."""
    sides = ((left.above, right.above), (left.below, right.below))
    return sum(a.place > b.place for ours, theirs in sides for a in ours for b in theirs)


def _number(rows: Sequence[Sequence[Item]]) -> None:
    for row in rows:
        for place, item in enumerate(row):
            item.place = place


def _mean_place(neighbours: Sequence[Item], item: Item) -> float:
    return sum(n.place for n in neighbours) / len(neighbours) if neighbours else float(item.place)


def _crossings(rows: Sequence[Sequence[Item]]) -> int:
    """How often two edges between neighbouring rows cross."""
    total = 0
    for row in rows:
        ends = [lower.place for item in row for lower in sorted(item.below, key=lambda lower: lower.place)]
        total += sum(one > other for n, one in enumerate(ends) for other in ends[n + 1 :])
    return total


# -- place -------------------------------------------------------------------------------------------


def _settle(rows: Sequence[Sequence[Item]]) -> None:
    """Places every row: first by what is above, then by both neighbours, then with the bends held where they are.

    A bend follows what is above it, so that a long edge falls straight and turns once. As nothing pulls back, the whole
    would wander for ever; held bends let it come to rest.
    """
    for pulls, sweeps in ((_from_above, FALLING), (_following, FOLLOWING), (_holding, HOLDING)):
        for sweep in range(sweeps):
            for row in rows if sweep % 2 == 0 else rows[::-1]:  # a phase of odd length ends downwards: bends in line
                _place(row, pulls)


Pulls = Callable[[Item], "list[tuple[float, float]]"]
"""Where an item is drawn to, and how strongly."""


def _from_above(item: Item) -> list[tuple[float, float]]:
    return [(other.x, 1.0) for other in item.above or item.below]


def _following(item: Item) -> list[tuple[float, float]]:
    return [(other.x, 1.0) for other in (item.above if item.bend else (*item.above, *item.below))]


def _holding(item: Item) -> list[tuple[float, float]]:
    if item.bend:
        return [(item.x, HELD)]
    hanging = [(other.x, STRAIGHT if other.bend else 1.0) for other in item.below]
    return hanging + [(other.x, 1.0) for other in item.above]


def _place(row: Sequence[Item], pulls: Pulls) -> None:
    """Moves a row's items to where least squares wants them, keeping their order and distances."""
    offsets, wishes, weights = [], [], []
    offset = 0.0
    for n, item in enumerate(row):
        if n:
            offset += (row[n - 1].size[0] + item.size[0]) / 2 + GAP
        drawn = pulls(item) or [(item.x, 1.0)]
        weight = sum(w for _, w in drawn)
        offsets.append(offset)
        wishes.append(sum(x * w for x, w in drawn) / weight - offset)
        weights.append(weight)
    for item, base, offset in zip(row, isotonic(wishes, weights), offsets, strict=True):
        item.x = base + offset


def isotonic(wishes: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The ascending numbers nearest to `wishes`, by weighted least squares (pool adjacent violators)."""
    pools: list[list[float]] = []  # mean, weight, count
    for wish, weight in zip(wishes, weights, strict=True):
        pools.append([wish, weight, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            mean, heavy, count = pools.pop()
            last = pools[-1]
            last[0] = (last[0] * last[1] + mean * heavy) / (last[1] + heavy)
            last[1] += heavy
            last[2] += count
    return [mean for mean, _, count in pools for _ in range(int(count))]


def _bands(rows: Sequence[Sequence[Item]]) -> tuple[tuple[float, float], ...]:
    """The top and bottom of each row, from the tallest item in it; sets each item's y to the middle."""
    bands, top = [], 0.0
    for row in rows:
        bottom = top + max((item.size[1] for item in row), default=0.0)
        for item in row:
            item.y = round((top + bottom) / 2, 1)
        bands.append((round(top, 1), round(bottom, 1)))
        top = bottom + ROW_GAP
    return tuple(bands)
