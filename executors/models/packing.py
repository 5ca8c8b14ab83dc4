"""What goes into one forward pass: rows beside one another after a common beginning, answers as a tree.

Rows that share a long beginning are packed: they stand one after the other in a single sequence, and a mask lets each
see the beginning and itself only. So the beginning's keys and values are held once however many rows there are, no
row is padded, and a row costs its own tokens plus their attention to the beginning. Rows with little in common are
padded on the left and run as a batch. Answers to be scored are tokens of a tree of their common beginnings. Not
covered: models whose layers do not all see everything (sliding windows, recurrence), see `language.can_share`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from executors.models.device import prepare_torch

if TYPE_CHECKING:
    from torch import Tensor

SLICE = 128  # positions whose sum over the vocabulary is taken at once: each needs a copy of its logits
EVERYONE = -1  # whose a token of the common beginning is


def branch(cache: Any, rows: int = 1) -> Any:
    """A cache that a pass may add to, for a batch of `rows`; what it branches off stays as it is. None of None."""
    if cache is None:
        return None
    own = copy.copy(cache)  # the tensors are shared: a layer that grows makes new ones
    own.layers = [copy.copy(layer) for layer in cache.layers]
    if rows > 1:
        own.batch_repeat_interleave(rows)
    return own


# -- decoding ------------------------------------------------------------------------------------------


class Decoding(Protocol):
    """Rows that are continued token by token."""

    def start(self) -> Tensor:
        """Logits ``[rows, vocabulary]`` of the first token of each row's answer."""

    def go_on(self, chosen: Tensor, stay: list[int]) -> Tensor:
        """Logits after `chosen`, one token a row; only the rows at the places `stay` are kept."""


class PackedRows:
    """Rows in one sequence after a common beginning."""

    def __init__(self, model: Any, prefix: Any, shared: int, rows: Sequence[Sequence[int]]) -> None:
        torch = prepare_torch()
        self.model, self.rows, self.cache = model, rows, branch(prefix)
        self.active = torch.arange(len(rows), device=model.device)
        self.next = torch.tensor([shared + len(row) for row in rows], device=model.device)
        self.owners = torch.full((shared,), EVERYONE, device=model.device)

    def start(self) -> Tensor:
        torch = prepare_torch()
        lengths = torch.tensor([len(row) for row in self.rows], device=self.model.device)
        ids = torch.tensor([token for row in self.rows for token in row], device=self.model.device)
        begins = len(self.owners)
        positions = torch.cat([torch.arange(begins, begins + len(row)) for row in self.rows]).to(ids.device)
        return self._pass(ids, positions, self.active.repeat_interleave(lengths), lengths.cumsum(0) - 1)

    def go_on(self, chosen: Tensor, stay: list[int]) -> Tensor:
        torch = prepare_torch()
        keep = torch.tensor(stay, device=self.model.device)
        self.active, positions = self.active[keep], self.next[keep]
        self.next = positions + 1
        return self._pass(chosen[keep], positions, self.active, torch.arange(len(keep), device=keep.device))

    def _pass(self, ids: Tensor, positions: Tensor, owners: Tensor, wanted: Tensor) -> Tensor:
        torch = prepare_torch()
        self.owners = torch.cat([self.owners, owners])
        out = self.model(
            input_ids=ids[None],
            attention_mask=_visible(self.owners, len(ids))[None, None],
            position_ids=positions[None],
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=wanted,
        )
        self.cache = out.past_key_values
        logits: Tensor = out.logits[0]
        return logits


def _visible(owners: Tensor, queries: int) -> Tensor:
    """Who sees whom, bool ``[queries, keys]``: the last `queries` tokens see what is everyone's or theirs."""
    torch = prepare_torch()
    keys = len(owners)
    theirs = (owners == owners[-queries:, None]) | (owners == EVERYONE)
    visible: Tensor = theirs & torch.ones_like(theirs).tril(keys - queries)
    return visible


class PaddedRows:
    """Rows as a batch, padded on the left, each with a copy of the beginning."""

    def __init__(self, model: Any, prefix: Any, shared: int, rows: Sequence[Sequence[int]], filler: int) -> None:
        torch = prepare_torch()
        longest = max(map(len, rows))
        pads = [longest - len(row) for row in rows]
        ids = [[filler] * pad + list(row) for pad, row in zip(pads, rows, strict=True)]
        mask = [[1] * shared + [0] * pad + [1] * (longest - pad) for pad in pads]
        self.model, self.cache = model, branch(prefix, len(rows))
        self.ids, self.mask = torch.tensor(ids, device=model.device), torch.tensor(mask, device=model.device)
        self.positions = (self.mask.cumsum(-1) - 1).clamp(min=0)[:, shared:]

    def start(self) -> Tensor:
        out = self.model(
            input_ids=self.ids,
            attention_mask=self.mask,
            position_ids=self.positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.cache = out.past_key_values
        logits: Tensor = out.logits[:, -1]
        return logits

    def go_on(self, chosen: Tensor, stay: list[int]) -> Tensor:
        torch = prepare_torch()
        if len(stay) < len(chosen):
            keep = torch.tensor(stay, device=self.mask.device)
            self.cache.batch_select_indices(keep)
            chosen, self.mask, self.positions = chosen[keep], self.mask[keep], self.positions[keep]
        self.ids, self.positions = chosen[:, None], self.positions[:, -1:] + 1
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(stay), 1)], dim=1)
        return self.start()


