"""Token rows as tensors, so that no work is done twice, and the plan of which rows meet in a step.

Shared: a pass is a few lines, and a line holds rows as a tree: what several begin with (the instruction, a passage, the
turns before) once, then what is each row's own, which sees the beginnings it stands on and itself only. Padded: a row a
line, for models that need it (`models.language.can_share`). In both the logits, the widest tensor of all, are computed
at the trained positions alone, and the loss is that of rows alone, up to rounding.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from executors.models.adapters import virtual_tokens
from executors.models.language import can_share, sees_everything
from executors.tuning.rows import IGNORED, TokenRow

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T", bound=Sized)

POOL = 50  # batches planned together, at most
AKIN = 0.5  # rows meet in a batch where they share this much of what not all rows share,
AKIN_TOKENS = 32  # and at least so many tokens of it
ATTENTION = 1 / 2000  # what a token pays a token of its line, as a share of its own cost: measured on SmolLM2
PASS = 16  # tokens that a pass costs by being one


class Collator:
    """A batch's tensors from its rows: what the model takes, and `labels`.

    ``labels[:, 1:]`` are the targets of the logits that are kept; its first column is a filler, so that counting
    trained tokens gives the same with and without the shift causal losses make.
    """

    def __init__(self, filler: int, shares: bool, apart: bool = False, pads: bool = True) -> None:
        """`filler`: the id padding has. `shares`: whether the model is right with a mask of our own. `apart`: one line
        a pass, which takes less memory and on a CPU no more time. `pads`: whether it is right with padded rows."""
        self.filler, self.shares, self.apart, self.pads = filler, shares, apart, pads
        self.tokens = 0  # seen so far, as if every row stood alone

    def parts(self, rows: Sequence[TokenRow], most: int) -> list[list[TokenRow]]:
        """The rows of one optimizer step in passes of `most` at most: together they are the batch."""
        if self.apart or not (self.shares or self.pads):
            return self._lines(rows, most)
        return _chunks(sorted(rows, key=_tokens if self.shares else len), most)

    def __call__(self, items: Sequence[Sequence[TokenRow]]) -> dict[str, Tensor]:
        """`items` holds the rows of one pass."""
        rows = [row for item in items for row in item]
        self.tokens += sum(map(len, rows))
        lines = self._stacked(rows) if self.shares else [[row] for row in rows]
        if all(len(line) == 1 for line in lines):
            return padded_batch(rows, self.filler)
        return shared_batch(lines, self.filler)

    def _stacked(self, rows: Sequence[TokenRow]) -> list[list[TokenRow]]:
        """The lines of one pass, all as wide as the widest: as they are cut best, or all in one, or a row a line."""
        ordered = sorted(rows, key=_tokens)
        return min(
            self._lines(rows, len(rows)),
            [ordered],
            [[row] for row in ordered],
            key=lambda lines: len(lines) * _attending(max(len(grow_line(line).tokens) for line in lines)),
        )

    def _lines(self, rows: Sequence[TokenRow], most: int) -> list[list[TokenRow]]:
        """Rows that stand in a line together (where none can share: that are padded together)."""
        if self.shares:
            ordered = sorted(rows, key=_tokens)
            return cheapest(ordered, _growing(ordered), most)
        ordered = sorted(rows, key=len)
        return cheapest(ordered, _padding(ordered, self.pads), most)


def collator_of(model: Any, tokenizer: Any) -> Collator:
    """The collator that is right, and fast, for `model` on its device."""
    pads = not virtual_tokens(model) or sees_everything(model.config.get_text_config())  # see `models.soft`
    apart = model.device.type == "cpu"
    return Collator(tokenizer.pad_token_id, can_share(model), apart=apart, pads=pads)


Cost = Callable[[int, int], float]
"""Of ``rows[first:end]`` in one pass, in tokens."""


def cheapest(rows: Sequence[TokenRow], cost: Cost, most: int) -> list[list[TokenRow]]:
    """`rows`, in order, cut where all pieces of `most` rows at most cost least together."""
    best = [0.0] + [math.inf] * len(rows)
    begin = [0] * (len(rows) + 1)
    for end in range(1, len(rows) + 1):
        for first in range(max(0, end - most), end):
            total = best[first] + cost(first, end)
            if total < best[end]:
                best[end], begin[end] = total, first
    pieces, end = list[list[TokenRow]](), len(rows)
    while end:
        pieces.append(list(rows[begin[end] : end]))
        end = begin[end]
    return pieces[::-1]


def _growing(rows: Sequence[TokenRow]) -> Cost:
    """What rows in the order of their tokens cost as one line, whose tokens all look at one another."""
    own = [len(row) for row in rows]
    for n, (one, other) in enumerate(itertools.pairwise(rows), 1):
        own[n] -= common(one.tokens, other.tokens)
    sums = list(itertools.accumulate(own, initial=0))

    def cost(first: int, end: int) -> float:
        length = sums[end] - sums[first] - own[first] + len(rows[first])
        return PASS + _attending(length)

    return cost


def _attending(length: int) -> float:
    """What a line of so many tokens costs, which all look at one another."""
    return length + ATTENTION * length**2


def _padding(rows: Sequence[TokenRow], pads: bool) -> Cost:
    """What rows in the order of their lengths cost as lines of one width."""

    def cost(first: int, end: int) -> float:
        width, count = len(rows[end - 1]), end - first
        if not pads and len(rows[first]) != width:
            return math.inf
        return PASS + count * _attending(width)

    return cost


def _tokens(row: TokenRow) -> tuple[int, ...]:
    return row.tokens


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


# -- which rows meet -----------------------------------------------------------------------------------


def plan_steps(rows: Sequence[T], size: int, steps: int, seed: int) -> list[list[T]]:
    """The rows of each of `steps` optimizer steps, `size` at most: every row once an epoch. Rows that share a passage
    meet in a step; where none do, like lengths.

    Made before training, so that a resumed one goes on with the very batches it would have had. (The trainer's own
    grouping by length draws an epoch's order from a random state that no longer exists when it is resumed within it.)
    """
    groups = akin(rows)
    planned: list[list[T]] = []
    for epoch in itertools.count():
        if len(planned) >= steps:
            break
        chance = random.Random(f"{seed} {epoch}")
        planned += _by_length(rows, size, chance) if len(groups) == len(rows) else _by_group(groups, size, chance)
    return planned[:steps]


def akin(rows: Sequence[T]) -> list[list[T]]:
    """Rows in groups that begin alike beyond what all begin with; a row like no other is a group of its own."""
    told: list[tuple[tuple[int, ...], int]] = sorted(
        (tuple(getattr(row, "tokens", ())), n) for n, row in enumerate(rows)
    )
    everyone = common(told[0][0], told[-1][0]) if told else 0
    groups: list[list[T]] = []
    for before, (tokens, n) in zip([None, *told], told, strict=False):
        own = len(tokens) - everyone
        shared = common(before[0], tokens) - everyone if before else 0
        if shared >= max(AKIN * own, AKIN_TOKENS):
            groups[-1].append(rows[n])
        else:
            groups.append([rows[n]])
    return groups


def _by_length(rows: Sequence[T], size: int, chance: random.Random) -> list[list[T]]:
    """All rows in random order, sorted by length within pools of a quarter at most, so that batches still vary."""
    pool = size * min(max(1, len(rows) // (4 * size)), POOL)
    batches = []
    for chosen in _chunks(chance.sample(list(rows), len(rows)), pool):
        batches += _chunks(sorted(chosen, key=len), size)
    chance.shuffle(batches)
    return batches


def _by_group(groups: Sequence[Sequence[T]], size: int, chance: random.Random) -> list[list[T]]:
    """All rows in random order, those of a group in one batch where they fit it, or in as few as they can."""
    pieces = [piece for group in groups for piece in _chunks(chance.sample(list(group), len(group)), size)]
    chance.shuffle(pieces)
    batches: list[list[T]] = [[]]
    while pieces:
        room = size - len(batches[-1])
        chosen = _fitting(pieces[: size * POOL], room) if batches[-1] else 0
        piece = pieces.pop(chosen)
        batches[-1] += piece[:room]
        if piece[room:]:
            pieces.insert(0, piece[room:])  # the rest begins the next batch
        if len(batches[-1]) == size and pieces:
            batches.append([])
    chance.shuffle(batches)
    return batches


def _fitting(pieces: Sequence[Sequence[T]], room: int) -> int:
    """Which piece fills `room` best: the largest that fits, else the smallest, which is cut."""
    sizes = [len(piece) for piece in pieces]
    fitting = [size for size in sizes if size <= room]
    return sizes.index(max(fitting) if fitting else min(sizes))


def _chunks(rows: list[T], size: int) -> list[list[T]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def even_batches(rows: Sequence[T], size: int) -> list[list[T]]:
    """All rows once, those that begin alike and like lengths together, in batches of almost one size."""
    ordered = [row for group in sorted(akin(rows), key=lambda group: len(group[0])) for row in group]
    return _chunks(ordered, math.ceil(len(rows) / math.ceil(len(rows) / size)))


# -- tensors -------------------------------------------------------------------------------------------


def padded_batch(rows: Sequence[TokenRow], filler: int) -> dict[str, Tensor]:
    """One line a row, padded on the left, so that the answers stand together at the end."""
    import torch

    width = max(map(len, rows))
    trained = max(len(row.answer) for row in rows)
    pads = [width - len(row) for row in rows]
    ids = torch.tensor([[filler] * pad + list(row.tokens) for pad, row in zip(pads, rows, strict=True)])
    mask = torch.tensor([[0] * pad + [1] * (width - pad) for pad in pads])
    labels = [[IGNORED] * (trained + 1 - len(row.answer)) + list(row.answer) for row in rows]
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "position_ids": (mask.cumsum(-1) - 1).clamp(min=0),
        "logits_to_keep": torch.arange(width - trained - 1, width - 1),
        "labels": torch.tensor(labels),
    }


@dataclass(frozen=True)
class Line:
    """Rows as a tree, its nodes in order: each a token, its position in its row, and the node before it (-1: none).

    `predictors` are the nodes whose next token is trained on, `targets` these tokens; a node can predict for several
    rows.
    """

    tokens: list[int]
    positions: list[int]
    before: list[int]
    predictors: list[int]
    targets: list[int]


def grow_line(rows: Sequence[TokenRow]) -> Line:
    """Rows in the order of their tokens as one line: what a row begins with as the one before it stands there once."""
    line = Line([], [], [], [], [])
    path: list[int] = []  # the nodes of the row at hand
    last: Sequence[int] = ()
    for row in rows:
        tokens = row.tokens
        path = path[: common(last, tokens)]
        for token in tokens[len(path) :]:
            line.before.append(path[-1] if path else -1)
            line.positions.append(len(path))
            path.append(len(line.tokens))
            line.tokens.append(token)
        line.predictors.extend(path[len(row.prompt) - 1 : -1])
        line.targets.extend(row.answer)
        last = tokens
    return line


def shared_batch(lines: Sequence[Sequence[TokenRow]], filler: int = 0) -> dict[str, Tensor]:
    """Each line of rows as a tree, see `Line`; lines are padded on the left to one width."""
    import torch

    grown = [grow_line(sorted(rows, key=_tokens)) for rows in lines]
    width = max(len(line.tokens) for line in grown)
    pads = [width - len(line.tokens) for line in grown]
    kept, labels = _aligned(grown, pads)
    return {
        "input_ids": torch.tensor([[filler] * pad + line.tokens for pad, line in zip(pads, grown, strict=True)]),
        "attention_mask": torch.stack([_seen(line, pad) for pad, line in zip(pads, grown, strict=True)])[:, None],
        "position_ids": torch.tensor([[0] * pad + line.positions for pad, line in zip(pads, grown, strict=True)]),
        "logits_to_keep": torch.tensor(kept),
        "labels": torch.tensor([[IGNORED, *row] for row in labels]),
    }


def _seen(line: Line, pad: int) -> Tensor:
    """[width, width] what each token looks at: itself and the tokens of its row before it. Padding sees itself."""
    import numpy as np
    import torch

    seen = np.eye(pad + len(line.tokens), dtype=bool)
    for node, before in enumerate(line.before):
        if before >= 0:
            seen[pad + node] |= seen[pad + before]
    return torch.from_numpy(seen)


def _aligned(lines: Sequence[Line], pads: Sequence[int]) -> tuple[list[int], list[list[int]]]:
    """The places where logits are kept, the same for all lines, and each line's targets there (or none)."""
    targets: list[dict[tuple[int, int], int]] = []
    for line, pad in zip(lines, pads, strict=True):
        found: dict[tuple[int, int], int] = {}
        turns: Counter[int] = Counter()
        for node, target in zip(line.predictors, line.targets, strict=True):
            found[pad + node, turns[node]] = target
            turns[node] += 1  # a node can predict for several rows
        targets.append(found)
    kept = sorted(set().union(*targets))
    return [place for place, _ in kept], [[found.get(key, IGNORED) for key in kept] for found in targets]


def completion_loss(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Mean cross-entropy over the trained tokens, in nats; by `num_items_in_batch` where a step has several batches."""
    import torch

    logits = outputs["logits"].float().flatten(0, 1)
    total = torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum")
    count = (labels[:, 1:] != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
    return total / count