# -- scoring -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tree:
    """Answers as a tree of their common beginnings. A node is a token that predicts at least one other.

    `ancestors[n]` are the nodes that n sees, itself included; `depths` count from 1. `paths` lists for each answer
    at which position each of its tokens is predicted (0: by the prompt; n + 1: by node n), and the tokens.
    """

    tokens: list[int]
    depths: list[int]
    ancestors: list[list[int]]
    paths: list[tuple[list[int], list[int]]]

    @classmethod
    def of(cls, answers: Sequence[Sequence[int]]) -> Tree:
        nodes: dict[tuple[int, ...], int] = {}
        for answer in answers:
            for end in range(1, len(answer)):
                nodes.setdefault(tuple(answer[:end]), len(nodes))
        starts = [[nodes[begin[:end]] for end in range(1, len(begin) + 1)] for begin in nodes]
        paths = [([0, *(nodes[tuple(a[:end])] + 1 for end in range(1, len(a)))], list(a)) for a in answers]
        return cls([begin[-1] for begin in nodes], [len(begin) for begin in nodes], starts, paths)


def grow_trees(answers: Sequence[Sequence[int]], most: int) -> list[tuple[list[int], Tree]]:
    """The answers as trees of at most `most` nodes (one longer answer is a tree of its own), with their indices.

    In sorted order, so that answers which begin alike stay together.
    """
    groups: list[list[int]] = []
    nodes: set[tuple[int, ...]] = set()
    for i in sorted(range(len(answers)), key=lambda i: tuple(answers[i])):
        own = {tuple(answers[i][:end]) for end in range(1, len(answers[i]))}
        if not groups or len(nodes | own) > most:
            groups.append([])
            nodes = set()
        groups[-1].append(i)
        nodes |= own
    return [(group, Tree.of([answers[i] for i in group])) for group in groups]


def score_pack(model: Any, prefix: Any, shared: int, rows: Sequence[Sequence[int]], tree: Tree) -> list[list[float]]:
    """Log-probability of each answer of `tree` after each row, ``[rows][answers]``, in one forward pass.

    A row's tokens, then the tree's, then the next row's: an answer token sees the whole row and its own ancestors.
    """
    torch = prepare_torch()
    nodes, device = len(tree.tokens), model.device
    ids = [token for row in rows for token in (*row, *tree.tokens)]
    lasts = [shared + len(row) - 1 for row in rows]
    positions = [
        at
        for row, last in zip(rows, lasts, strict=True)
        for at in (*range(shared, last + 1), *(last + depth for depth in tree.depths))
    ]
    ends = torch.tensor([len(row) + nodes for row in rows]).cumsum(0)
    out = model(
        input_ids=torch.tensor([ids], device=device),
        attention_mask=_pack_mask(shared, [len(row) for row in rows], tree).to(device)[None, None],
        position_ids=torch.tensor([positions], device=device),
        past_key_values=branch(prefix),
        use_cache=prefix is not None,
        logits_to_keep=(ends[:, None] - nodes - 1 + torch.arange(nodes + 1)).flatten().to(device),
    )
    totals = torch.cat([part.float().logsumexp(-1) for part in out.logits[0].split(SLICE)]).view(len(rows), nodes + 1)
    logits = out.logits[0].view(len(rows), nodes + 1, -1)  # 0 is the prompt's last token
    at, tokens = (torch.tensor([n for path in tree.paths for n in path[part]], device=device) for part in (0, 1))
    steps = logits[:, at, tokens].double() - totals[:, at].double()
    sums = torch.stack([part.sum(-1) for part in steps.split([len(path[0]) for path in tree.paths], dim=1)], dim=1)
    scores: list[list[float]] = sums.tolist()
    return scores


def _pack_mask(shared: int, lengths: Sequence[int], tree: Tree) -> Tensor:
    """Who sees whom, bool ``[tokens, shared + tokens]``, for rows of `lengths` each followed by the tree."""
    torch = prepare_torch()
    nodes = len(tree.tokens)
    own = torch.zeros(nodes, nodes, dtype=torch.bool)
    for n, ancestors in enumerate(tree.ancestors):
        own[n, ancestors] = True
    total = sum(lengths) + nodes * len(lengths)
    mask: Tensor = torch.zeros(total, shared + total, dtype=torch.bool)
    mask[:, :shared] = True
    begin = 0
    for length in lengths:
        row, end = begin + length, begin + length + nodes
        mask[begin:row, shared + begin : shared + row] = torch.ones(length, length, dtype=torch.bool).tril()
        mask[row:end, shared + begin : shared + row] = True
        mask[row:end, shared + row : shared + end] = own
        begin = end
    return mask


# -- what is run together ------------------------------------------------------------------------------


def packs(lengths: Sequence[int], most_tokens: int, most_rows: int) -> Iterator[list[int]]:
    """Indices of rows that go into one sequence, in order; one that is longer than allowed goes alone."""
    pack: list[int] = []
    used = 0
    for i, length in enumerate(lengths):
        if pack and (used + length > most_tokens or len(pack) == most_rows):
            yield pack
            pack, used = [], 0
        pack.append(i)
        used += length
    if pack:
        yield pack


def batches(lengths: Sequence[int], extra: int, most_tokens: int, most_rows: int) -> Iterator[list[int]]:
    """Indices of rows that are padded to one length, longest first: like lengths, bounded by memory.

    `extra` tokens are added to each row.
    """
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i], reverse=True):
        size, rows = lengths[batch[0] if batch else i] + extra, len(batch) + 1
        if batch and (rows > most_rows or rows * size > most_tokens):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
